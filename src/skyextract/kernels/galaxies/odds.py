"""The odds that a source is a point: its fit beside those of extended sources."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.cholesky import factor
from skyextract.kernels.galaxies.localpsf import LocalPsf
from skyextract.kernels.galaxies.solve import SETTLED, fit_source
from skyextract.kernels.galaxies.source import (
    DISK,
    INDEX,
    N_PARAMETERS,
    POINT,
    RADIUS,
    SKY,
    SPHEROID,
    Work,
    X,
    Y,
    choose_groups,
    draw_points,
)
from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8

SIZES = (0.2, 0.4, 0.9, 0.3)
"""Half-light radii in FWHM of the extended sources: those of galaxies, median 0.4 and a factor of
two wide; what is much smaller is not told from points, what is larger is told by 0.9 as well."""
STEEP = 3
"""The one with de Vaucouleurs' profile; the others are exponential."""
CONCLUSIVE = 200.0
"""Chi2 by which a point is worse, from which on it need not be known better."""


@helper
def odds_of_point(
    parameters: F8, limits: F8, psf: LocalPsf, faintest: float, fwhm: float,
    work: Work,
) -> tuple[float, float]:  # fmt: skip
    """Fit `work.data` as a point, and as round extended sources of given sizes.

    Place and flux are all that is fitted: a shape that follows the noise, or a faint neighbour, can
    make an extended source of any star.  Sources of sizes that are as likely before stand for all
    galaxies: the odds against a point are those against their mean.

    Parameters
    ----------
    parameters : (N_PARAMETERS,) float64
        Of the fitted model: place and flux to start from, and the sky.
    limits : (2, N_PARAMETERS) float64
    fwhm : float
        Of the PSF.

    Returns
    -------
    chi2 of the point less that of the best extended source, and the logarithm of the ratio of
    the evidences, point over extended, by Laplace's approximation and with even odds before.
    """
    wide = limits.copy()
    for first in (SPHEROID, DISK, POINT):
        wide[0, first], wide[1, first] = -math.inf, math.inf
    for first in (SPHEROID, DISK):
        wide[0, first + RADIUS], wide[1, first + RADIUS] = -math.inf, math.inf
    trial = np.zeros(N_PARAMETERS)
    free = np.array([X, Y, DISK])
    best, most, likely = math.inf, -math.inf, 0.0
    for kind in range(len(SIZES)):
        free[2] = SPHEROID if kind == STEEP else DISK
        _start(trial, parameters, free[2])
        trial[free[2] + RADIUS] = math.log(fwhm * SIZES[kind])
        trial[SPHEROID + INDEX] = math.log(4.0)
        chi2, evidence = _fit(trial, free, wide, psf, faintest, math.inf, work)
        best = min(best, chi2)
        # the sum of the evidences over the largest so far
        likely = likely * math.exp(min(most - evidence, 0.0)) + math.exp(min(evidence - most, 0.0))
        most = max(most, evidence)
    extended = most + math.log(likely / len(SIZES))
    free[2] = POINT
    _start(trial, parameters, POINT)
    chi2, point = _fit(trial, free, wide, psf, faintest, best + CONCLUSIVE, work)
    return chi2 - best, point - extended


@helper
def _start(trial: F8, parameters: F8, first: int) -> None:
    """Write a component of all the light, at the place of the model."""
    trial[:] = 0.0
    trial[X], trial[Y], trial[SKY] = parameters[X], parameters[Y], parameters[SKY]
    trial[first] = parameters[SPHEROID] + parameters[DISK] + parameters[POINT]


@helper
def _fit(
    trial: F8, free: I8, limits: F8, psf: LocalPsf, faintest: float,
    hopeless: float, work: Work,
) -> tuple[float, float]:  # fmt: skip
    """Fit three parameters; return chi2 and the logarithm of the evidence."""
    none = np.zeros((2, N_PARAMETERS))
    choose_groups(trial, free, psf, faintest, work)
    draw_points(trial, free, psf, faintest, work)
    chi2, _, _ = fit_source(trial, free, none, limits, psf, faintest, SETTLED, hopeless, work)
    evidence = -0.5 * chi2
    work.lower[:] = work.hessian[0]
    if factor(work.lower, free.size, 0.0):
        for f in range(free.size):
            evidence -= math.log(work.lower[f, f])
    return chi2, evidence
