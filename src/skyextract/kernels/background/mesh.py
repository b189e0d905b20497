"""Sky background: mode and noise in meshes, median filter, bicubic-spline interpolation.

The estimator is SExtractor's (Bertin & Arnouts 1996, A&AS 117, 393, section 3; SExtractor
manual, "Modeling the background"): in each mesh a histogram, quantised around the mean of
the pixels within 2 sigma, is clipped at 3 sigma around its median until it converges; the
level is Pearson's mode ``p * median - (p - 1) * mean``, or the median where both differ by
more than 0.3 sigma (crowded mesh).  Sums use its precision (float64 for statistics, float32
for the splines), so that both programs agree to rounding.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I4, I8, U1, U2, Bools


BAD = np.float32(-1e30)
"""Level and rms of a mesh with too few good pixels."""

_CUT_SIGMA = 2.0
_RANGE_SIGMA = 5.0
_LEVEL_STEP = math.sqrt(2.0 / math.pi) * _RANGE_SIGMA / 4.0
_MAX_LEVELS = 4096
_MIN_GOOD_FRACTION = 0.5
_CLIP_SIGMA = 3.0
_MAX_CLIPS = 100
_CROWDED = 0.3

_1 = np.float32(1.0)
_2 = np.float32(2.0)
_4 = np.float32(4.0)
_6 = np.float32(6.0)


@kernel
def _moments(values: F4, n: int, low: float, high: float) -> tuple[int, float, float]:
    """Return number, mean and standard deviation of the values in [low, high].

    With NaN or inf among the values only the number is right.
    """
    count = 0
    s = 0.0
    ss = 0.0
    full = n - n % 4
    s1 = s2 = s3 = 0.0
    ss1 = ss2 = ss3 = 0.0
    # four independent sums: one chain of additions would wait for its own latency
    for i in range(0, full, 4):
        a = np.float64(values[i])
        b = np.float64(values[i + 1])
        c = np.float64(values[i + 2])
        d = np.float64(values[i + 3])
        in_a = (low <= a) & (a <= high)
        in_b = (low <= b) & (b <= high)
        in_c = (low <= c) & (c <= high)
        in_d = (low <= d) & (d <= high)
        a *= in_a
        b *= in_b
        c *= in_c
        d *= in_d
        count += int(in_a) + int(in_b) + int(in_c) + int(in_d)
        s += a
        s1 += b
        s2 += c
        s3 += d
        ss += a * a
        ss1 += b * b
        ss2 += c * c
        ss3 += d * d
    s += s1 + s2 + s3
    ss += ss1 + ss2 + ss3
    for i in range(full, n):
        a = np.float64(values[i])
        if low <= a <= high:
            count += 1
            s += a
            ss += a * a
    if count == 0:
        return 0, 0.0, 0.0
    mean = s / count
    variance = ss / count - mean * mean
    return count, mean, math.sqrt(variance) if variance > 0.0 else 0.0


@kernel
def _quantise(count: int, mean: float, sigma: float) -> tuple[int, np.float32, np.float32]:
    """Return number of histogram levels, level width and lower edge for a clipped sample."""
    n_levels = min(int(_LEVEL_STEP * count + 1.0), _MAX_LEVELS)
    width = np.float32(2.0 * _RANGE_SIGMA * sigma / n_levels) if sigma > 0.0 else np.float32(1.0)
    zero = np.float32(mean - _RANGE_SIGMA * sigma)
    return n_levels, width, zero


@kernel
def _mode(
    histogram: I4,
    n_levels: int,
    width: np.float32,
    zero: np.float32,
    pearson: float,
    sums: I8,
) -> tuple[np.float32, np.float32]:
    """Mode and standard deviation of a histogram, clipped around its median.

    `sums` is work space: running sums of n, n*i and n*i*i make each clipping pass a few
    look-ups instead of a walk over the histogram.
    """
    s0 = np.int64(0)
    s1 = np.int64(0)
    s2 = np.int64(0)
    for i in range(n_levels):
        sums[i, 0] = s0
        sums[i, 1] = s1
        sums[i, 2] = s2
        h = np.int64(histogram[i])
        s0 += h
        h *= i
        s1 += h
        s2 += h * i
    sums[n_levels, 0] = s0
    sums[n_levels, 1] = s1
    sums[n_levels, 2] = s2

    last = n_levels - 1
    low = 0
    high = last
    sigma = 10.0 * last
    previous = 1.0
    mean = median = 0.0
    for _ in range(_MAX_CLIPS):
        if sigma < 0.1 or abs(sigma / previous - 1.0) <= 1e-4:
            break
        previous = sigma
        below = sums[low, 0]
        above = sums[high + 1, 0]
        # The median bin: counting from both ends, always on the side with the smaller sum,
        # the ends meet at the highest bin whose lower side was still the smaller one.
        first = low
        past = high + 1
        while past - first > 1:
            middle = (first + past) // 2
            if sums[middle - 1, 0] - below < above - sums[middle + 1, 0]:
                first = middle
            else:
                past = middle
        split = first
        if sums[split, 0] - below < above - sums[split + 1, 0]:
            split += 1
        if split > 0:
            largest = max(histogram[min(split, last)], histogram[split - 1])
            excess = (above - sums[split, 0]) - (sums[split, 0] - below)
            median = split - 0.5 + (excess / (2.0 * largest) if largest > 0 else 0.0)
        else:
            median = 0.0
        count = above - below
        mean = np.float64(sums[high + 1, 1] - sums[low, 1])
        square = np.float64(sums[high + 1, 2] - sums[low, 2])
        if count > 0:
            mean /= count
            square = square / count - mean * mean
        sigma = math.sqrt(square) if square > 0.0 else 0.0
        edge = median - _CLIP_SIGMA * sigma
        low = min(int(edge + 0.5), last) if edge > 0.0 else 0
        edge = median + _CLIP_SIGMA * sigma
        high = int(edge + 0.5 if edge > 0.0 else edge - 0.5) if edge < last else last
        high = max(high, low)
    if sigma > 0.0 and abs((mean - median) / sigma) < _CROWDED:
        level = pearson * median - (pearson - 1.0) * mean
    elif sigma > 0.0:
        level = median
    else:
        level = mean
    return np.float32(zero + level * width), np.float32(sigma * width)


@kernel
def mesh_statistics(
    image: F4,
    mask: U2,
    planes: int,
    sources: U1,
    has_sources: bool,
    weight: F4,
    has_weight: bool,
    weight_threshold: np.float32,
    mesh_width: int,
    mesh_height: int,
    first_row: int,
    past_row: int,
    pearson: float,
    level: F4,
    rms: F4,
    weight_level: F4,
) -> None:
    """Estimate level and rms in the mesh rows [first_row, past_row).

    Parameters
    ----------
    image : (ny, nx)
    mask : (ny, nx), or (1, 1) with `planes` 0
        Pixels with any of the bits `planes` are left out.
    sources : (ny, nx), or (1, 1) without `has_sources`
        Pixels that are not 0 are left out.
    weight : (ny, nx), or (1, 1) without `has_weight`
        Variance map; pixels at or above `weight_threshold` are left out.
    level, rms, weight_level : (n_mesh_y, n_mesh_x), output
        Mode and rms of the image, mode of the variance map; `BAD` for a mesh with less than
        half of its pixels good.
    """
    ny, nx = image.shape
    has_mask = planes != 0
    n_mesh_x = level.shape[1]
    size = min(mesh_width, nx) * min(mesh_height, ny)
    values = np.empty(size, np.float32)
    weights = np.empty(size if has_weight else 1, np.float32)
    bins = np.empty(size, np.int32)
    histogram = np.empty(_MAX_LEVELS + 1, np.int32)
    sums = np.empty((_MAX_LEVELS + 1, 3), np.int64)
    huge = np.float64(1e30)
    for j in range(first_row, past_row):
        y0 = j * mesh_height
        y1 = min(y0 + mesh_height, ny)
        for i in range(n_mesh_x):
            x0 = i * mesh_width
            x1 = min(x0 + mesh_width, nx)
            n = 0
            for y in range(y0, y1):
                if has_mask or has_sources or has_weight:
                    for x in range(x0, x1):
                        good = abs(image[y, x]) < huge
                        if has_mask and (mask[y, x] & planes) != 0:
                            good = False
                        if has_sources and sources[y, x] != 0:
                            good = False
                        if has_weight:
                            if not weight[y, x] < weight_threshold:
                                good = False
                            weights[n] = weight[y, x]
                        values[n] = image[y, x]
                        n += int(good)
                else:
                    values[n : n + x1 - x0] = image[y, x0:x1]
                    n += x1 - x0
            level[j, i] = BAD
            rms[j, i] = BAD
            weight_level[j, i] = BAD
            if n == 0 or n < (y1 - y0) * (x1 - x0) * _MIN_GOOD_FRACTION:
                continue
            count, mean, sigma = _moments(values, n, -huge, huge)
            if count < n:  # NaN, inf
                good_n = 0
                for k in range(n):
                    if abs(values[k]) < huge:
                        values[good_n] = values[k]
                        good_n += 1
                n = good_n
                if n == 0 or n < (y1 - y0) * (x1 - x0) * _MIN_GOOD_FRACTION:
                    continue
                count, mean, sigma = _moments(values, n, -huge, huge)
            low = np.float32(mean - _CUT_SIGMA * sigma)
            high = np.float32(mean + _CUT_SIGMA * sigma)
            count, mean, sigma = _moments(values, n, np.float64(low), np.float64(high))
            if count == 0:
                # a spread below float32 resolution
                level[j, i] = values[0]
                rms[j, i] = np.float32(0.0)
                continue
            n_levels, width, zero = _quantise(count, mean, sigma)
            offset = np.float32(0.499999 - np.float64(zero / width))
            for k in range(n):
                scaled = values[k] / width + offset
                # far values must not overflow an integer
                scaled = min(max(scaled, np.float32(-2.0)), np.float32(_MAX_LEVELS))
                bins[k] = np.int32(scaled)
            histogram[:] = 0
            for k in range(n):
                b = bins[k]
                if 0 <= b < n_levels:
                    histogram[b] += 1
            level[j, i], rms[j, i] = _mode(histogram, n_levels, width, zero, pearson, sums)

            if has_weight:
                _, mean, sigma = _moments(weights, n, -huge, huge)
                wlow = np.float64(np.float32(mean - _CUT_SIGMA * sigma))
                whigh = np.float64(np.float32(mean + _CUT_SIGMA * sigma))
                m = 0
                for k in range(n):  # the image's own clipping holds for the weights too
                    if low <= values[k] <= high:
                        values[m] = weights[k]
                        m += 1
                count, mean, sigma = _moments(values, m, wlow, whigh)
                if count == 0:
                    weight_level[j, i] = weights[0]
                    continue
                w_levels, width, zero = _quantise(count, mean, sigma)
                offset = np.float32(0.499999 - np.float64(zero / width))
                histogram[:] = 0
                for k in range(n):
                    if 0 <= bins[k] < n_levels:
                        scaled = weights[k] / width + offset
                        scaled = min(max(scaled, np.float32(-2.0)), np.float32(_MAX_LEVELS))
                        b = np.int32(scaled)
                        if 0 <= b < w_levels:
                            histogram[b] += 1
                weight_level[j, i], _ = _mode(histogram, w_levels, width, zero, pearson, sums)


@kernel
def fill_bad_meshes(level: F4, rms: F4) -> int:
    """Replace `BAD` meshes in place by the nearest good ones; return the number of good.

    Meshes at the same distance are averaged.  With no good mesh at all level is 0, rms 1.
    """
    ny, nx = level.shape
    good = np.empty((ny, nx), np.bool_)
    n_good = 0
    for y in range(ny):
        for x in range(nx):
            good[y, x] = level[y, x] > BAD
            n_good += int(good[y, x])
    if n_good == ny * nx:
        return n_good
    for py in range(ny):
        for px in range(nx):
            if good[py, px]:
                continue
            nearest = np.int64(nx) * nx + np.int64(ny) * ny
            value = np.float32(0.0)
            noise = np.float32(1.0)
            n = 0
            for y in range(ny):
                if (y - py) * (y - py) > nearest:
                    continue
                for x in range(nx):
                    if not good[y, x]:
                        continue
                    distance = (x - px) * (x - px) + (y - py) * (y - py)
                    if distance < nearest:
                        nearest = distance
                        value = level[y, x]
                        noise = rms[y, x]
                        n = 1
                    elif distance == nearest:
                        value += level[y, x]
                        noise += rms[y, x]
                        n += 1
            if n > 0:
                level[py, px] = value / np.float32(n)
                rms[py, px] = noise / np.float32(n)
            else:
                level[py, px] = value
                rms[py, px] = noise
    return n_good


@kernel
def median_filter(
    level: F4,
    rms: F4,
    half_width: int,
    half_height: int,
    threshold: float,
    level_out: F4,
    rms_out: F4,
) -> None:
    """Median-filter level and rms where the level differs by `threshold` or more.

    The window shrinks symmetrically towards the borders, so that gradients survive there.
    """
    ny, nx = level.shape
    a = np.empty((2 * half_width + 1) * (2 * half_height + 1), np.float32)
    b = np.empty_like(a)
    for y in range(ny):
        hy = min(half_height, y, ny - 1 - y)
        for x in range(nx):
            hx = min(half_width, x, nx - 1 - x)
            n = 0
            for v in range(y - hy, y + hy + 1):
                for u in range(x - hx, x + hx + 1):
                    a[n] = level[v, u]
                    b[n] = rms[v, u]
                    n += 1
            a[:n].sort()
            median = a[n // 2]
            if abs(median - level[y, x]) >= threshold:
                b[:n].sort()
                level_out[y, x] = median
                rms_out[y, x] = b[n // 2]
            else:
                level_out[y, x] = level[y, x]
                rms_out[y, x] = rms[y, x]


@kernel
def _second_derivatives(nodes: F4, out: F4, work: F4) -> None:
    """Second derivatives / 6 of the natural cubic spline through equidistant nodes."""
    n = nodes.shape[0]
    out[0] = np.float32(0.0)
    work[0] = np.float32(0.0)
    for i in range(1, n - 1):
        pivot = -_1 / (out[i - 1] + _4)
        out[i] = pivot
        bend = nodes[i + 1] + nodes[i - 1] - _2 * nodes[i]
        work[i] = pivot * (work[i - 1] - _6 * bend)
    following = np.float32(0.0)
    for i in range(n - 2, 0, -1):
        # SExtractor divides by 6 in each step, where an exact spline would divide at the end;
        # the wiggles that it damps by that are part of its background
        following = np.float32(np.float64(out[i] * following + work[i]) / 6.0)
        out[i] = following
    out[n - 1] = np.float32(0.0)


@kernel
def spline_rows(
    nodes: F4,
    mesh_width: int,
    mesh_height: int,
    first_row: int,
    past_row: int,
    subtract: bool,
    square: bool,
    image: F4,
    mask: U2,
    planes: int,
    out: F4,
) -> None:
    """Interpolate mesh values over the image rows [first_row, past_row).

    Parameters
    ----------
    nodes : (n_mesh_y, n_mesh_x)
        Values at the mesh centres.
    subtract : bool
        Make `out` the image minus the interpolated value, not the value itself.
    square : bool
        Make `out` the square of the value.
    image : (ny, nx), or (1, 1) without `subtract`
    mask : (ny, nx), or (1, 1) with `planes` 0
        Pixels with any of the bits `planes` become 0 in the difference.
    out : (ny, nx), output
    """
    n_y, n_x = nodes.shape
    nx = out.shape[1]
    blank = subtract and planes != 0
    # natural splines along y for each mesh column
    bend = np.zeros((n_y, n_x), np.float32)
    if n_y > 1:
        column = np.empty(n_y, np.float32)
        derivative = np.empty(n_y, np.float32)
        work_y = np.empty(n_y, np.float32)
        for i in range(n_x):
            for j in range(n_y):
                column[j] = nodes[j, i]
            _second_derivatives(column, derivative, work_y)
            for j in range(n_y):
                bend[j, i] = derivative[j]
    # position of each column within its interval between two mesh centres
    left = np.zeros(nx, np.int64)
    dx = np.zeros(nx, np.float32)
    if n_x > 1:
        step = np.float32(1.0 / mesh_width)
        position = (step - _1) / _2
        restart = np.float32((mesh_width + 1) % 2) * step / _2
        node = 0
        for x in range(nx):
            if (x - mesh_width // 2) % mesh_width == 0:
                interval = (x - mesh_width // 2) // mesh_width
                if 0 < interval < n_x - 1:
                    node = interval
                    position = restart
            left[x] = node
            dx[x] = position
            position = position + step
    row = np.empty(n_x, np.float32)
    row_bend = np.zeros(n_x, np.float32)
    work_x = np.empty(n_x, np.float32)
    for y in range(first_row, past_row):
        if n_y > 1:
            dy = np.float32(np.float64(np.float32(y) / np.float32(mesh_height)) - 0.5)
            j = int(dy)
            dy = dy - np.float32(j)
            if j >= n_y - 1:
                j = n_y - 2
                dy = dy + _1
            cy = _1 - dy
            dy3 = dy * dy * dy - dy
            cy3 = cy * cy * cy - cy
            for i in range(n_x):
                row[i] = (
                    cy * nodes[j, i]
                    + dy * nodes[j + 1, i]
                    + cy3 * bend[j, i]
                    + dy3 * bend[j + 1, i]
                )
            if n_x > 1:
                _second_derivatives(row, row_bend, work_x)
        else:
            for i in range(n_x):
                row[i] = nodes[0, i]
        if n_x > 1:
            x = 0
            while x < nx:
                i = left[x]
                end = nx if i == n_x - 2 else min(nx, (i + 1) * mesh_width + mesh_width // 2)
                a = row[i]
                b = row[i + 1]
                a2 = row_bend[i]
                b2 = row_bend[i + 1]
                span = out[y, x:end]
                at = dx[x:end]
                if subtract:
                    pixels = image[y, x:end]
                    for u in range(len(span)):
                        t = at[u]
                        c = _1 - t
                        span[u] = pixels[u] - (
                            c * (a + (c * c - _1) * a2) + t * (b + (t * t - _1) * b2)
                        )
                else:
                    for u in range(len(span)):
                        t = at[u]
                        c = _1 - t
                        span[u] = c * (a + (c * c - _1) * a2) + t * (b + (t * t - _1) * b2)
                x = end
        elif subtract:
            for u in range(nx):
                out[y, u] = image[y, u] - row[0]
        else:
            for u in range(nx):
                out[y, u] = row[0]
        if blank:
            for u in range(nx):
                if (mask[y, u] & planes) != 0:
                    out[y, u] = np.float32(0.0)
        if square:
            for u in range(nx):
                out[y, u] *= out[y, u]


@kernel
def exclude(
    variance: F4,
    mask: U2,
    planes: int,
    bad: np.float32,
    first_row: int,
    past_row: int,
) -> None:
    """Make the variance `bad` where it is not between 0 and that, or the mask has `planes`."""
    for y in range(first_row, past_row):
        for x in range(variance.shape[1]):
            v = variance[y, x]
            good = (v > np.float32(0.0)) & (v < bad) & ((mask[y, x] & planes) == 0)
            variance[y, x] = v if good else bad


@kernel
def mark_bad(
    subtracted: F4,
    mask: U2,
    lost: int,
    cured: int,
    never: int,
    first_row: int,
    past_row: int,
    bad: Bools,
) -> int:
    """Mark pixels without signal: a plane `lost` but not `cured`, a plane `never`, no number.

    Parameters
    ----------
    bad : (ny, nx), output
        False on entry; rows without bad pixels are not written to.

    Returns
    -------
    int
        Number of bad pixels in the rows.
    """
    nx = subtracted.shape[1]
    row = np.empty(nx, np.bool_)
    total = 0
    for y in range(first_row, past_row):
        n = 0
        for x in range(nx):
            m = mask[y, x]
            row[x] = (
                ((m & never) != 0)
                | (((m & lost) != 0) & ((m & cured) == 0))
                | (not abs(subtracted[y, x]) < np.float32(np.inf))
            )
            n += int(row[x])
        if n > 0:
            bad[y] = row
            total += n
    return total
