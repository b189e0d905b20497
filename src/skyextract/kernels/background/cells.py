"""Sums of an image in cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8, U1


@kernel
def sum_cells(image: F4, used: U1, edge_y: I8, edge_x: I8, total: F8, number: F8) -> None:
    """Sum and count the pixels of an image that are used, in cells.

    Parameters
    ----------
    image : (ny, nx) float32
    used : (ny, nx) uint8
        Not 0: counts.
    edge_y, edge_x : (n_y,), (n_x,) int64
        First row and column of each cell, ascending from 0 on.
    total, number : (n_y, n_x) float64
        Output.
    """
    ny, nx = image.shape
    total[:] = 0.0
    number[:] = 0.0
    for j in range(edge_y.size):
        past_row = edge_y[j + 1] if j + 1 < edge_y.size else ny
        for y in range(edge_y[j], past_row):
            for i in range(edge_x.size):
                past = edge_x[i + 1] if i + 1 < edge_x.size else nx
                light = 0.0
                n = 0
                for x in range(edge_x[i], past):
                    if used[y, x] != 0:
                        light += image[y, x]
                        n += 1
                total[j, i] += light
                number[j, i] += n
