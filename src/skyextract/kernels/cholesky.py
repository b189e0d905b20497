"""Symmetric, positive definite equations: the Cholesky factor and what it solves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8


@helper
def factor(matrix: F8, n: int, damping: float) -> bool:
    """Turn a symmetric matrix, its diagonal enlarged by 1 + damping, into its Cholesky factor.

    In place, in the lower triangle; False if the matrix is not positive definite.
    """
    for i in range(n):
        diagonal = matrix[i, i]
        for j in range(i + 1):
            total = diagonal * (1.0 + damping) if i == j else matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            if i == j:
                if not total > 1e-12 * diagonal:
                    return False
                matrix[i, i] = math.sqrt(total)
            else:
                matrix[i, j] = total / matrix[j, j]
    return True


@helper
def solve(lower: F8, n: int, right: F8, out: F8) -> None:
    """Solve ``L L^T out = right``; both may be the same array."""
    for i in range(n):
        total = right[i]
        for k in range(i):
            total -= lower[i, k] * out[k]
        out[i] = total / lower[i, i]
    for i in range(n - 1, -1, -1):
        total = out[i]
        for k in range(i + 1, n):
            total -= lower[k, i] * out[k]
        out[i] = total / lower[i, i]


@helper
def invert_factor(lower: F8, n: int) -> None:
    """Turn a Cholesky factor L into its inverse, in place; that of L L^T is its square."""
    for f in range(n):
        own = 1.0 / lower[f, f]
        lower[f, f] = own
        for i in range(f + 1, n):
            total = lower[i, f] * own
            for k in range(f + 1, i):
                total += lower[i, k] * lower[k, f]
            lower[i, f] = -total / lower[i, i]
