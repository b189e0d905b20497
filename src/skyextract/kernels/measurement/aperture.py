"""Fluxes in circular and elliptical apertures, Kron and Petrosian radii.

The sampling rules are those that the SExtractor manual describes (Bertin & Arnouts 1996,
A&AS 117, 393; manual, chapter "Photometry"): circular apertures on 5 x 5 subpixels, AUTO
and PETRO on whole pixels, MASK_TYPE CORRECT replacing a pixel of a neighbour by the pixel
opposite to it with respect to the source's barycentre.

All kernels work on the sources ``first <= i < last`` and write to row i of the outputs.
A NaN in `pixels` is a bad pixel, -inf
a detected pixel that belongs to no source.  `labels` holds k + 1 in the pixels of source k.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from skyextract.kernels.jit import kernel
from skyextract.kernels.measurement.pixel import BAD, UNCLAIMED, circle_coverage, pixel_value
from skyextract.kernels.values import APERTURE_INCOMPLETE, TOUCHES_BAD

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
def aperture_fluxes(
    pixels: Any, labels: Any, variance: Any, mapped: bool, noise2: float, gain: float,
    weight_gain: bool, mask: int, x: Any, y: Any, sky: Any, radii: Any, first: int, last: int,
    flux: Any, error: Any, flags: Any,
) -> None:  # fmt: skip
    """Sum the light in circles.

    Parameters
    ----------
    pixels : (ny, nx) float32
        Background-subtracted image, NaN where bad.
    labels : (ny, nx) int32
    variance : (ny, nx) float32
        Background variance; used if `mapped`, else `noise2` holds everywhere.
    noise2 : float
        Square of the representative background noise.
    gain : float
        e-/ADU; 0: no photon noise.
    weight_gain : bool
        The gain of a pixel is gain * noise2 / variance (WEIGHT_GAIN).
    mask : int
        0, BLANK or CORRECT.
    x, y, sky : (n,) float64
        0-based barycentres, and local background to subtract.
    radii : (k,) float64
        Pixels.
    flux, error : (n, k) float64
        Output.
    flags : (n,) int32
        Output; bits are added.
    """
    height, width = pixels.shape
    for i in range(first, last):
        mx, my = x[i], y[i]
        for k in range(radii.size):
            radius = radii[k]
            radius2 = radius * radius
            inner = max(radius - 0.75, 0.0)
            inner2 = inner * inner
            outer2 = (radius + 0.75) * (radius + 0.75)
            xmin = int(mx - radius + 0.499999)
            xmax = int(mx + radius + 1.499999)
            ymin = int(my - radius + 0.499999)
            ymax = int(my + radius + 1.499999)
            if xmin < 0 or xmax > width or ymin < 0 or ymax > height:
                flags[i] |= APERTURE_INCOMPLETE
            total = 0.0
            noise = 0.0
            area = 0.0
            for py in range(max(ymin, 0), min(ymax, height)):
                dy = py - my
                for px in range(max(xmin, 0), min(xmax, width)):
                    dx = px - mx
                    r2 = dx * dx + dy * dy
                    if r2 >= outer2:
                        continue
                    part = 1.0
                    if r2 > inner2:
                        part = circle_coverage(dx, dy, radius2, _SUBPIXELS)
                    area += part
                    value, var, state = pixel_value(
                        pixels, labels, variance, mapped, noise2, mask, i + 1, px, py, mx, my
                    )
                    if state == BAD and part > 0.0:
                        flags[i] |= TOUCHES_BAD
                    total += part * value
                    noise += part * var
                    if weight_gain and gain > 0.0 and value > 0.0:
                        # SExtractor counts boundary pixels fully in this term.
                        noise += value / gain * var / noise2
            total -= area * sky[i]
            if not weight_gain and gain > 0.0 and total > 0.0:
                noise += total / gain
            flux[i, k] = total
            error[i, k] = math.sqrt(noise)


@kernel
def kron_radii(
    pixels: Any, labels: Any, mask: int, x: Any, y: Any, a: Any, b: Any, cxx: Any, cyy: Any,
    cxy: Any, factor: float, least: float, aperture: float, first: int, last: int, radii: Any,
    flags: Any,
) -> None:  # fmt: skip
    """Measure Kron radii in units of (a, b): `factor` times the first moment of the radius.

    Kron (1980, ApJS 43, 305) within 6 isophotal ellipses of the detection image (or the
    circle of diameter `aperture`, if that is larger); at least `least`.  Neighbours' and
    bad pixels are left out.  NaN if no pixel is left at all.
    """
    height, width = pixels.shape
    for i in range(first, last):
        mx, my = x[i], y[i]
        dxx, dyy, dxy = cxx[i], cyy[i], cxy[i]
        limit = SEARCH_RADIUS
        if SEARCH_RADIUS * math.sqrt(a[i] * b[i]) > 0.5 * aperture:
            half_x = _extent(dxx, dyy, dxy, SEARCH_RADIUS)
            half_y = _extent(dyy, dxx, dxy, SEARCH_RADIUS)
        else:
            dxx, dyy, dxy = 1.0, 1.0, 0.0
            limit = half_x = half_y = 0.5 * aperture
        limit2 = limit * limit
        xmin, xmax = _round(mx - half_x), _round(mx + half_x) + 1
        ymin, ymax = _round(my - half_y), _round(my + half_y) + 1
        if xmin < 0 or xmax > width or ymin < 0 or ymax > height:
            flags[i] |= APERTURE_INCOMPLETE
        moment = 0.0
        total = 0.0
        used = 0
        left_out = 0
        for py in range(max(ymin, 0), min(ymax, height)):
            dy = py - my
            for px in range(max(xmin, 0), min(xmax, width)):
                dx = px - mx
                r2 = dxx * dx * dx + dyy * dy * dy + dxy * dx * dy
                if r2 > limit2:
                    continue
                value = np.float64(pixels[py, px])
                label = labels[py, px]
                if not value > UNCLAIMED or (mask > 0 and label > 0 and label != i + 1):
                    left_out += 1
                else:
                    used += 1
                    moment += math.sqrt(r2) * value
                    total += value
        if used + left_out == 0:
            radii[i] = math.nan
            continue
        radius = least
        if moment > 0.0 and total > 0.0:
            radius = max(factor * moment / total, least)
        radii[i] = radius
        if left_out >= CROWD_FRACTION * (used + left_out):
            flags[i] |= CROWDED


@kernel
def petrosian_radii(
    pixels: Any, labels: Any, mask: int, x: Any, y: Any, a: Any, b: Any, cxx: Any, cyy: Any,
    cxy: Any, factor: float, least: float, aperture: float, first: int, last: int, radii: Any,
    flags: Any,
) -> None:  # fmt: skip
    """Measure Petrosian radii in units of (a, b).

    `factor` times the radius where the surface brightness in an annulus of 1 to 1.2 times
    a radius falls below 0.2 of the mean within 1.1 times that radius (Petrosian 1976,
    ApJ 209, L1; eta = 0.2); arguments as for `kron_radii`.
    """
    height, width = pixels.shape
    for i in range(first, last):
        mx, my = x[i], y[i]
        dxx, dyy, dxy = cxx[i], cyy[i], cxy[i]
        limit = SEARCH_RADIUS
        if SEARCH_RADIUS * math.sqrt(a[i] * b[i]) > 0.5 * aperture:
            half_x = _extent(dxx, dyy, dxy, SEARCH_RADIUS)
            half_y = _extent(dyy, dxx, dxy, SEARCH_RADIUS)
        else:
            dxx, dyy, dxy = 1.0, 1.0, 0.0
            limit = half_x = half_y = 0.5 * aperture
        xmin, xmax = _round(mx - half_x), _round(mx + half_x) + 1
        ymin, ymax = _round(my - half_y), _round(my + half_y) + 1
        if xmin < 0 or xmax > width or ymin < 0 or ymax > height:
            flags[i] |= APERTURE_INCOMPLETE
        step = limit / 20.0
        inside = step
        middle = 0.0
        ring = 0.0
        core = 0.0
        n_ring = n_core = used = left_out = 0
        while 1.2 * inside < limit:
            middle = 1.1 * inside
            inside2 = inside * inside
            middle2 = middle * middle
            outside2 = 1.44 * inside2
            ring = 0.0
            core = 0.0
            n_ring = n_core = used = left_out = 0
            for py in range(max(ymin, 0), min(ymax, height)):
                dy = py - my
                for px in range(max(xmin, 0), min(xmax, width)):
                    dx = px - mx
                    r2 = dxx * dx * dx + dyy * dy * dy + dxy * dx * dy
                    if r2 > outside2:
                        continue
                    value = np.float64(pixels[py, px])
                    label = labels[py, px]
                    if not value > UNCLAIMED or (mask > 0 and label > 0 and label != i + 1):
                        left_out += 1
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
        if used + left_out == 0:
            radii[i] = math.nan
            continue
        radius = least
        if n_ring > 0 and n_core > 0 and ring != 0.0 and core != 0.0:
            radius = max(factor * middle, least)
        radii[i] = radius
        if left_out >= CROWD_FRACTION * (used + left_out):
            flags[i] |= CROWDED


@kernel
def elliptical_fluxes(
    pixels: Any, labels: Any, variance: Any, mapped: bool, noise2: float, gain: float,
    weight_gain: bool, mask: int, x: Any, y: Any, a: Any, b: Any, cxx: Any, cyy: Any, cxy: Any,
    sky: Any, aperture: float, first: int, last: int, radii: Any, flux: Any, error: Any,
    flags: Any,
) -> None:  # fmt: skip
    """Sum the light in ellipses of `radii` times (a, b), on whole pixels.

    The circle of diameter `aperture` takes over where it is larger; `radii` is then set
    to 0, as it is for a flux that is not positive (SExtractor's habit).  A NaN radius means
    that there are no pixels: flux 0.  Other arguments as for `aperture_fluxes`.
    """
    height, width = pixels.shape
    for i in range(first, last):
        mx, my = x[i], y[i]
        radius = radii[i]
        total = 0.0
        noise = 0.0
        if radius == radius:
            dxx, dyy, dxy = cxx[i], cyy[i], cxy[i]
            if radius * math.sqrt(a[i] * b[i]) > 0.5 * aperture:
                half_x = _extent(dxx, dyy, dxy, radius)
                half_y = _extent(dyy, dxx, dxy, radius)
            else:
                dxx, dyy, dxy = 1.0, 1.0, 0.0
                radius = half_x = half_y = 0.5 * aperture
                radii[i] = 0.0
            limit2 = radius * radius
            xmin, xmax = _round(mx - half_x), _round(mx + half_x) + 1
            ymin, ymax = _round(my - half_y), _round(my + half_y) + 1
            if xmin < 0 or xmax > width or ymin < 0 or ymax > height:
                flags[i] |= APERTURE_INCOMPLETE
            area = 0
            replaced = 0
            for py in range(max(ymin, 0), min(ymax, height)):
                dy = py - my
                for px in range(max(xmin, 0), min(xmax, width)):
                    dx = px - mx
                    if dxx * dx * dx + dyy * dy * dy + dxy * dx * dy > limit2:
                        continue
                    area += 1
                    value, var, state = pixel_value(
                        pixels, labels, variance, mapped, noise2, mask, i + 1, px, py, mx, my
                    )
                    if state > 0:
                        replaced += 1
                        if state == BAD:
                            flags[i] |= TOUCHES_BAD
                    total += value
                    noise += var
                    if weight_gain and gain > 0.0 and value > 0.0:
                        noise += value / gain * var / noise2
            if replaced > CROWD_FRACTION * area:
                flags[i] |= CROWDED
            total -= area * sky[i]
            if not weight_gain and gain > 0.0 and total > 0.0:
                noise += total / gain
        flux[i] = total
        error[i] = math.sqrt(noise)
        if not total > 0.0:
            radii[i] = 0.0
