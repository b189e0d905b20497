"""What is near many places of an image: pairs of sources, and the pixels of boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8


@kernel
def find_pairs(
    x: F8, y: F8, distance: float, cell: I8, order: I8, start: I8, width: int, first: I8,
    second: I8,
) -> int:  # fmt: skip
    """Find the pairs (j, k), j < k, of sources nearer than a distance, in the order of k.

    Parameters
    ----------
    x, y : (n,) float64
    distance : float
    cell : (n,) int64
        The cell of each source among square ones of at least that side, in rows of `width` cells;
        those at all edges are empty.
    order : (n,) int64
        The sources cell by cell, and in their own order within each.
    start : (n_cells + 1,) int64
        Where those of each cell begin in `order`.
    width : int
    first, second : (m,) int64
        Output: j and k of the pairs, as far as there is room.

    Returns
    -------
    int
        Number of all pairs.
    """
    n = 0
    square = distance * distance
    for k in range(x.size):
        for row in range(cell[k] - width, cell[k] + 2 * width, width):
            for place in range(start[row - 1], start[row + 2]):
                j = order[place]
                if j >= k or not (x[j] - x[k]) ** 2 + (y[j] - y[k]) ** 2 < square:
                    continue
                if n < first.size:
                    first[n], second[n] = j, k
                n += 1
    return n


@kernel
def box_squares(image: F4, row: I8, column: I8, half: int, out: F8) -> None:
    """Return the mean square of the pixels no farther than `half` along both axes from some.

    Parameters
    ----------
    image : (ny, nx) float32
    row, column : (n,) int64
        Pixels of the image.
    half : int
    out : (n,) float64
    """
    ny, nx = image.shape
    for k in range(row.size):
        low_y, high_y = max(row[k] - half, 0), min(row[k] + half + 1, ny)
        low_x, high_x = max(column[k] - half, 0), min(column[k] + half + 1, nx)
        total = 0.0
        for j in range(low_y, high_y):
            for i in range(low_x, high_x):
                value = np.float64(image[j, i])
                total += value * value
        out[k] = total / ((high_y - low_y) * (high_x - low_x))
