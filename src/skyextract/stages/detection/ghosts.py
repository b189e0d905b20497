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

import numpy as np

from skyextract.datamodel.arrays import F8, I8, Bools, each_of
from skyextract.record import record
from skyextract.stages.chance import log_as_many
from skyextract.stages.detection.imagekinds import (
    FAINTER,
    MAPS,
    MAX_STRETCH,
    MIN_HITS,
    SPREAD,
    TOLERANCE,
    Family,
    candidates,
)
from skyextract.stages.detection.twins import Twins, on_grid

MIN_DISTANCE, OF_FWHM, LEAST = 5.0, 1.4, 3.5
"""Pixels from a source to its image: nearer ones are parts of one source.  Where the PSF is known,
so many FWHM, within this and the least distance."""
IN_PSF = 3.0
"""Images that are nearer than this, in FWHM, are in the light of the PSF and of apertures."""
APART = 20.0
"""Side of the cells of the frame that show an image once at most, pixels."""
N_VERIFIED = 300
"""Sources whose images are looked for."""
MIN_SHARE = 0.5
"""Share of the images that are bright enough to be seen which are seen, at least."""
FALSE_ALARM = 1e-4
"""Probability that a field of sources at random, or in clusters, shows what is taken for images."""
MOST_FAMILIES = 6
IN_MIDDLE = 4
"""Images seen, at least, of those that are mirrored in the middle of the frame."""
AMPLIFIERS, MIN_OTHERS = (2, 4, 6, 8), 3
"""Widths of an amplifier from the edge to twice the column that images are mirrored in, and images
in further amplifiers."""
TOLD_APART = 0.3
"""Magnitudes by which second images are fainter that can be told from the first ones."""
MANY = 0.1
"""Share of the sources above which they are doubtful."""
ALIKE = 1.0
"""Magnitudes."""


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


