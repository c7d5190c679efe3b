"""What an export's folder gets of this room: scripts and engines as they are, texts made from templates."""

import shutil
from pathlib import Path

from snn_delays.ir.trace import Trace

ROOM = Path(__file__).parent


def complete(folder: Path, form: str, trace: Trace, *files: str, **fields: object) -> None:
    """Copy ``files`` of this room into an export, and write ``README.txt`` from the template of its format.

    With a script comes ``exchange.py``, on which all stand.
    """
    shared = ["scripts/exchange.py"] if any(name.startswith("scripts/") for name in files) else []
    for name in (*shared, *files):
        shutil.copyfile(ROOM / name, folder / Path(name).name)
    fields = {"samples": trace.samples, "steps": len(trace.counts), "arithmetic": close_calls(trace), **fields}
    readme = filled(f"readme/{form}.txt", **fields)
    (folder / "README.txt").write_text(f"{readme}\n", encoding="utf-8")


def filled(template: str, **fields: object) -> str:
    """A template of ``sources`` with its fields, without the newline at its end."""
    return (ROOM / "sources" / template).read_text(encoding="utf-8").format(**fields).removesuffix("\n")


def close_calls(trace: Trace) -> str:
    """What a README says of real numbers: how near the trace's closest decision was to falling otherwise."""
    if not trace.samples:
        return "golden.npz has no samples: the network was exported without."
    return (
        "Decisions closer than about 1e-12 to the threshold may fall otherwise in another order of summation; the\n"
        f"closest of golden.npz is {trace.margin:.1e} from it."
    )
