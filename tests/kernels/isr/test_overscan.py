import numpy as np
import pytest

from skyextract.kernels.isr.overscan import deviations, line_medians, scatter_within


def lines(width, seed=0):
    """300 lines with a tenth of NaN, infinities, and a line without a value."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(1000.0, 3.0, (300, width)).astype(np.float32)
    pixels[rng.random(pixels.shape) < 0.1] = np.nan
    pixels[7, 0], pixels[8, 0] = np.inf, -np.inf
    pixels[9] = np.nan
    return pixels


@pytest.mark.parametrize("width", [1, 2, 3, 20, 33, 64, 200])
def test_medians_equal_those_of_numpy(width):
    pixels = lines(width)
    levels = np.empty(len(pixels))
    line_medians(pixels, levels)
    expected = [np.median(line[np.isfinite(line)].astype(np.float64))
                if np.isfinite(line).any() else np.nan for line in pixels]  # fmt: skip
    np.testing.assert_array_equal(levels, expected)


def test_deviations_and_their_scatter_equal_those_of_numpy():
    pixels = lines(24)
    levels = np.linspace(990.0, 1010.0, len(pixels))
    out = np.empty(pixels.size, np.float32)
    n = deviations(pixels, levels, out)
    expected = (pixels - levels[:, None])[np.isfinite(pixels)]
    np.testing.assert_array_equal(out[:n], expected.astype(np.float32))
    kept = out[:n][np.abs(out[:n]) <= 8.0].astype(np.float64)
    assert scatter_within(out[:n], 8.0) == pytest.approx(kept.std(), rel=1e-12)
    assert np.isnan(scatter_within(out[:0], 8.0))
