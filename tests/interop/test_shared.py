"""What is said where a package is not installed; each name of the room is found."""

import importlib
import subprocess
import sys

import pytest

from snn_delays import interop
from snn_delays.errors import MissingPackageError
from snn_delays.interop.shared import require

PACKAGES = {"spikingjelly": "FromSpikingJelly", "norse": "ToNorse", "snntorch": "FromSnnTorch"}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_missing_package_is_named_with_the_line_that_installs_it(package: str, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"snn_delays.interop.{package}", raising=False)
    line = rf"the package {package} is not installed \(pip install 'snn-delays\[{package}\]'\)"
    with pytest.raises(MissingPackageError, match=line) as caught:
        getattr(interop, PACKAGES[package])
    assert isinstance(caught.value, ImportError)
    require("torch")


@pytest.mark.parametrize("name", interop.__all__)
def test_every_name_of_the_room_is_found(name: str) -> None:
    module = name.lower().replace("_", "").removeprefix("from").removeprefix("to")
    pytest.importorskip(module)
    assert getattr(interop, name) is getattr(importlib.import_module(f"snn_delays.interop.{module}"), name)
    with pytest.raises(AttributeError, match="no attribute 'FromNothing'"):
        interop.FromNothing  # noqa: B018


def test_the_room_alone_imports_none_of_the_packages() -> None:
    code = f"import sys, snn_delays.interop; sys.exit(not set({sorted(PACKAGES)}).isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
