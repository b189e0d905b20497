"""Gaussian-windowed positions, moments and fluxes.

Definitions as in the SExtractor manual, chapter "Windowed parameters": the window is a
Gaussian whose FWHM is the diameter of the circle that holds half of FLUX_AUTO, cut at
4 sigma.  Conventions as in `aperture`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from skyextract.kernels.jit import kernel
from skyextract.kernels.measurement.pixel import BAD, UNCLAIMED, circle_coverage, pixel_value
from skyextract.kernels.values import APERTURE_INCOMPLETE, TOUCHES_BAD

_WINDOW_ITERATIONS = 16
_WINDOW_RADIUS = 4.0
_WINDOW_SUBPIXELS = 11
_WINDOW_STEP = 1e-4
_WINDOW_FACTOR = 2.0
_LARGE_WINDOW = 6.0
_PIXEL_VARIANCE = 1.0 / 12.0


@kernel
def _offset(
    pixels: Any, labels: Any, mask: int, source: int, mx: float, my: float, radius: float,
    sharp: float, column: Any,
) -> Any:  # fmt: skip
    """Return the windowed flux and its mean offsets in x and y from (mx, my).

    The window's edge is sharp to 11 subpixels where it matters, for small windows; in large
    ones a pixel there weighs a thousandth of a central one, and a linear ramp will do.
    """
    height, width = pixels.shape
    radius2 = radius * radius
    inner2 = max(radius - 0.75, 0.0) ** 2
    outer2 = (radius + 0.75) ** 2
    xmin = max(int(mx - radius + 0.499999), 0)
    xmax = min(int(mx + radius + 1.499999), width)
    ymin = max(int(my - radius + 0.499999), 0)
    ymax = min(int(my + radius + 1.499999), height)
    for px in range(xmin, xmax):
        column[px - xmin] = math.exp(-sharp * (px - mx) * (px - mx))
    total = sx = sy = 0.0
    for py in range(ymin, ymax):
        dy = py - my
        room = outer2 - dy * dy
        if room <= 0.0:
            continue
        half = math.sqrt(room)
        row = row_x = 0.0
        for px in range(max(xmin, math.ceil(mx - half)), min(xmax, math.floor(mx + half) + 1)):
            dx = px - mx
            value = np.float64(pixels[py, px])
            label = labels[py, px]
            if not value > UNCLAIMED or (mask > 0 and label > 0 and label != source):
                value, _, _ = pixel_value(
                    pixels, labels, pixels, False, 0.0, mask, source, px, py, mx, my
                )
            weight = column[px - xmin]
            r2 = dx * dx + dy * dy
            if r2 > inner2:
                if radius < _LARGE_WINDOW:
                    weight *= circle_coverage(dx, dy, radius2, _WINDOW_SUBPIXELS)
                else:
                    weight *= min(max(0.5 + radius - math.sqrt(r2), 0.0), 1.0)
            row += weight * value
            row_x += weight * value * dx
        light = math.exp(-sharp * dy * dy)
        total += light * row
        sx += light * row_x
        sy += light * row * dy
    if total > 0.0:
        return total, sx / total, sy / total
    return total, 0.0, 0.0


@kernel
def windowed(
    pixels: Any, labels: Any, variance: Any, mapped: bool, noise2: float, gain: float,
    weight_gain: bool, mask: int, x: Any, y: Any, cxx: Any, cyy: Any, cxy: Any, half_light: Any,
    singular: Any, first: int, last: int, out: Any, iterations: Any, window_flags: Any, flags: Any,
) -> None:  # fmt: skip
    """Iterate Gaussian-windowed centroids; moments, flux and errors at the last one.

    Parameters
    ----------
    x, y : (n,) float64
        0-based start positions.
    cxx, cyy, cxy : (n,) float64
        Isophotal ellipse, which the centroid must not leave.
    half_light : (n,) float64
        Half-light radii in pixels.
    singular : (n,) uint8
        The isophotal moments were degenerate (less than a pixel wide).
    out : (n, 10) float64
        Output: x, y (0-based); X2, Y2, XY; flux; variance of the flux; error X2, Y2, XY.
        The position is the start, moments and errors are NaN where `window_flags` is not 0.
    iterations : (n,) int32
        Iterations until the centroid stood still; 17: it did not.
    window_flags : (n,) int32
        1: singular moments, 2: negative moments, 4: no flux, 8: the centroid moved by more
        than a pixel in x and in y, and out of the isophotal ellipse.
    """
    height, width = pixels.shape
    column = np.empty(0)
    for i in range(first, last):
        sigma = half_light[i] * 2.0 / 2.35
        sharp = 1.0 / (2.0 * sigma * sigma)
        radius = _WINDOW_RADIUS * sigma
        radius2 = radius * radius
        inner = max(radius - 0.75, 0.0)
        inner2 = inner * inner
        outer2 = (radius + 0.75) * (radius + 0.75)
        mx, my = x[i], y[i]
        n_columns = int(2.0 * radius) + 4
        if column.size < n_columns:
            column = np.empty(n_columns)
        step = 0
        while step < _WINDOW_ITERATIONS:
            step += 1
            # The sums below are those around the last position but one, as in SExtractor.
            last_x, last_y = mx, my
            if (
                int(mx - radius + 0.499999) < 0
                or int(mx + radius + 1.499999) > width
                or int(my - radius + 0.499999) < 0
                or int(my + radius + 1.499999) > height
            ):
                flags[i] |= APERTURE_INCOMPLETE
            total, sx, sy = _offset(pixels, labels, mask, i + 1, mx, my, radius, sharp, column)
            if not total > 0.0:
                break
            mx += sx * _WINDOW_FACTOR
            my += sy * _WINDOW_FACTOR
            if sx * sx + sy * sy < _WINDOW_STEP * _WINDOW_STEP:
                break
            if not max(abs(mx - x[i]), abs(my - y[i])) < max(width, height):
                break
        else:
            step = _WINDOW_ITERATIONS + 1
        xmin = max(int(last_x - radius + 0.499999), 0)
        xmax = min(int(last_x + radius + 1.499999), width)
        ymin = max(int(last_y - radius + 0.499999), 0)
        ymax = min(int(last_y + radius + 1.499999), height)
        for px in range(xmin, xmax):
            column[px - xmin] = math.exp(-sharp * (px - last_x) * (px - last_x))
        total = sx = sy = x2 = y2 = xy = 0.0
        noise = ex2 = ey2 = exy = 0.0
        for py in range(ymin, ymax):
            dy = py - last_y
            row = math.exp(-sharp * dy * dy)
            for px in range(xmin, xmax):
                dx = px - last_x
                r2 = dx * dx + dy * dy
                if r2 >= outer2:
                    continue
                weight = row * column[px - xmin]
                if r2 > inner2:
                    weight *= circle_coverage(dx, dy, radius2, _WINDOW_SUBPIXELS)
                value, var, state = pixel_value(
                    pixels, labels, variance, mapped, noise2, mask, i + 1, px, py, last_x, last_y
                )
                if state == BAD and weight > 0.0:
                    flags[i] |= TOUCHES_BAD
                light = weight * value
                total += light
                sx += light * dx
                sy += light * dy
                x2 += light * dx * dx
                y2 += light * dy * dy
                xy += light * dx * dy
                if gain > 0.0 and value > 0.0:
                    if weight_gain:
                        var += value / gain * var / noise2
                    else:
                        var += value / gain
                error = weight * weight * var
                noise += error
                ex2 += error * (dx * dx + _PIXEL_VARIANCE)
                ey2 += error * (dy * dy + _PIXEL_VARIANCE)
                exy += error * dx * dy
        if total > 0.0:
            sx /= total
            sy /= total
        status = 0 if total > 0.0 else 4
        if total != 0.0:
            x2 = x2 / total - sx * sx
            y2 = y2 / total - sy * sy
            xy = xy / total - sx * sy
            norm = _WINDOW_FACTOR * _WINDOW_FACTOR / (total * total)
            floor = noise * _PIXEL_VARIANCE * norm
            ex2 *= norm
            ey2 *= norm
            exy *= norm
            if singular[i] and ex2 * ey2 - exy * exy < floor * floor:
                ex2 += floor
                ey2 += floor
            determinant = x2 * y2 - xy * xy
            if x2 < 0.0 or y2 < 0.0:
                status |= 2
            if determinant < 0.0:
                status |= 1
            if determinant < _PIXEL_VARIANCE * _PIXEL_VARIANCE:
                x2 += _PIXEL_VARIANCE
                y2 += _PIXEL_VARIANCE
        dx = mx - x[i]
        dy = my - y[i]
        distance2 = cxx[i] * dx * dx + cyy[i] * dy * dy + cxy[i] * dx * dy
        if dx * dx > 1.0 and dy * dy > 1.0 and distance2 > 1.0:
            status |= 8
        if status:
            mx, my = x[i], y[i]
            x2 = y2 = xy = ex2 = ey2 = exy = math.nan
        out[i, 0] = mx
        out[i, 1] = my
        out[i, 2] = x2
        out[i, 3] = y2
        out[i, 4] = xy
        out[i, 5] = total
        out[i, 6] = noise
        out[i, 7] = ex2
        out[i, 8] = ey2
        out[i, 9] = exy
        iterations[i] = step
        window_flags[i] = status
