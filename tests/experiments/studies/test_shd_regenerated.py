import hashlib
import lzma

import numpy as np
import pytest

from experiments.studies.shd_regenerated import TEST_SPEAKERS, convert, draw_subset, main, make_bundled_subset
from experiments.studies.spike_archive import pack, read_archive, write_archive
from snn_delays.data.catalogue.locate import verify
from snn_delays.data.catalogue.lookup import card
from snn_delays.data.events import Events, Sample
from snn_delays.errors import DataError
from tests.support import ROOT

SHARED = ROOT.parent / "shared" / "data" / "shd_regenerated"


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_DELAYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SNN_DELAYS_DATA", raising=False)


def test_the_draw_depends_on_the_seed_and_not_on_the_order(tmp_path):
    random = np.random.default_rng(0)
    who = [(label, speaker) for label in range(20) for speaker in TEST_SPEAKERS for _ in range(7)]
    everyone = [Sample(Events([500 * i], [i % 700], 700), *one) for i, one in enumerate(who)]
    archive = pack(everyone, [i % 7 for i in range(280)], tick_us=500).subset(random.permutation(280))
    drawn = draw_subset(archive, TEST_SPEAKERS, 3, seed=1)
    assert np.bincount(drawn.label).tolist() == [3] * 20
    assert np.bincount(drawn.speaker)[4:].tolist() == [30, 30]  # 1 and 2 of each class, turn about
    names = list(zip(drawn.label, drawn.speaker, drawn.trial))
    assert len(set(names)) == 60
    turned = archive.subset(np.arange(280)[::-1])
    assert names == [
        *zip(*(getattr(draw_subset(turned, TEST_SPEAKERS, 3, 1), k) for k in ("label", "speaker", "trial")))
    ]
    other = draw_subset(archive, TEST_SPEAKERS, 3, seed=2)
    assert names != [*zip(other.label, other.speaker, other.trial)]
    with pytest.raises(DataError, match="are needed"):
        draw_subset(archive, TEST_SPEAKERS, 40, seed=1)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the full archives are not at hand")
def test_the_full_set_converts_to_the_files_on_the_card_and_the_subset_can_be_drawn_again(tmp_path):
    for split in ("train", "test"):
        path = convert(SHARED / f"shd_regen_{split}.npz.xz")
        assert verify(card("shd-regenerated"), split) == path
    made = make_bundled_subset(*(SHARED / f"shd_regen_{split}.npz.xz" for split in ("train", "test")), tmp_path)
    for split, path in zip(("train", "test"), made):
        content = lzma.decompress(path.read_bytes())
        assert hashlib.sha256(content).hexdigest() == card("shd-regenerated-subset").split(split).sha256


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the full archives are not at hand")
def test_the_first_samples_are_those_of_the_readme():
    archive = read_archive(SHARED / "shd_regen_test.npz.xz")
    first = next(iter(archive))
    assert (len(first.events), first.label, first.speaker, archive.trial[0]) == (5895, 15, 5, 7)
    assert first.events.t_us[:4].tolist() == [5000, 7500, 8500, 10500]
    assert first.events.channel[:4].tolist() == [131, 327, 632, 619]
    assert archive.n_spikes.sum() == 17_824_407


def test_another_archive_is_not_converted(tmp_path):
    write_archive(tmp_path / "a.npz.xz", pack([Sample(Events([500], [3], 700), 0, 0)], [0], tick_us=500))
    with pytest.raises(DataError, match="neither archive of SHD-regenerated"):
        main(["convert", str(tmp_path / "a.npz.xz")])
