import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from snn_delays.data.binning import Binning
from snn_delays.data.formats.nas import NasRecordings, read_nas
from snn_delays.data.loaders import bin_recordings
from snn_delays.errors import DataError
from tests.support.event_fixtures import FIXTURES, nas_bytes

FOLDER = FIXTURES / "nas"
SHORT, LONG = "tone_mono_4ch_ONOFF_addr2b_ts02.aedat", "word_stereo_4ch_ONOFF_addr4b_ts1.aedat"
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def test_both_layouts_are_what_was_written():
    random = np.random.default_rng(0)
    for name, n_channels, address_bytes, ticks_per_us in ((SHORT, 8, 2, 5), (LONG, 16, 4, 1)):
        events = read_nas(FOLDER / name, n_channels, address_bytes=address_bytes, ticks_per_us=ticks_per_us)
        address, tick = random.integers(0, n_channels, 200), np.sort(random.integers(7, 90_000, 200))
        assert np.array_equal(events.channel, address)
        assert np.array_equal(events.t_us, tick // ticks_per_us)
        assert events.sensor == (n_channels,)


def test_a_layout_that_is_not_the_files_is_noticed():
    with pytest.raises(DataError, match=r"addr2b_ts02.aedat has 1200 bytes.*|has address \d+ in event"):
        read_nas(FOLDER / SHORT, 8, address_bytes=4, ticks_per_us=5)
    with pytest.raises(
        DataError, match=r"ts1.aedat has 1600 bytes, no multiple of 6: .* its addresses have not 2 bytes"
    ):
        read_nas(FOLDER / LONG, 16, address_bytes=2, ticks_per_us=1)
    with pytest.raises(DataError, match=r"has address \d+ in event \d+, expected 0 to 3; is an address 2 bytes long"):
        read_nas(FOLDER / SHORT, 4, address_bytes=2, ticks_per_us=5)
    with pytest.raises(DataError, match="address_bytes 2 or 4"):
        read_nas(FOLDER / SHORT, 8, address_bytes=3, ticks_per_us=5)
    with pytest.raises(DataError, match=r"cannot read .*absent: No such file"):
        read_nas(FOLDER / "absent", 8, address_bytes=2, ticks_per_us=5)


def test_recordings_of_one_sensor_tell_their_layout_by_name(tmp_path):
    files = [Path(shutil.copy(FOLDER / SHORT, tmp_path / f"{i}_addr2b_ts02.aedat")) for i in range(3)]
    recordings = NasRecordings(files, 8, [0, 1, 1], ("tone", "speech"))
    assert [sample.label for sample in recordings] == [0, 1, 1]
    assert pickle.loads(pickle.dumps(recordings))[2] == recordings[2]
    binned = bin_recordings(recordings, Binning(dt_ms=1.0, channel_group=1))
    assert int(binned.counts.sum()) == 600
    files[1].write_bytes(nas_bytes(np.zeros(2, int), np.array([9, 8]), 2))
    with pytest.raises(DataError, match=r"1_addr2b_ts02.aedat \(sample 1\): has event 1 at tick 8 after one at 9"):
        recordings[1]
    files[1].write_bytes(b"")
    with pytest.raises(DataError, match=r"1_addr2b_ts02.aedat \(sample 1\): holds no events"):
        recordings[1]
    assert len(recordings[2].events) == 200
    unnamed = Path(shutil.copy(files[0], tmp_path / "tone_addr2b_ts021.aedat"))
    with pytest.raises(DataError, match="has a name without its layout"):
        NasRecordings([unnamed], 8)[0]
    with pytest.raises(DataError, match="no recordings given"):
        NasRecordings([], 8)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are not at hand")
@pytest.mark.parametrize(
    ("name", "n_channels", "n_events", "n_addresses", "seconds"),
    [
        ("enun_stereo_64ch_ONOFF_addr4b_ts1", 256, 428_635, 252, 13.74),
        ("sound_mono_32ch_ONOFF_addr2b_ts02", 64, 49_864, 64, 1.14),
        ("130Hz_mono_64ch_ONOFF_addr2b_ts02", 128, 331_949, 126, 0.50),
    ],
)
def test_the_real_recordings(real_events, name, n_channels, n_events, n_addresses, seconds):
    (sample,) = NasRecordings([real_events(f"nas_auditory/{name}.aedat")], n_channels)
    assert (len(sample.events), len(np.unique(sample.events.channel))) == (n_events, n_addresses)
    assert sample.events.t_us[-1] - sample.events.t_us[0] == pytest.approx(seconds * 1e6, abs=0.006e6)
