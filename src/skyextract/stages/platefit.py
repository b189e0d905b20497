"""Least-squares plate solutions from matched stars.

A solution is chosen among nested models by leave-one-out residuals, which are exact for
linear least squares: e / (1 - h) with the leverage h (Allen 1974, Technometrics 16, 125).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skyextract.plate import Plate, exponents, gnomonic, gnomonic_inverse, monomials

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ARCSEC = 3600.0


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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
    """

    plate: Plate
    model: Model
    dx: Floats
    dy: Floats
    held_dx: Floats
    held_dy: Floats
    used: Bools
    floor: float

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


def _solve(
    model: Model, prior: Plate, x: Floats, y: Floats, xi: Floats, eta: Floats, weight: Floats
) -> tuple[Floats, Floats]:
    """Fit one model; return the pixel coefficients (2, terms) and the leverages (n,)."""
    if model.kind == "similarity":
        p, q = prior.to_plane(x, y)
        zero, one = np.zeros_like(p), np.ones_like(p)
        design = np.concatenate([
            np.stack([p, -q, one, zero], axis=1), np.stack([q, p, zero, one], axis=1)
        ])  # fmt: skip
        (a, b, c, d), leverage = _least_squares(
            design, np.concatenate([xi, eta]), np.concatenate([weight, weight])
        )
        coefficients = np.array([[a, -b], [b, a]]) @ prior.coefficients
        coefficients[:, 0] += c, d
        return coefficients, np.maximum(leverage[: len(x)], leverage[len(x) :])
    target = np.stack([xi, eta], axis=1)
    if model.kind == "affine":
        p, q = prior.to_plane(x, y)
        design = np.stack([np.ones_like(p), p, q], axis=1)
        solved, leverage = _least_squares(design, target, weight)
        coefficients = solved[1:].T @ prior.coefficients
        coefficients[:, 0] += solved[0]
        return coefficients, leverage
    u, v = (x - prior.x0) / prior.unit, (y - prior.y0) / prior.unit
    solved, leverage = _least_squares(monomials(u, v, model.degree), target, weight)
    return solved.T, leverage


def _least_squares(design: Floats, target: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Solve by normal equations, columns scaled; return the solution and the leverages.

    The columns are monomials of variables within [-1, 1] up to degree 7, so squaring the
    condition number costs no digit that matters (a QR of thousands of rows is 20 times slower).
    """
    size = np.sqrt(weight @ (design * design))
    scaled = design / np.where(size > 0.0, size, 1.0)
    inverse = np.linalg.pinv((scaled * weight[:, None]).T @ scaled, hermitian=True)
    solution = inverse @ (scaled.T @ (target.T * weight).T)
    leverage = weight * np.sum((scaled @ inverse) * scaled, axis=1)
    return (solution.T / np.where(size > 0.0, size, 1.0)).T, leverage


def _weights(variance: Floats, floor: float) -> Floats:
    total = variance + floor * floor
    return np.asarray(1.0 / np.maximum(total, 1e-12))


def _floor(squares: Floats, variance: Floats, n_free: float) -> float:
    """Return the extra scatter for which chi2 equals the degrees of freedom.

    `squares` are the summed squared residuals of both axes.
    """

    def excess(floor: float) -> float:
        return float(np.sum(squares * _weights(variance, floor))) - n_free

    if n_free <= 0 or excess(0.0) <= 0.0:
        return 0.0
    low, high = 0.0, float(np.sqrt(np.sum(squares) / n_free)) * 2.0 + 1e-9
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if excess(middle) > 0.0 else (low, middle)
    return 0.5 * (low + high)


def fit_plate(
    x: Floats, y: Floats, ra: Floats, dec: Floats, variance: Floats, prior: Plate,
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
    used = np.ones(len(x), bool)
    ra0, dec0 = prior.ra0, prior.dec0
    floor = 0.0
    model = candidates[0]
    for iteration in range(12):
        if 2 * int(used.sum()) < model.parameters + 1:
            return None
        xi, eta = gnomonic(ra, dec, ra0, dec0)
        model = _choose(candidates, prior, x, y, xi, eta, variance, floor, used)
        weight = _weights(variance, floor)
        inside = (x[used], y[used], xi[used], eta[used], weight[used])
        coefficients, leverage = _solve(model, prior, *inside)
        plate = replace(prior, ra0=ra0, dec0=dec0, coefficients=coefficients)
        px, py = plate.to_plane(x, y)
        dx, dy = (px - xi) * ARCSEC, (py - eta) * ARCSEC
        n_free = 2.0 * used.sum() - model.parameters
        floor = _floor((dx**2 + dy**2)[used], variance[used], n_free)
        before = used
        used = _clip(dx, dy, n_sigma, used, model)
        # The tangent point follows the centre, so that the constant term vanishes.
        centre = gnomonic_inverse(coefficients[0, 0], coefficients[1, 0], ra0, dec0)
        ra0, dec0 = float(centre[0]), float(centre[1])
        settled = np.hypot(*coefficients[:, 0]) * ARCSEC < 1e-7
        if iteration >= 2 and settled and np.array_equal(before, used):
            break
    used = before
    coefficients = coefficients.copy()
    coefficients[:, 0] = 0.0
    held = np.ones(len(x))
    held[used] = 1.0 / np.maximum(1.0 - leverage, 1e-3)
    return PlateFit(
        replace(plate, coefficients=coefficients), model, dx, dy, dx * held, dy * held, used, floor
    )


def _choose(
    candidates: list[Model], prior: Plate, x: Floats, y: Floats, xi: Floats, eta: Floats,
    variance: Floats, floor: float, used: Bools,
) -> Model:  # fmt: skip
    """Return the simplest model whose held-out mean square is within 2 % of the best."""
    weight = _weights(variance, floor)[used]
    inside = (x[used], y[used], xi[used], eta[used], weight)
    possible = [model for model in candidates if 2 * len(weight) > model.parameters]
    held = []
    for model in possible:
        coefficients, leverage = _solve(model, prior, *inside)
        px, py = replace(prior, coefficients=coefficients).to_plane(x[used], y[used])
        distance2 = (px - xi[used]) ** 2 + (py - eta[used]) ** 2
        held.append(np.mean(weight * distance2 / np.maximum(1.0 - leverage, 1e-3) ** 2))
    return possible[int(np.argmax(np.array(held) <= 1.02 * min(held)))]


def _clip(
    dx: Floats, dy: Floats, n_sigma: float, used: Bools, model: Model
) -> Bools:  # fmt: skip
    """Return the stars whose distance is within `n_sigma` times the scatter of one axis.

    The scatter is the same for all stars, 1.4826 MAD enlarged for the parameters fitted:
    SCAMP clips like that, and a faint star that is lost had little weight.
    """
    both = np.concatenate([dx[used], dy[used]])
    n = len(both)
    sigma = 1.4826 * float(np.median(np.abs(both)))
    sigma *= np.sqrt(n / max(n - model.parameters, 1.0))
    limit = n_sigma * max(sigma, 1e-6)
    keep = np.hypot(dx, dy) <= limit
    # Never clip down to fewer stars than determine the model.
    return keep if 2 * int(keep.sum()) > model.parameters + 1 else used
