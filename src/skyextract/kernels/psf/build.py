"""Least squares for a PSF on a pixel basis, from many stars at once.

The model of star s at pixel i is ``f_s sum_k u_sk sum_j B_kj phi((i - c_s) / step - j)``
with phi the cubic B-spline that `kernels.psf` renders with, so that what is fitted is
what is measured with.  Where the step is below a pixel, the stars' different sub-pixel
phases give the resolution (Bertin 2011, ASP Conf. Ser. 442, 435; Anderson & King 2000,
PASP 112, 1360).  The normal equations are never formed: `apply_normal` multiplies with
them, star by star, for a conjugate-gradient solver.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel
from skyextract.kernels.values import MAX_VARIANCE, NO_INFORMATION

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8


# Columns of the output of `fit_stars`.
CHI2, N_PIXELS, FLUX_VARIANCE, N_CLIPPED = range(4)


@kernel
def _wing(distance: float, fwhm: float) -> float:
    """Moffat profile with beta 2.5: the brightness expected in a star's own wing."""
    scaled = distance * 1.1305 / fwhm
    return float((1.0 + scaled * scaled) ** -2.5)


@kernel
def cut_stamps(
    data: F4,
    variance: F4,
    x: F8,
    y: F8,
    height: F8,
    px: F8,
    py: F8,
    pheight: F8,
    pradius: F8,
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
    px, py, pheight, pradius : (m,) float64
        All peaks of the smoothed image, sorted by py: their heights, and the radius in
        pixels of each one's light.  A peak that can be noise on the star's own wing (below
        1.5 times a Moffat profile with beta 2.5) is left alone.
    fwhm : float
        Within one FWHM of a star a peak is the star, and no pixel is masked.
    stamps, noise : (n, size, size) float32
        Output.  Outside the image, outside the inscribed circle, or no data: 0 and 1e30.
    """
    n_rows, n_columns = data.shape
    size = stamps.shape[1]
    half = size // 2
    limit = (half + 0.5) * (half + 0.5)
    largest = 0.0
    for j in range(px.shape[0]):
        largest = max(largest, pradius[j])
    for i in range(x.shape[0]):
        ix = math.floor(x[i] + 0.5)
        iy = math.floor(y[i] + 0.5)
        for a in range(size):
            row = iy + a - half
            for b in range(size):
                col = ix + b - half
                stamps[i, a, b] = np.float32(0.0)
                noise[i, a, b] = NO_INFORMATION
                if row < 0 or row >= n_rows or col < 0 or col >= n_columns:
                    continue
                if (a - half) * (a - half) + (b - half) * (b - half) > limit:
                    continue
                if variance[row, col] < MAX_VARIANCE:
                    stamps[i, a, b] = data[row, col]
                    noise[i, a, b] = variance[row, col]
        reach = half + largest + 1.0
        low = 0
        high = px.shape[0]
        while low < high:
            middle = (low + high) // 2
            if py[middle] < y[i] - reach:
                low = middle + 1
            else:
                high = middle
        for j in range(low, px.shape[0]):
            if py[j] > y[i] + reach:
                break
            distance = math.hypot(px[j] - x[i], py[j] - y[i])
            if distance > 1.5 * reach or distance < fwhm:
                continue
            if pheight[j] < 1.5 * height[i] * _wing(distance, fwhm):
                continue
            r2 = pradius[j] * pradius[j]
            for a in range(size):
                dy = iy + a - half - py[j]
                if dy * dy > r2:
                    continue
                for b in range(size):
                    dx = ix + b - half - px[j]
                    if dx * dx + dy * dy < r2 and (
                        math.hypot(ix + b - half - x[i], iy + a - half - y[i]) > fwhm
                    ):
                        noise[i, a, b] = NO_INFORMATION


@kernel
def _axis(centre: float, step: float, n: int, index: I8, weight: F8, slope: F8) -> None:
    """First coefficient, B-spline weights and their derivatives of each pixel of an axis."""
    for k in range(index.shape[0]):
        t = (k - centre) / step + 0.5 * (n - 1)
        i = math.floor(t)
        if i < 1 or i + 2 >= n:
            index[k] = 0
            weight[k, :] = 0.0
            slope[k, :] = 0.0
            continue
        f = t - i
        g = 1.0 - f
        index[k] = i - 1
        weight[k, 0] = g * g * g / 6.0
        weight[k, 1] = (4.0 - 6.0 * f * f + 3.0 * f * f * f) / 6.0
        weight[k, 2] = (4.0 - 6.0 * g * g + 3.0 * g * g * g) / 6.0
        weight[k, 3] = f * f * f / 6.0
        slope[k, 0] = -0.5 * g * g
        slope[k, 1] = -2.0 * f + 1.5 * f * f
        slope[k, 2] = 2.0 * g - 1.5 * g * g
        slope[k, 3] = 0.5 * f * f


@kernel
def _combine(coefficients: F8, terms: F8, out: F8) -> None:
    """Sum of the polynomial terms at one star."""
    out[:] = 0.0
    for k in range(coefficients.shape[0]):
        u = terms[k]
        for a in range(out.shape[0]):
            for b in range(out.shape[1]):
                out[a, b] += u * coefficients[k, a, b]


@kernel
def _render(model: F8, iy: I8, wy: F8, ix: I8, wx: F8, row: F8, out: F8) -> None:
    """Evaluate the spline `model` at all pixels of a stamp."""
    for a in range(out.shape[0]):
        j = iy[a]
        for b in range(row.shape[0]):
            row[b] = (
                wy[a, 0] * model[j, b]
                + wy[a, 1] * model[j + 1, b]
                + wy[a, 2] * model[j + 2, b]
                + wy[a, 3] * model[j + 3, b]
            )
        for b in range(out.shape[1]):
            i = ix[b]
            out[a, b] = (
                wx[b, 0] * row[i]
                + wx[b, 1] * row[i + 1]
                + wx[b, 2] * row[i + 2]
                + wx[b, 3] * row[i + 3]
            )


@kernel
def _spread(pixels: F8, iy: I8, wy: F8, ix: I8, wx: F8, row: F8, out: F8) -> None:
    """Adjoint of `_render`: add the pixels of a stamp to the coefficients `out`."""
    for a in range(pixels.shape[0]):
        row[:] = 0.0
        for b in range(pixels.shape[1]):
            value = pixels[a, b]
            if value != 0.0:
                i = ix[b]
                row[i] += wx[b, 0] * value
                row[i + 1] += wx[b, 1] * value
                row[i + 2] += wx[b, 2] * value
                row[i + 3] += wx[b, 3] * value
        j = iy[a]
        for m in range(4):
            w = wy[a, m]
            if w != 0.0:
                for b in range(row.shape[0]):
                    out[j + m, b] += w * row[b]


@kernel
def apply_normal(
    coefficients: F8,
    terms: F8,
    step: float,
    cx: F8,
    cy: F8,
    weight: F4,
    out: F8,
) -> None:
    """Multiply with the normal matrix (data part); add to `out`.

    Parameters
    ----------
    coefficients, out : (n_terms, n, n) float64
    terms : (n_stars, n_terms) float64
        Polynomial terms at each star.
    step : float
        Sampling of the model in pixels.
    cx, cy : (n_stars,) float64
        Centre of each star in its stamp.
    weight : (n_stars, size, size) float32
        Flux squared over variance.
    """
    n_terms, n, _ = coefficients.shape
    size = weight.shape[1]
    model = np.empty((n, n), dtype=np.float64)
    back = np.empty((n, n), dtype=np.float64)
    row = np.empty(n, dtype=np.float64)
    pixels = np.empty((size, size), dtype=np.float64)
    ix = np.empty(size, dtype=np.int64)
    iy = np.empty(size, dtype=np.int64)
    wx = np.empty((size, 4), dtype=np.float64)
    wy = np.empty((size, 4), dtype=np.float64)
    slope = np.empty((size, 4), dtype=np.float64)
    for s in range(terms.shape[0]):
        _combine(coefficients, terms[s], model)
        _axis(cx[s], step, n, ix, wx, slope)
        _axis(cy[s], step, n, iy, wy, slope)
        _render(model, iy, wy, ix, wx, row, pixels)
        for a in range(size):
            for b in range(size):
                pixels[a, b] *= weight[s, a, b]
        back[:] = 0.0
        _spread(pixels, iy, wy, ix, wx, row, back)
        for k in range(n_terms):
            u = terms[s, k]
            for a in range(n):
                for b in range(n):
                    out[k, a, b] += u * back[a, b]


@kernel
def smooth_terms(images: F8, taps: F8, out: F8) -> None:
    """Convolve each image with the symmetric separable kernel `taps`; zeros beyond the edges.

    Parameters
    ----------
    images, out : (n_terms, n, n) float64
    taps : (2 half + 1,) float64
    """
    n_terms, n, _ = images.shape
    half = taps.shape[0] // 2
    row = np.empty(n + 2 * half, dtype=np.float64)
    row[:] = 0.0
    for k in range(n_terms):
        for a in range(n):
            middle = row[half : half + n]
            middle[:] = 0.0
            for t in range(max(0, half - a), min(2 * half + 1, n + half - a)):
                tap = taps[t]
                line = images[k, a + t - half]
                for b in range(n):
                    middle[b] += tap * line[b]
            out[k, a, :] = 0.0
            for t in range(2 * half + 1):
                tap = taps[t]
                line = row[t : t + n]
                for b in range(n):
                    out[k, a, b] += tap * line[b]


@kernel
def right_side(terms: F8, step: float, cx: F8, cy: F8, target: F4, out: F8) -> None:
    """Right side of the normal equations of all stars; added to `out`.

    Parameters
    ----------
    target : (n_stars, size, size) float32
        Flux times pixel value over variance.
    out : (n_terms, n, n) float64
    """
    n_terms, n, _ = out.shape
    size = target.shape[1]
    back = np.empty((n, n), dtype=np.float64)
    row = np.empty(n, dtype=np.float64)
    pixels = np.empty((size, size), dtype=np.float64)
    ix = np.empty(size, dtype=np.int64)
    iy = np.empty(size, dtype=np.int64)
    wx = np.empty((size, 4), dtype=np.float64)
    wy = np.empty((size, 4), dtype=np.float64)
    slope = np.empty((size, 4), dtype=np.float64)
    for s in range(terms.shape[0]):
        _axis(cx[s], step, n, ix, wx, slope)
        _axis(cy[s], step, n, iy, wy, slope)
        for a in range(size):
            for b in range(size):
                pixels[a, b] = target[s, a, b]
        back[:] = 0.0
        _spread(pixels, iy, wy, ix, wx, row, back)
        for k in range(n_terms):
            u = terms[s, k]
            for a in range(n):
                for b in range(n):
                    out[k, a, b] += u * back[a, b]


@kernel
def diagonal(terms: F8, step: float, cx: F8, cy: F8, weight: F4, out: F8) -> None:
    """Approximate diagonal blocks of the normal matrix of all stars; added to `out`.

    The weight of the pixel nearest to a coefficient, times the pixels per coefficient.

    Parameters
    ----------
    out : (n, n, n_terms, n_terms) float64
    """
    n = out.shape[0]
    n_terms = out.shape[2]
    size = weight.shape[1]
    share = step * step
    for s in range(terms.shape[0]):
        for j in range(n):
            a = math.floor((j - 0.5 * (n - 1)) * step + cy[s] + 0.5)
            if a < 0 or a >= size:
                continue
            for i in range(n):
                b = math.floor((i - 0.5 * (n - 1)) * step + cx[s] + 0.5)
                if b < 0 or b >= size:
                    continue
                w = weight[s, a, b] * share
                if w == 0.0:
                    continue
                for k in range(n_terms):
                    for m in range(k + 1):
                        out[j, i, k, m] += w * terms[s, k] * terms[s, m]


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
    for s in range(stamps.shape[0]):
        if flux[s] <= 0.0:
            continue
        for a in range(stamps.shape[1]):
            dy = a - cy[s]
            for b in range(stamps.shape[2]):
                if noise[s, a, b] > MAX_VARIANCE:
                    continue
                dx = b - cx[s]
                r2 = shape[0] * dx * dx + shape[1] * dy * dy + 2.0 * shape[2] * dx * dy
                if r2 >= edges[n_bins]:
                    continue
                low = 0
                high = n_bins
                while high - low > 1:
                    middle = (low + high) // 2
                    if edges[middle] <= r2:
                        low = middle
                    else:
                        high = middle
                # One weight per star and bin, whatever the pixel's value: no bias.
                w = (
                    flux[s]
                    * flux[s]
                    / (noise[s, a, b] + peak * flux[s] * inverse_gain + (accuracy * flux[s]) ** 2)
                )
                out[low, 0] += w
                out[low, 1] += w * stamps[s, a, b] / flux[s]
                out[low, 2] += w * math.sqrt(r2)


@kernel
def fit_stars(
    coefficients: F8,
    terms: F8,
    step: float,
    stamps: F4,
    noise: F4,
    inverse_gain: float,
    accuracy: float,
    core: float,
    chi_radius: float,
    clip: float,
    n_iterations: int,
    cx: F8,
    cy: F8,
    flux: F8,
    weight: F4,
    target: F4,
    out: F8,
) -> None:
    """Fit flux and centre of all stars to the model, then weight their pixels.

    Parameters
    ----------
    accuracy : float
        Relative error of the model itself, added to the noise in the weights.
    core, chi_radius : float
        Radii in pixels of the fit, and of the reduced chi2.
    clip : float
        Pixels outside `core` / 2 brighter than the model by more than this many sigma,
        and their four neighbours, get no weight: undetected neighbours, cosmic rays.
    cx, cy, flux : (n_stars,) float64
        In and out.
    weight, target : (n_stars, size, size) float32
        Out: flux^2 / variance, flux * value / variance.
    out : (n_stars, 4) float64
        Sum of chi^2 within `chi_radius`, its number of pixels, variance of the flux, number
        of clipped pixels.
    """
    n = coefficients.shape[1]
    size = stamps.shape[1]
    model = np.empty((n, n), dtype=np.float64)
    row = np.empty(n, dtype=np.float64)
    m0 = np.empty((size, size), dtype=np.float64)
    mx = np.empty((size, size), dtype=np.float64)
    my = np.empty((size, size), dtype=np.float64)
    ix = np.empty(size, dtype=np.int64)
    iy = np.empty(size, dtype=np.int64)
    wx = np.empty((size, 4), dtype=np.float64)
    wy = np.empty((size, 4), dtype=np.float64)
    gx = np.empty((size, 4), dtype=np.float64)
    gy = np.empty((size, 4), dtype=np.float64)
    core2 = core * core
    for s in range(terms.shape[0]):
        _combine(coefficients, terms[s], model)
        variance_f = 0.0
        for iteration in range(n_iterations + 1):
            _axis(cx[s], step, n, ix, wx, gx)
            _axis(cy[s], step, n, iy, wy, gy)
            _render(model, iy, wy, ix, wx, row, m0)
            if iteration == n_iterations:
                break
            _render(model, iy, wy, ix, gx, row, mx)
            _render(model, iy, gy, ix, wx, row, my)
            a00 = 0.0
            a01 = 0.0
            a02 = 0.0
            a11 = 0.0
            a12 = 0.0
            a22 = 0.0
            b0 = 0.0
            b1 = 0.0
            b2 = 0.0
            f = max(flux[s], 0.0)
            for a in range(size):
                dy = a - cy[s]
                for b in range(size):
                    dx = b - cx[s]
                    if dx * dx + dy * dy > core2 or noise[s, a, b] > MAX_VARIANCE:
                        continue
                    p = m0[a, b]
                    light = f * max(p, 0.0)
                    w = 1.0 / (noise[s, a, b] + light * inverse_gain + (accuracy * light) ** 2)
                    px = -mx[a, b] / step
                    py = -my[a, b] / step
                    d = float(stamps[s, a, b])
                    a00 += w * p * p
                    a01 += w * p * px
                    a02 += w * p * py
                    a11 += w * px * px
                    a12 += w * px * py
                    a22 += w * py * py
                    b0 += w * p * d
                    b1 += w * px * d
                    b2 += w * py * d
            c00 = a11 * a22 - a12 * a12
            c01 = a02 * a12 - a01 * a22
            c02 = a01 * a12 - a02 * a11
            determinant = a00 * c00 + a01 * c01 + a02 * c02
            if determinant <= 0.0:
                break
            f = (c00 * b0 + c01 * b1 + c02 * b2) / determinant
            variance_f = c00 / determinant
            if f <= 0.0:
                flux[s] = 0.0
                break
            fx = (c01 * b0 + (a00 * a22 - a02 * a02) * b1 + (a01 * a02 - a00 * a12) * b2) / (
                determinant
            )
            fy = (c02 * b0 + (a01 * a02 - a00 * a12) * b1 + (a00 * a11 - a01 * a01) * b2) / (
                determinant
            )
            flux[s] = f
            cx[s] += min(max(fx / f, -0.5), 0.5)
            cy[s] += min(max(fy / f, -0.5), 0.5)

        chi = 0.0
        count = 0
        clipped = 0
        f = flux[s]
        for a in range(size):
            for b in range(size):
                weight[s, a, b] = np.float32(0.0)
                target[s, a, b] = np.float32(0.0)
                if noise[s, a, b] > MAX_VARIANCE or f <= 0.0:
                    continue
                dx = b - cx[s]
                dy = a - cy[s]
                r2 = dx * dx + dy * dy
                light = f * max(m0[a, b], 0.0)
                v = noise[s, a, b] + light * inverse_gain
                difference = stamps[s, a, b] - f * m0[a, b]
                if r2 < chi_radius * chi_radius:
                    chi += difference * difference / v
                    count += 1
                # 3 % of the light: the model is not perfect yet when this is first asked.
                v += (accuracy * light) ** 2
                weight[s, a, b] = np.float32(f * f / v)
                if r2 > 0.25 * core2 and difference > clip * math.sqrt(v + (0.03 * light) ** 2):
                    weight[s, a, b] = np.float32(-1.0)
                    clipped += 1
        for a in range(size):
            for b in range(size):
                if weight[s, a, b] <= 0.0:
                    continue
                beside = False
                if a > 0 and weight[s, a - 1, b] < 0.0:
                    beside = True
                if b > 0 and weight[s, a, b - 1] < 0.0:
                    beside = True
                if a < size - 1 and weight[s, a + 1, b] < 0.0:
                    beside = True
                if b < size - 1 and weight[s, a, b + 1] < 0.0:
                    beside = True
                if not beside:
                    target[s, a, b] = np.float32(weight[s, a, b] * stamps[s, a, b] / f)
        for a in range(size):
            for b in range(size):
                if weight[s, a, b] < 0.0:
                    weight[s, a, b] = np.float32(0.0)
                elif weight[s, a, b] > 0.0 and target[s, a, b] == 0.0:
                    # a neighbour of a clipped pixel (a value of exactly 0 is no loss)
                    weight[s, a, b] = np.float32(0.0)
        out[s, 0] = chi
        out[s, 1] = count
        out[s, 2] = variance_f
        out[s, 3] = clipped
