"""Pairs of sources and the pixels of boxes, against plain numpy."""

import numpy as np
import pytest

from skyextract.kernels.psf.near import box_squares
from skyextract.kernels.psf.records import pixels_within
from skyextract.stages.pointsources.pairs import pairs_within
from tests.entry import entry


@pytest.mark.parametrize(
    ("n", "distance"), [(0, 1.0), (1, 1.0), (300, 0.5), (300, 4.0), (60, 90.0)]
)
def test_pairs_are_those_of_all_distances(n, distance):
    x, y = np.random.default_rng(n).uniform(-5.0, 60.0, (2, n))
    first, second = pairs_within(x, y, distance)
    near = np.hypot(x[:, None] - x, y[:, None] - y) < distance
    expected = np.argwhere(np.triu(near, 1))
    assert sorted(zip(first, second, strict=True)) == [tuple(pair) for pair in expected.tolist()]
    assert (np.diff(second) >= 0).all()


def test_sources_without_a_place_have_no_pairs():
    x = np.array([1.0, np.nan, 1.5, 9.0, 1.2])
    y = np.array([1.0, 2.0, 1.0, np.inf, np.nan])
    first, second = pairs_within(x, y, 1.0)
    assert (first.tolist(), second.tolist()) == ([0], [2])


def test_boxes_are_cut_at_the_edges():
    rng = np.random.default_rng(1)
    image = rng.normal(size=(30, 40)).astype(np.float32)
    row, column = rng.integers(0, 30, 50), rng.integers(0, 40, 50)
    out = np.empty(50)
    box_squares(image, row, column, 3, out)
    expected = [
        np.mean(image[max(j - 3, 0) : j + 4, max(i - 3, 0) : i + 4].astype(float) ** 2)
        for j, i in zip(row, column, strict=True)
    ]
    np.testing.assert_allclose(out, expected, rtol=1e-12)


def test_ranges_have_the_pixels_within_a_radius_and_no_others():
    pixels = np.arange(20)
    for centre, radius in [(7.3, 2.4), (7.0, 3.0), (0.4, 4.7), (18.6, 2.5), (-1.2, 2.0)]:
        inside = np.flatnonzero(np.abs(pixels - centre) <= radius)
        assert entry(pixels_within)(centre, radius, 20) == (inside[0], inside.size)
    assert entry(pixels_within)(30.0, 4.0, 20)[1] <= 0
