"""Rectangular parts of a frame, and how likely some of its sources are all in one by chance."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F8, Bools

if TYPE_CHECKING:
    from collections.abc import Iterator

CELLS = 4
"""Parts are rectangles of a grid of so many cells each way."""

STRIPS = 12
"""Strips, as a frame is read, are made of so many parts of each axis, too."""

Edges = tuple[float, float]


def rectangles(
    u: F8, v: F8, n_across: int = CELLS, n_along: int = CELLS
) -> Iterator[tuple[Edges, Edges, Bools]]:
    """Give all rectangles of cells, their parts of both axes, and which sources are in each.

    Parameters
    ----------
    u, v : (n,) float64
        Places in the field, from -0.5 to 0.5.
    """
    within = list(_intervals(v, n_along))
    for across, in_columns in _intervals(u, n_across):
        for along, in_rows in within:
            yield across, along, in_columns & in_rows


def rectangles_and_strips(u: F8, v: F8, n: int = CELLS) -> Iterator[tuple[Edges, Edges, Bools]]:
    """Give the rectangles of the grid, and strips along both axes."""
    strips = (rectangles(u, v, *number) for number in ((1, STRIPS), (STRIPS, 1)))
    return chain(rectangles(u, v, n, n), *strips)


def _intervals(w: F8, n: int) -> Iterator[tuple[Edges, Bools]]:
    """Give all intervals of n cells of an axis, from -0.5 to 0.5, and which sources are in each."""
    cell = np.clip(((w + 0.5) * n).astype(np.int64), 0, n - 1)
    for low in range(n):
        for high in range(low + 1, n + 1):
            yield (low / n, high / n), (cell >= low) & (cell < high)
