"""Stamps of the stars that a PSF is built from, and their mean radial profile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import helper, kernel
from skyextract.kernels.psf.peaks import WING_MARGIN, Peaks, first_at, moffat_wing
from skyextract.kernels.values import MAX_VARIANCE, NO_INFORMATION

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8


@helper
def _cut(data: F4, variance: F4, ix: int, iy: int, stamp: F4, noise: F4) -> None:
    """Copy the inscribed circle of one stamp around pixel (ix, iy)."""
    size = stamp.shape[0]
    half = size // 2
    limit = (half + 0.5) * (half + 0.5)
    for a in range(size):
        row = iy + a - half
        for b in range(size):
            col = ix + b - half
            stamp[a, b] = np.float32(0.0)
            noise[a, b] = NO_INFORMATION
            if row < 0 or row >= data.shape[0] or col < 0 or col >= data.shape[1]:
                continue
            if (a - half) * (a - half) + (b - half) * (b - half) > limit:
                continue
            if variance[row, col] < MAX_VARIANCE:
                stamp[a, b] = data[row, col]
                noise[a, b] = variance[row, col]


@helper
def _mask_neighbour(
    neighbour_x: float, neighbour_y: float, radius: float, x: float, y: float, fwhm: float,
    x_low: int, y_low: int, noise: F4,
) -> None:  # fmt: skip
    """Mask the disc of a neighbour, but no pixel within one FWHM of the star at (x, y).

    The stamp's first pixel is (x_low, y_low).
    """
    r2 = radius * radius
    for a in range(noise.shape[0]):
        row = y_low + a
        dy = row - neighbour_y
        if dy * dy > r2:
            continue
        for b in range(noise.shape[1]):
            col = x_low + b
            dx = col - neighbour_x
            if dx * dx + dy * dy < r2 and math.hypot(col - x, row - y) > fwhm:
                noise[a, b] = NO_INFORMATION


@kernel
def cut_stamps(
    data: F4,
    variance: F4,
    x: F8,
    y: F8,
    height: F8,
    peaks: Peaks,
    fwhm: float,
    stamps: F4,
    noise: F4,
) -> None:
    """Cut square stamps around stars; pixels that must not be used get the variance 1e30.

    Parameters
    ----------
    data, variance : (ny, nx) float32
        Background-subtracted image and its background variance.
    x, y : (n,) float64
        Star positions; the stamp's middle pixel is the nearest one.
    height : (n,) float64
        Heights of the stars in the smoothed image.
    peaks : Peaks
        Those that cannot be noise on the star's own wing are masked.
    fwhm : float
        Within one FWHM of a star a peak is the star, and no pixel is masked.
    stamps, noise : (n, size, size) float32
        Output.  Outside the image, outside the inscribed circle, or no data: 0 and 1e30.
    """
    half = stamps.shape[1] // 2
    largest = 0.0
    for j in range(peaks.radius.shape[0]):
        largest = max(largest, peaks.radius[j])
    reach = half + largest + 1.0
    for i in range(x.shape[0]):
        ix = math.floor(x[i] + 0.5)
        iy = math.floor(y[i] + 0.5)
        _cut(data, variance, ix, iy, stamps[i], noise[i])
        for j in range(first_at(peaks.y, y[i] - reach), peaks.y.shape[0]):
            if peaks.y[j] > y[i] + reach:
                break
            distance = math.hypot(peaks.x[j] - x[i], peaks.y[j] - y[i])
            if distance > 1.5 * reach or distance < fwhm:
                continue
            if peaks.height[j] < WING_MARGIN * height[i] * moffat_wing(distance, fwhm):
                continue
            _mask_neighbour(
                peaks.x[j], peaks.y[j], peaks.radius[j], x[i], y[i], fwhm, ix - half, iy - half,
                noise[i],
            )  # fmt: skip


@kernel
def radial_sums(
    stamps: F4,
    noise: F4,
    inverse_gain: float,
    accuracy: float,
    cx: F8,
    cy: F8,
    flux: F8,
    peak: float,
    shape: F8,
    edges: F8,
    out: F8,
) -> None:
    """Weighted sums of pixel value over flux in bins of elliptical radius, all stars.

    Parameters
    ----------
    peak : float
        Rough peak value of the unit-flux PSF, for the photon noise.
    shape : (3,) float64
        Quadratic form (xx, yy, xy) of the elliptical radius, of unit determinant.
    edges : (n_bins + 1,) float64
        Squared radii.
    out : (n_bins, 3) float64
        Sums of weight, weight * value, weight * radius.
    """
    n_bins = edges.shape[0] - 1
    low = 0
    for s in range(stamps.shape[0]):
        light = flux[s]
        if light <= 0.0:
            continue
        photons, misfit = peak * light * inverse_gain, (accuracy * light) ** 2
        for a in range(stamps.shape[1]):
            dy = a - cy[s]
            for b in range(stamps.shape[2]):
                if noise[s, a, b] > MAX_VARIANCE:
                    continue
                dx = b - cx[s]
                r2 = shape[0] * dx * dx + shape[1] * dy * dy + 2.0 * shape[2] * dx * dy
                if r2 >= edges[n_bins]:
                    continue
                # From the bin of the pixel before, which is the same or one beside it.
                while low + 1 < n_bins and edges[low + 1] <= r2:
                    low += 1
                while low > 0 and edges[low] > r2:
                    low -= 1
                # One weight per star and bin, whatever the pixel's value: no bias.
                w = light * light / (noise[s, a, b] + photons + misfit)
                out[low, 0] += w
                out[low, 1] += w * stamps[s, a, b] / light
                out[low, 2] += w * math.sqrt(r2)
