"""Names that moved serve on, with a warning that says where they are now."""

import importlib
import subprocess
import sys

import pytest

import snn_delays
from snn_delays.moved import forward

OLD = [
    ("snn_delays.export", "discretize"), ("snn_delays.export", "DiscreteNetwork"), ("snn_delays.export.nir", "to_nir"),
    ("snn_delays.export.convert", "canonical"), ("snn_delays.export.convert", "network_of"),
    ("snn_delays.export.canonical", "to_bytes"), ("snn_delays.export.canonical", "CanonicalNetwork"),
    ("snn_delays.export.simulator", "simulate"), ("snn_delays.export.profiles", "profile"),
    ("snn_delays.export.fit", "fit"), ("snn_delays.export.nir_reader", "from_nir"),
    ("snn_delays.export.nir_interpreter", "interpret"), ("snn_delays.discrete.streaming", "StreamingEngine"),
    ("snn_delays.data.encoders.cochlea", "Cochlea"), ("snn_delays.data.encoders.cochlea", "encode_files"),
    ("snn_delays.data.saccades", "EventCamera"), ("snn_delays.data.rate_free", "rate_free"),
    ("snn_delays.data.rate_free_recordings", "RateFreeRule"), ("snn_delays.data.catalogue", "card"),
    ("snn_delays.data.binned", "BinnedDataset"), ("snn_delays.data.shd", "shd_recordings"),
    ("snn_delays.training.config", "load_recipe"), ("snn_delays.training.build", "build_network"),
    ("snn_delays.training.evaluate", "evaluate"), ("snn_delays.training.loop", "fit"),
    ("snn_delays.training.results", "append_result"), ("snn_delays.data.archive", "SpikeArchive"),
]  # fmt: skip
STAYED = {"snn_delays.export.nir", "snn_delays.data.catalogue"}


@pytest.mark.parametrize(("module", "name"), OLD, ids=lambda text: text.removeprefix("snn_delays."))
def test_documented_names_of_the_version_before(module: str, name: str, recwarn: pytest.WarningsRecorder) -> None:
    value = getattr(importlib.import_module(module), name)
    assert value.__name__ == name
    messages = [str(warning.message) for warning in recwarn if warning.category is DeprecationWarning]
    assert messages == ([] if module in STAYED else messages[:1])
    for message in messages:
        assert message.startswith((f"{module}.{name} is now snn_delays.", f"{module}.{name} is now experiments."))
        new = message.split(" is now ")[1].split(";")[0].rpartition(".")
        assert getattr(importlib.import_module(new[0]), new[2]) is value


def test_unknown_names_stay_unknown() -> None:
    for get in (forward("here", {"a": "snn_delays"}), forward("here", "snn_delays")):
        for name in ("b", "__path__"):
            with pytest.raises(AttributeError):
                get(name)
    assert forward("here", {"LIF": "snn_delays"})("LIF") is snn_delays.LIF


def test_importing_an_old_module_is_silent() -> None:
    code = "import snn_delays.export.convert, snn_delays.discrete.streaming, snn_delays.export"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=900)
