"""The noise of the box of a source, from some of its rows."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.galaxies.pixels import Pixels, noise_in
from tests.entry import entry

noise = entry(noise_in)
BOX = np.array([3, 4, 21, 17])
INSIDE = np.s_[4:21, 3:24]


def pixels_of(variance: np.ndarray) -> Pixels:
    image, mask = np.zeros(variance.shape, np.float32), np.zeros(variance.shape, np.uint16)
    return Pixels(image, image, variance, mask, 0, 0.0, 0.0)


def test_the_noise_of_a_box_is_that_of_its_good_pixels() -> None:
    x, y = np.meshgrid(np.arange(30.0), np.arange(25.0))
    variance = (4.0 + 0.01 * x + 0.02 * y).astype(np.float32)
    variance[:, 7:12] = 1e30
    expected = np.sqrt(variance[INSIDE][variance[INSIDE] < 1e29].mean())
    assert noise(pixels_of(variance), BOX) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("row", [4, 6, 20])
def test_one_good_row_tells_the_noise_and_none_is_1(row: int) -> None:
    variance = np.full((25, 30), 1e30, np.float32)
    assert noise(pixels_of(variance), BOX) == 1.0
    variance[row, 10] = 9.0
    assert noise(pixels_of(variance), BOX) == pytest.approx(3.0)
