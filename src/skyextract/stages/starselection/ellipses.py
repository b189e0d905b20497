"""Covariances of two axes, by hand: numpy takes a hundred times as long for so small matrices.

The root of a covariance is the lower triangle (xx, xy, yy) whose product with its transpose it is.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8

Triangle = tuple[float, float, float]


def square_of(covariance: F8, dx: F8, dy: F8) -> F8:
    """Return the square of the distance of (dx, dy) from the centre of an ellipse, in its sigma."""
    (xx, xy), (_, yy) = covariance.tolist()
    unit = 1.0 / (xx * yy - xy * xy)
    square: F8 = (yy * unit) * dx**2 + (xx * unit) * dy**2 - (2.0 * xy * unit) * dx * dy
    return square


def distance2(covariance: F8, dx: float, dy: float) -> float:
    """Return the square of the distance from the centre of an ellipse, in its sigma."""
    x, y = solved(root_of(covariance), dx, dy)
    return x * x + y * y


def root_of(matrix: F8) -> Triangle:
    """Return the lower triangle (xx, xy, yy) whose product with its transpose is the matrix."""
    (xx, xy), (_, yy) = matrix.tolist()
    first = math.sqrt(xx)
    return first, xy / first, math.sqrt(yy - xy * xy / xx)


def solved(root: Triangle, x: float, y: float) -> tuple[float, float]:
    """Divide a vector by a lower triangle."""
    first = x / root[0]
    return first, (y - root[1] * first) / root[2]


def whitened(covariance: F8, root: Triangle) -> tuple[float, float, float]:
    """Return (xx, xy, yy) of a covariance, divided by a lower triangle from both sides."""
    (xx, xy), (_, yy) = covariance.tolist()
    left_x, left_y = solved(root, xx, xy), solved(root, xy, yy)
    out_x, cross = solved(root, left_x[0], left_y[0])
    _, out_y = solved(root, left_x[1], left_y[1])
    return out_x, cross, out_y


def axes_of(xx: float, xy: float, yy: float) -> tuple[tuple[float, float], float]:
    """Return the eigenvalues of a matrix, the lower one first, and the angle of the other."""
    middle, half = 0.5 * (xx + yy), math.hypot(0.5 * (xx - yy), xy)
    return (middle - half, middle + half), 0.5 * math.atan2(2.0 * xy, xx - yy)


def multiplied(root: Triangle, low: float, high: float, angle: float) -> F8:
    """Return the matrix of these eigenvalues, times a lower triangle and its transpose."""
    c, s = math.cos(angle), math.sin(angle)
    xx, xy, yy = high * c * c + low * s * s, (high - low) * c * s, high * s * s + low * c * c
    a, b, d = root
    cross = a * (b * xx + d * xy)
    return np.array([[a * a * xx, cross], [cross, b * b * xx + 2.0 * b * d * xy + d * d * yy]])
