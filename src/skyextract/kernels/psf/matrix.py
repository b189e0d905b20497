"""The normal equations of flux, x and y: their sums, and symmetric 3 x 3 matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8


Sums = tuple[float, float, float, float, float, float, float, float, float]
"""Upper triangle of the normal matrix, row by row, then the right side."""

NO_SUMS: Sums = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@helper
def add_pixel(sums: Sums, weight: float, p: float, px: float, py: float, value: float) -> Sums:
    """Add a pixel to the normal equations of (flux, flux dx, flux dy).

    `p`, `px` and `py` are the PSF there and its derivatives.  Sums in a tuple stay in registers:
    arrays, which might overlap others, cost memory access.
    """
    a00, a01, a02, a11, a12, a22, b0, b1, b2 = sums
    wp, wx, wy = weight * p, weight * px, weight * py
    return (
        a00 + wp * p, a01 + wp * px, a02 + wp * py, a11 + wx * px, a12 + wx * py, a22 + wy * py,
        b0 + wp * value, b1 + wx * value, b2 + wy * value,
    )  # fmt: skip


@helper
def add_cross(
    sums: Sums, weight: float, a: float, ax: float, ay: float, b: float, bx: float, by: float
) -> Sums:
    """Add a pixel to the block of the normal matrix between two sources, row by row.

    Those of the first are in its rows.
    """
    wa, wx, wy = weight * a, weight * ax, weight * ay
    return (
        sums[0] + wa * b, sums[1] + wa * bx, sums[2] + wa * by,
        sums[3] + wx * b, sums[4] + wx * bx, sums[5] + wx * by,
        sums[6] + wy * b, sums[7] + wy * bx, sums[8] + wy * by,
    )  # fmt: skip


@helper
def store_sums(sums: Sums, matrix: F8, vector: F8) -> None:
    """Write the sums to the upper triangle of the normal matrix, and to the right side."""
    matrix[0, 0], matrix[0, 1], matrix[0, 2] = sums[0], sums[1], sums[2]
    matrix[1, 1], matrix[1, 2], matrix[2, 2] = sums[3], sums[4], sums[5]
    vector[0], vector[1], vector[2] = sums[6], sums[7], sums[8]


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
