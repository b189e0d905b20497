"""Smooth profiles convolved with the PSF, fitted to windows (`skyextract.stages.crowded.profile`).

Windows are kept by columns: row x of an array has the pixels (all y, x).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels import cholesky
from skyextract.kernels.jit import helper, kernel, summation
from skyextract.kernels.psf.transforms import Transforms, to_pixels, transforms_for

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8

N_SHAPE = 7
"""Parameters of a profile: flux, x, y, three of the ellipse, the index."""


class FitLimits(NamedTuple):
    """How far fits of profiles go; see `skyextract.stages.crowded.profile`.

    Attributes
    ----------
    steps, first_steps : int
    settled, far, hope, promise : float
        `hope` holds for the first steps, `promise` after these.
    part : float
        Of chi2, what a step must take off it.
    growth, bend, least_index, largest_index : float
    """

    steps: int
    first_steps: int
    settled: float
    far: float
    hope: float
    promise: float
    part: float
    growth: float
    bend: float
    least_index: float
    largest_index: float


class Spectra(NamedTuple):
    """Memory for the transforms of m profiles of one window.

    Attributes
    ----------
    transfer_re, transfer_im : (n, n // 2 + 1) float32
        Of the PSF.
    k_y, k_x : (n,), (n // 2 + 1,) float32
        Wave numbers.
    turn_re, turn_im : (n // 2 + 1,) float32
        Scratch.
    real, imag, base, falls : (m, n, n // 2 + 1) float32
        The profiles; 1 + k S k, and its logarithm.
    """

    transfer_re: F4
    transfer_im: F4
    k_y: F4
    k_x: F4
    turn_re: F4
    turn_im: F4
    real: F4
    imag: F4
    base: F4
    falls: F4


@helper
def _spectra_for(transfer_re: F4, transfer_im: F4, m: int) -> Spectra:
    n, waves = transfer_re.shape
    k_y, k_x = np.empty(n, dtype=np.float32), np.empty(waves, dtype=np.float32)
    for k in range(n):
        k_y[k] = 2.0 * math.pi * (k if 2 * k < n else k - n) / n
    for k in range(waves):
        k_x[k] = 2.0 * math.pi * k / n
    return Spectra(
        transfer_re,
        transfer_im,
        k_y,
        k_x,
        np.empty(waves, dtype=np.float32),
        np.empty(waves, dtype=np.float32),
        np.empty((m, n, waves), dtype=np.float32),
        np.empty((m, n, waves), dtype=np.float32),
        np.empty((m, n, waves), dtype=np.float32),
        np.empty((m, n, waves), dtype=np.float32),
    )


@helper
def _draw_point(spectra: Spectra, x: float, y: float, real: F4, imag: F4) -> None:
    """Write the transform of a point source of unit flux."""
    transfer_re, transfer_im, all_y, all_x, turn_re, turn_im, _, _, _, _ = spectra
    waves = turn_re.size
    for k in range(waves):
        angle = all_x[k] * x
        turn_re[k], turn_im[k] = math.cos(angle), -math.sin(angle)
    for j in range(all_y.size):
        angle = all_y[j] * y
        c, s = np.float32(math.cos(angle)), np.float32(-math.sin(angle))
        along, across = transfer_re[j], transfer_im[j]
        re, im = real[j, :waves], imag[j, :waves]
        for k in range(waves):
            u = c * turn_re[k] - s * turn_im[k]
            v = s * turn_re[k] + c * turn_im[k]
            re[k] = along[k] * u - across[k] * v
            im[k] = along[k] * v + across[k] * u


@helper
def _draw_profile(spectra: Spectra, p: int, shape: F8) -> None:
    """Write the transform of profile p, and what its slopes are made of."""
    real, imag, base, falls = spectra.real[p], spectra.imag[p], spectra.base[p], spectra.falls[p]
    _draw_point(spectra, shape[1], shape[2], real, imag)
    flux, power = np.float32(shape[0]), np.float32(-1.0 - shape[6])
    xx, xy, yy = np.float32(shape[3]), np.float32(shape[4]), np.float32(shape[5])
    all_y, all_x = spectra.k_y, spectra.k_x
    for j in range(all_y.size):
        k_y = all_y[j]
        across = yy * k_y
        for k in range(all_x.size):
            along = xx * all_x[k] + xy * k_y
            base[j, k] = np.float32(1.0) + along * along + across * across
            falls[j, k] = math.log(base[j, k])
            light = flux * np.float32(math.exp(power * falls[j, k]))
            real[j, k] *= light
            imag[j, k] *= light


@helper
def _draw_slopes(spectra: Spectra, p: int, shape: F8, work: Transforms) -> None:
    """Write the transforms of the derivatives of profile p to its parameters but the flux."""
    real, imag, base, falls = spectra.real[p], spectra.imag[p], spectra.base[p], spectra.falls[p]
    power = np.float32(-2.0 * (1.0 + shape[6]))
    xx, xy, yy = np.float32(shape[3]), np.float32(shape[4]), np.float32(shape[5])
    all_y, all_x, work_re, work_im = spectra.k_y, spectra.k_x, work.real, work.imag
    waves = all_x.size
    for j in range(all_y.size):
        k_y = all_y[j]
        across = yy * k_y
        out_re, out_im = work_re[j], work_im[j]
        for k in range(waves):
            k_x = all_x[k]
            along = xx * k_x + xy * k_y
            re, im = real[j, k], imag[j, k]
            factor = power / base[j, k]
            out_re[k], out_im[k] = k_x * im, -k_x * re
            out_re[k + waves], out_im[k + waves] = k_y * im, -k_y * re
            one = factor * along * k_x
            out_re[k + 2 * waves], out_im[k + 2 * waves] = one * re, one * im
            one = factor * along * k_y
            out_re[k + 3 * waves], out_im[k + 3 * waves] = one * re, one * im
            one = factor * across * k_y
            out_re[k + 4 * waves], out_im[k + 4 * waves] = one * re, one * im
            one = -falls[j, k]
            out_re[k + 5 * waves], out_im[k + 5 * waves] = one * re, one * im


@summation
def _product(a: F4, b: F4) -> np.float32:
    total = np.float32(0.0)
    for k in range(a.size):
        total += a[k] * b[k]
    return total


@helper
def _stepped(shape: F8, step: F8, size: int, limits: FitLimits) -> None:
    """Change the shape of a profile by a step: lengths and index little by little."""
    longest = max(abs(shape[3]), abs(shape[4]), abs(shape[5]))
    length, bend = limits.growth * longest, limits.bend
    shape[0] = max(shape[0] + step[0], 1e-6)
    for k in range(1, 3):
        shape[k] = min(max(shape[k] + step[k], -size / 4), size / 4)
    for k in range(3, 6):
        changed = shape[k] + min(max(step[k], -length), length)
        shape[k] = min(max(changed, -float(size)), float(size))
    changed = shape[6] + min(max(step[6], -bend), bend)
    shape[6] = min(max(changed, limits.least_index), limits.largest_index)


class Window(NamedTuple):
    """One window, by columns, and memory for what is fitted to it.

    Attributes
    ----------
    data, weight : (n, n) float32
    points : (k, n, n) float32
        Stars of unit flux.
    smooth : (m, n, n) float32
        The profiles now.
    model, rest : (n, n) float32
        All of them now, and what they leave.
    slopes : (7 m + k, n, n) float32
        Derivatives to all parameters.
    pixels : (n, 6 n) float32
        Scratch.
    """

    data: F4
    weight: F4
    points: F4
    smooth: F4
    model: F4
    rest: F4
    slopes: F4
    pixels: F4


@helper
def _draw(spectra: Spectra, work: Transforms, window: Window, shape: F8, stars: F8) -> float:
    """Draw profiles and stars; return chi2."""
    n, waves = work.n, spectra.k_x.size
    model, smooth, points = window.model, window.smooth, window.points
    real, imag, all_real, all_imag = work.real, work.imag, spectra.real, spectra.imag
    model[:] = np.float32(0.0)
    for p in range(smooth.shape[0]):
        _draw_profile(spectra, p, shape[N_SHAPE * p : N_SHAPE * (p + 1)])
        for j in range(n):
            for k in range(waves):
                real[j, k], imag[j, k] = all_real[p, j, k], all_imag[p, j, k]
        to_pixels(work, 1, smooth[p])
        for x in range(n):
            for y in range(n):
                model[x, y] += smooth[p, x, y]
    for k in range(points.shape[0]):
        light = np.float32(stars[k])
        for x in range(n):
            for y in range(n):
                model[x, y] += light * points[k, x, y]
    all_data, all_weights, all_rest = window.data, window.weight, window.rest
    chi2 = 0.0
    for x in range(n):
        data, weight, rest, row = all_data[x], all_weights[x], all_rest[x], model[x]
        for y in range(n):
            rest[y] = data[y] - row[y]
            chi2 += float(weight[y] * (rest[y] * rest[y]))
    return chi2


@helper
def _set_up(
    spectra: Spectra, work: Transforms, window: Window, shape: F8, matrix: F8, vector: F8
) -> None:
    """Sum the normal equations of all parameters, lower triangle."""
    n, slopes, smooth, pixels = work.n, window.slopes, window.smooth, window.pixels
    all_weights, all_rest, weighted = window.weight, window.rest, work.even[: work.n]
    m = smooth.shape[0]
    for p in range(m):
        own = shape[N_SHAPE * p : N_SHAPE * (p + 1)]
        _draw_slopes(spectra, p, own, work)
        to_pixels(work, N_SHAPE - 1, pixels)
        unit = np.float32(1.0 / own[0])
        for x in range(n):
            for y in range(n):
                slopes[N_SHAPE * p, x, y] = unit * smooth[p, x, y]
            for k in range(1, N_SHAPE):
                for y in range(n):
                    slopes[N_SHAPE * p + k, x, y] = pixels[x, (k - 1) * n + y]
    matrix[:] = 0.0
    vector[:] = 0.0
    for x in range(n):
        weight = all_weights[x]
        for a in range(slopes.shape[0]):
            slope = slopes[a, x]
            for y in range(n):
                weighted[y] = weight[y] * slope[y]
            vector[a] += _product(weighted, all_rest[x])
            for b in range(a + 1):
                matrix[a, b] += _product(weighted, slopes[b, x])


@helper
def _fit_window(
    spectra: Spectra, work: Transforms, window: Window, limit: float, goal: float,
    limits: FitLimits, shape: F8, stars: F8, best: F4,
) -> tuple[float, int]:  # fmt: skip
    """Fit one window by Levenberg's and Marquardt's method.

    Parameters
    ----------
    shape, stars : (7 m,), (k,) float64
        To start from, and the best fit.
    best : (n, n) float32
        Output: its model, by columns.

    Returns
    -------
    chi2 : float
    steps : int
    """
    n_shape, n_stars = shape.size, stars.size
    n = n_shape + n_stars
    matrix, normal = np.zeros((n, n)), np.zeros((n, n))
    vector, step = np.zeros(n), np.zeros(n)
    trial, light = shape.copy(), stars.copy()
    lowest, damping = np.inf, 1e-2
    steps = 0
    for number in range(limits.steps):
        chi2 = _draw(spectra, work, window, trial, light)
        gain = lowest - chi2
        better = gain > 0.0
        damping *= 0.2 if better else 8.0
        if better:
            shape[:], stars[:], lowest = trial, light, chi2
            best[:] = window.model
        settled = max(limits.settled, limits.part * lowest)
        going = not (0.0 <= gain < settled) and damping < 1e4
        going = going and (number < limits.first_steps or lowest < limits.far * goal)
        if not going or number == limits.steps - 1:
            break
        # Slopes are drawn where a fit goes on from here.
        if better:
            _set_up(spectra, work, window, shape, matrix, vector)
        normal[:] = matrix
        if not cholesky.factor(normal, n, damping):
            break
        cholesky.solve(normal, n, vector, step)
        promise = limits.hope if number < limits.first_steps else limits.promise
        hoped = 0.0
        for k in range(n):
            hoped += step[k] * vector[k]
        if not lowest - promise * hoped < limit:
            break
        trial[:] = shape
        for p in range(n_shape // N_SHAPE):
            some = slice(N_SHAPE * p, N_SHAPE * (p + 1))
            _stepped(trial[some], step[some], work.n, limits)
        for k in range(n_stars):
            light[k] = stars[k] + step[n_shape + k]
        steps += 1
    return lowest, steps


@kernel
def fit_windows(
    data: F4, weight: F4, transfer_re: F4, transfer_im: F4, places: F8, limit: F8, goal: F8,
    limits: FitLimits, shape: F8, stars: F8, models: F4, chi2: F8, steps: I8,
) -> None:  # fmt: skip
    """Fit profiles, and the fluxes of stars upon them, to windows of n x n pixels.

    Parameters
    ----------
    data, weight : (k, n, n) float32
        Background-subtracted pixels and 1 / variance.
    transfer_re, transfer_im : (k, n, n // 2 + 1) float32
        Transform of the PSF.
    places : (k, l, 2) float64
        x, y of the stars from the first pixel.
    limit, goal : (k,) float64
        Chi2 near which fits must come in the end, and before.
    limits : FitLimits
    shape : (k, 7 m) float64
        Of m profiles, to start from; the best fit.
    stars : (k, l) float64
        Output: fluxes.
    models : (k, n, n) float32
        Output.
    chi2 : (k,) float64
        Output.
    steps : (k,) int64
        Output: how many each fit has made.
    """
    n = data.shape[1]
    m, n_stars = shape.shape[1] // N_SHAPE, stars.shape[1]
    work = transforms_for(n, N_SHAPE - 1)
    window = Window(
        np.empty((n, n), dtype=np.float32),
        np.empty((n, n), dtype=np.float32),
        np.empty((n_stars, n, n), dtype=np.float32),
        np.empty((m, n, n), dtype=np.float32),
        np.empty((n, n), dtype=np.float32),
        np.empty((n, n), dtype=np.float32),
        np.empty((N_SHAPE * m + n_stars, n, n), dtype=np.float32),
        np.empty((n, (N_SHAPE - 1) * n), dtype=np.float32),
    )
    best = np.zeros((n, n), dtype=np.float32)
    for k in range(data.shape[0]):
        spectra = _spectra_for(transfer_re[k], transfer_im[k], m)
        for y in range(n):
            for x in range(n):
                window.data[x, y] = data[k, y, x]
                window.weight[x, y] = weight[k, y, x]
        for star in range(n_stars):
            _draw_point(spectra, places[k, star, 0], places[k, star, 1], work.real, work.imag)
            to_pixels(work, 1, window.points[star])
            window.slopes[N_SHAPE * m + star] = window.points[star]
        best[:] = np.float32(0.0)
        stars[k] = 0.0
        chi2[k], steps[k] = _fit_window(
            spectra, work, window, limit[k], goal[k], limits, shape[k], stars[k], best
        )
        for y in range(n):
            for x in range(n):
                models[k, y, x] = best[x, y]
