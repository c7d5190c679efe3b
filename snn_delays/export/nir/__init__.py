"""NIR: graphs written, read back as networks, and interpreted step by step."""

from snn_delays.export.nir.file import read_nir
from snn_delays.export.nir.interpret import interpret
from snn_delays.export.nir.read import from_nir
from snn_delays.export.nir.write import to_nir, write_nir

__all__ = ["from_nir", "interpret", "read_nir", "to_nir", "write_nir"]
