"""``python -m experiments.studies [NAME...]``: run the studies of the documents; those that are done are skipped."""

import argparse
import subprocess
import sys
from pathlib import Path

OUT = Path("runs") / "studies"
# What each script takes after the name of its picture or folder, and about how long it runs on two cores.
STUDIES = {
    "augmentation_gallery": ("augmentation_gallery", "seconds"),
    "membranes": ("membranes.png", "seconds"),
    "exact_gradients": ("exact_gradients.md", "seconds"),
    "eventprop_yin_yang": ("eventprop_yin_yang.md", "four minutes"),
    "planted_delays": ("planted_delays.png", "a minute"),
    "planted_lags": ("planted_lags.png", "four minutes"),
    "interop_training": ("interop_training.csv", "ten minutes, with N-MNIST's subset in its place"),
}


def main() -> None:
    """Run every study that has no result yet; a failed one does not stop the rest."""
    parser = argparse.ArgumentParser(prog="python -m experiments.studies", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(STUDIES)}; default: all")
    parser.add_argument("--again", action="store_true", help="also those whose results are there")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - STUDIES.keys()):
        parser.error(f"no study {unknown[0]!r}; there are {', '.join(STUDIES)}")
    failed = []
    OUT.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or STUDIES:
        result, duration = STUDIES[name]
        if (OUT / result).exists() and not arguments.again:
            print(f"{name}: done, {OUT / result}", flush=True)
            continue
        print(f"{name}: about {duration}", flush=True)
        if subprocess.run([sys.executable, "-m", f"experiments.studies.{name}", str(OUT / result)]).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
