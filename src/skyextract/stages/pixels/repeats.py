"""Parts of a frame that stand in it twice: packets that were lost, borders that were filled.

Instead of a lost packet the one before is kept; resampling fills borders with the image mirrored.
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
N_SAMPLED = 61
"""Pixels of a line that tell first whether it is the one beside, or the next but one, mirrored."""
MIN_WIDTH, MAX_WIDTH = 2, 0.4
"""Lines of a mirrored border, and the part of the frame's axis: a model without noise may mirror
about its middle."""
MIN_DIFFERENT = 0.2
"""Share of its pixels that differ from the ones beside, as noise does; with so many of them:"""
MIN_PIXELS = 100


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


def mark_mirrored(image: F4, without: Bools, run: Run) -> bool:
    """Mark borders that mirror the image within; tell the user, and whether there are any.

    Parameters
    ----------
    image : (ny, nx) float32
        As it was read.
    without : (ny, nx) bool
        Pixels without data; changed.
    """
    if min(image.shape) < MIN_SIZE:
        return False
    sides = (
        ("left", image, without), ("right", image[:, ::-1], without[:, ::-1]),
        ("bottom", image.T, without.T), ("top", image[::-1].T, without[::-1].T),
    )  # fmt: skip
    widths = [(name, _mirrored_width(lines, hole)) for name, lines, hole in sides]
    found = [(name, width, hole) for (name, width), (_, _, hole) in zip(widths, sides, strict=True)]
    for _, width, hole in found:
        hole[:, :width] = True
    names = ", ".join(f"{width} at the {name}" for name, width, _ in found if width)
    if names:
        run.warn(
            f"pixels along the border mirror the image within to the last bit ({names}: filled by "
            "a resampling?): they take no part (DATA_CHECK N)"
        )
    return bool(names)


def _mirrored_width(image: F4, without: Bools) -> int:
    """Return how many of the first columns mirror those after them; 0: none."""
    ny, nx = image.shape
    most = int(MAX_WIDTH * nx)
    rows = slice(ny // (2 * N_SAMPLED), None, ny // N_SAMPLED)
    sample, bad = image[rows, : most + 2], without[rows, : most + 2]
    for gap in (1, 2):  # the border's own line stands there twice, or once
        same = np.arange(MIN_WIDTH - 1, sample.shape[1] - gap)
        for row, hole in zip(sample, bad, strict=True):  # of most images one leaves nothing
            before, after = row[same], row[same + gap]
            same = same[(before == after) | hole[same] | hole[same + gap]]
            if not same.size:
                break
        for last in map(int, same):
            width = last + 1
            border, within = slice(last, None, -1), slice(last + gap, last + gap + width)
            known = ~(without[:, border] | without[:, within])
            if not (image[:, border] == image[:, within])[known].all():
                continue
            known = known[:, 1:] & known[:, :-1]
            differ = (image[:, within][:, 1:] != image[:, within][:, :-1])[known]
            if np.count_nonzero(differ) > max(MIN_DIFFERENT * differ.size, MIN_PIXELS):
                return width
    return 0


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
