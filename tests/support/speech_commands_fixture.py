"""Writes the recordings in tests/data/fixtures/speech_commands: ours, in the layout of Speech Commands.

python -m tests.support.speech_commands_fixture tests/data/fixtures/speech_commands
"""

import sys
import wave
from pathlib import Path

import numpy as np

# Speaker and take; each speaker is in one split.
TRAIN, VALID, TEST = ("0a7c2a8d", "1b4c9b89"), ("2aca1e72",), ("3c257192",)
WORDS = ("bed", "five", "yes")


def write(folder: Path) -> None:
    """Three words by four speakers, 0.1 to 0.19 s of a falling tone in noise, from integers alone."""
    for w, word in enumerate(WORDS):
        (folder / word).mkdir(parents=True, exist_ok=True)
        for s, speaker in enumerate((*TRAIN, *VALID, *TEST)):
            n = np.arange(1600 + 400 * w + 160 * s, dtype=np.int64)
            phase = n * (90 + 40 * w + 12 * s) - n * n // 160
            tone = 8000 - np.abs(phase % 640 - 320) * 50
            noise = (n * 1103515245 + 12345 * (s + 1)) // 65536 % 1024 - 512
            with wave.open(str(folder / word / f"{speaker}_nohash_{w % 2}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(16_000)
                file.writeframes((tone + noise).astype("<i2").tobytes())
    for name, speakers in {"validation_list.txt": VALID, "testing_list.txt": TEST}.items():
        lines = [f"{word}/{speaker}_nohash_{w % 2}.wav" for w, word in enumerate(WORDS) for speaker in speakers]
        (folder / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
