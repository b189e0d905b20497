"""Growing of sources: all pixels within a distance of one of theirs.

By distances along columns, then along rows (Meijster et al. 2000, in Mathematical Morphology and
its Applications to Image and Signal Processing, 331): the time does not depend on the distance.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import helper, kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I4, I8, U1

_LEAST_ROWS = 16


@helper
def _to_columns(
    segmentation: I4, own: int, top: int, past: int, y_low: int, y_high: int, x_low: int,
    far: int, distance: I4,
) -> None:  # fmt: skip
    """Tell how far each pixel of some rows is from the source's nearest in its column.

    Parameters
    ----------
    top, past : int
        These rows, the first and the one behind the last.
    y_low, y_high : int
        First and last row with pixels of the source that count.
    x_low : int
    far : int
        At least the distance where there is none.
    distance : (past - top, n_x) int32
        Of the columns from `x_low` on, set.
    """
    n_x = distance.shape[1]
    near = np.full(n_x, np.int32(far), dtype=np.int32)
    for y in range(min(y_low, top), past):
        if y_low <= y <= y_high:
            row = segmentation[y, x_low : x_low + n_x]
            for k in range(n_x):
                near[k] = 0 if row[k] == own else near[k] + 1
        else:
            for k in range(n_x):
                near[k] += 1
        if y >= top:
            distance[y - top] = near
    near[:] = np.int32(far)
    for y in range(max(y_high, past - 1), top - 1, -1):
        if y_low <= y <= y_high:
            row = segmentation[y, x_low : x_low + n_x]
            for k in range(n_x):
                near[k] = 0 if row[k] == own else near[k] + 1
        else:
            for k in range(n_x):
                near[k] += 1
        if y < past:
            line = distance[y - top]
            for k in range(n_x):
                line[k] = min(line[k], near[k])


@helper
def _along_row(distance: I4, width: I8, x_low: int, mask: U1) -> None:
    """Set a row of the mask to 1 as far beside each column as its distance leaves."""
    n, last = len(distance), len(mask) - 1
    end = -1
    for k in range(n):
        if distance[k] < len(width):
            x = x_low + k
            to = min(x + width[distance[k]], last)
            if to > end:
                mask[max(x, end + 1) : to + 1] = np.uint8(1)
                end = to
    begin = last + 1
    for k in range(n - 1, -1, -1):
        if distance[k] < len(width):
            x = x_low + k
            to = max(x - width[distance[k]], 0)
            if to < begin:
                mask[to : min(x, begin - 1) + 1] = np.uint8(1)
                begin = to


@kernel
def grow_discs(segmentation: I4, pixel: I8, first: I8, reach: F8, mask: U1) -> None:
    """Set the mask to 1 within ``reach[i]`` pixels of every pixel of source i.

    Parameters
    ----------
    segmentation : (ny, nx)
        Has one number of its own in the pixels of each source.
    pixel, first
        Pixels of each source, see `Detections`.
    mask : (ny, nx), changed in place
    """
    ny, nx = segmentation.shape
    low, high = np.empty(ny, dtype=np.int64), np.empty(ny, dtype=np.int64)
    room = np.empty(0, dtype=np.int32)
    for i in range(len(reach)):
        if first[i + 1] == first[i]:
            continue
        y_low, y_high = ny, -1
        for k in range(first[i], first[i + 1]):
            y = pixel[k] // nx
            y_low, y_high = min(y_low, y), max(y_high, y)
        low[y_low : y_high + 1] = nx
        high[y_low : y_high + 1] = -1
        for k in range(first[i], first[i + 1]):
            y = pixel[k] // nx
            x = pixel[k] - y * nx
            low[y], high[y] = min(low[y], x), max(high[y], x)
        own = int(segmentation[y_low, low[y_low]])
        radius = int(reach[i])
        width = np.empty(radius + 1, dtype=np.int64)
        for v in range(radius + 1):
            width[v] = int(math.sqrt(max(reach[i] * reach[i] - v * v, 0.0)))
        # Some rows at a time: those of a line along a diagonal have few columns.
        end = min(y_high + radius + 1, ny)
        n_rows = max(4 * radius, _LEAST_ROWS)
        for top in range(max(y_low - radius, 0), end, n_rows):
            past = min(top + n_rows, end)
            y_from, y_to = max(top - radius, y_low), min(past - 1 + radius, y_high)
            if y_from > y_to:
                continue
            x_low, x_high = nx, -1
            for y in range(y_from, y_to + 1):
                x_low, x_high = min(x_low, low[y]), max(x_high, high[y])
            if x_low > x_high:
                continue
            n_x = x_high - x_low + 1
            size = (past - top) * n_x
            if len(room) < size:
                room = np.empty(size, dtype=np.int32)
            distance = room[:size].reshape((past - top, n_x))
            _to_columns(segmentation, own, top, past, y_from, y_to, x_low, radius + 1, distance)
            for y in range(top, past):
                _along_row(distance[y - top], width, x_low, mask[y])
