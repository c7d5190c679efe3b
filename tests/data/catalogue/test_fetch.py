import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from snn_delays.data.catalogue import fetch as download
from snn_delays.data.catalogue import lookup as catalogue
from snn_delays.data.catalogue.locate import data_path
from snn_delays.data.catalogue.lookup import card
from snn_delays.data.formats import tonic as through_tonic
from snn_delays.data.formats.shd import write_shd_hdf5
from snn_delays.errors import BackendUnavailableError, ConfigError, DataError

pytest.importorskip("tonic")


@pytest.fixture
def server(samples, tmp_path, monkeypatch):
    """In place of the network: what Tonic would fetch, and where it puts it. The card knows its checksums."""
    import tonic.dataset

    made = tmp_path / "made.h5"
    write_shd_hdf5(made, samples, len(samples))
    md5 = hashlib.md5(made.read_bytes()).hexdigest()
    own = card("shd")
    parts = {
        name: replace(part, md5=md5, archive=f"{part.file}.zip", archive_md5="0" * 32, samples=len(samples))
        for name, part in own.splits.items()
    }
    known = replace(own, splits=parts)
    monkeypatch.setattr(catalogue, "cards", lambda: {"shd": known})
    fetched = []

    def fetch(self):
        home = Path(self.location_on_system)
        home.mkdir(parents=True, exist_ok=True)
        assert not (home / self.filename).exists(), "an unfinished archive would be taken for the whole"
        (home / self.filename).write_bytes(b"archive")
        (home / self.data_filename).write_bytes(made.read_bytes())
        fetched.append(self.data_filename)

    monkeypatch.setattr(tonic.dataset.Dataset, "download", fetch)
    return fetched


def test_every_split_is_fetched_once_into_the_place_where_it_is_looked_for(server):
    lines = []
    paths = download.download(card("shd"), lines.append)
    assert paths == [data_path(card("shd"), part) for part in card("shd").splits.values()]
    assert server == ["shd_train.h5", "shd_test.h5"]
    assert lines[0] == "fetching SHD, train, through Tonic's SHD"
    assert download.download(card("shd")) == paths
    assert len(server) == 2


def test_an_unfinished_archive_is_fetched_again(server):
    unfinished = data_path(card("shd"), card("shd").split("train")).with_name("shd_train.h5.zip")
    unfinished.parent.mkdir(parents=True)
    unfinished.write_bytes(b"half")
    download.download(card("shd"))
    assert server == ["shd_train.h5", "shd_test.h5"]


def test_what_came_must_be_what_the_card_promises(server, monkeypatch):
    wrong = {name: replace(part, md5="1" * 32) for name, part in card("shd").splits.items()}
    known = replace(card("shd"), splits=wrong)
    monkeypatch.setattr(catalogue, "cards", lambda: {"shd": known})
    with pytest.raises(DataError, match="should be the split train of SHD, but by its checksum it is unidentified"):
        download.download(card("shd"))


def test_a_network_that_is_not_there_says_what_to_place_where(monkeypatch):
    import tonic.dataset

    def offline(self):
        raise OSError("no route to host")

    monkeypatch.setattr(tonic.dataset.Dataset, "download", offline)
    with pytest.raises(DataError, match=r"could not fetch SHD \(no route to host\)\. By hand: .*train.h5 is missing"):
        download.download(card("shd"))


def test_sets_that_tonic_cannot_give_are_refused_with_the_way_to_them(monkeypatch):
    with pytest.raises(ConfigError, match=r"GSC-35 .* is not fetched: .*speech_commands_v0\.02"):
        download.download(card("gsc-35"))
    with pytest.raises(ConfigError, match="its files are all there"):
        download.download(card("shd-regenerated-subset"))

    def absent(name):
        raise through_tonic.PackageNotFoundError(name)

    monkeypatch.setattr(through_tonic, "version", absent)
    with pytest.raises(BackendUnavailableError, match="tonic is not installed"):
        download.download(card("shd"))
