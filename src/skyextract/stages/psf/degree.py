"""The degree to which a PSF varies over the field, by stars that its model does not know.

M. Stone 1974, J. R. Stat. Soc. B 36, 111: a term is worth its noise where stars that had no part
in the model are nearer to it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np

from skyextract.datamodel.arrays import F8, Bools
from skyextract.datamodel.psf import polynomial_terms
from skyextract.errors import StepError
from skyextract.stages.psf.model import PsfFit, Variation, affordable_degree, bright_misfit

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

LEFT_OUT = 3
"""One of so many stars has no part in the model."""

WORTH, SURE, SURE_OF_PROFILE = 0.03, 3.0, 1.5
"""By how much, and how many of its errors, the mean logarithm of chi2 falls for a higher degree, or
for one profile of local width, which has the freedom of its forms more."""


def with_best_degree(
    fit: PsfFit, sizes: F8, build: Callable[[Variation, Bools | None], PsfFit], most: int
) -> PsfFit:
    """Return the fit, or one of another degree if stars that are left out say so.

    One profile of local width, of the highest degree, is tried where sizes vary much over the
    field, and a higher degree where the sizes of the stars follow it.  Where bright stars fit worse
    than faint ones the PSF may vary with something else, as the phase of a resampled grid, and
    terms of the field follow single bright stars: none is tried.

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
    if degree == 0:
        return fit
    order = np.argsort(np.argsort(-fit.flux, kind="stable"), kind="stable")
    held_out: Bools = order % LEFT_OUT == LEFT_OUT - 1
    judged = held_out & fit.used & (fit.flux >= np.median(fit.flux[fit.used]))
    tried = [Variation(0)] if bright_misfit(fit) > DOUBT else []
    higher = affordable_degree(int(np.sum(fit.used & ~held_out)), min(most, HIGHER))
    if higher > degree and structure_of(sizes, fit, higher) > STRUCTURE:
        tried.insert(0, Variation(higher))
    if most > degree and range_of_sizes(sizes, fit) > WIDELY:
        tried.insert(0, Variation(most, scaled=True))
    own = None
    with suppress(StepError):
        for other in tried:
            own = _log_chi2(build(fit.variation, held_out), judged) if own is None else own
            worth, sure = (WORTH, SURE) if other.degree else (0.0, 0.0)
            sure = SURE_OF_PROFILE if other.scaled else sure
            if _gain(own, _log_chi2(build(other, held_out), judged), worth, sure):
                return build(other, None)
    return fit


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
    low, high = np.percentile(terms @ solution, (5.0, 95.0))
    return float(high - low)


def structure_of(sizes: F8, fit: PsfFit, higher: int) -> float:
    """Return F of the terms that a higher degree has more than the fit, in sizes of bright stars.

    Parameters
    ----------
    sizes : (n,) float64
        Log10.
    """
    rows = fit.used & np.isfinite(sizes) & (fit.flux > 0.0)
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


def _log_chi2(fit: PsfFit, judged: Bools) -> F8:
    """Return the logarithm of chi2 of the stars that are judged."""
    return np.log(np.maximum(fit.chi2[judged], 1e-9))


def _gain(of_one: F8, of_other: F8, worth: float, sure: float) -> bool:
    """Tell whether the other model is nearer to the stars."""
    change = of_other - of_one
    change = change[np.isfinite(change)]
    if change.size < LEFT_OUT:
        return False
    return bool(change.mean() < -max(worth, sure * change.std() / np.sqrt(change.size)))
