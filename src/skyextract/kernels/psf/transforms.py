"""Inverse transforms of real pixels, many of one small size side by side.

Two stages along one axis (J. W. Cooley and J. W. Tukey 1965, Math. Comput. 19, 297), plain sums
along the other, in rows that are long enough for vector instructions.  For squares of 20 to 60
pixels that takes less time than to prepare an FFT of each.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4


class Transforms(NamedTuple):
    """Memory for transforms of squares of n x n pixels, n even.

    Attributes
    ----------
    n, first : int
        Side, and the first of two factors of it.
    cos, sin : (n,) float32
        Of a turn in n steps.
    real, imag : (n, room) float32
        Spectra: row k has the wave numbers (k_y, all k_x) of each square one after the other,
        n // 2 + 1 numbers each.  Lost.
    half_real, half_imag : (n, room) float32
        Scratch.
    even, odd : (room,) float32
        Scratch.
    """

    n: int
    first: int
    cos: F4
    sin: F4
    real: F4
    imag: F4
    half_real: F4
    half_imag: F4
    even: F4
    odd: F4


@helper
def transforms_for(n: int, most: int) -> Transforms:
    """Allocate the memory for up to so many squares of n x n pixels at a time."""
    first = 1
    for factor in range(2, n + 1):
        if factor * factor > n:
            break
        if n % factor == 0:
            first = factor
    cos, sin = np.empty(n, dtype=np.float32), np.empty(n, dtype=np.float32)
    for k in range(n):
        cos[k] = math.cos(2.0 * math.pi * k / n)
        sin[k] = math.sin(2.0 * math.pi * k / n)
    across = most * (n // 2 + 1)
    return Transforms(
        n,
        first,
        cos,
        sin,
        np.empty((n, across), dtype=np.float32),
        np.empty((n, across), dtype=np.float32),
        np.empty((n, across), dtype=np.float32),
        np.empty((n, across), dtype=np.float32),
        np.empty(most * n, dtype=np.float32),
        np.empty(most * n, dtype=np.float32),
    )


@helper
def _turned_sum(
    from_re: F4, from_im: F4, first: int, step: int, count: int, turn: int, cos: F4, sin: F4,
    length: int, out_re: F4, out_im: F4,
) -> None:  # fmt: skip
    """Sum `count` rows of complex numbers, each turned by so many steps more than the one before.

    Two at a time: memory is what it waits for.
    """
    n = cos.size
    at = turn % n
    if count % 2:
        start, angle = 1, 0
        re, im = from_re[first, :length], from_im[first, :length]
        for k in range(length):
            out_re[k], out_im[k] = re[k], im[k]
    else:
        start, angle = 0, 0
        for k in range(length):
            out_re[k], out_im[k] = np.float32(0.0), np.float32(0.0)
    angle = start * at % n
    for m in range(start, count, 2):
        c1, s1 = cos[angle], sin[angle]
        angle = (angle + at) % n
        c2, s2 = cos[angle], sin[angle]
        angle = (angle + at) % n
        re1, im1 = from_re[first + m * step, :length], from_im[first + m * step, :length]
        row = first + (m + 1) * step
        re2, im2 = from_re[row, :length], from_im[row, :length]
        for k in range(length):
            out_re[k] += (c1 * re1[k] - s1 * im1[k]) + (c2 * re2[k] - s2 * im2[k])
            out_im[k] += (s1 * re1[k] + c1 * im1[k]) + (s2 * re2[k] + c2 * im2[k])


@helper
def _along_y(work: Transforms, length: int) -> None:
    """Transform the first columns of the spectra along y, in place."""
    n, first, cos, sin, real, imag, half_real, half_imag, _, _ = work
    second = n // first
    # y = first y2 + y1, k = k2 + second k1: of the product of both, over n, whole turns drop out.
    for k2 in range(second):
        for y1 in range(first):
            # exp(2 pi i (k2 + second k1) y1 / n)
            row = y1 * second + k2
            re, im = half_real[row, :length], half_imag[row, :length]
            _turned_sum(
                real, imag, k2, second, first, second * y1, cos, sin, length, re, im
            )  # fmt: skip
            c, s = cos[k2 * y1 % n], sin[k2 * y1 % n]
            for k in range(length):
                u, v = re[k], im[k]
                re[k] = c * u - s * v
                im[k] = s * u + c * v
    for y1 in range(first):
        for y2 in range(second):
            # exp(2 pi i k2 y2 / second)
            y = first * y2 + y1
            _turned_sum(
                half_real, half_imag, y1 * second, 1, second, y2 * first, cos, sin, length,
                real[y, :length], imag[y, :length],
            )  # fmt: skip


@helper
def to_pixels(work: Transforms, count: int, out: F4) -> None:
    """Turn the first `count` spectra into pixels.

    Parameters
    ----------
    work : Transforms
    count : int
    out : (n, room) float32
        Output: row x has the pixels (all y, x) of each square one after the other.
    """
    n, _, cos, sin, spectra_re, spectra_im, half_real, half_imag, all_even, all_odd = work
    half = n // 2
    waves = half + 1
    _along_y(work, count * waves)
    # by columns: (k_x, square and y)
    real, imag = half_real.ravel(), half_imag.ravel()
    length = count * n
    unit = np.float32(1.0 / (n * n))
    for t in range(count):
        for y in range(n):
            re = spectra_re[y, t * waves : (t + 1) * waves]
            im = spectra_im[y, t * waves : (t + 1) * waves]
            at = t * n + y
            for k in range(waves):
                # Of the others the conjugate ones are left out.
                twice = unit if k == 0 or k == half else np.float32(2.0) * unit
                real[k * length + at] = twice * re[k]
                imag[k * length + at] = twice * im[k]
    even, odd = all_even[:length], all_odd[:length]
    last = real[half * length : (half + 1) * length]
    for x in range(waves):
        sign = np.float32(-1.0 if x % 2 else 1.0)
        for m in range(length):
            even[m] = real[m] + sign * last[m]
            odd[m] = np.float32(0.0)
        # of the others two at a time
        for k in range(1, half - 1, 2):
            c1, s1 = cos[k * x % n], sin[k * x % n]
            c2, s2 = cos[(k + 1) * x % n], sin[(k + 1) * x % n]
            re1, im1 = real[k * length : (k + 1) * length], imag[k * length : (k + 1) * length]
            re2 = real[(k + 1) * length : (k + 2) * length]
            im2 = imag[(k + 1) * length : (k + 2) * length]
            for m in range(length):
                even[m] += c1 * re1[m] + c2 * re2[m]
                odd[m] += s1 * im1[m] + s2 * im2[m]
        if half % 2 == 0:
            k = half - 1
            c1, s1 = cos[k * x % n], sin[k * x % n]
            re1, im1 = real[k * length : (k + 1) * length], imag[k * length : (k + 1) * length]
            for m in range(length):
                even[m] += c1 * re1[m]
                odd[m] += s1 * im1[m]
        here = out[x, :length]
        for m in range(length):
            here[m] = even[m] - odd[m]
        if 0 < x < half:
            there = out[n - x, :length]
            for m in range(length):
                there[m] = even[m] + odd[m]
