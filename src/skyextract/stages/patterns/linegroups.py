"""Groups of rows or columns with a level of their own: banding whose lines are not all different.

Several lines that are read in turn have one level (the rows of a readout whose reference drifts,
columns of one converter).  They step at equal distances, and between these steps do not differ.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, U2
from skyextract.datamodel.flags import NO_SKY
from skyextract.datamodel.noise import robust_sigma

WIDEST = 16
"""Lines of a group, at most."""
WINDOWS, LINES, PIXELS = 8, 64, 512
"""Windows of lines, one after the other, and pixels of each line, about, that are looked at."""
BLOCK = 32
"""Pixels along a line that go into the same half of its level."""
MIN_SHARED = 0.5
"""The halves of steps agree in this share of their variance, ..."""
BETWEEN = 0.05
"""... of which lines between the steps have this part, at most: twice the size has a fifteenth."""
CLEARLY = 1.5
"""Steps at a larger distance, some of these, share so many times more."""
SURE = 12.0
"""What the halves share at the steps is so many times the error that lines between them tell."""
MIN_STEPS = 16


def scatter_of_groups(image: F4, mask: U2) -> tuple[int, float]:
    """Return the size of groups of rows, and by how much they differ; (0, 0.0) if there are none.

    Parameters
    ----------
    image : (ny, nx) float32
    mask : (ny, nx) uint16
    """
    changes, at = _changes(image, mask)
    best = (0, 0.0)
    for size in range(2, WIDEST + 1):
        for phase in range(size):
            is_step = at % size == phase
            if np.count_nonzero(is_step) < MIN_STEPS:
                continue
            shared, total = _shared(changes[:, is_step])
            if not shared > max(MIN_SHARED * total, CLEARLY * best[1]):
                continue
            at_steps, between = (np.prod(changes[:, rows], axis=0) for rows in (is_step, ~is_step))
            error = float(between.std()) / math.sqrt(at_steps.size)
            if between.mean() < BETWEEN * shared and at_steps.mean() > SURE * error:
                best = (size, shared)
    return best[0], math.sqrt(0.5 * best[1])


def _changes(image: F4, mask: U2) -> tuple[F8, F8]:
    """Return by how much both halves of rows differ from the row before, and which rows these are.

    (2, n) and (n,); rows without enough sky are left out.
    """
    ny, nx = image.shape
    n_windows = max(1, min(WINDOWS, ny // LINES))
    first = np.linspace(0, ny - min(LINES, ny), n_windows).astype(np.int64)
    some = np.linspace(0, nx // BLOCK - 1, min(nx // BLOCK, PIXELS // BLOCK)).astype(np.int64)
    columns = np.unique(some)[:, None] * BLOCK + np.arange(BLOCK)
    found, at = [], []
    for start in first:
        rows = slice(int(start), int(start) + LINES)
        values, usable = image[rows], (mask[rows] & np.uint16(NO_SKY)) == 0
        halves = [columns[k::2].ravel() for k in (0, 1)]
        known = np.min([usable[:, half].mean(axis=1) for half in halves], axis=0) > MIN_SHARED
        middle = [half.size // 2 for half in halves]
        levels = np.array(
            [
                np.partition(values[:, half], m, axis=1)[:, m]
                for half, m in zip(halves, middle, strict=True)
            ],
            dtype=np.float64,
        )
        both = known[1:] & known[:-1]
        found.append(np.diff(levels, axis=1)[:, both])
        at.append(np.arange(rows.start + 1, rows.start + len(known))[both])
    return np.concatenate(found, axis=1), np.concatenate(at)


def _shared(changes: F8) -> tuple[float, float]:
    """Return the variance that halves have in common, and that of their mean."""
    if changes.shape[1] < MIN_STEPS:
        return 0.0, 0.0
    one, other = changes
    both, noise = robust_sigma(one + other) / 2.0, robust_sigma(one - other) / 2.0
    return both**2 - noise**2, both**2
