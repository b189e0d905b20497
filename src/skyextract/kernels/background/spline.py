"""Bicubic splines through mesh values, in float32 like SExtractor's."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.background.information import exclude
from skyextract.kernels.jit import helper, kernel
from skyextract.kernels.values import NO_INFORMATION

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I8, U2


_1 = np.float32(1.0)
_2 = np.float32(2.0)
_4 = np.float32(4.0)
_6 = np.float32(6.0)
_NARROW = 8
"""Meshes of fewer columns."""


@kernel
def _pivots(n: int) -> F4:
    """Return the pivots of the equations of `_second_derivatives`, the same for all nodes."""
    pivots = np.zeros(n, np.float32)
    for i in range(1, n - 1):
        pivots[i] = -_1 / (pivots[i - 1] + _4)
    return pivots


@kernel
def _second_derivatives(nodes: F4, pivots: F4, out: F4, work: F4) -> None:
    """Second derivatives / 6 of the natural cubic spline through equidistant nodes."""
    n = nodes.shape[0]
    out[0] = np.float32(0.0)
    for i in range(1, n - 1):
        work[i] = _6 * (nodes[i + 1] + nodes[i - 1] - _2 * nodes[i])
    last = np.float32(0.0)
    for i in range(1, n - 1):
        last = pivots[i] * (last - work[i])
        work[i] = last
    following = np.float32(0.0)
    for i in range(n - 2, 0, -1):
        # SExtractor divides by 6 in each step, where an exact spline would divide at the end;
        # the wiggles that it damps by that are part of its background
        following = (pivots[i] * following + work[i]) / _6
        out[i] = following
    out[n - 1] = np.float32(0.0)


@kernel
def _column_bends(nodes: F4) -> F4:
    """Return the second derivatives / 6 along y of the splines through each mesh column.

    What `_second_derivatives` does, all columns side by side.
    """
    n_y, n_x = nodes.shape
    bends = np.zeros((n_y, n_x), np.float32)
    pivots = _pivots(n_y)
    for j in range(1, n_y - 1):
        above, here, below, pivot = nodes[j + 1], nodes[j], nodes[j - 1], pivots[j]
        bend, last = bends[j], bends[j - 1]
        for i in range(n_x):
            bend[i] = pivot * (last[i] - _6 * (above[i] + below[i] - _2 * here[i]))
    for j in range(n_y - 2, 0, -1):
        bend, following, pivot = bends[j], bends[j + 1], pivots[j]
        for i in range(n_x):
            bend[i] = (pivot * following[i] + bend[i]) / _6
    return bends


@kernel
def _place_columns(mesh_width: int, n_x: int, left: I8, dx: F4) -> None:
    """Find the mesh centre left of each image column, and the part of the way to the next."""
    step = np.float32(1.0 / mesh_width)
    position = (step - _1) / _2
    restart = np.float32((mesh_width + 1) % 2) * step / _2
    node = 0
    for x in range(len(left)):
        if (x - mesh_width // 2) % mesh_width == 0:
            interval = (x - mesh_width // 2) // mesh_width
            if 0 < interval < n_x - 1:
                node = interval
                position = restart
        left[x] = node
        dx[x] = position
        position = position + step


@kernel
def _nodes_at(y: int, nodes: F4, bend: F4, mesh_height: int, row: F4) -> None:
    """Interpolate the nodes of each mesh column at image row y, into `row`."""
    n_y, n_x = nodes.shape
    if n_y == 1:
        row[:] = nodes[0]
        return
    dy = np.float32(np.float64(np.float32(y) / np.float32(mesh_height)) - 0.5)
    j = int(dy)
    dy = dy - np.float32(j)
    if j >= n_y - 1:
        j = n_y - 2
        dy = dy + _1
    cy = _1 - dy
    dy3 = dy * dy * dy - dy
    cy3 = cy * cy * cy - cy
    for i in range(n_x):
        row[i] = cy * nodes[j, i] + dy * nodes[j + 1, i] + cy3 * bend[j, i] + dy3 * bend[j + 1, i]


@kernel
def _interpolate(row: F4, bend: F4, mesh_width: int, left: I8, dx: F4, out: F4) -> None:
    """Interpolate a row of nodes at all columns."""
    n_x = len(row)
    nx = len(out)
    if mesh_width < _NARROW:  # to begin a span takes longer than to look nodes up
        for x in range(nx):
            i = left[x]
            t = dx[x]
            c = _1 - t
            out[x] = c * (row[i] + (c * c - _1) * bend[i]) + t * (
                row[i + 1] + (t * t - _1) * bend[i + 1]
            )
        return
    x = 0
    while x < nx:
        i = left[x]
        end = nx if i == n_x - 2 else min(nx, (i + 1) * mesh_width + mesh_width // 2)
        a = row[i]
        b = row[i + 1]
        a2 = bend[i]
        b2 = bend[i + 1]
        span = out[x:end]
        at = dx[x:end]
        for u in range(len(span)):
            t = at[u]
            c = _1 - t
            span[u] = c * (a + (c * c - _1) * a2) + t * (b + (t * t - _1) * b2)
        x = end


class Surface(NamedTuple):
    """Bicubic spline through mesh values, ready for the rows of an image.

    Attributes
    ----------
    nodes, bend : (n_mesh_y, n_mesh_x)
        Values at the mesh centres; second derivatives / 6 along y.
    width, height : int
        Of a mesh, pixels.
    left, dx : (nx,)
        Mesh centre left of each image column, and the part of the way to the next.
    pivots : (n_mesh_x,)
        See `_pivots`.
    row, row_bend, work : (n_mesh_x,)
        Work space.
    """

    nodes: F4
    bend: F4
    width: int
    height: int
    left: I8
    dx: F4
    pivots: F4
    row: F4
    row_bend: F4
    work: F4


@helper
def surface(nodes: F4, mesh_width: int, mesh_height: int, nx: int) -> Surface:
    """Return the spline through mesh values, for an image of nx columns."""
    n_x = nodes.shape[1]
    left = np.zeros(nx, np.int64)
    dx = np.zeros(nx, np.float32)
    if n_x > 1:
        _place_columns(mesh_width, n_x, left, dx)
    return Surface(
        nodes, _column_bends(nodes), mesh_width, mesh_height, left, dx, _pivots(n_x),
        np.empty(n_x, np.float32), np.zeros(n_x, np.float32), np.empty(n_x, np.float32),
    )  # fmt: skip


@helper
def interpolate_row(spline: Surface, y: int, out: F4) -> None:
    """Interpolate at image row y."""
    n_y, n_x = spline.nodes.shape
    _nodes_at(y, spline.nodes, spline.bend, spline.height, spline.row)
    if n_x == 1:
        out[:] = spline.row[0]
        return
    if n_y > 1:
        _second_derivatives(spline.row, spline.pivots, spline.row_bend, spline.work)
    _interpolate(spline.row, spline.row_bend, spline.width, spline.left, spline.dx, out)


@helper
def subtract_row(values: F4, image: F4, y: int, out: F4) -> None:
    """Subtract values from row y of an image, into that of `out`, which may be the image."""
    row = out[y]
    if image.ctypes.data == out.ctypes.data:  # loops on arrays that may overlap are slow
        for x in range(len(row)):
            row[x] -= values[x]
    else:
        pixels = image[y]
        for x in range(len(row)):
            row[x] = pixels[x] - values[x]


@kernel
def spline_rows(
    nodes: F4, mesh_width: int, mesh_height: int, first_row: int, past_row: int,
    subtract: bool, square: bool, image: F4, mask: U2, planes: int, out: F4,
) -> None:  # fmt: skip
    """Interpolate mesh values over the image rows [first_row, past_row).

    Parameters
    ----------
    nodes : (n_mesh_y, n_mesh_x)
        Values at the mesh centres.
    subtract : bool
        Make `out` the image minus the interpolated value, not the value itself.
    square : bool
        Make `out` the square of the value, a variance.
    image : (ny, nx), or (1, 1) without `subtract`
    mask : (ny, nx), or (1, 1) with `planes` 0
        Pixels with any of the bits `planes` become 0 in the difference, and have no information
        in the square, as those in which that is no variance.
    out : (ny, nx), output
        It may be the image.
    """
    nx = out.shape[1]
    spline = surface(nodes, mesh_width, mesh_height, nx)
    values = np.empty(nx if subtract else 1, np.float32)
    for y in range(first_row, past_row):
        if subtract:
            interpolate_row(spline, y, values)
            subtract_row(values, image, y, out)
        else:
            interpolate_row(spline, y, out[y])
        if subtract and planes != 0:
            for u in range(nx):
                if (mask[y, u] & planes) != 0:
                    out[y, u] = np.float32(0.0)
        if square:
            for u in range(nx):
                out[y, u] *= out[y, u]
            if planes != 0:
                exclude(out, mask, planes, NO_INFORMATION, y, y + 1)


@kernel
def spline_squares(
    nodes: F4, mesh_width: int, mesh_height: int, nx: int, windows: I8, corners: I8, out: F4
) -> None:
    """Square the values of `spline_rows` in windows of an image.

    Parameters
    ----------
    nodes : (n_mesh_y, n_mesh_x)
        Values at the mesh centres.
    nx : int
        Columns of the image.
    windows : (n, 4) int64
        First and last + 1 of the rows, then of the columns.
    corners : (n, 2) int64
        Row and column of `out` where each window begins.
    out : (ny, nx), output
    """
    spline = surface(nodes, mesh_width, mesh_height, nx)
    values = np.empty(nx, np.float32)
    for y in range(windows[:, 0].min(), windows[:, 1].max()):
        # The row as a whole: that is quicker than window by window.
        known = False
        for k in range(len(windows)):
            top, bottom, left, right = windows[k]
            if not top <= y < bottom:
                continue
            if not known:
                interpolate_row(spline, y, values)
                known = True
            row = out[corners[k, 0] + y - top, corners[k, 1] :]
            for x in range(left, right):
                row[x - left] = values[x] * values[x]
