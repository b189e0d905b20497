"""Models of a plate, which are linear in their parameters, and their least squares."""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, Bools
from skyextract.record import record
from skyextract.sky.plate import Plate, exponents, monomials

_LATTICE = 7
"""Places per axis at which the error of a plate is asked for."""

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


def models(prior: Plate, highest: int, n_stars: int, *, linear: bool) -> list[Model]:
    """List the models that `n_stars` stars can determine, simplest first.

    Four stars per coefficient of a polynomial are asked for, two of an affine.
    `linear` allows no distortion at all.
    """
    listed = [Model("similarity", prior.degree)]
    if n_stars >= 6:
        listed.append(Model("affine", 1))
    higher = range(2, 1 if linear else highest + 1)
    enough = [degree for degree in higher if n_stars >= 4 * len(exponents(degree))]
    return listed + [Model("polynomial", degree) for degree in enough]


@record
class System:
    """The linear equations of one model for all stars, in any tangent plane.

    `design` has a row per star; of a similarity, whose axes share their parameters, one per
    star and axis.  `lattice` has the same for places all over the part of the frame with stars.
    """

    model: Model
    prior: Plate
    design: F8
    lattice: F8

    @classmethod
    def of(cls, model: Model, prior: Plate, x: F8, y: F8) -> System:
        """Set them up for stars at these pixels."""
        across, along = (np.linspace(v.min(), v.max(), _LATTICE) for v in (x, y))
        places = np.repeat(across, _LATTICE), np.tile(along, _LATTICE)
        return cls(model, prior, _rows(model, prior, x, y), _rows(model, prior, *places))

    @property
    def is_joint(self) -> bool:
        """Whether both axes share their parameters."""
        return self.model.kind == "similarity"

    def solve(self, xi: F8, eta: F8, weight: F8, used: Bools) -> tuple[F8, F8, float]:
        """Fit the stars used; return the solution, their leverages and the error of the plate.

        The error is per axis, in units of 1 / sqrt(weight).
        """
        if used.all():
            xi_used, eta_used, design = xi, eta, self.design
        else:
            both = np.concatenate([used, used]) if self.is_joint else used
            xi_used, eta_used, design = xi[used], eta[used], self.design[both]
        if self.is_joint:
            target, each = np.concatenate([xi_used, eta_used]), np.concatenate([weight, weight])
        else:
            target, each = np.empty((weight.size, 2)), weight
            target[:, 0], target[:, 1] = xi_used, eta_used
        solution, inverse = _least_squares(design, target, each)
        leverage = each * _quadratic(design, inverse)
        if self.is_joint:
            leverage = np.maximum(leverage[: len(weight)], leverage[len(weight) :])
        variance = _quadratic(self.lattice, inverse)
        return solution, leverage, math.sqrt(float(variance.sum()) / variance.size)

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


def _rows(model: Model, prior: Plate, x: F8, y: F8) -> F8:
    """Return the rows of the design of a model for these pixels."""
    if model.kind == "polynomial":
        return monomials((x - prior.x0) / prior.unit, (y - prior.y0) / prior.unit, model.degree)
    p, q = prior.to_plane(x, y)
    zero, one = np.zeros_like(p), np.ones_like(p)
    if model.kind == "affine":
        return np.stack([one, p, q], axis=1)
    joint = np.stack([p, -q, one, zero], axis=1), np.stack([q, p, zero, one], axis=1)
    return np.concatenate(joint)


def _quadratic(design: F8, inverse: F8) -> F8:
    """Return the variance of each row, the inverse being the covariance."""
    return np.asarray(np.einsum("ij,ij->i", design @ inverse, design))


def _least_squares(design: F8, target: F8, weight: F8) -> tuple[F8, F8]:
    """Solve by normal equations, columns scaled; return the solution and the inverse matrix.

    The columns are monomials of variables within [-1, 1] up to degree 7, so squaring the
    condition number costs no digit that matters (a QR of thousands of rows is 20 times slower).
    """
    weighted = design * weight[:, None]
    matrix = weighted.T @ design
    size = np.sqrt(np.diag(matrix))
    scale = 1.0 / np.where(size > 0.0, size, 1.0)
    inverse = _inverse(matrix * scale[:, None] * scale) * scale[:, None] * scale
    return inverse @ (weighted.T @ target), inverse


def _inverse(matrix: F8) -> F8:
    """Invert a symmetric matrix with a diagonal of 1; where it is (nearly) singular, its rest."""
    try:
        inverse = np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        inverse = np.full_like(matrix, np.inf)
    if not np.abs(inverse).max() < MAX_INVERSE:
        inverse = np.linalg.pinv(matrix, hermitian=True)
    return np.asarray(inverse, dtype=np.float64)
