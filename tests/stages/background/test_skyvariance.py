"""The variance of the sky beneath sources."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.values import NO_INFORMATION
from skyextract.run import Run
from skyextract.stages.background.skyvariance import ENOUGH, LIGHT, SIDE, sky_variance


def reference(variance: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The same, cell by cell."""
    out = variance.copy()
    known = variance < NO_INFORMATION
    light = known & (image > LIGHT * np.sqrt(variance))
    for y, x in np.argwhere(light):
        side = SIDE
        while True:
            cell = tuple(slice(k // side * side, k // side * side + side) for k in (y, x))
            dark = (known & ~light)[cell]
            if dark.sum() >= ENOUGH or side > max(image.shape):
                break
            side *= 2
        out[y, x] = variance[cell][dark].mean(dtype=np.float64)
    return out


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(130, 203), (64, 64), (17, 9)])
def test_as_cell_by_cell(shape: tuple[int, int], threads: int) -> None:
    rng = np.random.default_rng(shape[0])
    variance = rng.uniform(20.0, 30.0, shape).astype(np.float32)
    image = rng.normal(0.0, 5.0, shape).astype(np.float32)
    image[shape[0] // 4 : shape[0] // 2, 2 : shape[1] // 3] += 4000.0
    variance[-5:, :4] = NO_INFORMATION
    out = sky_variance(variance, image, Run(threads))
    np.testing.assert_allclose(out, reference(variance, image), rtol=1e-6)
    assert (out[variance >= NO_INFORMATION] == NO_INFORMATION).all()


def test_where_all_is_light_it_stays() -> None:
    variance = np.full((40, 40), 9.0, np.float32)
    out = sky_variance(variance, np.full((40, 40), 100.0, np.float32), Run(1))
    np.testing.assert_array_equal(out, variance)


def test_of_half_the_depth_it_is_that_of_its_half() -> None:
    """A star near the seam of a mosaic takes nothing from the other side."""
    variance = np.full((64, 64), 9.0, np.float32)
    variance[:, 32:] = 36.0
    image = np.zeros((64, 64), np.float32)
    image[20:23, 26:30] = image[40:43, 34:38] = 1000.0
    variance[image > 0.0] = 500.0
    out = sky_variance(variance, image, Run(1))
    assert (out[:, :32] == 9.0).all()
    assert (out[:, 32:] == 36.0).all()
