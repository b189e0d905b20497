"""Sources that are images of brighter ones: ghosts of the optics, crosstalk between amplifiers.

Each bright star has one at the same vector from it (a tilted filter), at the place that is opposite
to it in the frame (light from the detector to a lens and back), or at the one that is mirrored in a
row or a column (amplifiers read towards each other), magnified by little, and fainter by the same
factor.  Pairs of a bright and a fainter source therefore crowd at one vector, or one sum of
positions, and one difference of magnitudes.  What chance and clusters give there is told from pairs
a little beside; the probability that any place shows as many pairs is below `FALSE_ALARM`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from skyextract.datamodel.arrays import F8, I8, Bools, each_of
from skyextract.datamodel.noise import median
from skyextract.kernels.detection.images import count_stretches, densest_shift
from skyextract.record import record
from skyextract.stages.chance import log_as_many
from skyextract.stages.detection.twins import on_grid

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
MIN_DISTANCE, OF_FWHM, LEAST = 5.0, 1.4, 3.5
"""Pixels from a source to its image: nearer ones are parts of one source.  Where the PSF is known,
so many FWHM, within this and the least distance."""
IN_PSF = 3.0
"""Images that are nearer than this, in FWHM, are in the light of the PSF and of apertures."""
APART = 20.0
"""Side of the cells of the frame that show an image once at most, pixels."""
FAINTER = (0.3, 9.0)
"""Least and largest difference of magnitudes."""
SPREAD = 0.75
"""Of these differences; isophotes lose light of faint images."""
N_CANDIDATES, N_PAIRS, N_VERIFIED = 4, 100, 300
"""Cells that are looked at for each map, pairs there, and sources whose images are looked for."""
MIN_HITS, MIN_SHARE = 5, 0.5
"""Images seen: least number, and share of those that are bright enough to be seen."""
FALSE_ALARM = 1e-4
"""Probability that a field of sources at random, or in clusters, shows what is taken for images."""
_TABLE = 1 << 16
"""Numbers that cells have in a first count, a power of two."""
MOST_FAMILIES = 6
MANY = 0.1
"""Share of the sources above which they are doubtful."""
ALIKE = 1.0
"""Magnitudes."""


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


@record
class Ghosts:
    """Images of brighter sources.

    Attributes
    ----------
    rows : (n,) bool
        The sources that are one.
    families : list of Family
    doubt : str
        What is there, in one line.
    fwhm : float
        Of the PSF, pixels; 0: unknown.
    """

    rows: Bools
    families: list[Family]
    doubt: str
    fwhm: float

    @property
    def are_many(self) -> bool:
        """The list of sources is doubtful."""
        return self.are_in_psf or int(np.count_nonzero(self.rows)) > MANY * self.rows.size

    @property
    def are_in_psf(self) -> bool:
        """Each star has one so near that it is a part of its light."""
        return any(family.is_within(IN_PSF * self.fwhm) for family in self.families)

    @property
    def are_alike(self) -> bool:
        """Either image may be taken for the star, or for its light."""
        if self.are_in_psf:
            return True
        return self.are_many and min(family.fainter for family in self.families) < ALIKE


def find_ghosts(x: F8, y: F8, flux: F8, fwhm: float = 0.0) -> Ghosts | None:
    """Look for sources that are images of brighter ones.

    Parameters
    ----------
    x, y, flux : (n,) float64
        Sources, pixels and image units.
    fwhm : float
        Of the PSF, pixels; 0: unknown.

    Returns
    -------
    Ghosts or None
        None where there are none, where sources are too few, or where they lie on a grid.
    """
    order = np.argsort(-flux, kind="stable")
    order = order[flux[order] > 0.0]
    rows = np.zeros(x.size, dtype=np.bool_)
    families: list[Family] = []
    while order.size > 2 * MIN_HITS and len(families) < MOST_FAMILIES:
        sources = np.stack([x[order], y[order], -2.5 * np.log10(flux[order])])
        family = _most_probable(sources, fwhm)
        if family is None:
            break
        if not families and on_grid(sources):
            return None
        is_image = _images_of(family, sources, fwhm)
        families.append(family)
        rows[order[is_image]] = True
        order = order[~is_image]
    if not families:
        return None
    where = "; ".join(f"{family.words}, {family.fainter:.1f} mag fainter" for family in families)
    message = (
        f"{np.count_nonzero(rows)} of {rows.size} sources are images of brighter ones (ghosts, "
        f"crosstalk?; GHOST in FLAGS_SKY): {where}"
    )
    return Ghosts(rows, families, message, fwhm)


def _most_probable(sources: F8, fwhm: float) -> Family | None:
    """Return the images that chance explains least, None if it may explain them."""
    area = float(np.prod(np.ptp(sources[:2], axis=1) + 1.0))
    n_cells = 4.0 * area / (math.pi * TOLERANCE**2) * (FAINTER[1] / SPREAD) * len(MAPS)
    n_cells *= 1.0 + MAX_STRETCH * math.sqrt(area) / TOLERANCE  # magnifications
    best, found = math.log(FALSE_ALARM / n_cells), None
    for family in _candidates(sources):
        chance = _log_chance(family, sources, fwhm)
        if chance < best:
            best, found = chance, family
    return found


def _candidates(sources: F8) -> Iterator[Family]:
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


def _log_chance(family: Family, sources: F8, fwhm: float) -> float:
    """Return the logarithm of the chance to see as many images; 0 where they are too few."""
    expected = _visible(family, sources, fwhm)[:N_VERIFIED]
    if expected.size < MIN_HITS:
        return 0.0
    px, py = family.images(*sources[:2, expected])
    i, j, distance = _pairs_within(px, py, sources, 12.0 * TOLERANCE)
    off = sources[2, j] - sources[2, expected[i]] - family.fainter
    alike = (np.abs(off) <= _spread(family, fwhm)) & (j != expected[i])
    i, j, distance = i[alike], j[alike], distance[alike]
    hit = distance <= TOLERANCE
    # Parts of one source, or of one group, are counted once.
    n_hits = min(_n_apart(sources[:2, k]) for k in (expected[i[hit]], j[hit]))
    if n_hits < max(MIN_HITS, MIN_SHARE * expected.size):
        return 0.0
    around = np.count_nonzero(distance > 4.0 * TOLERANCE)
    mean = (around + 1.0) / (12.0**2 - 4.0**2)
    if mean >= 0.5 * n_hits:
        return 0.0
    return log_as_many(n_hits, mean)


def _nearest(fwhm: float) -> float:
    """Return the least distance of an image, pixels."""
    return min(max(OF_FWHM * fwhm, LEAST), MIN_DISTANCE) if fwhm else MIN_DISTANCE


def _spread(family: Family, fwhm: float) -> float:
    """Return how far differences of magnitudes may be off; blends are taken apart unequally."""
    return 2.0 * SPREAD if family.is_within(IN_PSF * fwhm) else SPREAD


def _n_apart(places: F8) -> int:
    """Return the number of cells of the frame that places are in."""
    cell = np.floor(places / APART).astype(np.int64)
    return int(np.unique((cell[0] << 32) + cell[1]).size)


def _visible(family: Family, sources: F8, fwhm: float) -> I8:
    """Return the sources whose images would be in the frame, apart from them, and bright enough."""
    faintest = float(np.quantile(sources[2], 0.95)) - 0.2
    px, py = family.images(sources[0], sources[1])
    (left, low), (right, high) = sources[:2].min(axis=1), sources[:2].max(axis=1)
    inside = (px >= left) & (px <= right) & (py >= low) & (py <= high)
    apart = np.hypot(px - sources[0], py - sources[1]) > _nearest(fwhm)
    return np.flatnonzero(inside & apart & (sources[2] + family.fainter < faintest))


def _images_of(family: Family, sources: F8, fwhm: float) -> Bools:
    """Tell which sources are, for the most part, images of brighter ones."""
    px, py = family.images(sources[0], sources[1])
    i, j, distance = _pairs_within(px, py, sources, 2.0 * TOLERANCE)
    off = sources[2, j] - sources[2, i] - family.fainter
    apart = np.hypot(sources[0, j] - sources[0, i], sources[1, j] - sources[1, i]) > _nearest(fwhm)
    is_image = np.zeros(sources.shape[1], dtype=np.bool_)
    alike = np.abs(off) <= _spread(family, fwhm)
    is_image[j[alike & (distance <= 2.0 * TOLERANCE) & apart]] = True
    return is_image


def _pairs_within(px: F8, py: F8, sources: F8, radius: float) -> tuple[I8, I8, F8]:
    """Return the index of a place, that of a source, and their distance, for all near pairs."""
    order = np.argsort(sources[0], kind="stable")
    x = sources[0, order]
    low, high = np.searchsorted(x, px - radius), np.searchsorted(x, px + radius)
    i, place = each_of(high - low)
    j = order[place + low[i]]
    distance = np.hypot(sources[0, j] - px[i], sources[1, j] - py[i])
    near = distance <= radius
    return i[near], j[near], distance[near]
