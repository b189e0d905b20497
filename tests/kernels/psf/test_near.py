"""Pairs of sources and the pixels of boxes, against plain numpy."""

import numpy as np
import pytest

from skyextract.kernels.psf.near import box_squares
from skyextract.stages.pointsources.pairs import pairs_within


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
