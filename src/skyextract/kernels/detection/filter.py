"""Detection filter: convolution with a small kernel, and thresholding into runs of pixels.

Each row is filtered into a buffer that stays in the cache and is thresholded at once, so the
filtered image is never written; what lies above the threshold is kept as runs (row, first
and last column) with the values of their pixels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I4, U1


_PART = 64
"""Pixels that are looked at together."""


class RowFilter(NamedTuple):
    """A convolution, and what it finds no data in.

    Attributes
    ----------
    taps : (height, width)
        Convolution kernel.
    used : bool
        False: pixels are left as they are.
    bad : (ny, nx), or (1, 1) without `has_bad`
        Pixels without data (not 0).  Filtered values near them are divided by the root of
        the share of squared weights on good pixels: the noise stays the same, so bad
        pixels make neither holes in sources nor false ones.
    """

    taps: F4
    used: bool
    bad: U1
    has_bad: bool


@kernel
def _add_tap(line: F4, tap: np.float32, shift: int, begin: int, end: int, out: F4) -> None:
    """Add a tap times the pixels of a row, moved by `shift`, to out[begin:end]."""
    first = max(begin, -shift)
    past = max(min(end, len(line) - shift), first)
    # slices, so that the compiler sees indices from 0 on and uses vector instructions
    into = out[first:past]
    values = line[first + shift : past + shift]
    for x in range(len(into)):
        into[x] += tap * values[x]


@kernel
def _add_three(line: F4, taps: F4, u: int, out: F4) -> None:
    """Add the taps number u, u + 1 and u + 2, counted from the right, of a row of the kernel."""
    width = len(taps)
    nx = len(line)
    shift = u - width // 2
    tap1, tap2, tap3 = taps[width - 1 - u], taps[width - 2 - u], taps[width - 3 - u]
    first = max(0, -shift)
    past = max(min(nx, nx - shift - 2), first)
    into = out[first:past]
    values1 = line[first + shift : past + shift]
    values2 = line[first + shift + 1 : past + shift + 1]
    values3 = line[first + shift + 2 : past + shift + 2]
    for x in range(len(into)):
        into[x] = ((into[x] + tap1 * values1[x]) + tap2 * values2[x]) + tap3 * values3[x]
    for k in range(3):
        tap = taps[width - 1 - u - k]
        _add_tap(line, tap, shift + k, 0, first, out)
        _add_tap(line, tap, shift + k, past, nx, out)


@kernel
def _set_nine(image: F4, taps: F4, y: int, out: F4) -> None:
    """Convolve row y, not the first or last, with a kernel of 3 x 3, but for its two end pixels.

    Each pixel's terms are added in the order in which `_add_tap` would.
    """
    nx = image.shape[1]
    above, here, below = image[y - 1], image[y], image[y + 1]
    a1, a2, a3 = taps[2, 2], taps[2, 1], taps[2, 0]
    b1, b2, b3 = taps[1, 2], taps[1, 1], taps[1, 0]
    c1, c2, c3 = taps[0, 2], taps[0, 1], taps[0, 0]
    into = out[1 : nx - 1]
    n = len(into)
    above1, above2, above3 = above[:n], above[1 : n + 1], above[2 : n + 2]
    here1, here2, here3 = here[:n], here[1 : n + 1], here[2 : n + 2]
    below1, below2, below3 = below[:n], below[1 : n + 1], below[2 : n + 2]
    for x in range(n):
        total = ((np.float32(0.0) + a1 * above1[x]) + a2 * above2[x]) + a3 * above3[x]
        total = ((total + b1 * here1[x]) + b2 * here2[x]) + b3 * here3[x]
        into[x] = ((total + c1 * below1[x]) + c2 * below2[x]) + c3 * below3[x]


@kernel
def _convolve_row(image: F4, taps: F4, y: int, out: F4) -> None:
    """Convolve one row; beyond the image border everything is 0, as in SExtractor."""
    ny, nx = image.shape
    height, width = taps.shape
    top = y - height // 2
    # Several taps at a time, added one after the other: memory is what it waits for.
    nine = height == 3 and width == 3 and nx >= 3 and 0 < y < ny - 1
    if nine:
        out[0] = out[nx - 1] = np.float32(0.0)
        _set_nine(image, taps, y, out)
        for v in range(3):
            for u in range(3):
                tap = taps[2 - v, 2 - u]
                _add_tap(image[top + v], tap, u - 1, 0, 1, out)
                _add_tap(image[top + v], tap, u - 1, nx - 1, nx, out)
        return
    out[:] = np.float32(0.0)
    for v in range(height):
        source = top + v
        if source < 0 or source >= ny:
            continue
        threes = width // 3 * 3 if nx >= width else 0
        for u in range(0, threes, 3):
            _add_three(image[source], taps[height - 1 - v], u, out)
        for u in range(threes, width):
            _add_tap(image[source], taps[height - 1 - v, width - 1 - u], u - width // 2, 0, nx, out)


@kernel
def _good_share(bad: U1, taps: F4, y: int, share: F4) -> None:
    """Share of the kernel's squared weights that falls on good pixels, for one row."""
    ny, nx = bad.shape
    height, width = taps.shape
    total = np.float32(0.0)
    share[:] = np.float32(0.0)
    top = y - height // 2
    for v in range(height):
        source = top + v
        inside = 0 <= source < ny
        for u in range(width):
            tap = taps[height - 1 - v, width - 1 - u]
            square = tap * tap
            total += square
            shift = u - width // 2
            for x in range(nx):
                # the border counts as good: there SExtractor's values are kept
                outside = not inside or x + shift < 0 or x + shift >= nx
                if outside or bad[source, x + shift] == 0:
                    share[x] += square
    for x in range(nx):
        share[x] /= total


