"""Growth curves and the radii that hold given fractions of the flux.

As in the SExtractor manual, chapter "Photometry" (FLUX_RADIUS).  Conventions as in
`aperture`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.kernels.jit import kernel
from skyextract.kernels.measurement.pixel import BAD, GOOD, circle_box, left_out, replacement
from skyextract.kernels.measurement.records import Shapes, SourcePixels
from skyextract.kernels.values import TOUCHES_BAD

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I4

N_BINS = 64
"""Samples of a growth curve."""


_SUBPIXELS = 5
_ROOM = 32
"""Room for those of a pixel, whole registers."""
_REACH = 6.0
_MIN_HALF_LIGHT = 0.5


@kernel
def _add_ring(
    pixels: Any, labels: Any, variance: Any, mask: int, source: int, mx: float, my: float,
    inner: float, outer: float, density: float, margin: float, offsets: Any, bins: Any,
    curve: Any,
) -> Any:  # fmt: skip
    """Add the pixels with centres at radii [inner, outer) to the bins of `curve`.

    `offsets` are x and y of the subpixels from the first one; `bins` is space for their bins.
    """
    height, width = pixels.shape
    sub = 1.0 / _SUBPIXELS
    start = 0.5 * (sub - 1.0)
    step = 1.0 / density
    n_bins = curve.size
    touched = 0
    inner2 = inner * inner
    outer2 = outer * outer
    _, _, bottom, top, _ = circle_box(mx, my, outer, width, height)
    for py in range(bottom, top):
        dy = py - my
        room = outer2 - dy * dy
        if room <= 0.0:
            continue
        half = math.sqrt(room)
        for px in range(max(math.ceil(mx - half), 0), min(math.floor(mx + half) + 1, width)):
            dx = px - mx
            r2 = dx * dx + dy * dy
            if r2 < inner2 or r2 >= outer2:
                continue
            value = np.float64(pixels[py, px])
            state = GOOD
            if left_out(value, labels[py, px], mask, source):
                value, _, state = replacement(
                    pixels, labels, variance, False, 0.0, mask, source, px, py, mx, my
                )
            if state == BAD:
                touched = 1
            if value == 0.0:
                continue
            radius = math.sqrt(r2)
            offset = radius - step * math.floor(radius * density)
            if margin <= offset <= step - margin:
                j = int(radius * density)
                if j < n_bins:
                    curve[j] += value
                continue
            value *= sub * sub
            # All roots first, with vector instructions.
            for k in range(_ROOM):
                dxs = dx + start + offsets[0, k]
                dys = dy + start + offsets[1, k]
                bins[k] = np.int32(math.sqrt(dxs * dxs + dys * dys) * density)
            for k in range(_SUBPIXELS * _SUBPIXELS):
                j = bins[k]
                if j < n_bins:
                    curve[j] += value
    return touched


@kernel
def _crossing(curve: Any, n: int, target: float) -> float:
    """Return the radius, in bins, where the cumulative curve reaches `target`; -1: not in n."""
    last = curve.size - 2
    i = 0
    while i < n and i <= last and curve[i] < target:
        i += 1
    if i >= n and n <= last:
        return -1.0
    if i == 0:
        return target / curve[0] if curve[0] != 0.0 else 0.0
    k = min(i, last)
    rise = curve[k] - curve[k - 1]
    return i + (target - curve[k - 1]) / rise if rise != 0.0 else float(i)


@kernel
def flux_radii(
    image: SourcePixels, shapes: Shapes, aperture: float, total: F8, fractions: F8, whole: bool,
    first: int, last: int, radii: F8, half_light: F8, curves: F8, reach: F8, flags: I4,
) -> None:  # fmt: skip
    """Build growth curves and find the radii that hold fractions of the flux.

    A curve has 64 samples out to 6 times the semi-major axis (or the radius `aperture`, if
    larger), every pixel split into 5 x 5.  Only as much of it as the radii need is computed,
    unless `whole`.

    Parameters
    ----------
    total : (n,) float64
        FLUX_AUTO.
    fractions : (k,) float64
    radii : (n, k) float64
        Output, FLUX_RADIUS in pixels.
    half_light : (n,) float64
        Output: the half-light radius for the window, at least 0.5 pixel.
    curves : (n, 64) float64, or (0, 64)
        Output: cumulative flux, if `whole`.
    reach : (n,) float64
        Output: radius of the last sample in pixels.
    """
    pixels, labels, mask = image
    x, y, a = shapes.x, shapes.y, shapes.a
    height, width = pixels.shape
    curve = np.zeros(N_BINS)
    sums = np.zeros(N_BINS)
    stages = np.array([0.35, 0.65, 1.0])
    dummy = np.zeros((1, 1), dtype=np.float32)
    offsets, bins = np.zeros((2, _ROOM)), np.zeros(_ROOM, np.int32)
    for k in range(_SUBPIXELS * _SUBPIXELS):
        offsets[0, k] = k % _SUBPIXELS * (1.0 / _SUBPIXELS)
        offsets[1, k] = k // _SUBPIXELS * (1.0 / _SUBPIXELS)
    for i in range(first, last):
        mx, my = x[i], y[i]
        # Of a source without extent, as those beneath others may be measured, one pixel.
        limit = max(_REACH * a[i], aperture, 1.0)
        density = N_BINS / limit
        reach[i] = limit
        outside = limit + 1.5
        flags[i] |= circle_box(mx, my, outside, width, height)[4]
        curve[:] = 0.0
        inner = 0.0
        half = -1.0
        for stage in range(stages.size):
            if whole and stage < stages.size - 1:
                continue
            outer = outside if stage == stages.size - 1 else stages[stage] * limit
            if _add_ring(
                pixels, labels, dummy, mask, i + 1, mx, my, inner, outer, density, 0.75, offsets,
                bins, curve,
            ):  # fmt: skip
                flags[i] |= TOUCHES_BAD
            inner = outer
            # A bin is complete when no pixel farther out can reach into it.
            n = N_BINS
            if stage < stages.size - 1:
                n = max(int((outer - 0.75) * density), 0)
            running = 0.0
            for j in range(n):
                running += curve[j]
                sums[j] = running
            found = True
            for k in range(fractions.size):
                radius = _crossing(sums, n, fractions[k] * total[i])
                if radius == -1.0:
                    found = False
                radii[i, k] = min(radius / density, limit)
            half = _crossing(sums, n, 0.5 * total[i])
            if found and half != -1.0:
                break
        half_light[i] = max(min(abs(half) / density, limit), _MIN_HALF_LIGHT)
        if whole:
            curves[i, :] = sums
