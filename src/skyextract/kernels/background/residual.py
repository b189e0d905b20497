"""Blocks of an image most of whose pixels are low."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I8, U1


@kernel
def count_low_blocks(
    image: F4, bad: U1, rows: I8, columns: I8, side: int, every: int, limit: np.float32,
    min_good: float,
) -> tuple[int, int]:  # fmt: skip
    """Count the blocks that are known, and those of them whose median is below a limit.

    Parameters
    ----------
    image : (ny, nx) float32
    bad : (ny, nx) uint8
        Not 0: a pixel that does not count.
    rows, columns : (n,), (m,) int64
        First row and column of the blocks.
    side, every : int
        Pixels along a side of a block, of which every n-th row and column is taken.
    limit : float32
        More than half of the pixels that count are below it.
    min_good : float
        Least share of pixels that count in a block that is known.

    Returns
    -------
    n_known, n_low : int
    """
    n_known = 0
    n_below = 0
    n_good, n_low = np.zeros(len(columns), np.int64), np.zeros(len(columns), np.int64)
    for first in rows:
        n_pixels = 0
        n_good[:] = 0
        n_low[:] = 0
        # Row by row of all blocks: memory is read in its order.
        for y in range(first, first + side, every):
            for k in range(len(columns)):
                for x in range(columns[k], columns[k] + side, every):
                    good = int(bad[y, x] == 0)
                    n_good[k] += good
                    n_low[k] += good & int(image[y, x] < limit)
            n_pixels += len(range(0, side, every))
        for k in range(len(columns)):
            if n_good[k] >= min_good * n_pixels:
                n_known += 1
                n_below += int(2 * n_low[k] > n_good[k])
    return n_known, n_below
