"""Programs that run an exported network in a simulator; each is copied into the export and stands there alone."""

import shutil
from pathlib import Path

from snn_delays.ir.trace import Trace

HERE = Path(__file__).parent
READMES = HERE.parent / "sources" / "readme"


def place(folder: Path, *scripts: str) -> None:
    """Copy ``exchange.py`` and scripts, as ``run_nest.py``, into an export's folder."""
    for name in ("exchange.py", *scripts):
        shutil.copyfile(HERE / name, folder / name)


def write_readme(folder: Path, form: str, **fields: object) -> None:
    """Write ``README.txt`` from the template of a format."""
    template = (READMES / f"{form}.txt").read_text(encoding="utf-8")
    (folder / "README.txt").write_text(template.format(**fields), encoding="utf-8")


def close_calls(trace: Trace) -> str:
    """What a README says of real numbers: how near the trace's closest decision was to falling otherwise."""
    if not trace.samples:
        return "golden.npz has no samples: the network was exported without."
    return (
        "Decisions closer than about 1e-12 to the threshold may fall otherwise in another order of summation; the\n"
        f"closest of golden.npz is {trace.margin:.1e} from it."
    )
