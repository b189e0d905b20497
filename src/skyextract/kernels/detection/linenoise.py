"""Mean size of the pixels of each column and each row of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I4, U1


@kernel
def line_sums(
    image: F4, claimed: U1, first_row: int, past_row: int, step: int, limit: np.float32,
    column_sums: F4, column_counts: I4, row_sums: F4, row_counts: I4,
) -> None:  # fmt: skip
    """Add up the clipped absolute values of free pixels, by column and by row.

    Free are numbers other than 0, of no source.

    Parameters
    ----------
    image : (ny, nx)
    claimed : (ny, nx)
        Pixels of sources (not 0).
    first_row, past_row : int
        The rows that are looked at.
    step : int
        Columns are of every so many-th row, counted from row 0, and rows of such columns.
    limit : float
        No value counts for more.
    column_sums, column_counts : (nx,), output
        To which it is added.
    row_sums, row_counts : (ny,), output
    """
    nx = image.shape[1]
    for y in range(first_row, past_row):
        row = image[y]
        taken = claimed[y]
        total = np.float32(0.0)
        n = np.int32(0)
        for x in range(0, nx, step):
            size = abs(row[x])
            if (taken[x] == 0) & (size > np.float32(0.0)):
                total += min(size, limit)
                n += np.int32(1)
        row_sums[y] = total
        row_counts[y] = n
        if y % step != 0:
            continue
        for x in range(nx):
            size = abs(row[x])
            free = (taken[x] == 0) & (size > np.float32(0.0))
            column_sums[x] += min(size, limit) if free else np.float32(0.0)
            column_counts[x] += np.int32(free)
