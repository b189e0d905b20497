"""Columns and rows that were interpolated before: their pixels lie between those beside them.

What such a pixel shows is no light that fell on it, and stars there lack what was not measured;
noise puts no column on the straight line between its neighbours.
"""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F4, I8, U2, Bools
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.noise import median
from skyextract.run import Run

BLOCK, MAX_BLOCKS = 16, 8
"""Rows that tell of a column together, and how many blocks of them are looked at."""
ON_LINE = 0.2
"""A column is filled if its second differences are this part, on average, of those beside, ..."""
NEAR = 0.25
"""... and there where they are this part, ..."""
WINDOW, MISSED, MIN_LENGTH = 9, 1, 16
"""... in windows of so many pixels with so many exceptions, that cover so many."""
SUDDEN = 0.5
"""The next column that is not filled has more than this part."""
ASIDE = 24
"""Columns to either side that tell what is typical: more than a filled part is wide."""
SMOOTH = 0.25
"""The lower quartile of second differences over their median; of noise it is 0.47, and much less
where an image has none."""
CLIP = 4.0
"""No second difference counts for more medians than that: what stars make of them."""
MAX_SHARE = 0.1
"""Where more lines than this are so, it is how the image was made."""
_LOST = np.uint16(Mask.NO_DATA | Mask.BAD | Mask.SAT)


def filled_lines(exposure: Exposure, run: Run) -> tuple[int, I8]:
    """Return the number of lines with filled parts, and the indices ``y * nx + x`` of their pixels.

    Lines are columns, then rows.
    """
    image, mask = exposure.image, exposure.mask
    planes = [(image, mask), (image.T, mask.T)]
    blocks = [(k, a) for k in range(2) for a in _starts(planes[k][0].shape)]

    def low(block: tuple[int, int]) -> dict[int, float]:
        of_plane, first = block
        (plane, its_mask), rows = planes[of_plane], slice(first, first + BLOCK)
        return _low(_second_differences(np.ascontiguousarray(plane[rows]), its_mask[rows]))

    found = list(zip(blocks, run.map(low, blocks), strict=True))
    columns, rows = (
        _filled(*planes[k], [lines for block, lines in found if block[0] == k]) for k in range(2)
    )
    nx = image.shape[1]
    pixels = [y * nx + x for y, x in columns] + [y * nx + x for x, y in rows]
    return len(pixels), np.unique(np.concatenate(pixels)) if pixels else np.zeros(0, np.int64)


def _starts(shape: tuple[int, ...]) -> list[int]:
    """Return the first rows of the blocks that are looked at; none of a small plane."""
    ny, nx = shape
    if ny < BLOCK or nx < 2 * ASIDE:
        return []
    first: list[int] = np.linspace(0, ny - BLOCK, min(ny // BLOCK, MAX_BLOCKS)).astype(int).tolist()
    return first


def _filled(image: F4, mask: U2, blocks: list[dict[int, float]]) -> list[tuple[I8, int]]:
    """Return rows and number of each column with filled parts; none if there are too many.

    Parameters
    ----------
    blocks : list of dict
        Of each block what `_low` has.
    """
    typical: dict[int, float] = {}
    for lines in blocks:
        for x, size in lines.items():
            typical[x] = min(size, typical.get(x, size))
    found = []
    for x, size in typical.items():
        near = slice(x - 1, x + 2)
        rows = _parts(_second_differences(image[:, near], mask[:, near])[:, 0] < NEAR * size)
        if rows.size:
            found.append((rows, x))
    return found if len(found) <= MAX_SHARE * image.shape[1] else []


def _second_differences(image: F4, mask: U2) -> F4:
    """Return how far pixels lie off the mean of those beside, of all columns but the outer ones.

    It is infinite where one of the three is no data.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # of broken pixels
        off: F4 = np.abs(image[:, 1:-1] - np.float32(0.5) * (image[:, :-2] + image[:, 2:]))
    lost = (mask & _LOST) != 0
    if lost.any():
        off[lost[:, 1:-1] | lost[:, :-2] | lost[:, 2:]] = np.inf
    off[np.isnan(off)] = np.inf
    return off


def _low(off: F4) -> dict[int, float]:
    """Return the columns of a block that are filled, with what is typical beside them."""
    some = np.sort(off[::4, ::4], axis=None)
    quarter, middle = some[some.size // 4], some[some.size // 2]
    if not (middle > 0.0 and np.isfinite(middle) and quarter > SMOOTH * middle):
        return {}
    mean = np.minimum(off, np.float32(CLIP * middle)).mean(axis=0)
    found = {}
    low = mean < ON_LINE * np.float32(median(mean))
    for x in np.flatnonzero(low):
        sides = [mean[x - 1 :: -1][:ASIDE] if x else mean[:0], mean[x + 1 :][:ASIDE]]
        beside = min(median(side) for side in sides if side.size)
        # It ends at once: where an image bends the other way there is a gradual change.
        ends = [side[side > ON_LINE * beside][:1] for side in sides]
        if mean[x] < ON_LINE * beside and all((end > SUDDEN * beside).all() for end in ends):
            found[int(x) + 1] = beside
    return found


def _parts(near: Bools) -> I8:
    """Return the rows of the parts in which nearly all pixels are on the line."""
    window = np.ones(WINDOW, np.int64)
    rows = np.convolve(np.convolve(near, window, "valid") >= WINDOW - MISSED, window) > 0
    edges = np.flatnonzero(np.diff(rows, prepend=False, append=False))
    for first, past in zip(edges[::2], edges[1::2], strict=True):
        if past - first < MIN_LENGTH:
            rows[first:past] = False
    return np.flatnonzero(rows)
