import numpy as np
import pytest

from experiments.studies.event_frames import compared_frames, event_frame
from snn_delays.errors import ShapeError
from snn_delays.plot.style import save_figure


def test_a_frame_shows_on_minus_off():
    counts = np.random.default_rng(0).poisson(1.0, (2, 34, 34))
    ax = event_frame(counts, title="a digit")
    (picture,) = ax.images
    np.testing.assert_array_equal(picture.get_array(), counts[1].astype(float) - counts[0])
    assert picture.get_clim() == (-5, 5) == tuple(np.array([-1, 1]) * np.abs(counts[1] - counts[0]).max())
    assert ax.get_ylim() == (33.5, -0.5)  # y downwards, as the camera counts
    assert ax.get_title() == "a digit"


def test_pairs_stand_side_by_side(tmp_path):
    frames = np.random.default_rng(0).poisson(0.5, (2, 2, 3, 2, 8, 8))
    figure = compared_frames(frames, limit=4)
    assert len(figure.axes) == 12
    first, second = figure.axes[:2]
    assert (first.get_title(), second.get_title()) == ("recorded, saccade 1", "simulated, saccade 1")
    np.testing.assert_array_equal(figure.axes[9].images[0].get_array(), frames[1, 1, 1, 1] - frames[1, 1, 1, 0])
    assert save_figure(figure, tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "counts", [np.zeros((3, 4, 4)), np.zeros((4, 4)), -np.ones((2, 4, 4)), np.full((2, 4, 4), np.nan)]
)
def test_what_is_no_frame_is_refused(counts):
    with pytest.raises(ShapeError):
        event_frame(counts)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ShapeError, match="two are compared"):
        compared_frames(np.zeros((1, 3, 3, 2, 4, 4)), limit=1)
