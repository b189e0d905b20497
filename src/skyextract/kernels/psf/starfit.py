"""Flux and centre of each star that a PSF is built from, and the weights of its pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.jit import helper, kernel
from skyextract.kernels.psf.bspline import spline_grid, spline_values
from skyextract.kernels.psf.matrix import NO_SUMS, add_pixel, adjugate, store_sums
from skyextract.kernels.psf.model import combine_terms
from skyextract.kernels.psf.normal import place_stamp
from skyextract.kernels.values import MAX_VARIANCE

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8

# Columns of the output of `fit_stars`.
CHI2, N_PIXELS, FLUX_VARIANCE, N_CLIPPED = range(4)

SETTLED = 0.003
"""Relative change of the flux and shifts in pixels, summed, after which the next step is none."""

CLIP_ACCURACY = 0.03
"""Relative error of the model that clipping allows for: it is not perfect yet at first."""


class Stars(NamedTuple):
    """The stars of a PSF, or some of them.

    Attributes
    ----------
    terms : (n_stars, n_terms) float64
        Polynomial terms at each star.
    cx, cy : (n_stars,) float64
        Centre of each one in its stamp, pixels.
    flux : (n_stars,) float64
    stamps, noise : (n_stars, size, size) float32
        Background-subtracted pixels and their background variance.
    weight, target : (n_stars, size, size) float32
        flux^2 / variance and flux * value / variance; 0 for pixels that are left out.
    """

    terms: F8
    cx: F8
    cy: F8
    flux: F8
    stamps: F4
    noise: F4
    weight: F4
    target: F4


class StarRules(NamedTuple):
    """How stars are fitted and weighted.

    Attributes
    ----------
    inverse_gain : float
        Photon noise variance per image unit.
    accuracy : float
        Relative error of the model itself, added to the noise in the weights.
    core, chi_radius : float
        Radii in pixels of the fit, and of the reduced chi2.
    clip : float
        Pixels outside `core` / 2 brighter than the model by more than this many sigma,
        and their four neighbours, get no weight: undetected neighbours, cosmic rays.
    """

    inverse_gain: float
    accuracy: float
    core: float
    chi_radius: float
    clip: float


@helper
def _core_range(centre: float, radius: float, size: int) -> tuple[int, int]:
    """First pixel and number of pixels of a stamp that can lie within the core."""
    low = max(0, math.floor(centre - radius))
    return low, max(0, min(size, math.ceil(centre + radius) + 1) - low)


@helper
def _normal_equations(
    stamp: F4, noise: F4, model: F8, step: float, cx: float, cy: float, flux: float,
    x_low: int, y_low: int, n_x: int, n_y: int, rules: StarRules, matrix: F8, vector: F8,
) -> None:  # fmt: skip
    """Sum the normal equations of (flux, flux dx, flux dy) over the core of one star.

    `model` holds the n_y x n_x pixels from (x_low, y_low) on.
    """
    core2 = rules.core * rules.core
    inverse_gain, accuracy = rules.inverse_gain, rules.accuracy
    sums = NO_SUMS
    for j in range(n_y):
        a = y_low + j
        dy = a - cy
        for i in range(n_x):
            b = x_low + i
            dx = b - cx
            if dx * dx + dy * dy > core2 or noise[a, b] > MAX_VARIANCE:
                continue
            p = model[0, j, i]
            light = flux * max(p, 0.0)
            w = 1.0 / (noise[a, b] + light * inverse_gain + (accuracy * light) ** 2)
            px = -model[1, j, i] / step
            py = -model[2, j, i] / step
            sums = add_pixel(sums, w, p, px, py, float(stamp[a, b]))
    store_sums(sums, matrix, vector)


@helper
def _weigh_pixels(
    stamp: F4, noise: F4, model: F8, cx: float, cy: float, flux: float, rules: StarRules,
    weight: F4, out: F8,
) -> None:  # fmt: skip
    """Weight the pixels of one star, -1 for what is clipped; its chi2 and numbers of pixels."""
    size = stamp.shape[0]
    chi2 = 0.0
    n_pixels = 0
    n_clipped = 0
    for a in range(size):
        for b in range(size):
            weight[a, b] = np.float32(0.0)
            if noise[a, b] > MAX_VARIANCE or flux <= 0.0:
                continue
            dx = b - cx
            dy = a - cy
            r2 = dx * dx + dy * dy
            light = flux * max(model[a, b], 0.0)
            variance = noise[a, b] + light * rules.inverse_gain
            difference = stamp[a, b] - flux * model[a, b]
            if r2 < rules.chi_radius * rules.chi_radius:
                chi2 += difference * difference / variance
                n_pixels += 1
            variance += (rules.accuracy * light) ** 2
            weight[a, b] = np.float32(flux * flux / variance)
            if r2 > 0.25 * (rules.core * rules.core) and (
                difference > rules.clip * math.sqrt(variance + (CLIP_ACCURACY * light) ** 2)
            ):
                weight[a, b] = np.float32(-1.0)
                n_clipped += 1
    out[CHI2] = chi2
    out[N_PIXELS] = n_pixels
    out[N_CLIPPED] = n_clipped


@helper
def _clip_pixels(stamp: F4, flux: float, weight: F4, target: F4) -> None:
    """Leave out the pixels of weight -1 and their four neighbours; fill `target`."""
    size = stamp.shape[0]
    for a in range(size):
        for b in range(size):
            target[a, b] = np.float32(0.0)
            if weight[a, b] <= 0.0:
                continue
            if (
                (a > 0 and weight[a - 1, b] < 0.0)
                or (b > 0 and weight[a, b - 1] < 0.0)
                or (a < size - 1 and weight[a + 1, b] < 0.0)
                or (b < size - 1 and weight[a, b + 1] < 0.0)
            ):
                continue
            target[a, b] = np.float32(weight[a, b] * stamp[a, b] / flux)
    for a in range(size):
        for b in range(size):
            # Neighbours of clipped pixels have no target (a value of exactly 0 is no loss).
            if weight[a, b] < 0.0 or target[a, b] == 0.0:
                weight[a, b] = np.float32(0.0)


@kernel
def fit_stars(
    coefficients: F8, step: float, rules: StarRules, n_iterations: int, stars: Stars, out: F8
) -> None:
    """Fit flux and centre of all stars to the model, then weight their pixels.

    Parameters
    ----------
    coefficients : (n_terms, n, n) float64
    step : float
        Sampling of the model in pixels.
    rules : StarRules
    n_iterations : int
        Gauss-Newton steps, at most.
    stars : Stars
        cx, cy, flux are in and out, weight and target are results.
    out : (n_stars, 4) float64
        Sum of chi^2 within `chi_radius`, its number of pixels, variance of the flux, number
        of clipped pixels.
    """
    n = coefficients.shape[1]
    size = stars.stamps.shape[1]
    local = np.empty((n, n), dtype=np.float64)
    model = np.empty((3, size, size), dtype=np.float64)
    grid = spline_grid(size, n)
    matrix = np.empty((3, 3), dtype=np.float64)
    cofactor = np.empty((3, 3), dtype=np.float64)
    vector = np.empty(3, dtype=np.float64)
    cx, cy, flux = stars.cx, stars.cy, stars.flux
    for s in range(stars.terms.shape[0]):
        stamp, noise = stars.stamps[s], stars.noise[s]
        combine_terms(coefficients, stars.terms[s], 0, local)
        flux_variance = 0.0
        for _ in range(n_iterations):
            x_low, n_x = _core_range(cx[s], rules.core, size)
            y_low, n_y = _core_range(cy[s], rules.core, size)
            place_stamp(cx[s], cy[s], step, n, x_low, y_low, n_x, n_y, grid)
            spline_values(local, grid, n_y, n_x, True, model)
            _normal_equations(
                stamp, noise, model, step, cx[s], cy[s], max(flux[s], 0.0),
                x_low, y_low, n_x, n_y, rules, matrix, vector,
            )  # fmt: skip
            determinant = adjugate(matrix, cofactor)
            if determinant <= 0.0:
                break
            c = cofactor
            f = (c[0, 0] * vector[0] + c[0, 1] * vector[1] + c[0, 2] * vector[2]) / determinant
            flux_variance = c[0, 0] / determinant
            if f <= 0.0:
                flux[s] = 0.0
                break
            fx = (c[1, 0] * vector[0] + c[1, 1] * vector[1] + c[1, 2] * vector[2]) / determinant
            fy = (c[2, 0] * vector[0] + c[2, 1] * vector[1] + c[2, 2] * vector[2]) / determinant
            change = abs(f - flux[s]) / f + abs(fx / f) + abs(fy / f)
            flux[s] = f
            cx[s] += min(max(fx / f, -0.5), 0.5)
            cy[s] += min(max(fy / f, -0.5), 0.5)
            if change < SETTLED:
                break
        place_stamp(cx[s], cy[s], step, n, 0, 0, size, size, grid)
        spline_values(local, grid, size, size, False, model)
        _weigh_pixels(stamp, noise, model[0], cx[s], cy[s], flux[s], rules, stars.weight[s], out[s])
        _clip_pixels(stamp, flux[s], stars.weight[s], stars.target[s])
        out[s, FLUX_VARIANCE] = flux_variance
