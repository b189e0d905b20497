"""Pairs of sources, and what is connected by them."""

import numpy as np

from skyextract.stages.pointsources.pairs import connected


def test_connected_sets():
    assert connected(6, np.array([0, 2, 4]), np.array([1, 3, 2])).tolist() == [0, 0, 2, 2, 2, 5]
