"""Parts of a frame that stand in it twice: a packet that was lost, and the one before kept.

Noise never gives two rows the same pixels, at the same distance from each other for several rows.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, Bools
    from skyextract.run import Run

EVERY, N_ALIKE = 64, 4
"""So many pixels are compared in each row at every 64th column: wider packets are seen."""
MIN_ROWS, MIN_VALUES = 4, 16
"""A part has so many rows and more, and so many different values: padding has few."""
MAX_PART = 0.1
"""Of the frame; where more is repeated it was made so (tiles, models without noise)."""
MIN_SIZE = 128


def mark_repeats(image: F4, without: Bools, run: Run) -> bool:
    """Mark parts that are copies of rows before them; tell the user, and whether there are any.

    Which of the two is the true one nothing tells; packets are lost after others were read.

    Parameters
    ----------
    image : (ny, nx) float32
        As it was read.
    without : (ny, nx) bool
        Pixels without data; changed.
    """
    if min(image.shape) < MIN_SIZE:
        return False
    repeated = np.zeros(image.shape, np.bool_)
    n = 0
    places = range(0, image.shape[1] - N_ALIKE, EVERY)
    alike = run.map(lambda first: _alike(image[:, first : first + N_ALIKE]), places)
    for first, found in zip(places, alike, strict=True):
        for rows, lag in found:
            if repeated[rows, first].all():
                continue
            part = _columns_alike(image, rows, lag, first)
            if np.unique(image[rows, part]).size >= MIN_VALUES and part.stop - part.start > EVERY:
                repeated[rows, part] = True
                n += 1
    if not n or repeated.mean() > MAX_PART:
        return False
    without |= repeated
    run.warn(
        f"{n} parts of the frame are exact copies of rows before them, "
        f"{int(np.count_nonzero(repeated))} pixels (lost packets of the readout?): they take no "
        "part (DATA_CHECK N)"
    )
    return True


def _alike(strip: F4) -> list[tuple[slice, int]]:
    """Return rows of a narrow strip that are the same as those a lag before, several in turn."""
    keys = np.ascontiguousarray(strip).view(np.uint32).astype(np.uint64)
    key = keys[:, 0]
    for column in range(1, N_ALIKE):
        key = key * np.uint64(0x9E3779B97F4A7C15) + keys[:, column]
    ordered = np.sort(key)  # a tenth of the time that their order takes, which few images need
    if np.count_nonzero(ordered[1:] == ordered[:-1]) < MIN_ROWS:
        return []
    order = np.argsort(key, kind="stable")
    same = np.flatnonzero(key[order[1:]] == key[order[:-1]])
    row, lag = order[same + 1], order[same + 1] - order[same]
    turn = np.argsort(row)
    row, lag = row[turn], lag[turn]
    ends = np.flatnonzero((np.diff(row) != 1) | (np.diff(lag) != 0)) + 1
    bounds = [0, *ends.tolist(), row.size]
    return [
        (slice(int(row[a]), int(row[b - 1]) + 1), int(lag[a]))
        for a, b in pairwise(bounds)
        if b - a >= MIN_ROWS
    ]


def _columns_alike(image: F4, rows: slice, lag: int, first: int) -> slice:
    """Return the columns about `first` in which all of some rows are those a lag before."""
    before = image[rows.start - lag : rows.stop - lag]
    other = np.flatnonzero(~(image[rows] == before).all(axis=0))
    k = int(np.searchsorted(other, first))
    left = int(other[k - 1]) + 1 if k else 0
    right = int(other[k]) if k < other.size else image.shape[1]
    return slice(left, right)
