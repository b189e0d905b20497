"""The tiles that hold the neighbours of a source."""

import numpy as np
import pytest

from skyextract.kernels.psf import beside

reached = getattr(beside.reached, "py_func", beside.reached)


@pytest.mark.parametrize("size", [64, 81])
def test_whatever_is_within_a_distance_is_in_the_tiles(size):
    rng = np.random.default_rng(1)
    n_tiles, length = 5, 4.4 * size
    n_missing = 0
    for centre in rng.uniform(-30.0, length + 30.0, 300):
        distance = rng.uniform(0.0, 0.9 * size)
        own = int(np.clip(centre, 0, length - 1)) // size
        low, past = max(0, own - 1), min(n_tiles, own + 2)
        first, last = reached(centre, distance, size, low, past)
        assert low <= first <= own < last <= past
        n_missing += (past - low) - (last - first)
        others = np.clip(centre + rng.uniform(-distance, distance, 50), -30.0, length + 30.0)
        tiles = np.clip(others, 0, length - 1).astype(int) // size
        assert ((tiles >= first) & (tiles < last)).all()
    assert n_missing > 100  # most of the tiles about a source are out of reach
