"""Grown footprints, source by source, against a plain concatenation."""

import numpy as np

from skyextract.kernels.detection.footprints import gather_grown


def test_own_taken_in_and_merged_pixels_follow_each_other():
    rng = np.random.default_rng(2)
    n_own = rng.integers(0, 5, 30).astype(np.int32)
    n_merged = np.where(rng.uniform(size=30) < 0.3, 2, 0)
    first = np.append(0, np.cumsum(n_own + n_merged)).astype(np.int64)
    pixel, added = np.split(rng.permutation(first[-1] + 70).astype(np.int64), [first[-1]])
    owner = rng.integers(0, 30, 70).astype(np.int32)
    grown, grown_first = np.empty(first[-1] + 70, np.int64), np.empty(31, np.int64)
    gather_grown(pixel, first, n_own, added, owner, grown, grown_first)
    for i in range(30):
        middle = first[i] + n_own[i]
        expected = [*pixel[first[i] : middle], *added[owner == i], *pixel[middle : first[i + 1]]]
        assert grown[grown_first[i] : grown_first[i + 1]].tolist() == expected
    assert grown_first[-1] == grown.size
