"""The degree to which a PSF varies over the field, by stars that its model does not know.

M. Stone 1974, J. R. Stat. Soc. B 36, 111: a term is worth its noise where stars that had no part
in the model are nearer to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from skyextract.datamodel.arrays import F8, Bools
from skyextract.datamodel.noise import median, quantiles
from skyextract.datamodel.psf import polynomial_terms
from skyextract.errors import StepError
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.stages.psf.fitted import PsfFit, Variation, bright_misfit
from skyextract.stages.psf.model import affordable_degree

DOUBT = 1.5
"""Median chi2 of the brightest quarter of the stars over that of the fainter half, from which it
is in question whether the PSF varies with the place."""

STRUCTURE = 5.0
"""F of the sizes of the stars from which a higher degree is in question: by chance very rare."""

USUAL, HIGHER = 2, 4
"""What stars are fitted with first, and what is tried next.  Of widths that grow with the distance
from the axis the terms of even degree have the most."""

WIDELY = 0.1
"""Range of log10 of the sizes over the field from which they may be those of one profile."""

SIZE_ERROR = 0.003
"""Scatter of the log10 sizes of stars without noise."""

MOST_KEPT = 0.95
"""Stars that another model keeps, at least, in units of those that the first does."""

CLIPPINGS, CLIP = 3, 4.0
"""Stars whose sizes are more sigma from a parabola have no say, in so many turns."""

LEFT_OUT = 3
"""One of so many stars has no part in the model."""

OUTWARD, FARTHER = 2.0, 0.75
"""Stars that a model rejects are farther from the middle of the field than the others by as many
sigma of their ranks, and in as many of the pairs of one of each, from which they may be those that
tell how it varies there.  Of many that are rejected for their neighbours chance makes the first."""

WORTH, SURE, SURE_OF_PROFILE = 0.03, 3.0, 1.5
"""By how much, and how many of its errors, the mean logarithm of chi2 falls for a higher degree, or
for one profile of local width, which has the freedom of its forms more."""

SURE_OUTWARD = 1.0
"""The same for one profile where the stars that were rejected, or the sizes, say so, too."""

FOLLOWED, DOUBTFUL, WORSE = 0.9, 2.0, 2.0
"""Slope of the sizes of stars over those of the model where they stand, below which by so many of
its errors the structure of the sky varies and not the PSF; a constant PSF is taken unless stars
that are left out are farther from it by as many errors."""

VARIES = 0.005
"""Scatter of log10 of the sizes of the model from which that matters: 1 % of the fluxes."""

SURE_AT_ONCE = 3.0
"""The same where not all groups of stars have been left out yet."""


def with_best_degree(
    fit: PsfFit, sizes: F8, build: Callable[[Variation, Bools | None], PsfFit], most: int
) -> PsfFit:
    """Return the fit, or one of another degree if stars that are left out say so.

    One profile of local width is tried where sizes vary much over the field, and where the stars
    that were rejected are those far out; a higher degree where the sizes of the stars follow it.
    Where bright stars fit worse than faint ones the PSF may vary with something else, as the phase
    of a resampled grid, and terms of the field follow single bright stars: none is tried.  Nor is
    one where sizes do not follow those of the model: on structure of the sky (cirrus, nebulae) its
    terms are that of single stars, and fluxes trend over the field with them.

    Parameters
    ----------
    fit : PsfFit
        Of degree `USUAL`, or less.
    sizes : (n,) float64
        Log10 of those of the stars: trials take time, and these tell whether one is worth it.
    build : callable
        Makes a fit that varies like that, without the stars of a (n,) bool or with all of them.
    most : int
        The highest degree that is allowed.
    """
    degree = fit.psf.degree
    usual = min(most, USUAL)
    order = np.argsort(np.argsort(-fit.flux, kind="stable"), kind="stable")
    groups: list[Bools] = [order % LEFT_OUT == k for k in reversed(range(LEFT_OUT))]
    few = degree < usual and structure_of(sizes, fit, usual) > STRUCTURE
    if few and (best := _of_few_stars(fit, sizes, build, most)) is not fit:
        return best
    with suppress(StepError):
        if slope_of_sizes(sizes, fit) < FOLLOWED and not _is_farther(build, fit, groups):
            return build(Variation(0), None)
    if few or degree == 0:
        return fit
    bright: Bools = fit.flux >= median(fit.flux[fit.used])
    outward = rejects_outward(fit)
    tried = [Variation(0)] if bright_misfit(fit) > DOUBT else []
    higher = affordable_degree(int(np.sum(fit.used & ~groups[0])), min(most, HIGHER))
    structured = structure_of(sizes, fit, min(most, HIGHER)) > STRUCTURE
    if higher > degree and structured:
        tried.insert(0, Variation(higher))
    if most > degree and (outward or structured or range_of_sizes(sizes, fit) > WIDELY):
        tried.insert(0, Variation(min(most, HIGHER) if outward else most, scaled=True))
    own: list[F8] = []
    with suppress(StepError):
        for other in tried:
            if other.scaled:
                # Those that were rejected may be where the model is what is wrong: few stars, of
                # which each is left out once.
                limits = (WORTH, SURE_OUTWARD if outward or structured else SURE_OF_PROFILE)
                nearer = is_nearer(build, (fit.variation, other), groups, bright, own, limits)
            else:
                limits = (WORTH, SURE) if other.degree else (0.0, 0.0)
                judged = bright & fit.used
                nearer = is_nearer(build, (fit.variation, other), groups[:1], judged, [], limits)
            if nearer:
                # The prior of a profile bears more terms than a trial has time for.
                best = build(Variation(most, scaled=True) if other.scaled else other, None)
                if best.used.sum() >= MOST_KEPT * fit.used.sum():
                    return best
    return fit


def _of_few_stars(
    fit: PsfFit, sizes: F8, build: Callable[[Variation, Bools | None], PsfFit], most: int
) -> PsfFit:
    """Return the fit, or one of a profile of local width if as few stars as there are bear it.

    None can be spared: the model has to be nearer to all of them, without it rejects no more, and
    sizes have to follow it.
    """
    with suppress(StepError):
        other = build(Variation(most, scaled=True), None)
        change = _log_chi2(other, np.ones(fit.x.size, np.bool_))
        change -= _log_chi2(fit, np.ones(fit.x.size, np.bool_))
        is_kept = other.used.sum() >= fit.used.sum() and slope_of_sizes(sizes, other) >= FOLLOWED
        if is_kept and _gain(change, WORTH, SURE_OF_PROFILE):
            return other
    return fit


def rejects_outward(fit: PsfFit) -> bool:
    """Tell whether the stars that a model has rejected are those far out.

    By the sum of their ranks: H. B. Mann & D. R. Whitney 1947, Ann. Math. Stat. 18, 50.
    """
    u, v = fit.psf.normalised(fit.x, fit.y)
    rank = np.argsort(np.argsort(np.hypot(u, v), kind="stable"), kind="stable")
    rejected = ~fit.used
    n, n_rejected = rank.size, int(rejected.sum())
    if n_rejected in (0, n):
        return False
    higher = float(rank[rejected].mean() - 0.5 * (n - 1))
    sigma = math.sqrt((n - n_rejected) * (n + 1) / (12.0 * n_rejected))
    return higher > OUTWARD * sigma and 0.5 + higher / (n - n_rejected) > FARTHER


def range_of_sizes(sizes: F8, fit: PsfFit) -> float:
    """Return how much the sizes of stars vary as a parabola over the field, log10.

    Of all stars: those that are unlike the others are left out of a fit.
    """
    rows = np.isfinite(sizes) & (fit.flux > 0.0)
    terms = polynomial_terms(
        min(fit.psf.degree, USUAL), *fit.psf.normalised(fit.x[rows], fit.y[rows])
    )
    weight = 1.0 / np.hypot(0.4343 * fit.flux_error[rows] / fit.flux[rows], SIZE_ERROR)
    solution, *_ = np.linalg.lstsq(terms * weight[:, None], sizes[rows] * weight, rcond=None)
    low, high = quantiles(terms @ solution, (0.05, 0.95))
    return high - low


def structure_of(sizes: F8, fit: PsfFit, higher: int) -> float:
    """Return F of the terms that a higher degree has more than the fit, in sizes of bright stars.

    Of those, too, that the fit rejects: they may be what it cannot follow.

    Parameters
    ----------
    sizes : (n,) float64
        Log10.
    """
    rows = _alike(sizes, fit, higher)
    u, v = fit.psf.normalised(fit.x[rows], fit.y[rows])
    weight = 1.0 / np.hypot(0.4343 * fit.flux_error[rows] / fit.flux[rows], SIZE_ERROR)
    left, n_terms = [], []
    for degree in (fit.psf.degree, higher):
        terms = polynomial_terms(degree, u, v) * weight[:, None]
        solution, *_ = np.linalg.lstsq(terms, sizes[rows] * weight, rcond=None)
        left.append(float(np.sum((sizes[rows] * weight - terms @ solution) ** 2)))
        n_terms.append(terms.shape[1])
    free = u.size - n_terms[1]
    if free < 1:
        return 0.0
    return float((left[0] - left[1]) / (n_terms[1] - n_terms[0]) / max(left[1] / free, 1e-30))


def slope_of_sizes(sizes: F8, fit: PsfFit) -> float:
    """Return the slope of sizes of stars over those of the model at their places, at most.

    By `DOUBTFUL` errors more than it is: 1 where the PSF varies, 0 where the model varies alone;
    infinite where that is as good as constant.

    Parameters
    ----------
    sizes : (n,) float64
        Log10.
    """
    rows = np.isfinite(sizes) & fit.used
    own, of_model = sizes[rows], np.log10(fit.psf.local_fwhm(fit.x[rows], fit.y[rows]))
    of_model = of_model - of_model.mean()
    power = float(of_model @ of_model)
    if not power > of_model.size * VARIES**2:
        return math.inf
    own = own - median(own)
    slope = float(of_model @ own) / power
    scatter = MAD_TO_SIGMA * median(np.abs(own - slope * of_model))
    return slope + DOUBTFUL * max(scatter, SIZE_ERROR) / math.sqrt(power)


def _is_farther(
    build: Callable[[Variation, Bools | None], PsfFit], fit: PsfFit, groups: list[Bools]
) -> bool:
    """Tell whether a constant PSF is farther from stars that are left out than the fit is."""
    change = np.concatenate([
        _log_chi2(build(Variation(0), held_out), held_out & fit.used)
        - _log_chi2(build(fit.variation, held_out), held_out & fit.used)
        for held_out in groups
    ])  # fmt: skip
    change = change[np.isfinite(change)]
    if change.size < LEFT_OUT:
        return True
    return bool(change.mean() > WORSE * change.std() / math.sqrt(change.size))


def _alike(sizes: F8, fit: PsfFit, degree: int) -> Bools:
    """Return which stars (n,) have sizes like those beside them: the others are blends."""
    rows: Bools = np.isfinite(sizes) & (fit.flux > 0.0)
    terms = polynomial_terms(degree, *fit.psf.normalised(fit.x, fit.y))
    for _ in range(CLIPPINGS):
        solution, *_ = np.linalg.lstsq(terms[rows], sizes[rows], rcond=None)
        away = np.abs(sizes - terms @ solution)
        if not rows.any():
            break
        rows = rows & (away <= CLIP * max(MAD_TO_SIGMA * median(away[rows]), SIZE_ERROR))
    return rows


def is_nearer(
    build: Callable[[Variation, Bools | None], PsfFit], variations: tuple[Variation, Variation],
    groups: list[Bools], judged: Bools, own: list[F8], limits: tuple[float, float],
) -> bool:  # fmt: skip
    """Tell whether the second of two models is nearer to stars that have no part in it.

    No more groups are left out, each of which takes the time of a model, once those so far say that
    it is (`SURE_AT_ONCE`), or that it is the farther one.

    Parameters
    ----------
    own : list
        For each group so far the logarithm of chi2 with the first model; some are added.
    limits : tuple
        As of `_gain`.
    """
    one, other = variations
    worth, sure = limits
    of_other: list[F8] = []
    for number, held_out in enumerate(groups):
        if number == len(own):
            own.append(_log_chi2(build(one, held_out), held_out & judged))
        of_other.append(_log_chi2(build(other, held_out), held_out & judged))
        change = np.concatenate(of_other) - np.concatenate(own[: number + 1])
        change = change[np.isfinite(change)]
        if number + 1 < len(groups) and change.sum() > 0.0:
            return False
        if _gain(change, worth, max(sure, SURE_AT_ONCE)):
            return True
    return _gain(change, worth, sure)


def _log_chi2(fit: PsfFit, rows: Bools) -> F8:
    """Return the logarithm of chi2 of some stars."""
    return np.log(np.maximum(fit.chi2[rows], 1e-9))


def _gain(change: F8, worth: float, sure: float) -> bool:
    """Tell by the changes of the logarithms of chi2 whether the other model is nearer."""
    if change.size < LEFT_OUT:
        return False
    return bool(change.mean() < -max(worth, sure * change.std() / np.sqrt(change.size)))
