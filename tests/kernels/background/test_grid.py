"""Gaps and outliers of the grid of meshes against plain numpy."""

from __future__ import annotations

import numpy as np

from skyextract.kernels.background.grid import fill_bad_meshes, median_filter
from skyextract.kernels.background.mesh import BAD


def test_bad_meshes_are_filled_from_the_nearest():
    level = np.full((3, 4), BAD, np.float32)
    rms = level.copy()
    level[0, 0], rms[0, 0] = 1, 10
    level[2, 0], rms[2, 0] = 3, 30
    assert fill_bad_meshes(level, rms) == 2
    assert (level[1, 0], rms[1, 3]) == (2, 20)  # both are nearest
    assert (level[0, 3], level[2, 3]) == (1, 3)
    level[:] = rms[:] = BAD
    assert fill_bad_meshes(level, rms) == 0
    assert (level == 0).all()
    assert (rms == 1).all()


def test_median_filter_shrinks_at_the_border():
    rng = np.random.default_rng(3)
    level = rng.random((6, 7)).astype(np.float32)
    out, out_rms = np.empty_like(level), np.empty_like(level)
    median_filter(level, level, 1, 2, 0.0, out, out_rms)
    for y in range(6):
        for x in range(7):
            hy, hx = min(2, y, 5 - y), min(1, x, 6 - x)
            want = np.median(level[y - hy : y + hy + 1, x - hx : x + hx + 1])
            assert out[y, x] == want == out_rms[y, x]
    median_filter(level, level, 1, 1, 10.0, out, out_rms)
    np.testing.assert_array_equal(out, level)