def find_ghosts(
    x: F8, y: F8, flux: F8, fwhm: float = 0.0, shape: tuple[int, int] = (0, 0)
) -> Ghosts | None:
    """Look for sources that are images of brighter ones.

    Parameters
    ----------
    x, y, flux : (n,) float64
        Sources, pixels and image units.
    fwhm : float
        Of the PSF, pixels; 0: unknown.
    shape : (int, int)
        Of the frame [y, x], if it is known: amplifiers meet in its middle.

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
        family = _most_probable(sources, fwhm, shape)
        if family is None:
            break
        if not families and on_grid(sources):
            return None
        alike = [family, *_of_amplifiers(family, sources, fwhm)]
        is_image = np.any([_images_of(each, sources, fwhm) for each in alike], axis=0)
        families += alike
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


def second_images(x: F8, y: F8, flux: F8, twins: Twins, fwhm: float) -> Bools:
    """Tell which sources are the fainter images of stars that are all seen twice.

    Parameters
    ----------
    x, y, flux : (n,) float64
        Sources, pixels and image units.
    twins : Twins
        How the images lie to each other; none is marked where they are alike.
    fwhm : float
        Of the PSF, pixels; 0: unknown.
    """
    is_image = np.zeros(x.size, dtype=np.bool_)
    if abs(twins.fainter) < TOLD_APART:
        return is_image
    sign = math.copysign(1.0, twins.fainter)
    family = Family(MAPS[0], (sign * twins.dx, sign * twins.dy), abs(twins.fainter))
    known = flux > 0.0
    sources = np.stack([x[known], y[known], -2.5 * np.log10(flux[known])])
    is_image[known] = _images_of(family, sources, fwhm)
    return is_image


def _most_probable(sources: F8, fwhm: float, shape: tuple[int, int]) -> Family | None:
    """Return the images that chance explains least, None if it may explain them.

    Those that are mirrored in the middle of the frame are one place out of two, not of all.
    """
    n_depths = (FAINTER[1] - FAINTER[0]) / SPREAD
    area = float(np.prod(np.ptp(sources[:2], axis=1) + 1.0))
    n_cells = 4.0 * area / (math.pi * TOLERANCE**2) * n_depths * len(MAPS)
    n_cells *= 1.0 + MAX_STRETCH * math.sqrt(area) / TOLERANCE  # magnifications
    best, found = 0.0, None
    for family in candidates(sources):
        in_middle = _is_in_middle(family, shape)
        places, least = (2.0 * n_depths, IN_MIDDLE) if in_middle else (n_cells, MIN_HITS)
        chance = _log_chance(family, sources, fwhm, least) - math.log(FALSE_ALARM / places)
        if chance < best:
            best, found = chance, family
    return found


def _is_in_middle(family: Family, shape: tuple[int, int]) -> bool:
    """Tell whether images are mirrored in the middle column or row of the frame."""
    if family.scale not in MAPS[2:]:
        return False
    axis = MAPS[2:].index(family.scale)
    middle = [0.0, 0.0]
    middle[axis] = shape[1 - axis] - 1.0
    return math.dist(family.shift, middle) <= TOLERANCE


def _log_chance(family: Family, sources: F8, fwhm: float, least: int) -> float:
    """Return the logarithm of the chance to see as many images; 0 below the least number."""
    n_expected, n_hits, mean = _seen(family, sources, fwhm)
    if n_hits < max(least, MIN_SHARE * n_expected) or mean >= 0.5 * n_hits:
        return 0.0
    return log_as_many(n_hits, mean)


def _seen(family: Family, sources: F8, fwhm: float) -> tuple[int, int, float]:
    """Return how many images are expected, how many are seen, and how many are so by chance."""
    expected = _visible(family, sources, fwhm)[:N_VERIFIED]
    px, py = family.images(*sources[:2, expected])
    i, j, distance = _pairs_within(px, py, sources, 12.0 * TOLERANCE)
    off = sources[2, j] - sources[2, expected[i]] - family.fainter
    alike = (np.abs(off) <= _spread(family, fwhm)) & (j != expected[i])
    i, j, distance = i[alike], j[alike], distance[alike]
    hit = distance <= TOLERANCE
    # Parts of one source, or of one group, are counted once.
    n_hits = min(_n_apart(sources[:2, k]) for k in (expected[i[hit]], j[hit]))
    around = np.count_nonzero(distance > 4.0 * TOLERANCE)
    return expected.size, n_hits, (around + 1.0) / (12.0**2 - 4.0**2)


def _of_amplifiers(family: Family, sources: F8, fwhm: float) -> list[Family]:
    """Return the images in further amplifiers, if mirrored ones are of two out of a row of them.

    Of amplifiers of one width that are read towards each other by turns, each shows the stars of
    all others by the same factor: mirrored in every second border, shifted by even numbers of
    widths.  They are counted together, and only the number of amplifiers is left to chance.
    """
    if family.scale not in MAPS[2:]:
        return []
    axis = MAPS[2:].index(family.scale)
    size = float(sources[axis].max()) + 1.0
    least, found = math.log(FALSE_ALARM / len(AMPLIFIERS)), []
    for n_amplifiers in AMPLIFIERS:
        width = (family.shift[axis] + 1.0) / n_amplifiers
        number = round(size / width)
        borders = [k for k in range(2, 2 * number - 1, 2) if k != n_amplifiers]
        others = [(family.scale, k * width - 1.0) for k in borders]
        others += [(MAPS[0], k * width) for n in range(2, number, 2) for k in (n, -n)]
        if not others:
            continue
        kinds = [
            Family(scale, (0.0, along) if axis else (along, 0.0), family.fainter)
            for scale, along in others
        ]
        seen = [_seen(kind, sources, fwhm) for kind in kinds]
        n_expected, n_hits, mean = (sum(numbers) for numbers in zip(*seen, strict=True))
        if n_hits < max(MIN_OTHERS, MIN_SHARE * n_expected) or mean >= 0.5 * n_hits:
            continue
        chance = log_as_many(n_hits, mean)
        if chance < least:
            least = chance
            found = [kind for kind, numbers in zip(kinds, seen, strict=True) if numbers[1]]
    return found


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
