"""Symmetric 3 x 3 matrices: the normal equations of flux, x and y."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8


@helper
def adjugate(matrix: F8, out: F8) -> float:
    """Adjugate of a symmetric matrix, whose upper triangle is read; return the determinant."""
    a, b, c = matrix[0, 0], matrix[0, 1], matrix[0, 2]
    d, e, f = matrix[1, 1], matrix[1, 2], matrix[2, 2]
    out[0, 0] = d * f - e * e
    out[0, 1] = c * e - b * f
    out[0, 2] = b * e - c * d
    out[1, 1] = a * f - c * c
    out[1, 2] = b * c - a * e
    out[2, 2] = a * d - b * b
    out[1, 0] = out[0, 1]
    out[2, 0] = out[0, 2]
    out[2, 1] = out[1, 2]
    return float(a * out[0, 0] + b * out[0, 1] + c * out[0, 2])


@helper
def invert(matrix: F8, inverse: F8) -> bool:
    """Invert a symmetric matrix; False if it is not positive definite."""
    determinant = adjugate(matrix, inverse)
    a, d, f = matrix[0, 0], matrix[1, 1], matrix[2, 2]
    minor = inverse[2, 2]
    if not (a > 0.0 and minor > 1e-12 * a * d and determinant > 1e-12 * minor * f):
        return False
    inverse /= determinant
    return True
