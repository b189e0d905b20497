"""Least-squares plate solutions from matched stars.

A solution is chosen among nested models by leave-one-out residuals, which are exact for
linear least squares: e / (1 - h) with the leverage h (Allen 1974, Technometrics 16, 125).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F8, Bools
from skyextract.datamodel.noise import median
from skyextract.record import record
from skyextract.sky.angles import ARCSEC
from skyextract.sky.plate import Plate, gnomonic, gnomonic_inverse
from skyextract.stages.agreement import weighted_median
from skyextract.stages.astrometry.platemodels import Model, System

_SURE = 2.0
"""Scatter is beyond the quoted errors from so many sigma on."""

MAX_BEND = 1e-4
"""Arcsec by which another tangent plane bends the positions of stars, and they are not clipped
anew."""


@record
class PlateFit:
    """A fitted plate and its residuals.

    Attributes
    ----------
    plate : Plate
    model : Model
    dx, dy : float64 (n,)
        Residuals of all stars given, detection minus reference, arcsec in xi and eta.
    held_dx, held_dy : float64 (n,)
        The same from the fit without that star; equal to dx, dy for stars not used.
    used : bool (n,)
        Stars that were not clipped.
    floor : float
        Scatter in arcsec per axis that the given errors do not explain.
    error : float
        Of the fitted plate itself, arcsec per axis: its rms over the part of the frame with stars.
    """

    plate: Plate
    model: Model
    dx: F8
    dy: F8
    held_dx: F8
    held_dy: F8
    used: Bools
    floor: float
    error: float

    def rms(self, axis: str = "", held: bool = False) -> float:
        """Per-axis rms in arcsec of the stars used; of both axes unless one is named."""
        pairs = (self.held_dx, self.held_dy) if held else (self.dx, self.dy)
        chosen = pairs if not axis else (pairs[0] if axis == "x" else pairs[1],)
        if not np.any(self.used):
            return float("nan")
        return float(np.sqrt(np.mean([np.mean(values[self.used] ** 2) for values in chosen])))


def _weights(variance: F8, floor: float) -> F8:
    total = variance + floor * floor
    return np.asarray(1.0 / np.maximum(total, 1e-12))


def _floor(squares: F8, variance: F8) -> float:
    """Return the extra scatter per axis of highest likelihood.

    `squares` are the summed squared residuals of both axes, each over its expected share
    1 - leverage.  Bright stars, whose errors are far below the floor, tell it; that the errors
    quoted for faint ones are too large does not hide it, as it would in a sum of chi2.  What may
    be the noise of the squares is no floor.
    """
    weight = 1.0 / np.maximum(variance, 1e-12) ** 2
    noise = math.sqrt(float(((weight * variance) ** 2).sum()))
    beyond = 0.5 * squares - variance
    if float(weight @ beyond) <= _SURE * noise:
        return 0.0
    extra = 0.0
    for _ in range(30):
        weight = 1.0 / np.maximum(variance + extra, 1e-12) ** 2
        found = max(float(weight @ beyond) / float(weight.sum()), 0.0)
        if abs(found - extra) <= 1e-3 * extra:
            break
        extra = found
    return math.sqrt(extra)


def _share_left(n_sigma: float) -> float:
    """Return the share of the mean square distance that clipping leaves of two normal axes."""
    half = 0.5 * n_sigma * n_sigma
    return 1.0 - half / math.expm1(half) if half < 30.0 else 1.0


def fit_plate(
    x: F8, y: F8, ra: F8, dec: F8, variance: F8, prior: Plate,
    candidates: list[Model], n_sigma: float,
) -> PlateFit | None:  # fmt: skip
    """Fit a plate to matched stars, clipped and weighted; choose the model by hold-out.

    Parameters
    ----------
    x, y : float64 (n,)
        0-based pixels.
    ra, dec : float64 (n,)
        Reference positions, deg.
    variance : float64 (n,)
        Variance of one axis from the known errors, arcsec2.
    prior : Plate
        What is expected; models of kind similarity and affine are built on it, and its
        tangent point and reference pixel are the first guess.
    candidates : list of Model
        Simplest first.
    n_sigma : float
        Stars farther off than this many robust sigmas (of one axis) are clipped.

    Returns
    -------
    PlateFit or None
        None if there are fewer stars than the simplest model needs.
    """
    everyone = np.ones(len(x), bool)
    if 2 * len(x) <= candidates[0].parameters:
        return None
    ra0, dec0 = prior.ra0, prior.dec0
    systems = [System.of(model, prior, x, y) for model in candidates]
    # The tangent point follows the centre, so that the constant term vanishes.
    for _ in range(2):
        stars = _Stars(*gnomonic(ra, dec, ra0, dec0), variance)
        fits = [_clipped(system, stars, everyone, n_sigma) for system in systems]
        chosen = fits[_choice(fits, n_sigma)]
        bends = _bends(stars, chosen.coefficients)
        ra0, dec0 = _centre(chosen.coefficients, ra0, dec0)
        if not bends:
            break
    # The stars used are settled; what remains converges by a factor of a million each time.
    for _ in range(4):
        stars = _Stars(*gnomonic(ra, dec, ra0, dec0), variance)
        chosen = _once(chosen.system, stars, chosen.used, chosen.floor, n_sigma)
        if np.hypot(*chosen.coefficients[:, 0]) * ARCSEC < 1e-7:
            break
        ra0, dec0 = _centre(chosen.coefficients, ra0, dec0)
    coefficients = chosen.coefficients.copy()
    coefficients[:, 0] = 0.0
    return PlateFit(
        replace(prior, ra0=ra0, dec0=dec0, coefficients=coefficients), chosen.system.model,
        chosen.dx, chosen.dy, chosen.dx * chosen.held, chosen.dy * chosen.held,
        chosen.used, chosen.floor, chosen.error,
    )  # fmt: skip


@record
class _Stars:
    """Reference positions (deg) of matched stars in one tangent plane, and their variance."""

    xi: F8
    eta: F8
    variance: F8


@record
class _Clipped:
    """A fit of one model in one tangent plane; `held` turns residuals into held-out ones.

    `sigma` is that of each star, of one axis, and `scale` what the median of all is in units of it.
    """

    system: System
    solution: F8
    dx: F8
    dy: F8
    held: F8
    used: Bools
    floor: float
    sigma: F8
    scale: float
    error: float

    @property
    def coefficients(self) -> F8:
        """Coefficients (2, terms) of the plate."""
        return self.system.coefficients(self.solution)


def _bends(stars: _Stars, coefficients: F8) -> bool:
    """Tell whether stars would move in another tangent plane but with it, turned and scaled.

    It goes as the displacement of the tangent point times the square of their distances.
    """
    squares = np.radians(stars.xi) ** 2 + np.radians(stars.eta) ** 2
    moved = math.hypot(*coefficients[:, 0]) * ARCSEC * float(squares.max())
    return not moved < MAX_BEND


def _centre(coefficients: F8, ra0: float, dec0: float) -> tuple[float, float]:
    """Return the sky position of the reference pixel."""
    ra, dec = gnomonic_inverse(coefficients[0, :1], coefficients[1, :1], ra0, dec0)
    return float(ra[0]), float(dec[0])


def _once(
    system: System, stars: _Stars, used: Bools, floor: float, n_sigma: float
) -> _Clipped:  # fmt: skip
    """Fit a model to the stars used."""
    weight = _weights(stars.variance[used], floor)
    solution, leverage, error = system.solve(stars.xi, stars.eta, weight, used)
    px, py = system.plane(solution)
    dx, dy = (px - stars.xi) * ARCSEC, (py - stars.eta) * ARCSEC
    held = np.ones(len(dx))
    held[used] = 1.0 / np.maximum(1.0 - leverage, 1e-3)
    squares = dx * dx + dy * dy
    n_free = max(2.0 * len(weight) - system.model.parameters, 1.0)
    spread = squares[used] / np.maximum(1.0 - leverage, 1e-3)
    spread = spread if used.all() else spread / _share_left(n_sigma)
    floor = _floor(spread, stars.variance[used])
    power = _weights(stars.variance, floor)
    sigma = 1.0 / np.sqrt(power)
    # The median distance is 1.1774 sigma of one axis; that of the stars that carry the fit may be
    # another, where errors of faint ones are quoted too large.
    distance = np.sqrt(squares) / sigma
    scale = max(median(distance), weighted_median(distance, power)) / 1.1774
    scale *= math.sqrt(2.0 * len(weight) / n_free)
    return _Clipped(system, solution, dx, dy, held, used, floor, sigma, scale, error)


def _clipped(system: System, stars: _Stars, used: Bools, n_sigma: float) -> _Clipped:
    """Fit a model, clip, and fit again until the stars used do not change.

    Stars farther off than `n_sigma` times their own sigma go: that of their errors and the
    floor, scaled by the median of all stars, used or not.  The scale of those that are left
    would shrink with each that goes, down to the few that a model can follow.
    """
    fit = _once(system, stars, used, 0.0, n_sigma)
    for _ in range(20):
        keep = np.hypot(fit.dx, fit.dy) <= n_sigma * np.maximum(fit.scale * fit.sigma, 1e-6)
        # Never clip down to fewer stars than determine the model.
        if 2 * int(keep.sum()) <= system.model.parameters + 1:
            break
        before, fit = fit, _once(system, stars, keep, fit.floor, n_sigma)
        same = np.array_equal(keep, before.used)
        if same and abs(fit.floor - before.floor) <= 0.01 * fit.floor:
            break
    return fit


def _choice(fits: list[_Clipped], n_sigma: float) -> int:
    """Return the simplest model that is as good as the best within the noise of all stars.

    What counts is the mean square of the residuals, held out, in units of the sigmas of the best
    model.  All stars count, a clipped one with the square of the clipping limit: a model that
    gives up the corners of the frame must not win by the rest.  A model is as good as the best
    if it is worse by no more than 2 %, or than the standard error of the difference star by star
    (Breiman et al. 1984, Classification and Regression Trees, 3.4.3).
    """
    unit = np.maximum(min((fit.scale * fit.sigma for fit in fits), key=median), 1e-6)
    losses = np.array(
        [np.minimum((fit.dx**2 + fit.dy**2) * fit.held**2 / unit**2, n_sigma**2) for fit in fits]
    )
    mean = losses.mean(axis=1)
    best = int(np.argmin(mean))
    noise = (losses - losses[best]).std(axis=1) / math.sqrt(losses.shape[1])
    return int(np.argmax(mean - mean[best] <= np.maximum(0.02 * mean[best], noise)))
