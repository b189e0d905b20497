"""Fluxes in circular and elliptical apertures, Kron and Petrosian radii.

The sampling rules are those that the SExtractor manual describes (Bertin & Arnouts 1996,
A&AS 117, 393; manual, chapter "Photometry"): circular apertures on 5 x 5 subpixels, AUTO
and PETRO on whole pixels, MASK_TYPE CORRECT replacing a pixel of a neighbour by the pixel
opposite to it with respect to the source's barycentre.

All kernels work on the sources ``first <= i < last`` and write to row i of the outputs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

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
from skyextract.kernels.values import APERTURE_INCOMPLETE, TOUCHES_BAD

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I4, I8, U1

CROWDED = 1

CROWD_FRACTION = 0.1
SEARCH_RADIUS = 6.0
"""Kron and Petrosian radii are searched out to this many times the isophotal ellipse."""

_SUBPIXELS = 5


@kernel
def _round(value: float) -> int:
    """Round half away from zero."""
    return int(value + 0.5) if value > 0.0 else int(value - 0.5)


@kernel
def _extent(cxx: float, cyy: float, cxy: float, scale: float) -> float:
    """Return the half width in x of the ellipse `scale` times (cxx, cyy, cxy)."""
    width = cxx - cxy * cxy / (4.0 * cyy)
    return scale / math.sqrt(width) if width > 0.0 else 0.0


@kernel
def _ellipse(
    a: float, b: float, cxx: float, cyy: float, cxy: float, scale: float, aperture: float
) -> tuple[float, float, float, float, float, float]:
    """Return the ellipse `scale` times (a, b), or the circle of diameter `aperture` if larger.

    Its parameters (cxx, cyy, cxy), the limit of its radius, and its half widths in x and y.
    """
    if scale * math.sqrt(a * b) > 0.5 * aperture:
        return cxx, cyy, cxy, scale, _extent(cxx, cyy, cxy, scale), _extent(cyy, cxx, cxy, scale)
    limit = 0.5 * aperture
    return 1.0, 1.0, 0.0, limit, limit, limit


@kernel
def _box(
    x: float, y: float, half_x: float, half_y: float, width: int, height: int
) -> tuple[int, int, int, int, int]:
    """Return the pixels of a box as `circle_box` does those around a circle."""
    left, right = _round(x - half_x), _round(x + half_x) + 1
    bottom, top = _round(y - half_y), _round(y + half_y) + 1
    cut = left < 0 or right > width or bottom < 0 or top > height
    flag = APERTURE_INCOMPLETE if cut else 0
    return max(left, 0), min(right, width), max(bottom, 0), min(top, height), flag


@kernel
def find_holes(pixels: F4, shapes: Shapes, area: I8, margin: float, rows: I8, holes: U1) -> None:
    """Tell which of some sources have bad pixels (NaN) in their footprints or at their edges.

    A hole is no part of the footprint that it is in: that of so many pixels is taken as the
    isophotal ellipse of that area, `margin` pixels wider along its minor axis.

    Parameters
    ----------
    pixels : (ny, nx) float32
    shapes : Shapes
    area : (n,) int64
        Pixels.
    rows : (k,) int64
        The sources.
    holes : (k,) uint8
        Output.
    """
    height, width = pixels.shape
    for k in range(rows.size):
        i = rows[k]
        mx, my = shapes.x[i], shapes.y[i]
        a, b = shapes.a[i], shapes.b[i]
        cxx, cyy, cxy = shapes.cxx[i], shapes.cyy[i], shapes.cxy[i]
        scale = math.sqrt(area[i] / (math.pi * a * b)) + margin / b
        left, right, bottom, top, _ = _box(
            mx, my, _extent(cxx, cyy, cxy, scale), _extent(cyy, cxx, cxy, scale), width, height
        )
        for py in range(bottom, top):
            dy = py - my
            for px in range(left, right):
                dx = px - mx
                if (
                    pixels[py, px] != pixels[py, px]
                    and cxx * dx * dx + cyy * dy * dy + cxy * dx * dy <= scale * scale
                ):
                    holes[k] = 1


@kernel
def aperture_fluxes(
    image: SourcePixels, noise: Noise, shapes: Shapes, sky: F8, radii: F8, first: int, last: int,
    flux: F8, error: F8, flags: I4,
) -> None:  # fmt: skip
    """Sum the light in circles.

    Parameters
    ----------
    sky : (n,) float64
        Local background to subtract.
    radii : (k,) float64
        Pixels.
    flux, error : (n, k) float64
        Output.
    flags : (n,) int32
        Output; bits are added.
    """
    pixels, labels, mask = image
    variance, mapped, noise2, gain, weight_gain = noise
    x, y = shapes.x, shapes.y
    height, width = pixels.shape
    for i in range(first, last):
        mx, my = x[i], y[i]
        for k in range(radii.size):
            radius = radii[k]
            radius2 = radius * radius
            inner = max(radius - 0.75, 0.0)
            inner2 = inner * inner
            outer2 = (radius + 0.75) * (radius + 0.75)
            left, right, bottom, top, flag = circle_box(mx, my, radius, width, height)
            flags[i] |= flag
            total = 0.0
            total_variance = 0.0
            area = 0.0
            for py in range(bottom, top):
                dy = py - my
                for px in range(left, right):
                    dx = px - mx
                    r2 = dx * dx + dy * dy
                    if r2 >= outer2:
                        continue
                    part = 1.0
                    if r2 > inner2:
                        part = circle_coverage(dx, dy, radius2, _SUBPIXELS)
                    area += part
                    value = np.float64(pixels[py, px])
                    var, state = noise2, GOOD
                    if left_out(value, labels[py, px], mask, i + 1):
                        value, var, state = replacement(
                            pixels, labels, variance, mapped, noise2, mask, i + 1, px, py, mx, my
                        )
                    elif mapped:
                        var = np.float64(variance[py, px])
                    if state == BAD and part > 0.0:
                        flags[i] |= TOUCHES_BAD
                    total += part * value
                    total_variance += part * var
                    if weight_gain and gain > 0.0 and value > 0.0:
                        # SExtractor counts boundary pixels fully in this term.
                        total_variance += value / gain * var / noise2
            total -= area * sky[i]
            if not weight_gain and gain > 0.0 and total > 0.0:
                total_variance += total / gain
            flux[i, k] = total
            error[i, k] = math.sqrt(total_variance)


@kernel
def kron_radii(
    image: SourcePixels, shapes: Shapes, factor: float, least: float, aperture: float, first: int,
    last: int, radii: F8, flags: I4,
) -> None:  # fmt: skip
    """Measure Kron radii in units of (a, b): `factor` times the first moment of the radius.

    Kron (1980, ApJS 43, 305) within 6 isophotal ellipses of the detection image (or the
    circle of diameter `aperture`, if that is larger); at least `least`.  Neighbours' and
    bad pixels are left out.  NaN if no pixel is left at all.
    """
    pixels, labels, mask = image
    x, y, a, b, cxx, cyy, cxy, _ = shapes
    height, width = pixels.shape
    for i in range(first, last):
        mx, my = x[i], y[i]
        dxx, dyy, dxy, limit, half_x, half_y = _ellipse(
            a[i], b[i], cxx[i], cyy[i], cxy[i], SEARCH_RADIUS, aperture
        )
        limit2 = limit * limit
        left, right, bottom, top, flag = _box(mx, my, half_x, half_y, width, height)
        flags[i] |= flag
        moment = 0.0
        total = 0.0
        used = 0
        unused = 0
        for py in range(bottom, top):
            dy = py - my
            for px in range(left, right):
                dx = px - mx
                r2 = dxx * dx * dx + dyy * dy * dy + dxy * dx * dy
                if r2 > limit2:
                    continue
                value = np.float64(pixels[py, px])
                if left_out(value, labels[py, px], mask, i + 1):
                    unused += 1
                else:
                    used += 1
                    moment += math.sqrt(r2) * value
                    total += value
        if used + unused == 0:
            radii[i] = math.nan
            continue
        radii[i] = least
        if moment > 0.0 and total > 0.0:
            radii[i] = max(factor * moment / total, least)
        if unused >= CROWD_FRACTION * (used + unused):
            flags[i] |= CROWDED


@kernel
def petrosian_radii(
    image: SourcePixels, shapes: Shapes, factor: float, least: float, aperture: float, first: int,
    last: int, radii: F8, flags: I4,
) -> None:  # fmt: skip
    """Measure Petrosian radii in units of (a, b).

    `factor` times the radius where the surface brightness in an annulus of 1 to 1.2 times
    a radius falls below 0.2 of the mean within 1.1 times that radius (Petrosian 1976,
    ApJ 209, L1; eta = 0.2); arguments as for `kron_radii`.
    """
    pixels, labels, mask = image
    x, y, a, b, cxx, cyy, cxy, _ = shapes
    height, width = pixels.shape
    for i in range(first, last):
        mx, my = x[i], y[i]
        dxx, dyy, dxy, limit, half_x, half_y = _ellipse(
            a[i], b[i], cxx[i], cyy[i], cxy[i], SEARCH_RADIUS, aperture
        )
        left, right, bottom, top, flag = _box(mx, my, half_x, half_y, width, height)
        flags[i] |= flag
        step = limit / 20.0
        inside = step
        middle = 0.0
        ring = 0.0
        core = 0.0
        n_ring = n_core = used = unused = 0
        while 1.2 * inside < limit:
            middle = 1.1 * inside
            inside2 = inside * inside
            middle2 = middle * middle
            outside2 = 1.44 * inside2
            ring = 0.0
            core = 0.0
            n_ring = n_core = used = unused = 0
            for py in range(bottom, top):
                dy = py - my
                for px in range(left, right):
                    dx = px - mx
                    r2 = dxx * dx * dx + dyy * dy * dy + dxy * dx * dy
                    if r2 > outside2:
                        continue
                    value = np.float64(pixels[py, px])
                    if left_out(value, labels[py, px], mask, i + 1):
                        unused += 1
                        continue
                    used += 1
                    if r2 >= inside2:
                        ring += value
                        n_ring += 1
                    if r2 < middle2:
                        core += value
                        n_core += 1
            if n_ring > 0 and n_core > 0:
                ring /= n_ring
                core /= n_core
                if ring < 0.2 * core:
                    break
            inside += step
        if used + unused == 0:
            radii[i] = math.nan
            continue
        radii[i] = least
        if n_ring > 0 and n_core > 0 and ring != 0.0 and core != 0.0:
            radii[i] = max(factor * middle, least)
        if unused >= CROWD_FRACTION * (used + unused):
            flags[i] |= CROWDED


@kernel
def elliptical_fluxes(
    image: SourcePixels, noise: Noise, shapes: Shapes, sky: F8, aperture: float, first: int,
    last: int, radii: F8, flux: F8, error: F8, flags: I4,
) -> None:  # fmt: skip
    """Sum the light in ellipses of `radii` times (a, b), on whole pixels.

    The circle of diameter `aperture` takes over where it is larger; `radii` is then set
    to 0, as it is for a flux that is not positive (SExtractor's habit).  A NaN radius means
    that there are no pixels: flux 0.  Other arguments as for `aperture_fluxes`.
    """
    pixels, labels, mask = image
    variance, mapped, noise2, gain, weight_gain = noise
    x, y, a, b, cxx, cyy, cxy, _ = shapes
    height, width = pixels.shape
    for i in range(first, last):
        mx, my = x[i], y[i]
        total = 0.0
        total_variance = 0.0
        if radii[i] == radii[i]:
            dxx, dyy, dxy, limit, half_x, half_y = _ellipse(
                a[i], b[i], cxx[i], cyy[i], cxy[i], radii[i], aperture
            )
            if not radii[i] * math.sqrt(a[i] * b[i]) > 0.5 * aperture:
                radii[i] = 0.0
            limit2 = limit * limit
            left, right, bottom, top, flag = _box(mx, my, half_x, half_y, width, height)
            flags[i] |= flag
            area = 0
            replaced = 0
            for py in range(bottom, top):
                dy = py - my
                for px in range(left, right):
                    dx = px - mx
                    if dxx * dx * dx + dyy * dy * dy + dxy * dx * dy > limit2:
                        continue
                    area += 1
                    value = np.float64(pixels[py, px])
                    var, state = noise2, GOOD
                    if left_out(value, labels[py, px], mask, i + 1):
                        value, var, state = replacement(
                            pixels, labels, variance, mapped, noise2, mask, i + 1, px, py, mx, my
                        )
                    elif mapped:
                        var = np.float64(variance[py, px])
                    if state > 0:
                        replaced += 1
                        if state == BAD:
                            flags[i] |= TOUCHES_BAD
                    total += value
                    total_variance += var
                    if weight_gain and gain > 0.0 and value > 0.0:
                        total_variance += value / gain * var / noise2
            if replaced > CROWD_FRACTION * area:
                flags[i] |= CROWDED
            total -= area * sky[i]
            if not weight_gain and gain > 0.0 and total > 0.0:
                total_variance += total / gain
        flux[i] = total
        error[i] = math.sqrt(total_variance)
        if not total > 0.0:
            radii[i] = 0.0
