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
from skyextract.sky.plate import Plate, exponents, gnomonic, gnomonic_inverse, monomials

ARCSEC = 3600.0

MAX_INVERSE = 1e10
"""Largest element of the inverse of a matrix, of unit diagonal, that is not nearly singular."""


@record
class Model:
    """One model of the plate.

    Attributes
    ----------
    kind : str
        "similarity" or "affine" on top of the prior plate, or "polynomial" of the pixels.
    degree : int
        Of the polynomials.
    """

    kind: str
    degree: int

    @property
    def parameters(self) -> int:
        """Number of free parameters of both axes."""
        if self.kind == "similarity":
            return 4
        return (self.degree + 1) * (self.degree + 2)


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
        Of the fitted plate itself, arcsec per axis: its rms at the stars used.
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


def models(prior: Plate, highest: int, n_stars: int, *, linear: bool) -> list[Model]:
    """List the models that `n_stars` stars can determine, simplest first.

    Three stars per parameter and axis are asked for, above the similarity, which needs two.
    `linear` allows no distortion at all.
    """
    listed = [Model("similarity", prior.degree)]
    if n_stars >= 6:
        listed.append(Model("affine", 1))
    higher = range(2, 1 if linear else highest + 1)
    enough = [degree for degree in higher if n_stars >= 3 * len(exponents(degree))]
    return listed + [Model("polynomial", degree) for degree in enough]


@record
class _System:
    """The linear equations of one model for all stars, in any tangent plane.

    `design` has a row per star; of a similarity, whose axes share their parameters, one per
    star and axis.
    """

    model: Model
    prior: Plate
    design: F8

    @classmethod
    def of(cls, model: Model, prior: Plate, x: F8, y: F8) -> _System:
        """Set them up for stars at these pixels."""
        if model.kind == "polynomial":
            u, v = (x - prior.x0) / prior.unit, (y - prior.y0) / prior.unit
            return cls(model, prior, monomials(u, v, model.degree))
        p, q = prior.to_plane(x, y)
        zero, one = np.zeros_like(p), np.ones_like(p)
        if model.kind == "affine":
            return cls(model, prior, np.stack([one, p, q], axis=1))
        rows = [np.stack([p, -q, one, zero], axis=1), np.stack([q, p, zero, one], axis=1)]
        return cls(model, prior, np.concatenate(rows))

    @property
    def is_joint(self) -> bool:
        """Whether both axes share their parameters."""
        return self.model.kind == "similarity"

    def solve(self, xi: F8, eta: F8, weight: F8, used: Bools) -> tuple[F8, F8]:
        """Fit the stars used; return the solution and their leverages."""
        if not self.is_joint:
            target = np.stack([xi[used], eta[used]], axis=1)
            return _least_squares(self.design[used], target, weight)
        target = np.concatenate([xi[used], eta[used]])
        design = self.design[np.concatenate([used, used])]
        solution, leverage = _least_squares(design, target, np.concatenate([weight, weight]))
        return solution, np.maximum(leverage[: len(weight)], leverage[len(weight) :])

    def plane(self, solution: F8) -> tuple[F8, F8]:
        """Return xi, eta of all stars."""
        fitted = self.design @ solution
        if self.is_joint:
            n = len(fitted) // 2
            return fitted[:n], fitted[n:]
        return fitted[:, 0], fitted[:, 1]

    def coefficients(self, solution: F8) -> F8:
        """Return the coefficients (2, terms) of a `Plate`."""
        if self.model.kind == "polynomial":
            return solution.T
        if self.is_joint:
            a, b, c, d = solution
            matrix, shift = np.array([[a, -b], [b, a]]), np.array([c, d])
        else:
            matrix, shift = solution[1:].T, solution[0]
        coefficients: F8 = matrix @ self.prior.coefficients
        coefficients[:, 0] += shift
        return coefficients


def _least_squares(design: F8, target: F8, weight: F8) -> tuple[F8, F8]:
    """Solve by normal equations, columns scaled; return the solution and the leverages.

    The columns are monomials of variables within [-1, 1] up to degree 7, so squaring the
    condition number costs no digit that matters (a QR of thousands of rows is 20 times slower).
    """
    weighted = design * weight[:, None]
    matrix = weighted.T @ design
    size = np.sqrt(np.diag(matrix))
    scale = 1.0 / np.where(size > 0.0, size, 1.0)
    inverse = _inverse(matrix * scale[:, None] * scale) * scale[:, None] * scale
    leverage = np.einsum("ij,ij->i", weighted @ inverse, design)
    return inverse @ (weighted.T @ target), leverage


def _inverse(matrix: F8) -> F8:
    """Invert a symmetric matrix with a diagonal of 1; where it is (nearly) singular, its rest."""
    try:
        inverse = np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        inverse = np.full_like(matrix, np.inf)
    if not np.abs(inverse).max() < MAX_INVERSE:
        inverse = np.linalg.pinv(matrix, hermitian=True)
    return np.asarray(inverse, dtype=np.float64)


