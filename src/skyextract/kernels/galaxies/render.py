"""Profiles convolved with the PSF, both as mixtures of Gaussians, and their derivatives.

The ellipse of a profile is the matrix ``S = rho**2 exp(2 [[e1, e2], [e2, -e1]])``: rho is the
radius of the circle of the same area, the axis ratio ``exp(-2 |e|)``, the angle
``arctan2(e2, e1) / 2``.  It is never singular, and neither is what a fit can do to e1 and e2.
Gaussian k of the profile seen through Gaussian j of the PSF has the covariance ``s_k S + P_j``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8

N_PLANES = 7
"""Value; derivatives to x, y of the centre, to ln rho, e1, e2 and ln n."""

MAX_EXPONENT = 50.0
"""Gaussians end where they are exp(-25) of their peak, or earlier if they are faint."""


class Grid(NamedTuple):
    """Points at which a model is drawn: the means of squares of pixels.

    Attributes
    ----------
    x, y : int
        First pixel of the first square, 0-based.
    step : int
        Side of a square.
    n_x, n_y : int
        Number of squares.
    """

    x: int
    y: int
    step: int
    n_x: int
    n_y: int


@helper
def ellipse(log_radius: float, e1: float, e2: float, out: F8) -> None:
    """Write S and its derivatives to ln rho, e1 and e2: rows of xx, xy, yy."""
    e = math.hypot(e1, e2)
    rho2 = math.exp(2.0 * log_radius)
    cosh = math.cosh(2.0 * e)
    if e > 1e-4:
        sinh = math.sinh(2.0 * e)
        ratio = sinh / e
        slope = (2.0 * e * cosh - sinh) / (e * e * e)
        rise = 2.0 * sinh / e
    else:
        ratio, slope, rise = 2.0, 8.0 / 3.0, 4.0
    out[0, 0] = rho2 * (cosh + ratio * e1)
    out[0, 1] = rho2 * ratio * e2
    out[0, 2] = rho2 * (cosh - ratio * e1)
    for i in range(3):
        out[1, i] = 2.0 * out[0, i]
    for i in range(2):
        own = e1 if i == 0 else e2
        out[2 + i, 0] = rho2 * (rise * own + slope * own * e1)
        out[2 + i, 1] = rho2 * slope * own * e2
        out[2 + i, 2] = rho2 * (rise * own - slope * own * e1)
    out[2, 0] += rho2 * ratio
    out[2, 2] -= rho2 * ratio
    out[3, 1] += rho2 * ratio


@helper
def add_profile(
    profile: F8, shape: F8, psf: F8, x: float, y: float, grid: Grid,
    faintest: float, slopes: bool, row: F8, planes: F8,
) -> None:  # fmt: skip
    """Draw a profile of unit flux into `planes`, with its derivatives if `slopes`.

    Parameters
    ----------
    profile : (4, n) float64
        As `sersic_mixture` writes it; one Gaussian of no variance is a point.
    shape : (4, 3) float64
        As `ellipse` writes it.
    psf : (j, 6) float64
        Weight, centre x, y and covariance xx, xy, yy of each Gaussian.
    x, y : float
        Centre, 0-based pixels.
    grid : Grid
    faintest : float
        Light per pixel, of the unit flux, that is left out of each Gaussian.
    row : (>= n_x,) float64
        Work space.
    planes : (N_PLANES, >= n_y * n_x) float64
        Written: value, and derivatives to x, y, ln rho, e1, e2, ln n.
    """
    n_x, n_y, step = grid.n_x, grid.n_y, float(grid.step)
    for p in range(N_PLANES if slopes else 1):
        for i in range(n_x * n_y):
            planes[p, i] = 0.0
    spread = (step * step - 1.0) / 12.0
    x_first = grid.x + 0.5 * (step - 1.0) - x
    y_first = grid.y + 0.5 * (step - 1.0) - y
    for k in range(profile.shape[1]):
        s = profile[1, k]
        d_weight, d_variance = profile[2, k], profile[3, k]
        for j in range(psf.shape[0]):
            amplitude = profile[0, k] * psf[j, 0]
            sxx = s * shape[0, 0] + psf[j, 3] + spread
            sxy = s * shape[0, 1] + psf[j, 4]
            syy = s * shape[0, 2] + psf[j, 5] + spread
            determinant = sxx * syy - sxy * sxy
            amplitude /= 2.0 * math.pi * math.sqrt(determinant)
            if abs(amplitude) <= faintest:
                continue
            reach = min(2.0 * math.log(abs(amplitude) / faintest), MAX_EXPONENT)
            a, b, c = syy / determinant, -sxy / determinant, sxx / determinant
            x_start, y_start = x_first - psf[j, 1], y_first - psf[j, 2]
            half_height = math.sqrt(reach * syy)
            low = max(0, math.ceil((-half_height - y_start) / step))
            high = min(n_y, math.floor((half_height - y_start) / step) + 1)
            ratio2 = math.exp(-a * step * step)
            half = 0.5 * s
            for iy in range(low, high):
                dy = y_start + iy * step
                half_width = math.sqrt(max(reach - dy * dy / syy, 0.0) / a)
                middle = -b / a * dy
                left = max(0, math.ceil((middle - half_width - x_start) / step))
                right = min(n_x, math.floor((middle + half_width - x_start) / step) + 1)
                if right <= left:
                    continue
                dx = x_start + left * step
                value = amplitude * math.exp(-0.5 * (a * dx * dx + 2.0 * b * dx * dy + c * dy * dy))
                ratio = math.exp(-a * (dx * step + 0.5 * step * step) - b * dy * step)
                for i in range(left, right):
                    row[i] = value
                    value *= ratio
                    ratio *= ratio2
                start = iy * n_x
                if not slopes:
                    for i in range(left, right):
                        planes[0, start + i] += row[i]
                    continue
                for i in range(left, right):
                    g = row[i]
                    dx = x_start + i * step
                    u = a * dx + b * dy
                    v = b * dx + c * dy
                    dxx = half * g * (u * u - a)
                    dxy = s * g * (u * v - b)
                    dyy = half * g * (v * v - c)
                    at = start + i
                    planes[0, at] += g
                    planes[1, at] += g * u
                    planes[2, at] += g * v
                    planes[3, at] += dxx
                    planes[4, at] += dxy
                    planes[5, at] += dyy
                    planes[6, at] += d_weight * g + d_variance * (
                        dxx * shape[0, 0] + dxy * shape[0, 1] + dyy * shape[0, 2]
                    )
    if slopes:
        _to_parameters(shape, n_x * n_y, planes)


@helper
def _to_parameters(shape: F8, n: int, planes: F8) -> None:
    """Turn derivatives to S into those to ln rho, e1 and e2."""
    for i in range(n):
        dxx, dxy, dyy = planes[3, i], planes[4, i], planes[5, i]
        for p in range(3):
            planes[3 + p, i] = dxx * shape[1 + p, 0] + dxy * shape[1 + p, 1] + dyy * shape[1 + p, 2]
