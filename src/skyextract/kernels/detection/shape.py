"""Measure sources on their pixels: light, bounds, moments and the ellipse that they mean.

SExtractor's manual, chapter "Position and shape"; moments are those of the filtered image.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.detection.pixels import Pixels, lowest_limit
from skyextract.kernels.jit import helper, kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I4, I8, Bools


# columns of the table of real numbers
X, Y, X2, Y2, XY, A, B, THETA, CXX, CYY, CXY, ABCOR = range(12)
FDFLUX, DFLUX, FDPEAK, DPEAK, DTHRESH, MTHRESH = range(12, 18)
N_REAL = 18
# columns of the table of integers
XMIN, XMAX, YMIN, YMAX, XPEAK, YPEAK, FDNPIX, DNPIX, FLAGS, SINGULAR, PARENT = range(11)
N_INTEGER = 11

_SINGULAR_DETERMINANT = 0.00694
_PIXEL_VARIANCE = 0.0833333


@kernel
def _measure_light(
    pixels: Pixels, members: I4, begin: int, end: int, real: F8, integer: I4
) -> None:
    """Measure fluxes, peaks and bounds of the pixels ``members[begin:end]``."""
    px, py, filtered, value = pixels.x, pixels.y, pixels.filtered, pixels.value
    flux = 0.0
    dflux = 0.0
    fdpeak = filtered[members[begin]]
    dpeak = value[members[begin]]
    x0 = x1 = px[members[begin]]
    y0 = y1 = py[members[begin]]
    xpeak = x0
    ypeak = y0
    for k in range(begin, end):
        p = members[k]
        f = filtered[p]
        flux += np.float64(f)
        dflux += np.float64(value[p])
        if f > fdpeak:
            fdpeak = f
            xpeak = px[p]
            ypeak = py[p]
        dpeak = max(dpeak, value[p])
        x0 = min(x0, px[p])
        x1 = max(x1, px[p])
        y0 = min(y0, py[p])
        y1 = max(y1, py[p])
    real[FDFLUX] = flux
    real[DFLUX] = dflux
    real[FDPEAK] = np.float64(fdpeak)
    real[DPEAK] = np.float64(dpeak)
    integer[XMIN] = x0
    integer[XMAX] = x1
    integer[YMIN] = y0
    integer[YMAX] = y1
    integer[XPEAK] = xpeak
    integer[YPEAK] = ypeak
    integer[FDNPIX] = end - begin


@kernel
def _set_ellipse(x2: float, y2: float, xy: float, real: F8, integer: I4) -> None:
    """Set second moments and their ellipse; a source thinner than a pixel gets its width."""
    determinant = x2 * y2 - xy * xy
    singular = determinant < _SINGULAR_DETERMINANT
    if singular:
        x2 += _PIXEL_VARIANCE
        y2 += _PIXEL_VARIANCE
        determinant = x2 * y2 - xy * xy
    difference = x2 - y2
    theta = math.atan2(2.0 * xy, difference) / 2.0 if difference != 0.0 else math.pi / 4.0
    spread = math.sqrt(0.25 * difference * difference + xy * xy)
    middle = 0.5 * (x2 + y2)
    real[X2] = x2
    real[Y2] = y2
    real[XY] = xy
    real[A] = math.sqrt(max(middle + spread, 0.0))
    real[B] = math.sqrt(max(middle - spread, 0.0))
    real[THETA] = theta * 180.0 / math.pi
    real[CXX] = y2 / determinant
    real[CYY] = x2 / determinant
    real[CXY] = -2.0 * xy / determinant
    integer[SINGULAR] = int(singular)


@kernel
def _area_correction(ratio: float, lost: float, a: float, b: float) -> float:
    """Return the area of the ellipse over that of a Gaussian which loses `lost` pixels.

    `ratio` is the threshold over half the way from there to the peak, `lost` the pixels above
    that less those above the threshold.
    """
    if not (ratio > 0.0 and a * b > 0.0):
        return 1.0
    depth = math.log(ratio if ratio < 1.0 else 0.99)
    return min((lost if lost < 0.0 else -1.0) / (2.0 * math.pi * depth * a * b), 1.0)


@helper
def measure_source(
    pixels: Pixels, members: I4, begin: int, end: int, threshold: float, recentre: bool,
    cx: float, cy: float, real: F8, integer: I4,
) -> None:  # fmt: skip
    """Measure the source that is made of the pixels ``members[begin:end]``.

    With `recentre` the second moments are taken about the barycentre; else about (cx, cy).
    `real` and `integer` are the source's rows of the tables; MTHRESH, FLAGS and PARENT are
    not set.
    """
    px, py, filtered, value = pixels.x, pixels.y, pixels.filtered, pixels.value
    threshold = lowest_limit(pixels, members, begin, end, threshold)
    _measure_light(pixels, members, begin, end, real, integer)
    flux = real[FDFLUX]
    x0 = integer[XMIN]
    y0 = integer[YMIN]
    half = (threshold + real[DPEAK]) / 2.0
    sx = sy = sxx = syy = sxy = 0.0
    n_above = 0
    n_half = 0
    for k in range(begin, end):
        p = members[k]
        f = np.float64(filtered[p])
        x = np.float64(px[p] - x0)
        y = np.float64(py[p] - y0)
        v = np.float64(value[p])
        n_above += int(v > threshold)
        n_half += int(v > half)
        sx += f * x
        sy += f * y
        sxx += f * x * x
        syy += f * y * y
        sxy += f * x * y
    mx = sx / flux
    my = sy / flux
    if recentre:
        x2 = sxx / flux - mx * mx
        y2 = syy / flux - my * my
        xy = sxy / flux - mx * my
    else:
        x = cx - x0
        y = cy - y0
        x2 = sxx / flux + x * x - 2.0 * mx * x
        y2 = syy / flux + y * y - 2.0 * my * y
        xy = sxy / flux + x * y - mx * y - x * my
        mx = x
        my = y
    real[X] = mx + x0
    real[Y] = my + y0
    real[DTHRESH] = threshold
    integer[DNPIX] = n_above
    _set_ellipse(x2, y2, xy, real, integer)
    real[ABCOR] = 1.0
    if not pixels.local:
        lost = np.float64(n_half - n_above)
        real[ABCOR] = _area_correction(threshold / half, lost, real[A], real[B])


@kernel
def measure_sources(
    pixels: Pixels, threshold: float, start: I8, length: I4, recentre: Bools, x: F8, y: F8,
    real: F8, integer: I4,
) -> None:  # fmt: skip
    """Measure sources whose pixels are ``start[i]`` to ``start[i] + length[i] - 1``.

    Second moments are about the barycentre with `recentre`, else about (x, y).  `real`,
    (n, N_REAL), and `integer`, (n, N_INTEGER), are output.
    """
    members = np.empty(len(pixels.x), np.int32)
    for k in range(len(members)):
        members[k] = k
    for i in range(len(length)):
        measure_source(
            pixels, members, start[i], start[i] + length[i], threshold, recentre[i], x[i], y[i],
            real[i], integer[i],
        )  # fmt: skip