def _weights(variance: F8, floor: float) -> F8:
    total = variance + floor * floor
    return np.asarray(1.0 / np.maximum(total, 1e-12))


def _floor(squares: F8, variance: F8, n_free: float) -> float:
    """Return the extra scatter for which chi2 equals the degrees of freedom.

    `squares` are the summed squared residuals of both axes.  Newton's method in the square of
    the floor; chi2 is convex in it, so that it is approached from below.
    """
    extra = 0.0
    for _ in range(20):
        weight = 1.0 / np.maximum(variance + extra, 1e-12)
        chi2 = float(squares @ weight)
        slope = float(squares @ (weight * weight))
        step = (chi2 - n_free) / slope if slope > 0.0 else 0.0
        if step <= 1e-4 * extra:
            break
        extra += step
    return float(np.sqrt(extra))


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
    systems = [_System.of(model, prior, x, y) for model in candidates]
    # The tangent point follows the centre, so that the constant term vanishes.
    for _ in range(2):
        stars = _Stars(*gnomonic(ra, dec, ra0, dec0), variance)
        fits = [_clipped(system, stars, everyone, n_sigma) for system in systems]
        chosen = fits[_choice(fits, variance, n_sigma)]
        ra0, dec0 = _centre(chosen.coefficients, ra0, dec0)
    # The stars used are settled; what remains converges by a factor of a million each time.
    for _ in range(4):
        stars = _Stars(*gnomonic(ra, dec, ra0, dec0), variance)
        chosen = _once(chosen.system, stars, chosen.used, chosen.floor)
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
    """A fit of one model in one tangent plane; `held` turns residuals into held-out ones."""

    system: _System
    solution: F8
    dx: F8
    dy: F8
    held: F8
    used: Bools
    floor: float
    sigma: float
    error: float

    @property
    def coefficients(self) -> F8:
        """Coefficients (2, terms) of the plate."""
        return self.system.coefficients(self.solution)


def _centre(coefficients: F8, ra0: float, dec0: float) -> tuple[float, float]:
    """Return the sky position of the reference pixel."""
    ra, dec = gnomonic_inverse(coefficients[0, :1], coefficients[1, :1], ra0, dec0)
    return float(ra[0]), float(dec[0])


def _once(system: _System, stars: _Stars, used: Bools, floor: float) -> _Clipped:
    """Fit a model to the stars used."""
    weight = _weights(stars.variance[used], floor)
    solution, leverage = system.solve(stars.xi, stars.eta, weight, used)
    px, py = system.plane(solution)
    dx, dy = (px - stars.xi) * ARCSEC, (py - stars.eta) * ARCSEC
    held = np.ones(len(dx))
    held[used] = 1.0 / np.maximum(1.0 - leverage, 1e-3)
    squares = dx * dx + dy * dy
    squares_used = squares[used]
    n_free = max(2.0 * len(weight) - system.model.parameters, 1.0)
    # The median distance is 1.1774 sigma of one axis.
    sigma = median(np.sqrt(squares_used)) / 1.1774
    sigma *= math.sqrt(2.0 * len(weight) / n_free)
    floor = _floor(squares_used, stars.variance[used], n_free)
    # A leverage is the variance of the plate at the star over that of the star itself.
    error = math.sqrt(float(np.mean(leverage / _weights(stars.variance[used], floor))))
    return _Clipped(system, solution, dx, dy, held, used, floor, sigma, error)


def _clipped(system: _System, stars: _Stars, used: Bools, n_sigma: float) -> _Clipped:
    """Fit a model, clip, and fit again until the stars used do not change.

    Stars farther off than `n_sigma` times the scatter of one axis go; the scatter is the same
    for all stars, from the median distance, enlarged for the parameters fitted.  SCAMP clips
    like that, and a faint star that is lost had little weight.
    """
    fit = _once(system, stars, used, 0.0)
    for _ in range(12):
        keep = np.hypot(fit.dx, fit.dy) <= n_sigma * max(fit.sigma, 1e-6)
        # Never clip down to fewer stars than determine the model.
        if np.array_equal(keep, fit.used) or 2 * int(keep.sum()) <= system.model.parameters + 1:
            break
        fit = _once(system, stars, keep, fit.floor)
    return fit


def _choice(fits: list[_Clipped], variance: F8, n_sigma: float) -> int:
    """Return the simplest model whose held-out mean square is within 2 % of the best.

    All stars count, a clipped one with the square of the clipping limit: a model that gives
    up the corners of the frame must not win by the rest.
    """
    scatter = max(min(fit.sigma for fit in fits), 1e-6)
    unit = np.maximum(variance, scatter**2)
    losses = [
        np.mean(np.minimum((fit.dx**2 + fit.dy**2) * fit.held**2 / unit, n_sigma**2))
        for fit in fits
    ]
    return int(np.argmax(np.array(losses) <= 1.02 * min(losses)))
