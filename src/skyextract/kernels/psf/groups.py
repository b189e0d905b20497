"""Errors of a source that is fitted together with several others.

The matrices are small, and made here rather than by BLAS: its threads, where nobody has limited
them, take several times as long for these, and a product of them is symmetric.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.cholesky import factor, solve
from skyextract.kernels.jit import helper, kernel, summation

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8


_ITERATIONS = 20
"""Of the power method: more than enough to tell whether a matrix is close to singular."""


@summation
def _product(a: F8, b: F8) -> float:
    """Return the scalar product."""
    total = 0.0
    for k in range(len(a)):
        total += a[k] * b[k]
    return total


@helper
def _condition(normal: F8, lower: F8, n: int, vector: F8, image: F8) -> float:
    """Return the condition of a symmetric matrix whose Cholesky factor is `lower`.

    Power method, for the matrix and for its inverse; the last two arguments are work space.
    """
    extremes = 1.0
    for inverse in range(2):
        for i in range(n):
            vector[i] = math.sin(1.0 + i)  # in no special direction
        length = 1.0
        for _ in range(_ITERATIONS):
            if inverse:
                solve(lower, n, vector, image)
            else:
                for i in range(n):
                    image[i] = _product(normal[i], vector)
            length = math.sqrt(_product(image, image) / _product(vector, vector))
            for i in range(n):
                vector[i] = image[i] / length
        extremes *= length
    return extremes


@kernel
def first_covariance(
    design: F8, trusted: F8, noise: F8, n_wanted: int, max_condition: float, out: F8
) -> bool:
    """Return the covariance of the first parameters of linear equations with all others.

    Parameters
    ----------
    design : (n, m) float64
        Derivatives of the model to n parameters in m pixels; written over.
    trusted, noise : (m,) float64
        Variance of the pixels that they are weighted by, and that they have.
    n_wanted : int
        So many parameters.
    max_condition : float
        Of the normal matrix, whose diagonal is 1.
    out : (n_wanted, n_wanted) float64, output

    Returns
    -------
    bool
        False, and nothing in `out`, if the parameters cannot be told apart.
    """
    n, m = design.shape
    normal = np.empty((n, n))
    lower = np.empty((n, n))
    scale = np.empty(n)
    for k in range(m):
        trusted[k] = math.sqrt(trusted[k])
    for i in range(n):
        for k in range(m):
            design[i, k] /= trusted[k]
        scale[i] = max(math.sqrt(_product(design[i], design[i])), 1e-30)
        for k in range(m):
            design[i, k] /= scale[i]
        for j in range(i + 1):
            normal[i, j] = normal[j, i] = _product(design[i], design[j])
    lower[:] = normal
    row = np.empty(n)
    work = np.empty(n)
    if not factor(lower, n, 0.0) or _condition(normal, lower, n, row, work) > max_condition:
        return False
    # what a parameter is: the sum of the pixels with these weights
    weights = np.zeros((n_wanted, m))
    for i in range(n_wanted):
        work[:] = 0.0
        work[i] = 1.0
        solve(lower, n, work, row)
        for j in range(n):
            for k in range(m):
                weights[i, k] += row[j] * design[j, k]
        for k in range(m):
            weights[i, k] *= math.sqrt(noise[k]) / trusted[k]
    for i in range(n_wanted):
        for j in range(n_wanted):
            out[i, j] = _product(weights[i], weights[j]) / (scale[i] * scale[j])
    return True
