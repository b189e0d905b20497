"""Pixels without signal or weight, or with too much light, marked in planes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, U1, U2, Bools


@kernel
def exclude(
    variance: F4,
    mask: U2,
    planes: int,
    bad: np.float32,
    first_row: int,
    past_row: int,
) -> None:
    """Make the variance `bad` where it is not between 0 and that, or the mask has `planes`."""
    for y in range(first_row, past_row):
        for x in range(variance.shape[1]):
            v = variance[y, x]
            good = (v > np.float32(0.0)) & (v < bad) & ((mask[y, x] & planes) == 0)
            variance[y, x] = v if good else bad


@kernel
def mark_bad(
    subtracted: F4,
    mask: U2,
    lost: int,
    cured: int,
    never: int,
    first_row: int,
    past_row: int,
    bad: Bools,
) -> int:
    """Mark pixels without signal: a plane `lost` but not `cured`, a plane `never`, no number.

    Parameters
    ----------
    bad : (ny, nx), output
        False on entry; rows without bad pixels are not written to.

    Returns
    -------
    int
        Number of bad pixels in the rows.
    """
    nx = subtracted.shape[1]
    row = np.empty(nx, np.bool_)
    total = 0
    for y in range(first_row, past_row):
        n = 0
        for x in range(nx):
            m = mask[y, x]
            row[x] = (
                ((m & never) != 0)
                | (((m & lost) != 0) & ((m & cured) == 0))
                | (not abs(subtracted[y, x]) < np.float32(np.inf))
            )
            n += int(row[x])
        if n > 0:
            bad[y] = row
            total += n
    return total


@kernel
def mark_saturated(
    image: F4, saturation: np.float32, first_row: int, past_row: int, saturated: U1
) -> None:
    """Mark pixels at or above the saturation.

    Parameters
    ----------
    saturated : (ny, n) uint8, output
        Eight pixels of a row in a byte, the first in the highest bit; 0 on entry.
    """
    nx = image.shape[1]
    for y in range(first_row, past_row):
        n = 0
        for x in range(nx):
            n += int(image[y, x] >= saturation)
        if n > 0:
            for x in range(nx):
                if image[y, x] >= saturation:
                    saturated[y, x >> 3] |= np.uint8(128 >> (x & 7))
