"""Kernels that compare patterns of neighbours, against plain numpy."""

import math

import numpy as np
import pytest

from skyextract.kernels.astrometry.match import Grid
from skyextract.kernels.astrometry.points import Pairs, Patterns
from skyextract.kernels.astrometry.similarity import MAX_LOG_RATIO, common_triangles, vote


def points(n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.random.default_rng(seed).uniform(0.0, 1000.0, (2, n))
    return x, y


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize(("turn", "half_range"), [(0.05, 0.1), (3.1, math.pi), (-1.0, math.pi)])
def test_vote_finds_the_similarity(flip, turn, half_range):
    x, y = points(120)
    rng = np.random.default_rng(6)
    keep = rng.random(120) < 0.6
    px, py = x[keep] - 500.0, y[keep] - 500.0
    # The reference is turned and 5 % larger; the points are mirrored first if flip.
    c, s = 1.05 * math.cos(turn), 1.05 * math.sin(turn)
    mx = -(x - 500.0) if flip else x - 500.0
    rx, ry = c * mx - s * (y - 500.0), s * mx + c * (y - 500.0)
    at = np.arange(10)
    size, log_r, angle = Grid(px, py).patterns(at, 10.0, 20)
    stars = Grid(rx, ry).patterns(np.arange(120), 5.0, 20)
    count, anchor, star = (np.zeros(16, np.int64) for _ in range(3))
    log_scale, rotation = np.zeros(16), np.zeros(16)
    n = vote(
        Patterns(size, log_r, math.pi - angle if flip else angle), np.arange(11) * 120,
        np.tile(np.arange(120), 10), stars, np.array([-0.18, 0.18, half_range]), 0.02, 3,
        Pairs(count, anchor, star, log_scale, rotation),
    )  # fmt: skip
    assert n >= 5
    assert np.all(np.diff(count[:n]) <= 0)
    true = np.flatnonzero(keep)
    np.testing.assert_array_equal(true[anchor[:5]], star[:5])
    assert np.abs(log_scale[:5] - math.log(1.05)).max() < 0.01
    off = (rotation[:5] - turn + math.pi) % (2.0 * math.pi) - math.pi
    assert np.abs(off).max() < 0.01


def wrapped(angle):
    return (angle + math.pi) % (2.0 * math.pi) - math.pi


@pytest.mark.parametrize("half_range", [0.5, math.pi])
def test_common_triangles_are_those_of_like_shape(half_range):
    """Within half the tolerance all are counted, beyond three halves of it none."""
    width, limits = 0.1, np.array([-0.3, 0.2, half_range])
    x, y = points(40)
    r_pattern = Grid(x, y).patterns(np.arange(40), 5.0, 14)
    size, log_r, angle = Grid(*points(25, seed=4)).patterns(np.arange(6), 5.0, 14)
    size[2], angle[3:] = 9, math.pi - angle[3:]
    hits = np.full((40, 6), 7, np.int16)
    common_triangles(Patterns(size, log_r, angle), r_pattern, limits, width, hits)
    sure, possible = np.zeros((2, 40, 6), int)
    for a in range(6):
        i, j = np.triu_indices(size[a], 1)
        for r in range(40):
            p, q = np.triu_indices(r_pattern[0][r], 1)
            log_s, turn = r_pattern[1][r], r_pattern[2][r]
            ratio = np.subtract.outer(log_s[q] - log_s[p], log_r[a, j] - log_r[a, i])
            bend = wrapped(np.subtract.outer(turn[q] - turn[p], angle[a, j] - angle[a, i]))
            scale = np.subtract.outer(log_s[p], log_r[a, i])
            rotation = wrapped(np.subtract.outer(turn[p], angle[a, i]))
            allowed = (scale >= limits[0]) & (scale <= limits[1]) & (np.abs(rotation) <= half_range)
            allowed &= (log_s[q] - log_s[p] < MAX_LOG_RATIO)[:, None]
            apart = np.maximum(np.abs(ratio), np.abs(bend)) / width
            sure[r, a] = np.sum(allowed & (apart < 0.49))
            possible[r, a] = np.sum(allowed & (apart < 1.55))
    assert 0.5 * possible.sum() > sure.sum() > 30
    assert np.all((sure <= hits) & (hits <= possible))


def test_true_pairs_have_the_most_triangles_in_common():
    x, y = points(2000)
    rng = np.random.default_rng(6)
    seen = rng.random(2000) < 0.6
    px, py = 0.8 * x[seen] + rng.normal(0.0, 0.1, seen.sum()), 0.8 * y[seen]
    at = np.flatnonzero(np.hypot(px - 400.0, py - 400.0) < 200.0)[:20]
    pattern = Grid(px, py).patterns(at, 2.0, 20)
    hits = np.empty((2000, 20), np.int16)
    stars = Grid(x, y).patterns(np.arange(2000), 2.0, 20)
    common_triangles(pattern, stars, np.array([-0.4, 0.4, math.pi]), 0.02, hits)
    np.testing.assert_array_equal(hits.argmax(axis=0), np.flatnonzero(seen)[at])
