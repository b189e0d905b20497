"""Boxes around sources: which overlap, colours of those that do not, what an image has there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I8

CELL = 64
"""Side in pixels of the cells that boxes are sorted into."""


@kernel
def overlapping_boxes(boxes: I8, first: I8) -> I8:
    """Return the sources whose boxes overlap that of each source.

    Parameters
    ----------
    boxes : (n, 4) int64
        First pixel x, y (>= 0), width and height; one of no width overlaps nothing.
    first : (n + 1,) int64
        Written: the neighbours of source i are ``[first[i]:first[i + 1]]`` of the result.

    Returns
    -------
    (m,) int64
        Ascending for each source.
    """
    n = boxes.shape[0]
    columns, rows = 1, 1
    for i in range(n):
        columns = max(columns, (boxes[i, 0] + boxes[i, 2]) // CELL + 1)
        rows = max(rows, (boxes[i, 1] + boxes[i, 3]) // CELL + 1)
    start = np.zeros(columns * rows + 1, np.int64)
    inside = np.empty(0, np.int64)
    for fill in range(2):
        for i in range(n):
            if boxes[i, 2] <= 0:
                continue
            right, top = boxes[i, 0] + boxes[i, 2] - 1, boxes[i, 1] + boxes[i, 3] - 1
            for row in range(boxes[i, 1] // CELL, top // CELL + 1):
                for column in range(boxes[i, 0] // CELL, right // CELL + 1):
                    cell = row * columns + column
                    if fill == 1:
                        inside[start[cell]] = i
                        start[cell] += 1
                    else:
                        start[cell + 1] += 1
        if fill == 0:
            for cell in range(columns * rows):
                start[cell + 1] += start[cell]
            inside = np.empty(start[-1], np.int64)
    # filling has moved each start to the next one
    count = np.zeros(n, np.int64)
    found = np.empty(0, np.int64)
    for fill in range(2):
        for cell in range(columns * rows):
            begin = start[cell - 1] if cell > 0 else 0
            for at in range(begin, start[cell]):
                for other in range(at + 1, start[cell]):
                    i, j = inside[at], inside[other]
                    left = max(boxes[i, 0], boxes[j, 0])
                    bottom = max(boxes[i, 1], boxes[j, 1])
                    # a pair is seen in every cell that both touch, and counts in one
                    if (bottom // CELL) * columns + left // CELL != cell:
                        continue
                    right = min(boxes[i, 0] + boxes[i, 2], boxes[j, 0] + boxes[j, 2])
                    top = min(boxes[i, 1] + boxes[i, 3], boxes[j, 1] + boxes[j, 3])
                    if left >= right or bottom >= top:
                        continue
                    if fill == 1:
                        found[first[i] + count[i]] = j
                        found[first[j] + count[j]] = i
                    count[i] += 1
                    count[j] += 1
        if fill == 0:
            first[0] = 0
            for i in range(n):
                first[i + 1] = first[i] + count[i]
                count[i] = 0
            found = np.empty(first[n], np.int64)
    for i in range(n):
        found[first[i] : first[i + 1]].sort()
    return found


@kernel
def colour_sources(order: I8, neighbours: I8, first: I8, colour: I8) -> int:
    """Give each source the lowest colour that none of its neighbours has.

    Parameters
    ----------
    order : (n,) int64
        The sources in the order in which they choose.
    neighbours, first
        As from `overlapping_boxes`.
    colour : (n,) int64
        Written, from 0.

    Returns
    -------
    int
        Number of colours.
    """
    n = order.size
    colour[:] = -1
    taken_by = np.full(n + 1, -1, np.int64)
    count = 0
    for i in order:
        for k in range(first[i], first[i + 1]):
            if colour[neighbours[k]] >= 0:
                taken_by[colour[neighbours[k]]] = i
        own = 0
        while taken_by[own] == i:
            own += 1
        colour[i] = own
        count = max(count, own + 1)
    return count


@kernel
def copy_boxes(image: F4, boxes: I8, out: F4) -> None:
    """Write what an image has in boxes into another one.

    Parameters
    ----------
    image, out : (ny, nx) float32
    boxes : (n, 4) int64
        First pixel x, y, width and height, within the image.
    """
    for i in range(boxes.shape[0]):
        left, width = boxes[i, 0], boxes[i, 2]
        for y in range(boxes[i, 1], boxes[i, 1] + boxes[i, 3]):
            for x in range(left, left + width):
                out[y, x] = image[y, x]
