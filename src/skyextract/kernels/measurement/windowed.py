"""Gaussian-windowed positions, moments and fluxes.

Definitions as in the SExtractor manual, chapter "Windowed parameters": the window is a
Gaussian whose FWHM is the diameter of the circle that holds half of FLUX_AUTO, cut at
4 sigma.  Conventions as in `aperture`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.kernels.jit import kernel
from skyextract.kernels.measurement.pixel import (
    BAD,
    GOOD,
    circle_box,
    circle_coverage,
    left_out,
    replacement,
)
from skyextract.kernels.measurement.records import Noise, Shapes, SourcePixels
from skyextract.kernels.measurement.windowstamp import (
    STAMP_MARGIN,
    Stamp,
    fill_stamp,
    offset_of_stamp,
    stamp_side,
)
from skyextract.kernels.values import TOUCHES_BAD

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I4

_WINDOW_ITERATIONS = 16
_WINDOW_RADIUS = 4.0
_WINDOW_SUBPIXELS = 11
_WINDOW_STEP = 1e-4
_WINDOW_FACTOR = 2.0
_LARGE_WINDOW = 6.0
_SAMPLED_WINDOW = 256.0
_SAMPLED_RADIUS = 128.0
"""A window with a larger radius is iterated on every nth pixel and row, that many per radius."""
_PIXEL_VARIANCE = 1.0 / 12.0


@kernel
def _offset(
    pixels: Any, labels: Any, mask: int, source: int, mx: float, my: float, radius: float,
    exponent: float, step: int, column: Any,
) -> Any:  # fmt: skip
    """Return the windowed flux and its mean offsets in x and y from (mx, my).

    The window's edge is sharp to 11 subpixels where it matters, for small windows; in large
    ones a pixel there weighs a thousandth of a central one, and a linear ramp will do.  Pixels
    are those whose column and row are multiples of `step`.
    """
    height, width = pixels.shape
    radius2 = radius * radius
    inner2 = max(radius - 0.75, 0.0) ** 2
    outer2 = (radius + 0.75) ** 2
    xmin, xmax, ymin, ymax, _ = circle_box(mx, my, radius, width, height)
    for px in range(xmin, xmax):
        column[px - xmin] = math.exp(-exponent * (px - mx) * (px - mx))
    total = sx = sy = 0.0
    for py in range(ymin + -ymin % step, ymax, step):
        dy = py - my
        room = outer2 - dy * dy
        if room <= 0.0:
            continue
        half = math.sqrt(room)
        row = row_x = 0.0
        start = max(xmin, math.ceil(mx - half))
        past = min(xmax, math.floor(mx + half) + 1)
        for px in range(start + -start % step, past, step):
            dx = px - mx
            value = np.float64(pixels[py, px])
            if left_out(value, labels[py, px], mask, source):
                value, _, _ = replacement(
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
        light = math.exp(-exponent * dy * dy)
        total += light * row
        sx += light * row_x
        sy += light * row * dy
    if total > 0.0:
        return total, sx / total, sy / total
    return total, 0.0, 0.0


@kernel
def _find_centroid(
    pixels: Any, labels: Any, mask: int, source: int, x: float, y: float, radius: float,
    exponent: float, column: Any, stamp: Stamp,
) -> tuple[float, float, float, float, int, int]:  # fmt: skip
    """Iterate the centroid from (x, y).

    Returns
    -------
    x, y : float
    last_x, last_y : float
        The position before: SExtractor's sums are around that one.
    iterations : int
    flag : int
        APERTURE_INCOMPLETE, or 0.
    """
    height, width = pixels.shape
    mx, my = x, y
    last_x, last_y = x, y
    flags = 0
    step = int(radius / _SAMPLED_RADIUS) if radius > _SAMPLED_WINDOW else 1
    place = stamp.place
    place[2] = 0
    fits = _LARGE_WINDOW <= radius <= _SAMPLED_WINDOW
    margin = 1 + int(radius) // STAMP_MARGIN
    for iteration in range(1, _WINDOW_ITERATIONS + 1):
        last_x, last_y = mx, my
        xmin, xmax, ymin, ymax, flag = circle_box(mx, my, radius, width, height)
        flags |= flag
        if fits and not (
            place[2] > 0
            and place[0] <= max(xmin - 1, 0) and min(xmax + 1, width) <= place[0] + place[2]
            and place[1] <= max(ymin - 1, 0) and min(ymax + 1, height) <= place[1] + place[3]
        ):  # fmt: skip
            fill_stamp(pixels, labels, mask, source, xmin, xmax, ymin, ymax, margin, stamp)
        if fits:
            total, sx, sy = offset_of_stamp(
                stamp, mask, mx, my, radius, exponent, xmin, xmax, ymin, ymax
            )
        else:
            total, sx, sy = _offset(
                pixels, labels, mask, source, mx, my, radius, exponent, step, column
            )
        if not total > 0.0:
            return mx, my, last_x, last_y, iteration, flags
        mx += sx * _WINDOW_FACTOR
        my += sy * _WINDOW_FACTOR
        if sx * sx + sy * sy < _WINDOW_STEP * _WINDOW_STEP:
            return mx, my, last_x, last_y, iteration, flags
        if not max(abs(mx - x), abs(my - y)) < max(width, height):
            return mx, my, last_x, last_y, iteration, flags
    return mx, my, last_x, last_y, _WINDOW_ITERATIONS + 1, flags


@kernel
def _sum_window(
    pixels: Any, labels: Any, mask: int, variance: Any, mapped: bool, noise2: float, gain: float,
    weight_gain: bool, source: int, mx: float, my: float, radius: float, exponent: float,
    column: Any, sums: Any,
) -> bool:  # fmt: skip
    """Sum light, moments, variance and its moments in the window about (mx, my), into `sums`.

    Returns
    -------
    bool
        Whether the window touches a bad pixel.
    """
    height, width = pixels.shape
    radius2 = radius * radius
    inner = max(radius - 0.75, 0.0)
    inner2 = inner * inner
    outer2 = (radius + 0.75) * (radius + 0.75)
    xmin, xmax, ymin, ymax, _ = circle_box(mx, my, radius, width, height)
    for px in range(xmin, xmax):
        column[px - xmin] = math.exp(-exponent * (px - mx) * (px - mx))
    total = sx = sy = x2 = y2 = xy = 0.0
    noise = ex2 = ey2 = exy = 0.0
    touched = False
    for py in range(ymin, ymax):
        dy = py - my
        row = math.exp(-exponent * dy * dy)
        for px in range(xmin, xmax):
            dx = px - mx
            r2 = dx * dx + dy * dy
            if r2 >= outer2:
                continue
            weight = row * column[px - xmin]
            if r2 > inner2:
                weight *= circle_coverage(dx, dy, radius2, _WINDOW_SUBPIXELS)
            value = np.float64(pixels[py, px])
            var, state = noise2, GOOD
            if left_out(value, labels[py, px], mask, source):
                value, var, state = replacement(
                    pixels, labels, variance, mapped, noise2, mask, source, px, py, mx, my
                )
            elif mapped:
                var = np.float64(variance[py, px])
            if state == BAD and weight > 0.0:
                touched = True
            light = weight * value
            total += light
            sx += light * dx
            sy += light * dy
            x2 += light * dx * dx
            y2 += light * dy * dy
            xy += light * dx * dy
            if gain > 0.0:  # no branch on the sign, which noise takes at random
                photons = max(value, 0.0) / gain
                var += photons * var / noise2 if weight_gain else photons
            error = weight * weight * var
            noise += error
            ex2 += error * (dx * dx + _PIXEL_VARIANCE)
            ey2 += error * (dy * dy + _PIXEL_VARIANCE)
            exy += error * dx * dy
    sums[0], sums[1], sums[2], sums[3], sums[4], sums[5] = total, sx, sy, x2, y2, xy
    sums[6], sums[7], sums[8], sums[9] = noise, ex2, ey2, exy
    return touched


@kernel
def _moments(sums: Any, singular: bool, row: Any) -> int:
    """Set moments, flux, its variance and errors of the position in `row`; return the status."""
    total, sx, sy, x2, y2, xy = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]
    noise, ex2, ey2, exy = sums[6], sums[7], sums[8], sums[9]
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
        if singular and ex2 * ey2 - exy * exy < floor * floor:
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
    row[2], row[3], row[4], row[5], row[6] = x2, y2, xy, total, noise
    row[7], row[8], row[9] = ex2, ey2, exy
    return status


@kernel
def windowed(
    image: SourcePixels, noise: Noise, shapes: Shapes, half_light: F8, first: int, last: int,
    out: F8, iterations: I4, window_flags: I4, flags: I4,
) -> None:  # fmt: skip
    """Iterate Gaussian-windowed centroids; moments, flux and errors at the last one.

    Parameters
    ----------
    shapes : Shapes
        Barycentres, where to start; the centroid must not leave the ellipses.
    half_light : (n,) float64
        Half-light radii in pixels.
    out : (n, 10) float64
        Output: x, y (0-based); X2, Y2, XY; flux; variance of the flux; error X2, Y2, XY.
        The position is the start, moments and errors are NaN where `window_flags` is not 0.
    iterations : (n,) int32
        Iterations until the centroid stood still; 17: it did not.
    window_flags : (n,) int32
        1: singular moments, 2: negative moments, 4: no flux, 8: the centroid moved by more
        than a pixel in x and in y, and out of the isophotal ellipse.
    """
    pixels, labels, mask = image
    variance, mapped, noise2, gain, weight_gain = noise
    x, y, _, _, cxx, cyy, cxy, singular = shapes
    column = np.empty(0)
    sums = np.empty(10)
    place = np.zeros(4, np.int64)
    memory, n_lost, rows = np.empty(0), np.empty(0, np.int64), np.empty((4, 0))
    for i in range(first, last):
        sigma = half_light[i] * 2.0 / 2.35
        exponent = 1.0 / (2.0 * sigma * sigma)
        radius = _WINDOW_RADIUS * sigma
        n_columns = int(2.0 * radius) + 4
        if column.size < n_columns:
            column = np.empty(n_columns)
        side = stamp_side(radius) if radius <= _SAMPLED_WINDOW else 0
        if rows.shape[1] < side:
            memory, n_lost = np.empty(side * side), np.empty(side, np.int64)
            rows = np.empty((4, side))
        stamp = Stamp(memory[: side * side].reshape((side, side)), n_lost, place, rows)
        mx, my, last_x, last_y, iterations[i], flag = _find_centroid(
            pixels, labels, mask, i + 1, x[i], y[i], radius, exponent, column, stamp
        )
        flags[i] |= flag
        if _sum_window(
            pixels, labels, mask, variance, mapped, noise2, gain, weight_gain, i + 1, last_x,
            last_y, radius, exponent, column, sums,
        ):  # fmt: skip
            flags[i] |= TOUCHES_BAD
        status = _moments(sums, singular[i] != 0, out[i])
        dx = mx - x[i]
        dy = my - y[i]
        distance2 = cxx[i] * dx * dx + cyy[i] * dy * dy + cxy[i] * dx * dy
        if dx * dx > 1.0 and dy * dy > 1.0 and distance2 > 1.0:
            status |= 8
        if status:
            mx, my = x[i], y[i]
            out[i, 2] = out[i, 3] = out[i, 4] = math.nan
            out[i, 7] = out[i, 8] = out[i, 9] = math.nan
        out[i, 0] = mx
        out[i, 1] = my
        window_flags[i] = status
