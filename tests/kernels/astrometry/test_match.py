"""Kernels of the matcher against plain numpy."""

import numpy as np
import pytest

from skyextract.kernels.astrometry.match import Grid, mutual_nearest, score_similarities


def points(n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.random.default_rng(seed).uniform(0.0, 1000.0, (2, n))
    return x, y


@pytest.mark.parametrize("n", [1, 2, 7, 500])
def test_nearest_against_all_distances(n):
    x, y = points(n)
    px, py = np.random.default_rng(2).uniform(-50.0, 1050.0, (2, 300))
    px[0] = np.nan
    limit = np.random.default_rng(3).uniform(5.0, 60.0, 300)
    index, distance = Grid(x, y).nearest(px, py, limit)
    every = np.hypot(px[1:, None] - x, py[1:, None] - y)
    inside = every.min(axis=1) <= limit[1:]
    np.testing.assert_array_equal(index[1:], np.where(inside, every.argmin(axis=1), -1))
    np.testing.assert_allclose(distance[1:][inside], every.min(axis=1)[inside])
    assert index[0] == -1


def test_grid_of_degenerate_points():
    for xs, ys in (([], []), ([5.0], [5.0]), ([1.0] * 9, [2.0] * 9), ([1.0] * 9, range(9))):
        x, y = np.array(xs, float), np.array(ys, float)
        index, _ = Grid(x, y).nearest(np.array([1.0]), np.array([2.0]), 1e-6)
        expected = np.flatnonzero((x == 1.0) & (y == 2.0))
        assert index[0] == (expected[0] if len(expected) else -1)


def test_patterns_against_sorted_distances():
    x, y = points(300)
    size, log_r, angle = Grid(x, y).patterns(np.arange(300), 10.0, 20)
    dx, dy = x[None, :] - x[:, None], y[None, :] - y[:, None]
    every = np.hypot(dx, dy)
    every[every < 10.0] = np.inf
    order = np.argsort(every, axis=1)[:, :20]
    assert np.all(size == 20)
    np.testing.assert_allclose(np.exp(log_r), np.take_along_axis(every, order, 1))
    expected = np.arctan2(np.take_along_axis(dy, order, 1), np.take_along_axis(dx, order, 1))
    np.testing.assert_allclose(angle, expected)


def test_patterns_with_fewer_points_than_neighbours():
    x, y = points(5)
    size, log_r, _ = Grid(x, y).patterns(np.arange(5), 0.0, 20)
    assert np.all(size == 4)
    assert np.all(np.diff(log_r[:, :4], axis=1) >= 0.0)


def test_mutual_nearest_is_one_to_one():
    x, y = points(400)
    rng = np.random.default_rng(5)
    px, py = x[:300] + rng.normal(0.0, 1.0, 300), y[:300] + rng.normal(0.0, 1.0, 300)
    first, second, distance = mutual_nearest(px, py, x, y, 5.0)
    every = np.hypot(px[:, None] - x, py[:, None] - y)
    pairs = [
        (i, j)
        for i, j in enumerate(every.argmin(axis=1))
        if every[i, j] <= 5.0 and every[:, j].argmin() == i
    ]
    assert list(zip(first, second, strict=True)) == pairs
    np.testing.assert_allclose(distance, every[first, second])


def test_mutual_nearest_of_duplicates_and_nothing():
    x, y = np.array([10.0, 10.0]), np.array([5.0, 5.0])
    first, second, _ = mutual_nearest(x, y, x, y, 1.0)
    assert first.tolist() == [0]
    assert second.tolist() == [0]
    for a, b in ((np.zeros(0), x), (x, np.zeros(0))):
        assert len(mutual_nearest(a, a, b, b, 1.0)[0]) == 0


def test_score_against_numpy():
    x, y = points(200)
    px, py = points(50, seed=8)
    hypotheses = np.array([
        [500.0, 500.0, 480.0, 510.0, 0.9, 0.1, 0.0],
        [500.0, 500.0, 500.0, 500.0, 1.0, 0.0, 1.0],
    ])  # fmt: skip
    grid = Grid(x, y)
    score, matched = np.zeros(2), np.zeros(2, np.int64)
    tolerance, density, share = np.array([3.0, 0.01]), 2e-4, 0.3
    score_similarities(px, py, hypotheses, tolerance, density, share, grid.cells, score, matched)
    for row, found, n in zip(hypotheses, score, matched, strict=True):
        dx, dy = px - row[0], py - row[1]
        dx = -dx if row[6] else dx
        u, v = row[4] * dx - row[5] * dy, row[5] * dx + row[4] * dy
        t = 3.0 + 0.01 * np.hypot(u, v)
        near = np.hypot(row[2] + u[:, None] - x, row[3] + v[:, None] - y).min(axis=1) <= t
        terms = np.where(near, 1.0 - share + share / (density * np.pi * t**2), 1.0 - share)
        assert found == pytest.approx(np.log(terms).sum())
        assert n == near.sum()
