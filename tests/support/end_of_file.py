"""Have text files end with exactly one newline; exit status 1 if one had to be changed.

python -m tests.support.end_of_file FILE...
"""

import sys
from pathlib import Path


def mend(path: Path) -> bool:
    """Whether the file had to be changed."""
    content = path.read_bytes()
    right = content.rstrip(b"\r\n") + b"\n" if content.strip() else b""
    if right != content:
        path.write_bytes(right)
    return right != content


if __name__ == "__main__":
    changed = [name for name in sys.argv[1:] if mend(Path(name))]
    print(*(f"mended: {name}" for name in changed), sep="\n", end="\n" * bool(changed))
    sys.exit(bool(changed))
