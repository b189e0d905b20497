"""Sets of sources that are measured on one image."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.crowded.rows import _groups


@pytest.mark.parametrize("n", [0, 1, 3000])
def test_sources_of_a_set_are_apart_and_sets_are_few(n):
    rng = np.random.default_rng(4)
    x, y = rng.uniform(-20.0, 1000.0, (2, n))
    distance = 25.0
    groups = list(_groups(x, y, distance))
    assert np.array_equal(np.sort(np.concatenate([*groups, np.zeros(0, int)])), np.arange(n))
    for group in groups:
        apart = np.hypot(x[group, None] - x[group], y[group, None] - y[group])
        assert np.all(apart[~np.eye(group.size, dtype=bool)] >= distance)
    # The most crowded place needs as many as there are sources within the distance, at least.
    near = (np.hypot(x[:, None] - x, y[:, None] - y) < distance).sum(axis=0)
    assert len(groups) <= near.max(initial=0)
