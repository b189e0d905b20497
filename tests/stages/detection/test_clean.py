"""Peaks that are of one source are merged."""

from __future__ import annotations

import numpy as np

from skyextract.kernels.detection import shape
from skyextract.stages.detection.clean import _join_plateaus


def test_peaks_on_the_plateau_of_a_brighter_one_of_the_same_detection_join_it():
    x = np.array([10, 13, 16, 24, 13, 11])
    y = np.array([10, 10, 10, 10, 12, 0])
    peak = np.array([5.0, 9.0, 7.0, 8.0, 3.0, 4.0])
    parent = np.array([1, 1, 1, 1, 1, 2])
    real, integer = np.zeros((6, shape.N_REAL)), np.zeros((6, shape.N_INTEGER), np.int32)
    real[:, shape.FDPEAK] = peak
    integer[:, shape.XPEAK], integer[:, shape.YPEAK] = x, y
    integer[:, shape.PARENT] = parent
    plateau = np.zeros((9, 9), np.bool_)
    plateau[4, :] = True
    into = np.full(6, -1, np.int32)
    _join_plateaus(real, integer, np.ones(6, np.bool_), plateau, (30, 30), into)
    assert into.tolist() == [1, -1, 1, -1, -1, -1]
