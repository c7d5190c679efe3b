"""The formats a network is exported to, and the one way in which an export is written."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snn_delays.chips.profiles import Profile, profile
from snn_delays.errors import ConfigError, ExportError
from snn_delays.files import atomic_folder
from snn_delays.ir.canonical import CanonicalNetwork, check, to_bytes
from snn_delays.ir.trace import Trace, trace_bytes
from snn_delays.messages import did_you_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NETWORK, TRACE, FILES = "network.npz", "golden.npz", "files.txt"


@dataclass(frozen=True)
class Format:
    """A format by name.

    Attributes:
        title: what it is.
        module: has ``refuses(network)``, why a network cannot be written, or None; and ``write(network, trace,
            folder)``, which writes it into a folder that exists, and raises ExportError where ``refuses`` gives a
            reason. None for the canonical form alone.
        arithmetic: ``"real"``, ``"whole"`` or ``"any"``: the numbers it holds.
        profile: the target unless another is named; None: no limits.
        filters: whether it holds neurons that filter their current (:class:`snn_delays.nn.CubaLIF`).
    """

    name: str
    title: str
    module: str | None
    arithmetic: str
    profile: str | None = None
    filters: bool = False


FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        Format("npz", "the canonical form: lossless arrays, for any reader", None, "any", filters=True),
        Format("nir", "NIR graph of standard nodes", "snn_delays.export.nir.write", "real", filters=True),
        Format("brian2", "script for Brian2", "snn_delays.export.brian2", "any"),
        Format("nest", "script for NEST", "snn_delays.export.nest", "real"),
        Format(
            "pynn", "connection lists for PyNN and sPyNNaker, script for PyNN on NEST", "snn_delays.export.pynn", "real"
        ),
        Format("lava", "netx file and scripts for Lava and Loihi 2", "snn_delays.export.lava", "whole", "loihi2"),
        Format("spinnaker2", "lists for py-spinnaker2", "snn_delays.export.spinnaker2", "real", "spinnaker2"),
        Format("c99", "C99 engine and header", "snn_delays.export.c99", "whole", "generic"),
        Format("hdl", "hex memory images and a Verilog engine", "snn_delays.export.hdl", "whole", "generic"),
    )
}


def format_named(name: str) -> Format:
    """A format. Raises ConfigError for one that does not exist."""
    if name not in FORMATS:
        raise ConfigError(f"unknown format {name!r}; {did_you_mean(name, FORMATS)}the formats are {', '.join(FORMATS)}")
    return FORMATS[name]


def target_of(chosen: Format, target: str | None) -> Profile | None:
    """The profile a network is made for: that of the given name, else the format's."""
    name = target or chosen.profile
    return None if name is None else profile(name)


def write_export(
    network: CanonicalNetwork,
    trace: Trace,
    to: str,
    folder: Path,
    *,
    documents: Mapping[str, str] | None = None,
    pictures: Mapping[str, Figure] | None = None,
    **options: Any,
) -> list[Path]:
    """Write a network and its golden trace in a format: all files, or none.

    Args:
        network: see :func:`snn_delays.discrete.conversion.canonical`.
        trace: of this network, see :func:`snn_delays.ir.trace.make_trace`.
        to: a name of :data:`FORMATS`.
        folder: made; the files of an earlier export there are replaced, others kept. A folder that no export made is
            left alone, with an error.
        documents, pictures: texts and figures to lay beside, by file name.
        options: of the format, as ``encoding="branch"`` for NIR.

    Returns:
        The files, the canonical form ``network.npz`` and the trace ``golden.npz`` first.

    Raises:
        ConfigError: no such format.
        ExportError: an impossible network, one that the format cannot hold, or a folder that cannot be written.
    """
    chosen = format_named(to)
    check(network)
    kind = "whole" if network.whole else "real"
    if chosen.arithmetic not in ("any", kind):
        words = {"whole": "integers", "real": "real numbers"}
        raise ExportError(
            f"{to} holds networks of {words[chosen.arithmetic]}, this one has {words[kind]}; "
            + ("name a target that computes in integers, as --target generic" if kind == "real" else "keep them real")
        )
    if not chosen.filters and (filtering := network.filtering):
        have = " and ".join(name for name, form in FORMATS.items() if form.filters)
        raise ExportError(f"{to} cannot hold this network: {filtering}; {have} can")
    module: Any = None if chosen.module is None else importlib.import_module(chosen.module)
    if module is not None and (reason := module.refuses(network)):
        raise ExportError(f"{to} cannot hold this network: {reason}")
    try:
        with atomic_folder(folder, FILES) as inside:
            (inside / NETWORK).write_bytes(to_bytes(network))
            (inside / TRACE).write_bytes(trace_bytes(trace))
            for name, text in (documents or {}).items():
                (inside / name).write_text(text, encoding="utf-8")
            if pictures:
                from snn_delays.plot.style import save_figure  # only pictures need Matplotlib

                for name, figure in pictures.items():
                    save_figure(figure, inside / name)
            if module is not None:
                module.write(network, trace, inside, **options)
            names = sorted(path.relative_to(inside) for path in inside.rglob("*") if path.is_file())
    except OSError as error:
        raise ExportError(
            f"cannot write the export to {error.filename or folder}: {error.strerror or error}"
        ) from error
    first = [Path(NETWORK), Path(TRACE)]
    return [folder / name for name in [*first, *(name for name in names if name not in first)]]