@kernel
def _restore_noise(bad: U1, taps: F4, y: int, row: F4, share: F4) -> None:
    """Scale up filtered values that miss bad pixels, so that their noise is that of others."""
    ny, nx = bad.shape
    height = taps.shape[0]
    touched = False
    for v in range(max(0, y - height // 2), min(ny, y - height // 2 + height)):
        for x in range(nx):
            if bad[v, x] != 0:
                touched = True
                break
    if touched:
        _good_share(bad, taps, y, share)
        for x in range(nx):
            if share[x] > np.float32(0.0):
                row[x] /= np.float32(math.sqrt(share[x]))


@kernel
def _filter_row(image: F4, kernel: RowFilter, y: int, row: F4, share: F4) -> None:
    """Filter row y of an image into `row`; `share` is work space of the same length."""
    if not kernel.used:
        row[:] = image[y]
        return
    _convolve_row(image, kernel.taps, y, row)
    if kernel.has_bad:
        _restore_noise(kernel.bad, kernel.taps, y, row, share)


@kernel
def filter_rows(image: F4, kernel: RowFilter, first_row: int, past_row: int, out: F4) -> None:
    """Filter the rows [first_row, past_row) into `out`."""
    share = np.empty(image.shape[1], np.float32)
    for y in range(first_row, past_row):
        _filter_row(image, kernel, y, out[y], share)


@kernel
def threshold_rows(
    source: F4, image: F4, kernel: RowFilter, variance: F4, has_variance: bool,
    threshold: np.float32, first_row: int, past_row: int, runs: I4, values: F4,
) -> tuple[int, int]:  # fmt: skip
    """Filter the rows [first_row, past_row) and keep the pixels above the threshold.

    Parameters
    ----------
    source : (ny, nx)
        Image to filter and threshold, 0 at bad pixels.
    image : (ny, nx)
        Image that the unfiltered values come from.
    variance : (ny, nx), or (1, 1) without `has_variance`
        Background variance; it is convolved with the kernel too, as SExtractor does, and
        `threshold` is in units of its square root.
    runs : (3, n), output
        Rows, first and last columns of the runs, in raster order.
    values : (3, n), output
        Filtered value, image value and threshold (the latter only with `has_variance`) of
        the pixels of the runs.

    Returns
    -------
    n_runs, n_pixels : int
    """
    nx = image.shape[1]
    run_y, run_first, run_last = runs[0], runs[1], runs[2]
    filtered, value, limit = values[0], values[1], values[2]
    row = np.empty(nx, np.float32)
    limits = np.empty(nx if has_variance else 1, np.float32)
    share = np.empty(nx if kernel.has_bad else 1, np.float32)
    n_runs = 0
    n = 0
    for y in range(first_row, past_row):
        _filter_row(source, kernel, y, row, share)
        if has_variance:
            if kernel.used:
                _convolve_row(variance, kernel.taps, y, limits)
            else:
                limits[:] = variance[y]
            for x in range(nx):
                limits[x] = threshold * np.float32(math.sqrt(np.float64(limits[x])))
        x = 0
        looked_at = 0
        while x < nx:
            if not has_variance and x >= looked_at and x + _PART <= nx:
                # Vector instructions see that nothing is in the next pixels: most of the image.
                looked_at = x + _PART
                part = row[x:looked_at]
                n_above = 0
                for u in range(_PART):
                    n_above += int(part[u] > threshold)
                if n_above == 0:
                    x = looked_at
                    continue
            if not row[x] > (limits[x] if has_variance else threshold):
                x += 1
                continue
            run_y[n_runs] = y
            run_first[n_runs] = x
            while x < nx and row[x] > (limits[x] if has_variance else threshold):
                filtered[n] = row[x]
                value[n] = image[y, x]
                if has_variance:
                    limit[n] = limits[x]
                n += 1
                x += 1
            run_last[n_runs] = x - 1
            n_runs += 1
    return n_runs, n
