"""Pairs of sources that are near each other."""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.kernels.psf.near import find_pairs

PAIRS_PER_SOURCE = 4
"""Room for pairs of neighbours at first, at least..."""
CLUSTERED = 1.5
"""... and for so many times those of sources at random: only then they are looked for twice."""


def pairs_within(x: F8, y: F8, distance: float) -> tuple[I8, I8]:
    """Return the pairs (j, k), j < k, of sources nearer than `distance`, in the order of k."""
    x, y = np.ascontiguousarray(x, np.float64), np.ascontiguousarray(y, np.float64)
    # Cells of about a source each, which are at least as wide as pairs are.
    known = np.isfinite(x) & np.isfinite(y)
    at = np.where(known, (x, y), 0.0)
    at -= at.min(axis=1, initial=0.0, keepdims=True)
    area = float(np.prod(at.max(axis=1, initial=0.0)))
    side = max(distance, math.sqrt(area / max(x.size, 1)))
    column, row = (at / side).astype(np.int64)
    width = int(column.max(initial=0)) + 3
    cell = (row + 1) * width + column + 1
    order = np.argsort(cell, kind="stable")
    start = np.searchsorted(cell[order], np.arange((int(row.max(initial=0)) + 3) * width + 1))
    at_random = math.pi * distance**2 / max(area, math.pi * distance**2) * x.size**2 / 2.0
    room = math.ceil(max(PAIRS_PER_SOURCE * x.size, CLUSTERED * at_random))
    while True:
        pairs = np.empty((2, room), np.int64)
        number = find_pairs(x, y, distance, cell, order, start, width, *pairs)
        if number <= room:
            return pairs[0, :number], pairs[1, :number]
        room = number


def connected(n: int, first: I8, second: I8) -> I8:
    """Return the number of the connected set that each of n things is in: its least member."""
    label = np.arange(n)
    while True:
        least = label.copy()
        np.minimum.at(least, first, label[second])
        np.minimum.at(least, second, label[first])
        least = least[least]
        if (least == label).all():
            return label
        label = least
