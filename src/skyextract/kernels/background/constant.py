"""Areas of one exact value: long runs of equal pixels, and what is connected to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import helper, kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I4, I8, U1, U2


@helper
def _has_run(row: F4, down: I4, length: int) -> bool:
    """Tell whether there may be runs in a row: most have none, which is sooner told."""
    n = 0
    for x in range(len(row)):
        n += int(down[x] == length)
    if n > 0 or length < 5:
        return True
    size = len(row) - 4
    a, b, c, d, e = row[4:], row[3 : size + 3], row[2 : size + 2], row[1 : size + 1], row[:size]
    for x in range(size):
        n += int((a[x] == b[x]) & (b[x] == c[x]) & (c[x] == d[x]) & (d[x] == e[x]))
    return n > 0


@kernel
def constant_runs(
    image: F4, mask: U2, planes: int, length: int, first_row: int, past_row: int, seeds: I8
) -> int:
    """Find runs of equal pixels along rows and columns.

    Parameters
    ----------
    image : (ny, nx)
    mask : (ny, nx)
        Pixels with any of the bits `planes` end a run.
    length : int
        Pixels in a run.
    first_row, past_row : int
        The rows to look at; runs along columns may begin above them.
    seeds : (n,), output
        Index ``y * nx + x`` of the pixel where each run reaches that length; runs beyond
        the size of the array are left out.

    Returns
    -------
    int
        Number of seeds.
    """
    nx = image.shape[1]
    n = 0
    down = np.ones(nx, np.int32)
    before = max(0, first_row - length)  # columns that are equal from there on have their seed
    for y in range(before, past_row):
        row = image[y]
        if y > before:
            above = image[y - 1]
            for x in range(nx):
                down[x] = down[x] + 1 if row[x] == above[x] else 1
        if y < first_row or not _has_run(row, down, length):
            continue
        along = 1
        for x in range(nx):
            along = along + 1 if x > 0 and row[x] == row[x - 1] else 1
            if along != length and down[x] != length:
                continue
            if (mask[y, x] & planes) == 0 and n < len(seeds):
                seeds[n] = y * nx + x
                n += 1
    return n


@kernel
def fill_equal(image: F4, value: np.float32, seeds: I8, stack: I8, area: U1) -> int:
    """Mark the pixels of a value that are connected (by their sides) to the seeds.

    Parameters
    ----------
    image : (ny, nx)
    seeds : (n,)
        Index ``y * nx + x`` of pixels to start from; those of another value are left out.
    stack : (ny * nx,)
        Work space.
    area : (ny, nx), output
        Set to 1 in the area.

    Returns
    -------
    int
        Number of pixels marked.
    """
    ny, nx = image.shape
    n = 0
    top = 0
    for seed in seeds:
        y = seed // nx
        x = seed - y * nx
        if image[y, x] == value and area[y, x] == 0:
            area[y, x] = 1
            stack[top] = seed
            top += 1
    while top > 0:
        top -= 1
        y = stack[top] // nx
        x = stack[top] - y * nx
        n += 1
        for k in range(4):
            yy = y + (k == 0) - (k == 1)
            xx = x + (k == 2) - (k == 3)
            if yy < 0 or yy >= ny or xx < 0 or xx >= nx:
                continue
            if area[yy, xx] == 0 and image[yy, xx] == value:
                area[yy, xx] = 1
                stack[top] = yy * nx + xx
                top += 1
    return n
