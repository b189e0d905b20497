"""Pixels without signal or weight, or with too much light, marked in planes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.background.spline import interpolate_row, subtract_row, surface
from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, U1, U2, Bools


class Marks(NamedTuple):
    """What is marked where a background is subtracted.

    Attributes
    ----------
    saturation : float32
        Pixels at or above it, with their background, are saturated.
    saturated : (ny, n) uint8, output
        Eight pixels of a row in a byte, the first in the highest bit; 0 on entry.
    mask : (ny, nx)
        Mask planes.
    lost, cured, never : int
        Bad are pixels with a plane `lost` but not `cured`, or a plane `never`, and those
        that are no number.
    bad : (ny, nx) bool, output
        False on entry; rows without bad pixels are not written to.
    """

    saturation: np.float32
    saturated: U1
    mask: U2
    lost: int
    cured: int
    never: int
    bad: Bools


@kernel
def _mark_saturated(pixels: F4, saturation: np.float32, saturated: U1) -> None:
    reached = False
    for x in range(len(pixels)):
        reached |= pixels[x] >= saturation
    if reached:
        for x in range(len(pixels)):
            if pixels[x] >= saturation:
                saturated[x >> 3] |= np.uint8(128 >> (x & 7))


@kernel
def _mark_bad(subtracted: F4, mask: U2, lost: int, cured: int, never: int, bad: Bools) -> int:
    """Mark the bad pixels of a row; return their number."""
    suspects = np.uint16(0)
    for x in range(len(mask)):
        suspects = np.uint16(suspects | mask[x])
    infinite = False
    for x in range(len(subtracted)):
        infinite |= not abs(subtracted[x]) < np.float32(np.inf)
    if (suspects & (lost | never)) == 0 and not infinite:
        return 0
    n = 0
    for x in range(len(mask)):
        m = mask[x]
        is_bad = (
            ((m & never) != 0)
            | (((m & lost) != 0) & ((m & cured) == 0))
            | (not abs(subtracted[x]) < np.float32(np.inf))
        )
        bad[x] = is_bad
        n += int(is_bad)
    return n


@kernel
def subtract_rows(
    nodes: F4, mesh_width: int, mesh_height: int, first_row: int, past_row: int, image: F4,
    marks: Marks, out: F4,
) -> int:  # fmt: skip
    """Subtract a spline through mesh values in the image rows [first_row, past_row); mark pixels.

    Parameters
    ----------
    nodes : (n_mesh_y, n_mesh_x)
        Values at the mesh centres.
    image : (ny, nx)
    marks : Marks
    out : (ny, nx), output
        It may be the image.

    Returns
    -------
    int
        Number of bad pixels in the rows.
    """
    nx = out.shape[1]
    spline = surface(nodes, mesh_width, mesh_height, nx)
    values = np.empty(nx, np.float32)
    n_bad = 0
    for y in range(first_row, past_row):
        _mark_saturated(image[y], marks.saturation, marks.saturated[y])
        interpolate_row(spline, y, values)
        subtract_row(values, image, y, out)
        n_bad += _mark_bad(
            out[y], marks.mask[y], marks.lost, marks.cured, marks.never, marks.bad[y]
        )
    return n_bad
