"""Select the stars for the PSF among bright candidates."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F8, I8, Bools, distinct
from skyextract.datamodel.noise import median, robust_sigma
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.record import record
from skyextract.settings.keywords import Characterize
from skyextract.stages.starselection.candidates import Candidates, bright_of, crowd_of
from skyextract.stages.starselection.defects import alike_among_defects
from skyextract.stages.starselection.linearity import TIGHT, widening
from skyextract.stages.starselection.locus import (
    ELLIPTICITY,
    FEW,
    INTRINSIC,
    MIN_VARYING,
    Locus,
    departures,
    field_of,
    locus_at,
    of_one_size,
    spread_of,
    wider_locus,
)
from skyextract.stages.starselection.parts import Sizes
from skyextract.stages.starselection.ridges import N_RIDGES, find_ridges, ridges_of
from skyextract.stages.starselection.smallest import FEW as FEW_STARS
from skyextract.stages.starselection.smallest import MIN_MEMBERS, doubt_of_size, judge_few

JUDGED = 2.2
"""FWHM in pixels from which the sizes of stars depend on nothing but their noise."""

UNDISTURBED, MIN_UNDISTURBED = 0.2, 0.3
"""Light of neighbours in that of a source, of those that tell whether there is a locus, and the
share of these among all, at least."""

UNDERSAMPLED = 1.5
"""FWHM in pixels below which size and shape of a star depend on where in its pixel it is."""

PHASE_SIZE, PHASE_SHAPE = 0.12, 0.25
"""By how much they do then: log10 of the size, and broadening and ellipticity."""

WIDEST = 0.03
"""Scatter of the log10 sizes of stars about what varies smoothly over the field, at most."""

TURNS = 12
"""Fits of the surface of sizes, at most: each finds more of the stars far from the typical size."""

ROUND = 0.06
"""(A - B) / (A + B) up to which a source can be a single star."""

BRIGHT_TRAIL = 20.0
"""S/N of sources that are not round, and may be stars that are trailed in a part of the frame."""

ONE_SIZE = 0.5
"""Share of the sources of one size from which it is not looked whether sizes vary..."""
MORE_ALIKE = 1.5
"""... and how many times as many must be alike if they do, for that to be so."""

MOST_ALIKE, NEARLY_ALL, MORE_STARS = 0.9, 0.75, 0.9
"""The same of few sources: this share of them has to be alike, with nearly as many stars."""

WIDTH_FEW = 0.025
"""Half-width in log10 size of the ridge of the smallest sources where they are few."""


@record
class Selection:
    """The stars among the candidates.

    Attributes
    ----------
    stars : (n,) int64
        Indices of the candidates, best first.
    fwhm : float
        Their FWHM in pixels.
    n_bright : int
        Number of sources bright enough for a PSF star that could be measured.
    share : float
        Part of them that have the size and shape of the stars, isolated or not.
    locus : Locus or None
        How they stand out of other sources, if that was judged.
    widened : float
        By which part bright round sources are wider than faint ones where others are beside the
        stars, see `linearity.widening`.
    sizes : Sizes or None
        Those of the stars and of what may be stars, if they tell anything.
    smaller : float
        Sources that are smaller, in units of those at the size of the stars, where too few are
        without neighbours to judge a locus: neighbours make sources larger, not smaller.
    n_spots : int
        Sources that crowd at a smaller size than the stars, which do so at theirs: what the optics
        did not widen are spots of the detector.
    chance : str
        Why so few may agree by chance; empty where they do not.
    """

    stars: I8
    fwhm: float
    n_bright: int = 0
    share: float = 0.0
    locus: Locus | None = None
    widened: float = 0.0
    sizes: Sizes | None = None
    smaller: float = 0.0
    n_spots: int = 0
    chance: str = ""


def select_stars(
    candidates: Candidates, config: Characterize, shape: tuple[int, int], n_most: int
) -> Selection:
    """Select stars: the ridge of constant size in the diagram of size against S/N.

    Galaxies, blends and trails are larger and spread widely, cosmic rays and hot pixels are
    smaller; only stars crowd at one size.  The ridge is where sources within a narrow
    window of log size outnumber those on either side the most, over several limits of S/N
    and widths (PSFEx's SAMPLE_AUTOSELECT looks for the same ridge among FWHMs).  The sizes
    of its members then are fitted with a polynomial over the field, and clipped.  Where few are
    of one size, that is tried with what varies over the field as most of them do taken off.

    Parameters
    ----------
    shape : (int, int)
        Shape [y, x] of the image.
    n_most : int
        Number of stars wanted, at most; those of high S/N are taken evenly over the field.

    Returns
    -------
    Selection
        No stars if there is no such ridge.
    """
    found = _select(candidates, config, shape, n_most)
    if config.sample_autoselect and not found.n_spots:
        varying = _of_varying_size(found, candidates, config, shape, n_most)
        if varying is not None:
            return varying
    if found.share < ONE_SIZE and found.fwhm < JUDGED and config.sample_autoselect:
        size = alike_among_defects(candidates, bright_of(candidates, config), found.fwhm)
        if math.isfinite(size):
            other = _select(candidates, config, shape, n_most, (size, WIDTH_FEW))
            if other.stars.size >= MIN_MEMBERS:
                return other
    if found.stars.size < FEW_STARS and config.sample_autoselect and not found.n_spots:
        return _judge_few(found, candidates, config, shape, n_most)
    locus = found.locus
    if locus is None or found.n_spots:
        return found
    if not locus.is_certain and (locus.is_broad or found.share < ONE_SIZE):
        # It may be a hump of galaxies: stars are fewer then, and smaller than all of them.
        other = _judge_few(found, candidates, config, shape, n_most)
        if other.fwhm < found.fwhm and not other.chance and other.stars.size >= MIN_MEMBERS:
            return other
    among = config.sample_autoselect and found.share < NEARLY_ALL
    if among and spread_of(candidates, found.stars) > ELLIPTICITY:
        found = replace(found, chance=_doubt_of_size(found, candidates, config, shape))
    return found


def _doubt_of_size(
    found: Selection, c: Candidates, config: Characterize, shape: tuple[int, int]
) -> str:
    """Tell that sources of the size of the stars may be a hump of galaxies; empty if they crowd."""
    rows, ridge = bright_of(c, config), (math.log10(found.fwhm), 0.0)
    rows = rows[(c.ellipticity[rows] <= config.sample_maxellip) & (c.fwhm[rows] >= UNDERSAMPLED)]
    rows = np.union1d(rows[crowd_of(c, rows, ridge) < UNDISTURBED], found.stars)
    u, v = field_of(c.x[rows], c.y[rows], shape)
    is_star = np.isin(rows, found.stars)
    away = departures(np.log10(c.fwhm[rows]), 0.4343 / c.snr[rows], u, v, is_star, 2)
    fwhm = c.fwhm.copy()
    fwhm[rows] = 10.0 ** (ridge[0] + away)
    return doubt_of_size(replace(c, fwhm=fwhm), rows, ridge[0])


def _of_varying_size(
    found: Selection, c: Candidates, config: Characterize, shape: tuple[int, int], n_most: int
) -> Selection | None:
    """Return the stars if their sizes are one but for what varies over the field; None if not."""
    few = found.n_bright < MIN_VARYING
    broad = found.locus is not None and found.locus.is_broad
    asked = found.share < ONE_SIZE or (few and (broad or found.share < MOST_ALIKE))
    alike = of_one_size(c, config, shape) if asked else None
    if alike is None:
        return None
    other = _select(alike, config, shape, n_most)
    # Of galaxies there are as many smaller and larger ones beside any size.
    is_locus = other.locus is not None and other.locus.is_compact and other.locus.is_alone
    least = NEARLY_ALL if few else max(MORE_ALIKE * found.share, ONE_SIZE)
    if is_locus and other.share > least and other.stars.size > MORE_STARS * found.stars.size:
        return replace(other, fwhm=median(c.fwhm[other.stars]))
    return None


def _judge_few(
    found: Selection, c: Candidates, config: Characterize, shape: tuple[int, int], n_most: int
) -> Selection:
    """Return few stars with the doubt that they are none, or those of the smallest size.

    Sources of undersampled and of trailed images are not judged.
    """
    bright = bright_of(c, config)
    rows = bright[(c.ellipticity[bright] <= config.sample_maxellip)]
    if 2 * rows.size < bright.size or (found.stars.size and found.fwhm < JUDGED):
        return found
    rows = rows[c.fwhm[rows] >= UNDERSAMPLED]
    chosen = math.log10(found.fwhm) if found.stars.size else math.nan
    size = chosen if found.stars.size else median(np.log10(c.fwhm[rows]))
    rows = rows[crowd_of(c, rows, (size, 0.0)) < UNDISTURBED]
    few = judge_few(c, rows, chosen)
    if 10.0**few.size >= JUDGED:
        smaller = _select(c, config, shape, n_most, (few.size, WIDTH_FEW))
        if smaller.stars.size >= MIN_MEMBERS:
            few = judge_few(c, rows, math.log10(smaller.fwhm))
            found = smaller
    return replace(found, chance=few.doubt)


def _select(
    candidates: Candidates,
    config: Characterize,
    shape: tuple[int, int],
    n_most: int,
    smallest: tuple[float, float] | None = None,
) -> Selection:
    """Return the stars whose sizes are about one, be it that of a ridge of the smallest sources."""
    c = candidates
    bright = bright_of(c, config)
    nothing = Selection(np.zeros(0, dtype=np.int64), float("nan"), bright.size)
    if bright.size < 2:
        return nothing
    size = np.log10(c.fwhm)
    rows, ridges, elongation = ridges_of(c, bright, config)
    if smallest is not None:
        ridges = [smallest]
    if not ridges:
        return nothing
    ridge = ridges[0]
    crowd = crowd_of(c, rows, ridge)
    locus, smaller, n_spots = None, 0.0, 0
    # Neighbours scatter sizes, too: in a crowd only what is smaller is judged.
    alone = crowd < UNDISTURBED
    judged = config.sample_autoselect and elongation == 0.0 and 10.0 ** ridge[0] >= JUDGED
    if judged and alone.sum() > MIN_UNDISTURBED * rows.size:
        chosen, locus = _locus_of(c, rows[alone], ridge, shape, smallest is None)
        if chosen != ridge:
            ridge, crowd = chosen, crowd_of(c, rows, chosen)
    elif judged:
        smaller = locus_at(c, rows, ridge, shape, UNDERSAMPLED).smaller_share
    if config.sample_autoselect and elongation == 0.0:
        wide = wider_locus(c, rows[alone], ridge, ridges, shape)
        if wide is not None:
            n_spots = int(np.count_nonzero(size[rows] < wide[0] - wide[1] - 0.8686 / c.snr[rows]))
            ridge, crowd = wide, crowd_of(c, rows, wide)
            locus, smaller, judged = None, 0.0, False
    centre, width = ridge
    fwhm = 10.0**centre
    phase = PHASE_SIZE if fwhm < UNDERSAMPLED else 0.0
    alike = rows[np.abs(size[rows] - centre) < width + phase + 0.8686 / c.snr[rows]]
    share = alike.size / bright.size

    member = np.abs(size[rows] - centre) < width
    isolated = crowd < 0.02
    for limit in (0.05, 0.1, 0.2, 0.4):
        if (isolated & member).sum() >= 40:
            break
        isolated = crowd < limit
    rows = rows[isolated]
    if rows.size:
        limits = (config.sample_variability, shape, elongation > config.sample_maxellip)
        near = rows[_on_locus(c, rows, ridge, *limits, WIDEST)]
        # Beside a locus are galaxies, unless the brighter stars are the wider.
        is_edge = smallest is not None and locus is not None and locus.is_broad
        among = is_edge or (locus is not None and locus.is_among_others)
        if among and not widening(c.flux[near], c.fwhm[near]):
            near = rows[_on_locus(c, rows, ridge, *limits, INTRINSIC)]
        rows = near
    if rows.size == 0:
        return nothing
    rows = rows[_evenly(c.x[rows], c.y[rows], c.snr[rows], shape)][:n_most]
    widened = 0.0
    if locus is not None and not locus.is_alone:
        as_round = bright[c.ellipticity[bright] < ROUND]
        widened = widening(c.flux[as_round], c.fwhm[as_round], TIGHT)
    typical = float(10.0 ** median(size[rows]))
    sizes = _sizes_beside(c, bright, rows) if judged else None
    return Selection(rows, typical, bright.size, share, locus, widened, sizes, smaller, n_spots)


def _sizes_beside(c: Candidates, bright: I8, stars: I8) -> Sizes:
    """Return the sizes of the stars, and of other bright, isolated sources."""
    as_round = c.ellipticity < median(c.ellipticity[stars]) + ROUND
    rows = bright[c.snr[bright] >= BRIGHT_TRAIL]
    ridge = (median(np.log10(c.fwhm[stars])), 0.0)
    rows = distinct(np.concatenate([rows[crowd_of(c, rows, ridge) < UNDISTURBED], stars]))
    error, is_star = 0.4343 / c.snr[rows], np.isin(rows, stars)
    size = np.log10(c.fwhm[rows])
    is_round = as_round[rows] | is_star
    return Sizes(c.x[rows], c.y[rows], size, error, c.angle[rows], is_star, is_round)


def _locus_of(
    c: Candidates, rows: I8, ridge: tuple[float, float], shape: tuple[int, int], is_free: bool
) -> tuple[tuple[float, float], Locus]:
    """Return a ridge that is a locus of stars, and what is beside it; the given one if none is.

    Another one is looked for where `is_free`.
    """
    first = locus_at(c, rows, ridge, shape, UNDERSAMPLED)
    if first.is_compact or not is_free:
        return ridge, first
    for other in find_ridges(np.log10(c.fwhm[rows]), c.snr[rows], N_RIDGES):
        locus = locus_at(c, rows, other, shape, UNDERSAMPLED)
        if locus.inside > FEW and locus.is_compact:
            return other, locus
    return ridge, first


def _on_locus(
    c: Candidates,
    rows: I8,
    ridge: tuple[float, float],
    variability: float,
    shape: tuple[int, int],
    elongated: bool,
    widest: float,
) -> Bools:
    """Clip candidates about a smooth surface of log size over the field."""
    centre, width = ridge
    size = np.log10(c.fwhm[rows])
    u, v = field_of(c.x[rows], c.y[rows], shape)
    error = 0.4343 / c.snr[rows]
    span = math.log10(1.0 + variability)
    phase = PHASE_SIZE if 10.0**centre < UNDERSAMPLED else 0.0
    shape_phase = PHASE_SHAPE if phase else 0.0
    keep: Bools = np.abs(size - centre) < width + phase + 2.0 * error
    for turn in range(TURNS):
        n = int(keep.sum())
        if n < 2:
            break
        residual = departures(size, error, u, v, keep, turn)
        scatter = robust_sigma(residual[keep])
        limit = 2.5 * np.hypot(np.clip(scatter, 0.003, widest), error) + phase
        fresh: Bools = np.abs(residual) < limit
        # The variation that is allowed is that of the surface, from its smallest to its largest.
        surface = size - residual
        middle = 0.5 * (surface[keep].min() + surface[keep].max())
        fresh &= np.abs(surface - middle) < max(span, width) + phase
        for quantity, both_ways in (
            (c.broadening[rows], False),
            (c.ellipticity[rows], elongated),
        ):
            typical = median(quantity[keep])
            spread = MAD_TO_SIGMA * median(np.abs(quantity[keep] - typical))
            above = np.abs(quantity - typical) if both_ways else quantity - typical
            fresh &= above < shape_phase + 4.0 * np.hypot(max(spread, 0.01), 4.0 / c.snr[rows])
        if turn > 1 and (fresh == keep).all():
            break
        keep = fresh
    return keep


def _evenly(x: F8, y: F8, snr: F8, shape: tuple[int, int]) -> I8:
    """Order by S/N so that every part of the field gets its share of the first ones."""
    cell = np.minimum((4 * y / shape[0]).astype(int), 3) * 4
    cell += np.minimum((4 * x / shape[1]).astype(int), 3)
    order = np.lexsort((-snr, cell))
    ordered = cell[order]
    starts = np.searchsorted(ordered, ordered)
    rank = np.empty(x.size, dtype=np.int64)
    rank[order] = np.arange(x.size) - starts
    return np.lexsort((-snr, rank))
