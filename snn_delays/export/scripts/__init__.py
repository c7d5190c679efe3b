"""Programs that run an exported network in a simulator; each is copied into the export and stands there alone."""

import shutil
from pathlib import Path

HERE = Path(__file__).parent


def place(folder: Path, *scripts: str) -> None:
    """Copy ``exchange.py`` and scripts, as ``run_nest.py``, into an export's folder."""
    for name in ("exchange.py", *scripts):
        shutil.copyfile(HERE / name, folder / name)
