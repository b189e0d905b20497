"""Shifts and magnifications of pairs against plain numpy."""

import numpy as np
import pytest

from skyextract.kernels.detection.images import count_stretches, densest_shift

MIRRORS = [(1.0, 1.0), (-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0)]


def pairs(mirror, stretch, n=12, seed=1):
    """Pairs at random, two thirds of which have one shift."""
    rng = np.random.default_rng(seed)
    bright = np.concatenate([rng.uniform(0.0, 900.0, (2, n)), rng.uniform(-12.0, -9.0, (1, n))])
    image = bright + np.array([[40.0], [-70.0], [3.0]])
    image[:2] += (stretch * np.array(mirror) - 1.0)[:, None] * bright[:2]
    image[:2] += rng.normal(0.0, 0.3, (2, n))
    image[:2, ::3] += rng.uniform(20.0, 90.0, (2, len(range(0, n, 3))))
    image[2, 1] += 2.0
    return bright, image


@pytest.mark.parametrize("mirror", MIRRORS)
@pytest.mark.parametrize("stretch", [0.98, 1.0, 1.013])
def test_magnifications_as_numpy_counts_them(mirror, stretch):
    bright, image = pairs(mirror, stretch)
    step, middle, most, tolerance, long = 0.003, 10, 0.03, 3.0, 100.0
    number = np.zeros(2 * middle + 1, np.int64)
    count_stretches(bright, image, *mirror, most, tolerance, long, step, number)

    first, second = np.triu_indices(bright.shape[1], 1)
    side = np.array(mirror)[:, None] * (bright[:2, first] - bright[:2, second])
    seen = image[:2, first] - image[:2, second]
    ratio = (side * seen).sum(axis=0) / (side**2).sum(axis=0)
    off = np.hypot(*seen) ** 2 - (ratio * np.hypot(*side)) ** 2
    votes = (np.hypot(*side) > long) & (np.abs(ratio - 1.0) <= most) & (off <= tolerance**2)
    bins = np.rint((ratio[votes] - 1.0) / step).astype(int) + middle
    np.testing.assert_array_equal(number, np.bincount(bins, minlength=number.size))
    assert abs(step * (int(np.argmax(number)) - middle) + 1.0 - stretch) <= step


@pytest.mark.parametrize("mirror", MIRRORS)
def test_the_shift_of_most(mirror):
    bright, image = pairs(mirror, 1.0)
    most, pair, k = densest_shift(bright, image, *mirror, np.array([0.97, 1.0]), 0.5, 3.0)
    assert k == 1
    dx, dy = image[:2] - np.array(mirror)[:, None] * bright[:2]
    near = (np.hypot(dx[:, None] - dx, dy[:, None] - dy) <= 3.0).T
    fainter = image[2] - bright[2]
    number = (near & (np.abs(fainter[:, None] - fainter) <= 0.5)).sum(axis=1)
    assert (most, pair) == (number.max(), number.argmax())
    assert most == 7
