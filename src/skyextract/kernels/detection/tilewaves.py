"""Correlation of tiles of an image with a PSF by Fourier transforms, for vector instructions.

Transforms along columns are made of many side by side, in place: they leave the wave numbers in
another order, which that of the PSF shares (Gentleman & Sande 1966, AFIPS Fall Joint Computer Conf.
29, 563).  Two columns of real pixels are one of complex numbers; of the other axis only half is
left.  Single precision: the rounding of a bright star spreads over all of its tile.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.jit import fused, helper, kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I8

_HALF = np.float32(0.5)
_SIN_60 = np.float32(math.sqrt(0.75))


class Transform(NamedTuple):
    """How sums of n numbers are transformed.

    Attributes
    ----------
    radices : (k,) int64
        2, 3 or 4 each, whose product is n.
    turns : (n, 6) float32
        exp(-2 pi i m j / n) for m = 1, 2, 3: cosines and sines.
    place : (n,) int64
        Row in which each wave number is after the transform.
    """

    radices: I8
    turns: F4
    place: I8


@fused
def _two(a: F4, b: F4, turn: F4, n: int, inverse: bool) -> None:
    """Join two rows, each of n real and n imaginary parts, in place."""
    c, s = turn[0], turn[1]
    if inverse:
        for x in range(n):
            br, bi = b[x] * c + b[n + x] * s, b[n + x] * c - b[x] * s
            ar, ai = a[x], a[n + x]
            a[x], a[n + x] = ar + br, ai + bi
            b[x], b[n + x] = ar - br, ai - bi
    else:
        for x in range(n):
            ar, ai, br, bi = a[x], a[n + x], b[x], b[n + x]
            a[x], a[n + x] = ar + br, ai + bi
            br, bi = ar - br, ai - bi
            b[x], b[n + x] = br * c - bi * s, bi * c + br * s


@fused
def _three(a: F4, b: F4, c: F4, turn: F4, n: int, inverse: bool) -> None:
    """Join three rows."""
    c1, s1, c2, s2 = turn[0], turn[1], turn[2], turn[3]
    if inverse:
        for x in range(n):
            br, bi = b[x] * c1 + b[n + x] * s1, b[n + x] * c1 - b[x] * s1
            cr, ci = c[x] * c2 + c[n + x] * s2, c[n + x] * c2 - c[x] * s2
            sr, si = br + cr, bi + ci
            dr, di = _SIN_60 * (br - cr), _SIN_60 * (bi - ci)
            mr, mi = a[x] - _HALF * sr, a[n + x] - _HALF * si
            a[x], a[n + x] = a[x] + sr, a[n + x] + si
            b[x], b[n + x] = mr - di, mi + dr
            c[x], c[n + x] = mr + di, mi - dr
    else:
        for x in range(n):
            sr, si = b[x] + c[x], b[n + x] + c[n + x]
            dr, di = _SIN_60 * (b[x] - c[x]), _SIN_60 * (b[n + x] - c[n + x])
            mr, mi = a[x] - _HALF * sr, a[n + x] - _HALF * si
            a[x], a[n + x] = a[x] + sr, a[n + x] + si
            br, bi = mr + di, mi - dr
            cr, ci = mr - di, mi + dr
            b[x], b[n + x] = br * c1 - bi * s1, bi * c1 + br * s1
            c[x], c[n + x] = cr * c2 - ci * s2, ci * c2 + cr * s2


@fused
def _four(a: F4, b: F4, c: F4, d: F4, turn: F4, n: int, inverse: bool) -> None:
    """Join four rows."""
    c1, s1, c2, s2, c3, s3 = turn[0], turn[1], turn[2], turn[3], turn[4], turn[5]
    if inverse:
        for x in range(n):
            br, bi = b[x] * c1 + b[n + x] * s1, b[n + x] * c1 - b[x] * s1
            cr, ci = c[x] * c2 + c[n + x] * s2, c[n + x] * c2 - c[x] * s2
            dr, di = d[x] * c3 + d[n + x] * s3, d[n + x] * c3 - d[x] * s3
            er, ei, fr, fi = a[x] + cr, a[n + x] + ci, a[x] - cr, a[n + x] - ci
            gr, gi, hr, hi = br + dr, bi + di, br - dr, bi - di
            a[x], a[n + x] = er + gr, ei + gi
            b[x], b[n + x] = fr - hi, fi + hr
            c[x], c[n + x] = er - gr, ei - gi
            d[x], d[n + x] = fr + hi, fi - hr
    else:
        for x in range(n):
            er, ei = a[x] + c[x], a[n + x] + c[n + x]
            fr, fi = a[x] - c[x], a[n + x] - c[n + x]
            gr, gi = b[x] + d[x], b[n + x] + d[n + x]
            hr, hi = b[x] - d[x], b[n + x] - d[n + x]
            a[x], a[n + x] = er + gr, ei + gi
            br, bi = fr + hi, fi - hr
            cr, ci = er - gr, ei - gi
            dr, di = fr - hi, fi + hr
            b[x], b[n + x] = br * c1 - bi * s1, bi * c1 + br * s1
            c[x], c[n + x] = cr * c2 - ci * s2, ci * c2 + cr * s2
            d[x], d[n + x] = dr * c3 - di * s3, di * c3 + dr * s3


@helper
def _stage(rows: F4, transform: Transform, radix: int, size: int, inverse: bool) -> None:
    """Join the parts of all blocks of so many rows."""
    n, across = rows.shape[0], rows.shape[1] // 2
    part, step = size // radix, n // size
    for j in range(part):
        turn = transform.turns[j * step]
        for first in range(j, n, size):
            a, b = rows[first], rows[first + part]
            if radix == 2:
                _two(a, b, turn, across, inverse)
            elif radix == 3:
                _three(a, b, rows[first + 2 * part], turn, across, inverse)
            else:
                _four(
                    a, b, rows[first + 2 * part], rows[first + 3 * part], turn, across, inverse
                )  # fmt: skip


@helper
def _forward(rows: F4, transform: Transform) -> None:
    """Transform columns: each row has the real parts of all, then the imaginary ones."""
    size = rows.shape[0]
    for radix in transform.radices:
        _stage(rows, transform, radix, size, False)
        size //= radix


@helper
def _backward(rows: F4, transform: Transform) -> None:
    """Undo `_forward`, but for a factor n."""
    size = 1
    for radix in transform.radices[::-1]:
        size *= radix
        _stage(rows, transform, radix, size, True)


@helper
def _to_waves(
    plane: F4, column: int, height: int, width: int, y: Transform, x: Transform, rows: F4,
    waves: F4,
) -> None:  # fmt: skip
    """Transform a part of a plane from a column on, with zeros beyond it."""
    n_y, n_x = rows.shape[0], waves.shape[1]
    across, lanes = rows.shape[1] // 2, waves.shape[2] // 2
    for begin in range(0, n_x, 2 * across):
        count = min(2 * across, max(width - begin, 0))
        for i in range(n_y):
            row = rows[i]
            row[:] = np.float32(0.0)
            if i < height:
                start = column + begin
                row[:count] = plane[i, start : start + count]
        _forward(rows, y)
        left, right = min(across, n_x - begin), min(across, n_x - begin - across)
        for k in range(n_y // 2 + 1):
            p, q = rows[y.place[k]], rows[y.place[(n_y - k) % n_y]]
            block, at = waves[k // lanes], k % lanes
            for i in range(left):
                block[begin + i, at] = _HALF * (p[i] + q[i])
                block[begin + i, lanes + at] = _HALF * (p[across + i] - q[across + i])
            for i in range(right):
                block[begin + across + i, at] = _HALF * (p[across + i] + q[across + i])
                block[begin + across + i, lanes + at] = _HALF * (q[i] - p[i])
    for b in range(len(waves)):  # not the rows themselves: numba would forget that they are whole
        _forward(waves[b], x)


@kernel
def stamp_waves(stamp: F4, y: Transform, x: Transform, rows: F4, waves: F4) -> None:
    """Transform a PSF.

    Parameters
    ----------
    stamp : (size, size) float32
    y, x : Transform
        Along both axes.
    rows : (n_y, 2 m) float32
        Scratch.
    waves : (n_blocks, n_x, 2 k) float32
        Output; n_blocks k are at least n_y / 2 + 1.
    """
    waves[:] = np.float32(0.0)
    _to_waves(stamp, 0, stamp.shape[0], stamp.shape[1], y, x, rows, waves)


@kernel
def correlate_tile(
    plane: F4, column: int, size: int, stamp: F4, y: Transform, x: Transform, rows: F4, waves: F4,
    out: F4,
) -> None:  # fmt: skip
    """Sum a part of a plane over the PSF about each pixel.

    Parameters
    ----------
    plane : (h, w) float32
        Begins half a PSF before the first row of the part.
    column : int
        First column that the sums need.
    size : int
        Of the PSF, pixels.
    stamp : (n_blocks, n_x, 2 k) float32
        `stamp_waves` of it.
    y, x, rows
        As in `stamp_waves`.
    waves : (n_blocks, n_x, 2 k) float32
        Scratch.
    out : (n, m) float32
        Output; n + size - 1 is at most n_y, m + size - 1 at most n_x.
    """
    n, m = out.shape
    n_y, n_x = rows.shape[0], waves.shape[1]
    across, lanes = rows.shape[1] // 2, waves.shape[2] // 2
    _to_waves(plane, column, n + size - 1, m + size - 1, y, x, rows, waves)
    unit = np.float32(1.0 / (n_y * n_x))
    for b in range(len(waves)):
        for j in range(n_x):
            ours, theirs = waves[b, j], stamp[b, j]
            for i in range(lanes):
                re, im = ours[i], ours[lanes + i]
                c, s = theirs[i], theirs[lanes + i]
                ours[i] = unit * (re * c + im * s)
                ours[lanes + i] = unit * (im * c - re * s)
        _backward(waves[b], x)
    for begin in range(0, m, 2 * across):
        left, right = min(across, n_x - begin), min(across, n_x - begin - across)
        for k in range(n_y // 2 + 1):
            p, q = rows[y.place[k]], rows[y.place[(n_y - k) % n_y]]
            block, at = waves[k // lanes], k % lanes
            for i in range(left):
                re, im = block[begin + i, at], block[begin + i, lanes + at]
                p[i], q[i] = re, re
                p[across + i], q[across + i] = im, -im
            for i in range(right):
                re = block[begin + across + i, at]
                im = block[begin + across + i, lanes + at]
                p[i] -= im
                p[across + i] += re
                if k != 0 and 2 * k != n_y:
                    q[i] += im
                    q[across + i] += re
        _backward(rows, y)
        count = min(2 * across, m - begin)
        for i in range(n):
            out[i, begin : begin + count] = rows[i, :count]
