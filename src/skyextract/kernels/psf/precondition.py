"""The normal equations of a PSF as they are if the weights of all stars have one shape, solved.

They only speed up the solution of the true ones: single precision is enough.  Images stand row
after row in one line, with zeros between the rows that are as wide as the smoothing reaches, so
that every sum runs along one long stretch of numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import helper, kernel, summation

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8


@summation
def _product(first: F4, second: F4) -> float:
    """Sum the products of two lines."""
    total = np.float32(0.0)
    for i in range(first.shape[0]):
        total += first[i] * second[i]
    return float(total)


@helper
def _convolve(line: F4, taps: F4, stride: int, start: int, out: F4) -> None:
    """Convolve with symmetric taps that are `stride` apart; `out` begins at `start` of the line."""
    n = out.shape[0]
    half = taps.shape[0] // 2
    middle, centre = line[start : start + n], taps[half]
    for i in range(n):
        out[i] = centre * middle[i]
    # Two pairs at a time: half as often through `out`.
    for t in range(1, half, 2):
        u, v = taps[half + t], taps[half + t + 1]
        near, far = t * stride, (t + 1) * stride
        a, b = line[start - near : start - near + n], line[start + near : start + near + n]
        c, d = line[start - far : start - far + n], line[start + far : start + far + n]
        for i in range(n):
            out[i] += u * (a[i] + b[i]) + v * (c[i] + d[i])
    if half % 2 == 1:
        u, far = taps[2 * half], half * stride
        a, b = line[start - far : start - far + n], line[start + far : start + far + n]
        for i in range(n):
            out[i] += u * (a[i] + b[i])


@helper
def _multiply(
    lines: F4, sigma: F4, informed: F4, moments: F4, taps: F4, width: int,
    tall: F4, wide: F4, smooth: F4, out: F4,
) -> None:  # fmt: skip
    """Multiply with the matrix; what `out` has between the rows means nothing.

    Parameters
    ----------
    lines, sigma, informed, out : (n_terms, n * width) float32
    tall, wide, smooth : float32
        Scratch: a line with zeros for `half` rows, or `half` numbers, at both of its ends; and
        a line per term.
    """
    n_terms, size = lines.shape
    half = taps.shape[0] // 2
    above = half * width
    inner, middle = tall[above : above + size], wide[half : half + size]
    for k in range(n_terms):
        line, scale = smooth[k], sigma[k]
        inner[:] = lines[k]
        _convolve(tall, taps, width, above, middle)
        _convolve(wide, taps, 1, half, line)
        for i in range(size):
            line[i] *= scale[i]
    for k in range(n_terms):
        scale, result, own = informed[k], out[k], lines[k]
        inner[:] = np.float32(0.0)
        for m in range(n_terms):
            moment, line = moments[k, m], smooth[m]
            for i in range(size):
                inner[i] += moment * line[i]
        for i in range(size):
            inner[i] *= scale[i]
        _convolve(tall, taps, width, above, middle)
        _convolve(wide, taps, 1, half, result)
        for i in range(size):
            result[i] += own[i]


@helper
def _spread_out(images: F8, unit: float, half: int, width: int, lines: F4) -> None:
    """Put images, in a unit, into lines with zeros between the rows."""
    n_terms, n, _ = images.shape
    lines[:] = np.float32(0.0)
    for k in range(n_terms):
        for a in range(n):
            first = a * width + half
            for b in range(n):
                lines[k, first + b] = np.float32(images[k, a, b] / unit)


@kernel
def solve_alike(
    right: F8, sigma: F8, density: F8, moments: F8, taps: F8, steps: int, out: F8
) -> None:
    """Solve (1 + K S (D x T) S K) x = right by a fixed number of conjugate gradients.

    Parameters
    ----------
    right, out : (n_terms, n, n) float64
    sigma : (n_terms, n, n) float64
        S, a factor of each unknown.
    density : (n, n) float64
        D, the information in each pixel.
    moments : (n_terms, n_terms) float64
        T, mean products of the terms.
    taps : (2 half + 1,) float64
        K, a symmetric separable convolution.
    steps : int
    """
    n_terms, n, _ = right.shape
    half = taps.shape[0] // 2
    width = n + 2 * half
    size = n * width
    out[:] = 0.0
    unit = 0.0
    for k in range(n_terms):
        for a in range(n):
            for b in range(n):
                unit = max(unit, abs(right[k, a, b]))
    if not (0.0 < unit < np.inf):
        return
    lines = np.empty((7, n_terms, size), dtype=np.float32)
    scale, informed, inverse, smooth = lines[0], lines[1], lines[2], lines[3]
    residual, direction, image = lines[4], lines[5], lines[6]
    _spread_out(sigma, 1.0, half, width, scale)
    _spread_out(right, unit, half, width, residual)
    informed[:] = np.float32(0.0)
    inverse[:] = np.float32(0.0)
    for k in range(n_terms):
        for a in range(n):
            for b in range(n):
                i, s = a * width + half + b, sigma[k, a, b]
                informed[k, i] = s * density[a, b]
                inverse[k, i] = 1.0 / (1.0 + s * s * density[a, b] * moments[k, k])
    small_moments, small_taps = moments.astype(np.float32), taps.astype(np.float32)
    tall = np.zeros(size + 2 * half * width, dtype=np.float32)
    wide = np.zeros(size + 2 * half, dtype=np.float32)
    solution = np.zeros(n_terms * size, dtype=np.float32)
    # As one line each, all terms.
    all_inverse, all_residual = inverse.reshape(-1), residual.reshape(-1)
    all_direction, all_image = direction.reshape(-1), image.reshape(-1)
    for i in range(n_terms * size):
        all_direction[i] = all_inverse[i] * all_residual[i]
    power = _product(all_residual, all_direction)
    for _ in range(steps):
        if not power > 0.0:
            break
        _multiply(
            direction, scale, informed, small_moments, small_taps, width, tall, wide, smooth, image
        )
        length = np.float32(power / _product(all_direction, all_image))
        for i in range(n_terms * size):
            solution[i] += length * all_direction[i]
            all_residual[i] -= length * all_image[i]
            all_image[i] = all_inverse[i] * all_residual[i]
        before, power = power, _product(all_residual, all_image)
        ratio = np.float32(power / before)
        for i in range(n_terms * size):
            all_direction[i] = all_image[i] + ratio * all_direction[i]
    for k in range(n_terms):
        for a in range(n):
            first = k * size + a * width + half
            for b in range(n):
                out[k, a, b] = unit * solution[first + b]
