"""Sums of the sky in cells against plain numpy."""

import numpy as np
import pytest

from skyextract.kernels.psf.skycells import keep_good, sum_clipped, sum_noise
from skyextract.kernels.values import NO_INFORMATION

HEIGHT, WIDTH = 5, 7


def frame(step):
    """Return an image with its variance, and which pixels of every step-th row are free."""
    rng = np.random.default_rng(4)
    image = rng.normal(3.0, 2.0, (40, 45)).astype(np.float32)
    variance = rng.uniform(0.5, 3.0, image.shape).astype(np.float32)
    variance[rng.random(image.shape) < 0.05] = NO_INFORMATION
    free = (rng.random(image[::step].shape) < 0.7).astype(np.uint8)
    free &= variance[::step] < NO_INFORMATION
    return image, variance, free


def sums_of_cells(plane):
    """Sum the cells of a plane; the last ones are cut."""
    rows = np.add.reduceat(plane.astype(float), np.arange(0, plane.shape[0], HEIGHT))
    return np.add.reduceat(rows, np.arange(0, plane.shape[1], WIDTH), axis=1)


@pytest.mark.parametrize("step", [1, 3])
def test_outliers_are_drawn_near_the_level(step):
    image, variance, free = frame(step)
    expected_shape = sums_of_cells(free).shape
    level = np.random.default_rng(5).normal(3.0, 1.0, expected_shape)
    sums = np.full(expected_shape, np.nan)
    for first, past in ((0, 1), (1, len(sums))):
        sum_clipped(image, variance, free, level, HEIGHT, WIDTH, step, 1.5, first, past, sums)
    about = level.repeat(HEIGHT, axis=0).repeat(WIDTH, axis=1)[: len(free), : image.shape[1]]
    far = 1.5 * np.sqrt(variance[::step])
    clipped = np.clip(image[::step], about - far, about + far)
    assert np.count_nonzero(clipped != image[::step]) > 50
    expected = sums_of_cells(np.where(free, clipped, 0.0))
    np.testing.assert_allclose(sums, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("step", [1, 3])
def test_number_and_variance(step):
    _, variance, free = frame(step)
    number, noise = np.full((2, *sums_of_cells(free).shape), np.nan)
    for first, past in ((0, 1), (1, len(number))):
        sum_noise(variance, free, HEIGHT, WIDTH, step, first, past, number, noise)
    np.testing.assert_array_equal(number, sums_of_cells(free))
    expected = sums_of_cells(np.where(free, variance[::step], 0.0))
    np.testing.assert_allclose(noise, expected, rtol=1e-6)


@pytest.mark.parametrize("step", [1, 2])
def test_pixels_that_say_nothing_are_left_out(step):
    image, variance, mask = np.ones((12, 9), np.float32), np.ones((12, 9), np.float32), None
    image[2, 3], image[4, 4], variance[6, 1] = np.nan, np.inf, NO_INFORMATION
    variance[8, 2] = 0.0
    mask = np.zeros(image.shape, np.uint16)
    mask[10, 5], mask[10, 6] = 4, 2
    taken = np.zeros(image.shape, bool)
    taken[0, 0] = True
    free = (~taken[::step]).astype(np.uint8)
    keep_good(image, variance, mask, 4 | 8, step, 0, len(free), free)
    lost = taken | ~np.isfinite(image) | (variance > 1e29) | (variance == 0.0) | (mask == 4)
    np.testing.assert_array_equal(free == 0, lost[::step])
