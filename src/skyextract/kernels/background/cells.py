"""Sums of an image in cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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
    light, count = np.empty(nx), np.empty(nx, np.int32)
    for j in range(edge_y.size):
        light[:] = 0.0
        count[:] = 0
        for y in range(edge_y[j], edge_y[j + 1] if j + 1 < edge_y.size else ny):
            row, counts = image[y], used[y]
            for x in range(nx):
                light[x] += row[x] if counts[x] != 0 else np.float32(0.0)
                count[x] += 1 if counts[x] != 0 else 0
        for i in range(edge_x.size):
            value, n = 0.0, 0
            for x in range(edge_x[i], edge_x[i + 1] if i + 1 < edge_x.size else nx):
                value += light[x]
                n += count[x]
            total[j, i], number[j, i] = value, n


@kernel
def sum_squares(values: F8, side: int, sums: F8) -> None:
    """Sum the pixels of square cells.

    The first row, and the first column, are added to the sum of the others, as numpy does it.

    Parameters
    ----------
    values : (ny, nx) float64
    side : int
        Of the cells; those at the end may have fewer pixels.
    sums : (n_y, n_x) float64
        Output.
    """
    ny, nx = values.shape
    line = np.empty(nx)
    for j in range(sums.shape[0]):
        first = j * side
        line[:] = 0.0
        for y in range(first + 1, min(first + side, ny)):
            row = values[y]
            for x in range(nx):
                line[x] += row[x]
        row = values[first]
        for x in range(nx):
            line[x] = row[x] + line[x]
        for i in range(sums.shape[1]):
            rest = 0.0
            for x in range(i * side + 1, min((i + 1) * side, nx)):
                rest += line[x]
            sums[j, i] = line[i * side] + rest


@kernel
def smooth_cells(values: F8, taps: F8, out: F8) -> None:
    """Convolve with the same taps along both axes; nothing is beyond the borders.

    Parameters
    ----------
    values : (ny, nx) float64
    taps : (2 half + 1,) float64
        Symmetric.
    out : (ny, nx) float64, output
    """
    ny, nx = values.shape
    half = len(taps) // 2
    wide = np.zeros(nx + 2 * half)
    middle = wide[half : half + nx]
    for y in range(ny):
        middle[:] = 0.0
        for k in range(max(0, half - y), min(len(taps), ny + half - y)):
            tap = taps[k]
            line = values[y + k - half]
            for x in range(nx):
                middle[x] += tap * line[x]
        row = out[y]
        row[:] = 0.0
        for k in range(len(taps)):
            tap = taps[k]
            part = wide[k : k + nx]
            for x in range(nx):
                row[x] += tap * part[x]
