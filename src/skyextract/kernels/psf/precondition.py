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
    from skyextract.datamodel.arrays import F4, F8, I8


ROUNDING = 1e-20
"""What is left of the right side, squared, that changes no number in single precision any more."""


@summation
def _product(first: F4, second: F4) -> float:
    """Sum the products of two lines."""
    total = np.float32(0.0)
    for i in range(first.shape[0]):
        total += first[i] * second[i]
    return float(total)


@helper
def _convolve(line: F4, side: F4, stride: int, start: int, out: F4) -> None:
    """Convolve with taps that are `stride` apart; `out` begins at `start` of the line.

    `side` are those on one side, from half of the middle one on, an even number.
    """
    n = out.shape[0]
    out[:] = np.float32(0.0)
    for t in range(0, side.shape[0], 2):  # two at a time, for fewer passes
        u, v = side[t], side[t + 1]
        near, far = t * stride, (t + 1) * stride
        a, b = line[start - near : start - near + n], line[start + near : start + near + n]
        c, d = line[start - far : start - far + n], line[start + far : start + far + n]
        for i in range(n):
            out[i] += u * (a[i] + b[i]) + v * (c[i] + d[i])


@helper
def _multiply(
    lines: F4, factors: F4, moments: F8, side: F4, width: int, tall: F4, wide: F4, smooth: F4,
    out: F4,
) -> None:  # fmt: skip
    """Multiply with K S (D x T) S K; what `out` has between the rows means nothing.

    Parameters
    ----------
    lines, smooth, out : (n_terms, n * width) float32
        `smooth` is scratch.
    factors : (2, n_terms, n * width) float32
        S and S D.
    side : (half + 1,) float32
        Taps of K.
    tall, wide : float32
        Scratch: a line with zeros for `half` rows, or `half` numbers, at both of its ends.
    """
    n_terms, size = lines.shape
    half = side.shape[0] - 1
    above = half * width
    inner, middle = tall[above : above + size], wide[half : half + size]
    for turn in range(2):
        for k in range(n_terms):
            own = lines[k]
            for i in range(size):
                inner[i] = own[i] if turn == 0 else np.float32(0.0)
            if turn == 1:
                for m in range(n_terms):
                    moment, line = np.float32(moments[k, m]), smooth[m]
                    for i in range(size):
                        inner[i] += moment * line[i]
                informed = factors[1, k]
                for i in range(size):
                    inner[i] *= informed[i]
            result = smooth[k] if turn == 0 else out[k]
            for axis in range(2):
                source, stride, start, target = (
                    (tall, width, above, middle) if axis == 0 else (wide, 1, half, result)
                )
                _convolve(source, side, stride, start, target)
            if turn == 0:
                scale = factors[0, k]
                for i in range(size):
                    result[i] *= scale[i]


@kernel
def solve_alike(
    factors: F4, inverse: F4, moments: F8, side: F4, width: int, steps: int, residual: F4,
    solution: F4,
) -> None:  # fmt: skip
    """Solve (1 + K S (D x T) S K) x = right by a number of conjugate gradients.

    Fewer do where what is left is rounding: further ones divide it by itself, and may overflow.

    Images are rows of `width` numbers one after another, with `half` zeros on either side of each.

    Parameters
    ----------
    factors : (2, n_terms, n * width) float32
        S and S D: a factor of each unknown, and the same times the information in each pixel.
    inverse : (n_terms * n * width,) float32
        About that of the matrix' diagonal.
    moments : (n_terms, n_terms) float64
        T, mean products of the terms.
    side : (half + 1,) float32
        K, a symmetric separable convolution: its taps on one side, from half of the middle one
        on, an even number.
    steps : int
    residual : (n_terms * n * width,) float32
        The right side; it is left with what is not solved.
    solution : (n_terms * n * width,) float32
        0 before.
    """
    _, n_terms, size = factors.shape
    half = side.shape[0] - 1
    lines = np.zeros((3, n_terms, size), dtype=np.float32)
    smooth, direction, image = lines[0], lines[1], lines[2]
    # As one line each, all terms.
    flat = lines.reshape(3, n_terms * size)
    to, vector = flat[1], flat[2]
    tall = np.zeros(size + 2 * half * width, dtype=np.float32)
    wide = np.zeros(size + 2 * half, dtype=np.float32)
    before, rounding = 1.0, 0.0
    for step in range(steps):
        for i in range(len(vector)):
            vector[i] = inverse[i] * residual[i]
        power = _product(residual, vector)
        if step == 0:
            rounding = ROUNDING * power
        if not power > rounding:
            break
        ratio = np.float32(power / before if step > 0 else 0.0)
        for i in range(len(vector)):
            to[i] = vector[i] + ratio * to[i]
        _multiply(direction, factors, moments, side, width, tall, wide, smooth, image)
        for i in range(len(vector)):
            vector[i] += to[i]
        length = np.float32(power / _product(to, vector))
        for i in range(len(vector)):
            solution[i] += length * to[i]
            residual[i] -= length * vector[i]
        before = power


@helper
def _multiply_rows(matrix: F8, spans: I8, values: F8, out: F8) -> None:
    """Multiply with a matrix that is 0 outside of `spans`, the columns of each of its rows."""
    n = values.shape[1]
    for i in range(matrix.shape[0]):
        line = out[i]
        line[:] = 0.0
        first, past = spans[i, 0], spans[i, 1]
        in_fours = first + (past - first) // 4 * 4
        for k in range(first, in_fours, 4):  # four at a time, for fewer passes
            a, b, c, d = matrix[i, k], matrix[i, k + 1], matrix[i, k + 2], matrix[i, k + 3]
            u, v, w, x = values[k], values[k + 1], values[k + 2], values[k + 3]
            for j in range(n):
                line[j] += (a * u[j] + b * v[j]) + (c * w[j] + d * x[j])
        for k in range(in_fours, past):
            factor, own = matrix[i, k], values[k]
            for j in range(n):
                line[j] += factor * own[j]


@helper
def _transpose(values: F8, out: F8) -> None:
    """Write the transpose of a matrix."""
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            out[j, i] = values[i, j]


@kernel
def multiply_both_sides(matrix: F8, spans: I8, images: F8, out: F8) -> None:
    """Multiply images with M from the left and with its transpose from the right: M X M'.

    Not made by BLAS: its threads, where nobody has limited them, wait for each other five times
    longer than such small matrices take.

    Parameters
    ----------
    matrix : (n, m) float64
        M.
    spans : (n, 2) int64
        First and past-last column of each row outside of which it is 0.
    images : (n_images, m, m) float64
    out : (n_images, n, n) float64
    """
    n, m = matrix.shape
    turned, half = np.empty((m, m)), np.empty((n, m))
    half_turned, whole = np.empty((m, n)), np.empty((n, n))
    for k in range(images.shape[0]):
        # Along rows, in the order of memory, both times: (M X' (M')')' = M X M'.
        _transpose(images[k], turned)
        _multiply_rows(matrix, spans, turned, half)
        _transpose(half, half_turned)
        _multiply_rows(matrix, spans, half_turned, whole)
        out[k] = whole
