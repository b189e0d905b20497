"""Vectors between sources that are alike."""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F8, Bools, distinct


def in_fullest_cell(dx: F8, dy: F8, side: float) -> Bools:
    """Tell which vectors lie in the square of a side that holds most of them.

    The squares are those of four grids, displaced by half a side: one has all vectors that are
    within a quarter of a side of any.
    """
    best, members = 0, np.zeros(dx.size, np.bool_)
    for x, y in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)):
        column = np.floor(dx / side + x).astype(np.int64)
        keys = (np.floor(dy / side + y).astype(np.int64) << 32) + column
        cells = distinct(keys)
        number = np.bincount(np.searchsorted(cells, keys))
        if number.max() > best:
            best, members = int(number.max()), keys == cells[number.argmax()]
    return members
