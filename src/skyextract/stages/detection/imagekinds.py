"""Kinds of images of bright sources that pairs of a bright and a fainter source suggest."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.datamodel.noise import median
from skyextract.kernels.detection.images import count_stretches, densest_shift
from skyextract.record import record

N_BRIGHT, MAX_PARTNERS = 20, 1500
"""Sources that may be the first of a pair, and sources that may be its second one."""
MAPS = ((1.0, 1.0), (-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0))
"""How a position becomes that of its image: shifted, opposite, mirrored in a column, in a row."""
FINE, DEEP = 4.0, 1.5
"""Cells of vectors (pixels) and of differences of magnitudes."""
MAX_STRETCH = 0.03
"""Images may be magnified by 1 +- this, and lie within so large a part of the frame then: the
coarse cells."""
MIN_EXCESS = 3.0
"""Of pairs in such a cell, beyond those in the cells around, in their Poisson noise."""
TOLERANCE = 1.5
"""Pixels by which places may differ that are the same."""
FAINTER = (0.3, 9.0)
"""Least and largest difference of magnitudes."""
SPREAD = 0.75
"""Of these differences; isophotes lose light of faint images."""
_TABLE = 1 << 16
"""Numbers that cells have in a first count, a power of two."""
N_CANDIDATES, N_PAIRS = 4, 100
"""Cells that are looked at for each map, and pairs there."""
MIN_HITS = 5
"""Images seen, at least."""


@record
class Family:
    """Images that arose alike, at (a x + dx, b y + dy).

    Attributes
    ----------
    scale : (float, float)
        The factors a and b.
    shift : (float, float)
        dx and dy, pixels.
    fainter : float
        Magnitudes.
    """

    scale: tuple[float, float]
    shift: tuple[float, float]
    fainter: float

    def images(self, x: F8, y: F8) -> tuple[F8, F8]:
        """Return where the images of sources are."""
        return self.scale[0] * x + self.shift[0], self.scale[1] * y + self.shift[1]

    def is_within(self, distance: float) -> bool:
        """Tell whether images are this near to their sources, pixels."""
        return self.scale == MAPS[0] and math.hypot(*self.shift) < distance

    @property
    def words(self) -> str:
        """Where images are, in FITS pixels."""
        (a, b), (dx, dy) = self.scale, self.shift
        times = "" if abs(a) == 1.0 else f" {abs(a):.3f} times as far"
        # The point, or the column or row, that stays where it is.
        x, y = (1.0 + d / (1.0 - s) if s != 1.0 else 0.0 for s, d in ((a, dx), (b, dy)))
        if a > 0.0 and b > 0.0:
            about = f"{times[1:]} from {x:.1f}, {y:.1f} as they are"
            return about if times else f"{dx:+.1f}, {dy:+.1f} pixels from them"
        if a < 0.0 and b < 0.0:
            return f"opposite to them about {x:.1f}, {y:.1f}{times and f' ({times[1:]})'}"
        return f"mirrored in {f'column {x:.1f}' if a < 0.0 else f'row {y:.1f}'}"


def candidates(sources: F8) -> Iterator[Family]:
    """Yield what the fullest cells of vectors and differences of magnitudes suggest."""
    bright = sources[:, :N_BRIGHT]
    others = sources[:, :: 1 + sources.shape[1] // MAX_PARTNERS]
    extent = float(np.ptp(sources[:2], axis=1).max())
    fainter = others[2] - bright[2, :, None]
    first, second = np.nonzero((fainter > FAINTER[0]) & (fainter < FAINTER[1]))
    fainter = fainter[first, second]
    if not fainter.size:
        return
    deep = _cells(fainter, DEEP)
    (x1, y1), (x2, y2) = bright[:2].take(first, axis=1), others[:2].take(second, axis=1)
    for a, b in MAPS:
        dx, dy = x2 - a * x1, y2 - b * y1
        cells = [(inside, 0.0) for inside in _fullest(dx, dy, deep)]
        cells += [(inside, extent) for inside in _crowded(dx, dy, deep, MAX_STRETCH * extent)]
        for inside, reach in cells:
            pairs = bright.take(first[inside], axis=1), others.take(second[inside], axis=1)
            family = _densest(*pairs, (a, b), reach)
            if family is not None:
                yield family


def _cells(values: F8, size: float) -> I8:
    """Return the numbers, from 0, of the cells that values are in."""
    cells: I8 = ((values - values.min()) * (1.0 / size)).astype(np.int64)
    return cells


def _fullest(dx: F8, dy: F8, deep: I8) -> Iterator[I8]:
    """Yield the pairs in the fullest of the small cells."""
    i, j = _cells(dx, FINE), _cells(dy, FINE)
    key = (i * (int(j.max()) + 1) + j) * (int(deep.max()) + 1) + deep
    # Sorting takes ten times as long as counting by the last bits, in which few cells are alike.
    bits = key & (_TABLE - 1)
    ordered = np.sort(key[(np.bincount(bits) > MIN_HITS - 2)[bits]])
    if not ordered.size:
        return
    first = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))
    number = np.diff(first, append=ordered.size)
    full = np.flatnonzero(number >= MIN_HITS - 1)
    for k in full[np.argsort(-number[full], kind="stable")[:N_CANDIDATES]]:
        yield np.flatnonzero(key == ordered[first[k]])[:N_PAIRS]


def _crowded(dx: F8, dy: F8, deep: I8, size: float) -> Iterator[I8]:
    """Yield the pairs in the large cells that hold more than those around."""
    column, row = _cells(dx, size), _cells(dy, size)
    # With two empty cells around the frame of vectors, for those beside.
    nx, ny, nm = int(column.max()) + 5, int(row.max()) + 5, int(deep.max()) + 1
    key = ((column + 2) * ny + (row + 2)) * nm + deep
    number = np.bincount(key, minlength=nx * ny * nm)
    full = np.flatnonzero(number >= MIN_HITS)
    beside = [(di * ny + dj) * nm for di in (-2, 0, 2) for dj in (-2, 0, 2) if di or dj]
    around = sum(number[full + step] for step in beside) / 8.0
    excess = (number[full] - around) / np.sqrt(around + 1.0)
    full, excess = full[excess >= MIN_EXCESS], excess[excess >= MIN_EXCESS]
    for cell in full[np.argsort(-excess, kind="stable")[:N_CANDIDATES]]:
        yield np.flatnonzero(key == cell)[:N_PAIRS]


def _densest(bright: F8, image: F8, scale: tuple[float, float], extent: float) -> Family | None:
    """Return the shift, and with an extent the magnification, that bring most pairs together."""
    stretches = _stretches(bright, image, scale, extent)
    most, pair, k = densest_shift(bright, image, *scale, stretches, SPREAD, 2.0 * TOLERANCE)
    if most < MIN_HITS - 1:
        return None
    kept = scale[0] * float(stretches[k]), scale[1] * float(stretches[k])
    dx, dy = image[0] - kept[0] * bright[0], image[1] - kept[1] * bright[1]
    fainter = image[2] - bright[2]
    same = (dx - dx[pair]) ** 2 + (dy - dy[pair]) ** 2 <= 4.0 * TOLERANCE**2
    same &= np.abs(fainter - fainter[pair]) <= SPREAD
    bright, image = bright[:, same], image[:, same]
    if extent:
        kept = _magnification(bright, image, scale, extent)
    dx, dy = image[0] - kept[0] * bright[0], image[1] - kept[1] * bright[1]
    return Family(kept, (median(dx), median(dy)), median(image[2] - bright[2]))


def _stretches(bright: F8, image: F8, scale: tuple[float, float], extent: float) -> F8:
    """Return the magnifications that most pairs of pairs ask for; 1 without an extent.

    Two pairs of one family are one triangle's side and its image: their ratio is the magnification.
    """
    if not extent:
        return np.ones(1)
    step = 2.0 * TOLERANCE / extent
    middle = math.ceil(MAX_STRETCH / step)
    number = np.zeros(2 * middle + 1, dtype=np.int64)
    long = extent / 8.0
    count_stretches(bright, image, *scale, MAX_STRETCH, 2.0 * TOLERANCE, long, step, number)
    number = number[: int(np.flatnonzero(number).max(initial=0)) + 1]
    best = np.argsort(-number, kind="stable")[:N_CANDIDATES]
    return np.asarray(1.0 + step * (best - middle), dtype=np.float64)


def _magnification(
    bright: F8, image: F8, scale: tuple[float, float], extent: float
) -> tuple[float, float]:
    """Return the factors that fit pairs best; those given, if that makes no difference."""
    sign = np.sign(scale)
    place = sign[:, None] * bright[:2]
    place = place - place.mean(axis=1, keepdims=True)
    stretch = float(np.sum(place * image[:2]) / max(float(np.sum(place**2)), 1.0))
    if abs(stretch - 1.0) * extent < 2.0 * TOLERANCE:
        return scale
    stretch = min(max(stretch, 1.0 - MAX_STRETCH), 1.0 + MAX_STRETCH)
    return float(sign[0] * stretch), float(sign[1] * stretch)
