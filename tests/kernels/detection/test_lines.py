"""Pairs along lines, beside numpy on all pairs."""

import numpy as np
import pytest

from skyextract.kernels.detection.lines import pairs_along


@pytest.mark.parametrize("n", [0, 1, 2, 80])
def test_pairs_point_along_their_line(n):
    rng = np.random.default_rng(n)
    x, y = rng.uniform(0, 100, (2, n))
    theta = rng.uniform(-2, 2, n)
    pairs = np.empty((2, n * (n - 1) // 2), np.int64)
    number = pairs_along(x, y, np.cos(theta), np.sin(theta), np.cos(0.35) ** 2, *pairs)
    i, j = np.triu_indices(n, 1)
    line = np.arctan2(y[j] - y[i], x[j] - x[i])
    along = (np.abs(np.cos(line - theta[i])) > np.cos(0.35)) & (
        np.abs(np.cos(line - theta[j])) > np.cos(0.35)
    )
    np.testing.assert_array_equal(pairs[:, :number], np.stack([i[along], j[along]]))
    assert number > 100 or n < 80
