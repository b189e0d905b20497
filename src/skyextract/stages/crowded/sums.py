"""Rows of a crowd that are the sum of several stars, which are too close to be told apart.

They have the light of stars, but of none that there is.  Their images are broader than the PSF, by
about as much as noise makes them; so the crowd about them tells as well: the odds of a sum against
a star are as the square of the density of stars that matter, because what is less than half of a
sum in a dense core is two others or more, times the likelihood of the width.

Of what stays a row the width tells how much of its light is that of fainter stars, and so does the
density: of stars that lie anywhere some come too close to tell, however narrow their sum is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F8, Bools
from skyextract.datamodel.noise import median
from skyextract.stages.detection.noise import scale_at
from skyextract.stages.pointsources.fit import spread_models
from skyextract.stages.pointsources.pairs import pairs_within
from skyextract.stages.pointsources.sweeps import point_fit

if TYPE_CHECKING:
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run
    from skyextract.stages.crowded.hidden import Hidden
    from skyextract.stages.crowded.rest import LeastFlux

FAINT = 3.0
"""Sources of less than so many times the least flux may be the sum of several that are..."""
BROAD = (1.3, 3.0)
"""... if SPREAD_MODEL, in its errors, is above the first number at the least flux, and above so
much more at e times that, ...
"""
LONELY, SOME_DOUBT, OF_STARS = 0.1, 0.15, 1.0
"""... unless there are more stars per FWHM^2 about them than the first number, the odds below are
no higher than the second, and SPREAD_MODEL of all is, in its errors, at most the third, as it is
not in a nebula: three of four of such rows are stars of a crowd."""
AROUND = 6.0
"""Radius, in FWHM, within which the sources tell how crowded it is: ..."""
MOST = 4.0
"""... each counts as its flux over that of the row, but as so many at most."""
SUM = (0.012, 0.007)
"""SPREAD_MODEL of two equal stars about half a FWHM apart, and by how much that of sums and of
stars with faint companions scatters."""
OF_FAINTER = 0.4
"""Share of the light that is not the brightest's in a sum as wide as SUM tells: nearly half. Of
simulated crowds of 20 to 40 stars per 100 FWHM^2 it is the slope of what stars lack."""
BESIDE = (0.5, 0.2)
"""Share of the light that is that of stars which are by chance too close to be told apart, per star
that matters in a FWHM^2, above the second number: less than that is in the sky.  (Where numbers
rise as F^-0.6 fainter stars within half a FWHM have a third as much light as stars that matter,
and those that are seen are the ones with more.  In simulated cores of clusters it is .1 at .3 and
.3 at .8.)"""
DOUBTFUL = 0.45
"""Odds above which a row is a sum, with the density in sources per FWHM^2: of such rows of
simulated cores of clusters a quarter is none of the true stars even without the light of fainter
ones, of those below, down to 0.3, a seventh."""
BRIGHT = 16.0
"""Sources of more than so many times the least flux are not looked at: few of them are sums."""
MIN_SPREADS = 30
"""Of fewer sources SPREAD_MODEL does not tell what it usually is."""


def sums_of_stars(
    exposure: Exposure, hidden: Hidden, n_detected: int, least: LeastFlux, run: Run
) -> tuple[Bools, Bools, F8]:
    """Tell which added sources are too broad for one star: several that are not told apart.

    Faint ones are noise as likely as stars, and are not fitted on.  What is left of the others is
    light: their fits describe it best, but none of the stars has its flux and place.  Those that
    are no broader than chance makes stars have a part of such light, too.

    Parameters
    ----------
    exposure : Exposure
    hidden : Hidden
        All sources, those of the detections first.
    n_detected : int
        So many, the first ones, are taken as stars.
    least : LeastFlux
        Of sources that are significant.
    run : Run

    Returns
    -------
    faint, bright : (n,) bool
        Per source of `hidden`.
    fainter : (n, 2) float64
        Share of the light of each that is that of fainter stars, by its width and by how dense
        the stars about it are.
    """
    flux = hidden.flux
    faint, bright = np.zeros((2, flux.size), np.bool_)
    fainter = np.zeros((flux.size, 2))
    density = _density(hidden)
    fainter[n_detected:, 1] = BESIDE[0] * np.maximum(density[n_detected:] - BESIDE[1], 0.0)
    ratio = flux / least.at(hidden.x, hidden.y)
    rows = np.flatnonzero(ratio < BRIGHT)
    rows = rows[rows >= n_detected]
    ratio, density, sources = ratio[rows], density[rows], hidden.sources.take(rows)
    fit = point_fit(
        hidden.plane.subtracted, hidden.plane.variance_plane(run), exposure.detector.gain,
        exposure.mask, hidden.psf, sources, hidden.models,
    )  # fmt: skip
    spread, error = spread_models(fit, sources, run)
    # Of correlated noise; these errors are those of independent pixels.
    error = error * scale_at(least.scale, least.shape, hidden.x[rows], hidden.y[rows])
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        own = spread - _usual(spread)
        odds = density**2 * _likelihood(own, error)
        breadth = spread / error
        broad = (ratio < FAINT) & (breadth > BROAD[0] + BROAD[1] * np.log(ratio))
        if median(breadth[np.isfinite(breadth)]) <= OF_STARS:
            broad &= (density < LONELY) | (odds > SOME_DOUBT)
    faint[rows[broad]] = True
    bright[rows[(odds > DOUBTFUL) & ~broad]] = True
    fainter[rows, 0] = share_of_fainter(own, error)
    return faint, bright, fainter


def _density(hidden: Hidden) -> F8:
    """Return how many stars that matter there are per FWHM^2 about each source."""
    flux = hidden.flux
    first, second = pairs_within(hidden.x, hidden.y, AROUND * hidden.psf.fwhm)
    own, other = np.concatenate([first, second]), np.concatenate([second, first])
    share = np.minimum(flux[other], MOST * flux[own]) / np.maximum(flux[own], 1e-30)
    # Half a star more, as where none is it is not certain that there is none.
    number = 0.5 + np.bincount(own, np.maximum(share, 0.0), minlength=flux.size)
    density: F8 = np.asarray(number / (math.pi * AROUND**2), np.float64)
    return density


def _usual(spread: F8) -> float:
    """Return what all sources have of SPREAD_MODEL: that is the PSF's."""
    usual = float(np.median(spread)) if spread.size >= MIN_SPREADS else 0.0
    return max(usual, 0.0) if np.isfinite(usual) else 0.0


def _likelihood(spread: F8, error: F8) -> F8:
    """Return the likelihood of SPREAD_MODEL for a sum of stars over that for one star."""
    likelihood: F8 = np.exp((spread - SUM[0] / 2.0) * SUM[0] / (error**2 + SUM[1] ** 2))
    return likelihood


def share_of_fainter(spread: F8, error: F8) -> F8:
    """Return which share of the light of rows is that of fainter stars, by SPREAD_MODEL.

    That scatters as SUM among the sources of a crowd: what noise adds is taken off, on average.

    Parameters
    ----------
    spread, error : (n,) float64
        Without what all sources have; NaN where there is no fit.
    """
    likely = np.maximum(spread, 0.0) / (1.0 + (error / SUM[1]) ** 2)
    share: F8 = np.minimum(OF_FAINTER / SUM[0] * np.nan_to_num(likely), 0.5)
    return share
