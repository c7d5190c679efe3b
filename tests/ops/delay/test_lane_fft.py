"""The transforms against NumPy's, in blocks, after silence, on some rows."""

import numpy as np
import pytest

from snn_delays.ops.delay import lane_fft
from snn_delays.ops.delay.transform_length import good_length, transform_length

DRAW = np.random.default_rng(0)


def spectrum_of(x: np.ndarray) -> np.ndarray:
    found = np.fft.rfft(x, axis=0)
    return np.stack([found.real, found.imag], 1)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 8, 9, 12, 27, 32, 54, 128, 216, 1152])
@pytest.mark.parametrize("columns", [1, 2, 5, 300])
def test_one_block_there_and_back(n: int, columns: int, dtype: str) -> None:
    x = DRAW.standard_normal((n, 3, columns)).astype(dtype)
    tables = lane_fft.tables(n, dtype)
    spectrum = np.full((n // 2 + 1, 2, 3, columns), np.nan, dtype)
    lane_fft.rfft(x, 0, 3, np.asarray(1, dtype)[()], n, 1, 0, 0, 0, n, *tables, 0, spectrum)
    near = 1e-12 if dtype == "float64" else 2e-6
    np.testing.assert_allclose(spectrum, spectrum_of(x), atol=near * n)
    back = np.full_like(x, np.nan)
    lane_fft.irfft(spectrum, n, 1, 0, 0, 0, n, *tables, 0, back, 0, 3)
    np.testing.assert_allclose(back, x, atol=near * 10)


@pytest.mark.parametrize("silence", [0, 5, 9])
def test_blocks_behind_silence_of_some_rows(silence: int) -> None:
    n, blocks, hop, rows = 16, 3, 7, 2
    x = DRAW.standard_normal((2 * hop + n - silence, 5, 3))
    tables = lane_fft.tables(n, "float64")
    spectrum = np.full((n // 2 + 1, 2, blocks * rows, 3), np.nan)
    lane_fft.rfft(x, 2, rows, 0.5, n, blocks, hop, silence, 0, n, *tables, 0, spectrum)
    padded = np.concatenate([np.zeros((silence, 5, 3)), 0.5 * x, np.zeros((n, 5, 3))])
    for block in range(blocks):
        want = spectrum_of(padded[block * hop : block * hop + n, 2:4])
        np.testing.assert_allclose(spectrum[:, :, block * rows : (block + 1) * rows], want, atol=1e-12)
    y = np.full_like(x, 7.0)
    lane_fft.irfft(spectrum, n, blocks, hop, silence, 0, n, *tables, 0, y, 2, rows)
    total = np.zeros_like(padded)
    for block in range(blocks):
        total[block * hop : block * hop + n] += padded[block * hop : block * hop + n]
    np.testing.assert_allclose(y[:, 2:4], total[silence : silence + len(x), 2:4], atol=1e-12)
    assert (y[:, [0, 1, 4]] == 7).all()  # the other rows are left alone


def test_nan_stays_in_its_row() -> None:
    x = DRAW.standard_normal((8, 2, 4))
    x[3, 0, 1] = np.nan
    spectrum = np.zeros((5, 2, 2, 4))
    lane_fft.rfft(x, 0, 2, 1.0, 8, 1, 0, 0, 0, 8, *lane_fft.tables(8, "float64"), 0, spectrum)
    assert np.isfinite(spectrum[:, :, 1]).all()
    assert np.isnan(spectrum[:, :, 0]).any()


@pytest.mark.parametrize(("steps", "longest"), [(1, 0), (100, 24), (1127, 511), (5, 300), (10_000, 24)])
def test_a_plan_covers_every_step_with_lengths_that_the_transform_knows(steps: int, longest: int) -> None:
    n, blocks = transform_length(steps, longest)
    assert good_length(n) == n
    assert blocks * (n - longest) >= steps
