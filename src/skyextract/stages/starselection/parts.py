"""Parts of the field whose stars have a size of their own, which the PSF does not follow.

Chips of other focus in one mosaic, exposures of other seeing in one stack, stars that are trailed
while a part of the frame is read: sizes jump at an edge, where a PSF varies smoothly.  There the
sizes of stars depart together from the surface that the PSF stars make, far more than their noise,
and they crowd at one departure, as galaxies do not.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, I8, Bools
from skyextract.datamodel.noise import median
from skyextract.datamodel.psf import Psf
from skyextract.datamodel.unfollowed import Unfollowed
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.record import record
from skyextract.stages.chance import log_choices
from skyextract.stages.starselection.locus import BRIGHT, departures, departures_from, field_of
from skyextract.stages.starselection.modelsizes import ModelSizes
from skyextract.stages.starselection.patches import alike_among_neighbours, alike_in_bands
from skyextract.stages.starselection.rectangles import Edges, rectangles, rectangles_and_strips
from skyextract.stages.starselection.together import FEW, of_that_size, part_of_few

MIN_STARS = 8
"""That a part is judged by, at least, where they need not be alike."""

OTHER = 0.01
"""Departure of log10 sizes, so large that fluxes are 2 % off."""

SURE = 5.0
"""The same in units of the error of a median."""

FOCUS = "have a focus or seeing of their own"

CLEAR = 0.4343 / BRIGHT
"""Error of a log10 size up to which a source that is no PSF star tells of its part for itself."""

TERMS = (1, 3, 6)
"""Of a constant, a plane and a parabola."""

ALIKE = 0.02
"""Scatter of the log10 sizes of a part that is one of stars, at most."""

GALAXY, HALO, BRIGHTER = 0.3, 8.0, 3.0
"""Log10 by which a galaxy is wider than stars, at least, and its FWHM within which its light
widens sources whose S/N is so many times smaller."""
MOST_PAIRS = 1_000_000
"""Of galaxies and sources that are looked at at once."""

MIN_OTHERS, FOLLOWED, OFF = 4, 0.25, 2.0
"""Stars that were left out, at least, what a parabola over the field may leave of the scatter of
all sizes, and their departure from the PSF in units of what it leaves."""

MIN_TRAILS, BY_CHANCE, ALIGNED = 4, 1e-4, 0.8
"""Sources in one direction, at least, the probability of that, also together with that of so many
being in the part, at most, and the length of the mean of their directions, at least: trails are
parallel, ..."""

MAX_OTHER = 0.2
"""... and this share of what is elongated there may be galaxies and blends."""


@record
class Sizes:
    """Sizes of the PSF stars, and of other bright, isolated sources.

    Attributes
    ----------
    x, y : (n,) float64
        Pixels.
    size, error : (n,) float64
        Log10 of the FWHM in pixels, and its error.
    angle : (n,) float64
        Direction of the major axis, radians.
    is_star : (n,) bool
        PSF stars.
    is_round : (n,) bool
        Sources that are about as round as these.
    """

    x: F8
    y: F8
    size: F8
    error: F8
    angle: F8
    is_star: Bools
    is_round: Bools

    def take(self, rows: Bools) -> Sizes:
        """Return the sizes of some of the sources."""
        names = ("x", "y", "size", "error", "angle", "is_star", "is_round")
        return Sizes(*(getattr(self, name)[rows] for name in names))


def doubt_of_parts(
    sizes: Sizes | None, psf: Psf, shape: tuple[int, int]
) -> tuple[str, Unfollowed | None]:
    """Tell which part of the frame has stars that are not those of the PSF; empty if none has.

    Parameters
    ----------
    sizes : Sizes or None
    psf : Psf
        Made of the PSF stars.
    shape : (int, int)
        Of the image.

    Returns
    -------
    str, Unfollowed or None
        The doubt, and the part if it is one.
    """
    if sizes is None:
        return "", None
    model = ModelSizes(psf, shape)
    every = sizes.take(sizes.is_round)
    sizes = sizes.take(sizes.is_star | (sizes.error <= CLEAR) | ~sizes.is_round)
    of_round = sizes.take(sizes.is_round & ~_within_galaxies(sizes))
    every = every.take(~_within_galaxies(every))
    part = _part_unlike(of_round, model, shape)
    if part is not None:
        return _told(part, FOCUS, shape), _of_focus(part, every, model)
    message, bands = _in_bands(every, model, shape)
    if message:
        return message, bands
    message = _told_of_patches(_alike_in_patches(of_round, model, shape))
    message = message or _told_of_left_out(of_round, model, shape)
    if message:
        return message, None
    part = _part_of_few(every, model, shape)
    if part is not None:
        return _told(part, FOCUS, shape), _of_focus(part, every, model)
    part = None if sizes.is_round.all() else _part_of_one_direction(sizes, model, shape)
    if part is None:
        return "", None
    is_trail = np.isin(np.arange(sizes.x.size), part.rows)
    return _told(part, "have trailed stars", shape), Unfollowed(sizes.x, sizes.y, is_trail)


def doubt_of_bands(
    sizes: Sizes | None, psf: Psf, shape: tuple[int, int]
) -> tuple[str, Unfollowed | None]:
    """Tell of sizes that change along one axis only, which the PSF does not follow, as above."""
    if sizes is None or not sizes.is_star.any():
        return "", None
    every = sizes.take(sizes.is_round & ~_within_galaxies(sizes))
    return _in_bands(every, ModelSizes(psf, shape), shape)


def _in_bands(
    sizes: Sizes, model: ModelSizes, shape: tuple[int, int]
) -> tuple[str, Unfollowed | None]:
    rest = _from_surface(sizes, *field_of(sizes.x, sizes.y, shape))
    return alike_in_bands(_from_psf(sizes, model), rest, sizes.x, sizes.y)


def _of_focus(part: _Part, sizes: Sizes, model: ModelSizes) -> Unfollowed:
    """Return all that is of another focus or seeing, wherever it is."""
    away = _from_psf(sizes, model)
    is_unlike = of_that_size(away, part.departure, sizes.x, sizes.y)
    return Unfollowed(sizes.x, sizes.y, is_unlike & ~sizes.is_star)


def _from_psf(sizes: Sizes, model: ModelSizes) -> F8:
    """Return log10 of the sizes less those of the PSF there, 0 for most of the PSF stars."""
    away = sizes.size - model.at(sizes.x, sizes.y)
    return away - median(away[sizes.is_star])


def _part_of_few(sizes: Sizes, model: ModelSizes, shape: tuple[int, int]) -> _Part | None:
    """Return the part whose few stars are alike and have another size; None if there is none."""
    if np.count_nonzero(~sizes.is_star) < FEW or not sizes.is_star.any():
        return None
    u, v = field_of(sizes.x, sizes.y, shape)
    away = _from_psf(sizes, model)
    found = part_of_few(away, sizes.error, sizes.is_star, u, v)
    return found and _Part(*found[:2], median(away[found[2]]), math.inf, found[2])


def _part_unlike(sizes: Sizes, model: ModelSizes, shape: tuple[int, int]) -> _Part | None:
    """Return the part of the frame that departs most clearly; None if none does."""
    if sizes.x.size < MIN_STARS:
        return None
    u, v = field_of(sizes.x, sizes.y, shape)
    # A surface through the sizes of the stars takes no time; the PSF is looked at if it must be.
    if _worst(_from_surface(sizes, u, v), sizes.error, u, v) is None:
        return None
    away = _from_psf(sizes, model)
    return _worst(away, sizes.error, u, v)


def _told_of_patches(alike: float) -> str:
    """Tell of log10 sizes that neighbours have alike; empty if they have not."""
    message = ""
    if alike:
        message = (
            f"sizes of stars differ from those of the PSF by {100.0 * (10.0**alike - 1.0):.1f} % "
            "(rms), alike among neighbours: parts of the frame have a focus or seeing of their own "
            "(a mosaic of exposures?), which the PSF does not follow"
        )
    return message


def _alike_in_patches(sizes: Sizes, model: ModelSizes, shape: tuple[int, int]) -> float:
    """Return by how much log10 sizes differ from the PSF in patches, rms; 0 if they do not."""
    u, v = field_of(sizes.x, sizes.y, shape)
    if sizes.x.size < MIN_STARS or not (
        alike_among_neighbours(_from_surface(sizes, u, v), sizes.x, sizes.y) > OTHER
    ):
        return 0.0
    away = sizes.size - model.at(sizes.x, sizes.y)
    alike = alike_among_neighbours(away, sizes.x, sizes.y)
    return alike if alike > OTHER else 0.0


def _told_of_left_out(sizes: Sizes, model: ModelSizes, shape: tuple[int, int]) -> str:
    """Tell that sizes vary smoothly over the frame by more than that of the PSF; else empty.

    A parabola goes through the sizes of stars, those that were left out as too wide or narrow,
    too: not through those of galaxies.
    """
    others, n = ~sizes.is_star, sizes.x.size
    n_terms = TERMS[-1]
    if n < MIN_STARS + n_terms or np.count_nonzero(others) < MIN_OTHERS:
        return ""
    away = _from_psf(sizes, model)
    off = median(away[others])
    u, v = field_of(sizes.x, sizes.y, shape)
    terms = np.stack([np.ones(n), u, v, u * u, u * v, v * v], axis=1)
    rest = departures_from(terms, sizes.size, sizes.error, np.ones(n, np.bool_))
    left = math.sqrt(float(np.sum(rest**2)) / (n - n_terms))
    message = ""
    if abs(off) > max(OFF * left, ALIKE) and left < FOLLOWED * float(sizes.size.std()):
        message = (
            f"sizes of stars vary over the frame, and {np.count_nonzero(others)} of {n}, "
            f"{abs(10.0**off - 1.0):.0%} {'wider' if off > 0.0 else 'narrower'} than the PSF "
            "there, are not among the PSF stars: it does not follow them"
        )
    return message


def _within_galaxies(sizes: Sizes) -> Bools:
    """Tell which sources are upon the light of a bright galaxy: its slope makes them wider."""
    typical = median(sizes.size[sizes.is_star]) if sizes.is_star.any() else np.inf
    within = np.zeros(sizes.x.size, dtype=np.bool_)
    galaxies = np.flatnonzero(sizes.size > typical + GALAXY)
    for some in np.array_split(galaxies, -(-galaxies.size * within.size // MOST_PAIRS) or 1):
        x, y, size, error = (v[some, None] for v in (sizes.x, sizes.y, sizes.size, sizes.error))
        near = (sizes.x - x) ** 2 + (sizes.y - y) ** 2 < (HALO * 10.0**size) ** 2
        within |= (near & (sizes.error > BRIGHTER * error)).any(axis=0)
    return within


def _told(part: _Part, cause: str, shape: tuple[int, int]) -> str:
    """Tell of a part of the frame."""
    wider = 10.0**part.departure - 1.0
    x, y = (
        [round(0.5 + n * edge) for edge in edges]
        for n, edges in zip(shape[::-1], (part.across, part.along), strict=True)
    )
    return (
        f"stars in x {x[0]} to {x[1]}, y {y[0]} to {y[1]} are "
        f"{100 * abs(wider):.1f} % {'wider' if wider > 0.0 else 'narrower'} than the PSF there: "
        f"parts of the frame {cause}, which the PSF does not follow"
    )


def _from_surface(sizes: Sizes, u: F8, v: F8) -> F8:
    """Return log10 of the sizes less the simplest surface that those of the stars ask for.

    In a corner without PSF stars a parabola through the few of a crowd, whose sizes neighbours
    scatter, is anything: a plane or a constant does unless what a parabola takes off the squares
    is more than its terms must (Schwarz 1978, Ann. Stat. 6, 461).
    """
    is_star = sizes.is_star
    n = int(is_star.sum())
    weight = 1.0 / np.hypot(sizes.error[is_star], OTHER)
    best, least = sizes.size, math.inf
    for turn, n_terms in enumerate(TERMS):
        away = departures(sizes.size, sizes.error, u, v, is_star, turn)
        squares = float(((weight * away[is_star]) ** 2).sum())
        cost = n * math.log(max(squares, 1e-30)) + n_terms * math.log(max(n, 1))
        if cost < least:
            best, least = away, cost
    return best


@record
class _Part:
    """The part of each axis that a rectangle is, from 0 to 1, and how sizes depart there."""

    across: Edges
    along: Edges
    departure: float
    ratio: float
    rows: I8


def _worst(away: F8, error: F8, u: F8, v: F8) -> _Part | None:
    """Return the part whose sizes depart most clearly; None if none departs by much."""
    worst = None
    for across, along, inside in rectangles(u, v):
        departure, ratio = _departure(away[inside], error[inside])
        if ratio > (worst.ratio if worst else SURE):
            worst = _Part(across, along, departure, ratio, np.flatnonzero(inside))
    return worst


def _part_of_one_direction(sizes: Sizes, model: ModelSizes, shape: tuple[int, int]) -> _Part | None:
    """Return the part most of whose sources are elongated in one direction; None if none is.

    Galaxies have no direction, and trails that become longer from row to row are of no one size.
    """
    u, v = field_of(sizes.x, sizes.y, shape)
    least, best = (math.log(BY_CHANCE), 0.0), None
    longish, n = np.flatnonzero(~sizes.is_round), sizes.x.size
    if longish.size < MIN_TRAILS:
        return None
    parts = list(rectangles_and_strips(u, v))
    for across, along, inside in parts:
        rows, n_inside = longish[inside[longish]], int(np.count_nonzero(inside))
        if rows.size < MIN_TRAILS or 2 * rows.size <= n_inside:
            continue
        # of galaxies some are aligned in one of many parts, and as many are elongated elsewhere
        place = log_choices(longish.size, rows.size)
        place += log_choices(n - longish.size, n_inside - rows.size)
        place += math.log(len(parts)) - log_choices(n, n_inside)
        alignment = _chance_of_alignment(sizes.angle[rows])
        if place + alignment > math.log(BY_CHANCE):
            continue
        area = (across[1] - across[0]) * (along[1] - along[0])
        found = alignment, area  # the smallest with the same trails
        if found < least:
            least, best = found, (across, along, rows)
    if best is None:
        return None
    across, along, rows = best
    away = sizes.size - model.at(sizes.x, sizes.y)
    return _Part(across, along, median(away[rows]) - median(away[sizes.is_star]), -least[0], rows)


def _chance_of_alignment(angle: F8) -> float:
    """Return ln of the probability that most of some directions are as near to each other."""
    n, least = angle.size, 0.0
    for n_other in range(int(MAX_OTHER * n) + 1):
        if abs(np.exp(2.0j * angle).mean()) >= ALIGNED:
            ways = math.log(math.comb(n, n_other))
            least = min(least, ways + _chance_of_directions(angle))
        away = np.angle(np.exp(2.0j * angle) / np.exp(2.0j * angle).mean())
        angle = np.delete(angle, np.argmax(np.abs(away)))
    return least


def _chance_of_directions(angle: F8) -> float:
    """Return ln of the probability that directions, which are anyhow, are as near to their mean.

    Of n of them twice the angles from the mean have n - 1 degrees of freedom: the volume of the
    ball of their squares over that of all.
    """
    n = angle.size
    length = min(abs(np.exp(2.0j * angle).mean()), 1.0 - 1e-9)
    radius = math.sqrt(2.0 * n * (1.0 - length))
    ball = 0.5 * (n - 1) * math.log(math.pi) - math.lgamma(0.5 * (n + 1))
    return ball + (n - 1) * math.log(radius / (2.0 * math.pi)) + 0.5 * math.log(n)


def _departure(away: F8, error: F8) -> tuple[float, float]:
    """Return the median of departures, and its ratio to its error; 0 if small or not of stars."""
    if away.size < MIN_STARS:
        return 0.0, 0.0
    middle = median(away)
    if abs(middle) <= OTHER:
        return 0.0, 0.0
    noise = median(error)
    scatter = MAD_TO_SIGMA * median(np.abs(away - middle))
    if scatter > math.hypot(ALIKE, noise):
        return 0.0, 0.0
    # The median of normal numbers is 1.25 times as uncertain as their mean.
    return middle, abs(middle) / (1.25 * math.hypot(scatter, noise) / math.sqrt(away.size))
