"""Sources from the branches of detections: share out faint pixels, measure basic shapes.

The pixels of a detection that are in none of its branches (see `tree`) go to one of them at
random, with probabilities from Gaussian fits to the branches (Bertin & Arnouts 1996, A&AS
117, 393, section 5; SExtractor's manual).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel
from skyextract.kernels.values import BLENDED, TRUNCATED

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I4, I8, Bools


# columns of the table of real numbers
X, Y, X2, Y2, XY, A, B, THETA, CXX, CYY, CXY, ABCOR = range(12)
FDFLUX, DFLUX, FDPEAK, DPEAK, DTHRESH, MTHRESH = range(12, 18)
N_REAL = 18
# columns of the table of integers
XMIN, XMAX, YMIN, YMAX, XPEAK, YPEAK, FDNPIX, DNPIX, FLAGS, SINGULAR, PARENT = range(11)
N_INTEGER = 11

RANDOM_MAX = 2147483647


_SINGULAR_DETERMINANT = 0.00694
_PIXEL_VARIANCE = 0.0833333
_FAR = 70.0
_LEAST = 1e-31


@kernel
def _shape(
    px: I4,
    py: I4,
    filtered: F4,
    value: F4,
    limit: F4,
    has_limit: bool,
    members: I4,
    begin: int,
    end: int,
    threshold: float,
    recentre: bool,
    cx: float,
    cy: float,
    real: F8,
    integer: I4,
) -> None:
    """Measure one source from its pixels: moments of the filtered image, peaks, areas.

    With `recentre` the second moments are taken about the barycentre; else about (cx, cy).
    """
    if has_limit:
        threshold = np.float64(limit[members[begin]])
    flux = 0.0
    dflux = 0.0
    fdpeak = filtered[members[begin]]
    dpeak = value[members[begin]]
    x0 = x1 = px[members[begin]]
    y0 = y1 = py[members[begin]]
    xpeak = x0
    ypeak = y0
    for k in range(begin, end):
        p = members[k]
        f = filtered[p]
        flux += np.float64(f)
        dflux += np.float64(value[p])
        if f > fdpeak:
            fdpeak = f
            xpeak = px[p]
            ypeak = py[p]
        dpeak = max(dpeak, value[p])
        if has_limit:
            threshold = min(threshold, np.float64(limit[p]))
        x0 = min(x0, px[p])
        x1 = max(x1, px[p])
        y0 = min(y0, py[p])
        y1 = max(y1, py[p])
    half = (threshold + np.float64(dpeak)) / 2.0
    sx = sy = sxx = syy = sxy = 0.0
    n_above = 0
    n_half = 0
    for k in range(begin, end):
        p = members[k]
        f = np.float64(filtered[p])
        x = np.float64(px[p] - x0)
        y = np.float64(py[p] - y0)
        v = np.float64(value[p])
        n_above += int(v > threshold)
        n_half += int(v > half)
        sx += f * x
        sy += f * y
        sxx += f * x * x
        syy += f * y * y
        sxy += f * x * y
    mx = sx / flux
    my = sy / flux
    if recentre:
        x2 = sxx / flux - mx * mx
        y2 = syy / flux - my * my
        xy = sxy / flux - mx * my
    else:
        x = cx - x0
        y = cy - y0
        x2 = sxx / flux + x * x - 2.0 * mx * x
        y2 = syy / flux + y * y - 2.0 * my * y
        xy = sxy / flux + x * y - mx * y - x * my
        mx = x
        my = y
    determinant = x2 * y2 - xy * xy
    singular = determinant < _SINGULAR_DETERMINANT
    if singular:
        x2 += _PIXEL_VARIANCE
        y2 += _PIXEL_VARIANCE
        determinant = x2 * y2 - xy * xy
    difference = x2 - y2
    theta = math.atan2(2.0 * xy, difference) / 2.0 if difference != 0.0 else math.pi / 4.0
    spread = math.sqrt(0.25 * difference * difference + xy * xy)
    middle = 0.5 * (x2 + y2)
    a = math.sqrt(max(middle + spread, 0.0))
    b = math.sqrt(max(middle - spread, 0.0))
    ratio = threshold / half
    abcor = 1.0
    if ratio > 0.0 and not has_limit and a * b > 0.0:
        lost = np.float64(n_half - n_above)
        depth = math.log(ratio if ratio < 1.0 else 0.99)
        abcor = min((lost if lost < 0.0 else -1.0) / (2.0 * math.pi * depth * a * b), 1.0)
    real[X] = mx + x0
    real[Y] = my + y0
    real[X2] = x2
    real[Y2] = y2
    real[XY] = xy
    real[A] = a
    real[B] = b
    real[THETA] = theta * 180.0 / math.pi
    real[CXX] = y2 / determinant
    real[CYY] = x2 / determinant
    real[CXY] = -2.0 * xy / determinant
    real[ABCOR] = abcor
    real[FDFLUX] = flux
    real[DFLUX] = dflux
    real[FDPEAK] = np.float64(fdpeak)
    real[DPEAK] = np.float64(dpeak)
    real[DTHRESH] = threshold
    integer[XMIN] = x0
    integer[XMAX] = x1
    integer[YMIN] = y0
    integer[YMAX] = y1
    integer[XPEAK] = xpeak
    integer[YPEAK] = ypeak
    integer[FDNPIX] = end - begin
    integer[DNPIX] = n_above
    integer[SINGULAR] = int(singular)


@kernel
def _truncated(px: I4, py: I4, members: I4, begin: int, end: int, nx: int, ny: int) -> bool:
    """Whether any pixel lies on the image border."""
    for k in range(begin, end):
        p = members[k]
        if px[p] == 0 or py[p] == 0 or px[p] == nx - 1 or py[p] == ny - 1:
            return True
    return False


@kernel
def _collect(branch: I4, order: I4, begin: int, end: int, n: int, members: I4, start: I8) -> None:
    """List the pixels of each branch, ``members[start[b]:start[b + 1]]``, its core first.

    Cores are marked by their number b >= 0 in `branch`, shared-out pixels by -b - 2.
    """
    start[: n + 1] = 0
    for k in range(begin, end):
        b = branch[k]
        if b != -1:
            start[(b if b >= 0 else -b - 2) + 1] += 1
    start[0] = begin
    for b in range(n):
        start[b + 1] += start[b]
    for k in range(begin, end):
        b = branch[k]
        if b >= 0:
            members[start[b]] = order[k]
            start[b] += 1
    for k in range(begin, end):
        b = -branch[k] - 2
        if b >= 0:
            members[start[b]] = order[k]
            start[b] += 1
    for b in range(n, 0, -1):
        start[b] = start[b - 1]
    start[0] = begin


@kernel
def _fit_branches(
    px: I4,
    py: I4,
    filtered: F4,
    value: F4,
    limit: F4,
    has_limit: bool,
    threshold: float,
    branch_level: F4,
    members: I4,
    start: I8,
    n: int,
    real: F8,
    integer: I4,
    amplitude: F4,
) -> None:
    """Measure the branches of one component; set the amplitudes of their Gaussians."""
    for b in range(n):
        _shape(
            px, py, filtered, value, limit, has_limit, members, start[b], start[b + 1],
            np.float64(branch_level[b]), True, 0.0, 0.0, real[b], integer[b],
        )  # fmt: skip
        area = 2.0 * math.pi * real[b, ABCOR] * real[b, A] * real[b, B]
        depth = integer[b, FDNPIX] / area if area > 0.0 else _FAR
        highest = 4.0 * real[b, FDPEAK]
        # the Gaussian falls to the detection threshold at the edge of its isophote
        grown = threshold * math.exp(depth) if depth < _FAR else highest
        amplitude[b] = np.float32(min(grown, highest))


@kernel
def _chances(
    x: float, y: float, n: int, real: F8, amplitude: F4, chance: F4
) -> tuple[int, np.float32]:
    """Accumulate the branches' Gaussians at a pixel; return the nearest branch, the sum."""
    nearest = 0
    least = 1e31
    total = np.float32(0.0)
    for b in range(n):
        dx = x - real[b, X]
        dy = y - real[b, Y]
        distance = (
            0.5
            * (real[b, CXX] * dx * dx + real[b, CYY] * dy * dy + real[b, CXY] * dx * dy)
            / real[b, ABCOR]
        )
        if distance < _FAR:
            total += amplitude[b] * np.float32(math.exp(-distance))
        chance[b] = total
        if distance < least:
            least = distance
            nearest = b
    return nearest, total


@kernel
def _lowest_limit(
    limit: F4, has_limit: bool, threshold: float, order: I4, begin: int, end: int
) -> float:
    """Return the threshold of a component: the lowest of its pixels'."""
    if not has_limit:
        return threshold
    lowest = np.float64(limit[order[begin]])
    for k in range(begin, end):
        lowest = min(lowest, np.float64(limit[order[k]]))
    return lowest


@kernel
def count_draws(
    px: I4,
    py: I4,
    filtered: F4,
    value: F4,
    limit: F4,
    has_limit: bool,
    threshold: float,
    order: I4,
    first: I8,
    first_component: int,
    past_component: int,
    branch: I4,
    branch_level: F4,
    n_branches: I4,
    members: I4,
    n_draws: I8,
) -> None:
    """Count the random numbers that `gather_components` needs for each component.

    Parameters are those of `gather_components`; `members` is work space.
    """
    for c in range(first_component, past_component):
        n_draws[c] = 0
        n = n_branches[c]
        if n < 2:
            continue
        begin = first[c]
        end = first[c + 1]
        start = np.empty(n + 1, np.int64)
        real = np.empty((n, N_REAL), np.float64)
        integer = np.empty((n, N_INTEGER), np.int32)
        amplitude = np.empty(n, np.float32)
        chance = np.empty(n, np.float32)
        lowest = _lowest_limit(limit, has_limit, threshold, order, begin, end)
        _collect(branch, order, begin, end, n, members, start)
        _fit_branches(
            px, py, filtered, value, limit, has_limit, lowest, branch_level[begin:end],
            members, start, n, real, integer, amplitude,
        )  # fmt: skip
        for k in range(begin, end):
            if branch[k] == -1:
                p = order[k]
                _, total = _chances(
                    np.float64(px[p]), np.float64(py[p]), n, real, amplitude, chance
                )
                n_draws[c] += int(np.float64(total) > _LEAST)


@kernel
def _clean_limit(
    filtered: F4,
    limit: F4,
    has_limit: bool,
    threshold: float,
    members: I4,
    begin: int,
    end: int,
    min_area: int,
) -> float:
    """Return the excess over the threshold that about `min_area` pixels of the source have.

    The value that a neighbour's wing must exceed to make the whole source spurious.  The
    rule is SExtractor's, which decides borderline cases: it keeps the `min_area` highest
    pixels in a heap, but skips one pixel before it starts to exchange them, and restores the
    order of the heap along one branch of two levels only.
    """
    n = end - begin
    if n < min_area:
        return 0.0
    heap = np.empty(min_area, np.float32)
    for k in range(n):
        p = members[begin + k]
        excess = filtered[p] - (limit[p] if has_limit else np.float32(threshold))
        if k < min_area:
            heap[k] = excess
        elif k == min_area:
            heap.sort()
        elif excess > heap[0]:
            heap[0] = excess
            i = 0
            right = 2
            while right <= min_area:
                child = right - 1
                if right != min_area and heap[child] > heap[right]:
                    child = right
                if heap[i] <= heap[child]:
                    break
                heap[i], heap[child] = heap[child], heap[i]
                i = child + 1
                right = 2 * (i + 1)
    return np.float64(heap[0])


@kernel
def gather_components(
    px: I4,
    py: I4,
    filtered: F4,
    value: F4,
    limit: F4,
    has_limit: bool,
    threshold: float,
    order: I4,
    first: I8,
    first_component: int,
    past_component: int,
    branch: I4,
    branch_level: F4,
    n_branches: I4,
    draws: F4,
    first_draw: I8,
    first_source: I8,
    nx: int,
    ny: int,
    min_area: int,
    members: I4,
    start_of_source: I8,
    real: F8,
    integer: I4,
) -> None:
    """Share out the pixels outside branches, and measure the resulting sources.

    Parameters
    ----------
    px, py, filtered, value : (n_pixels,)
        Column, row, filtered and unfiltered value of all detected pixels.
    limit : (n_pixels,), or (1,) without `has_limit`
        Threshold at each pixel.
    order, first
        Pixels of each component, see `label_runs`.
    branch, branch_level, n_branches
        As `tree.split_components` gives them; `branch` is updated: a pixel shared out to branch b
        becomes -b - 2.
    draws : (n_draws,)
        Random numbers, 0 to `RANDOM_MAX`.
    first_draw, first_source : (n_components,)
        Numbers of the first draw and of the first source of each component.
    nx, ny : int
        Size of the image.
    min_area : int
        DETECT_MINAREA, for the cleaning limit.
    members : (n_pixels,), output
        Pixels of source s: ``members[start_of_source[s]:start_of_source[s + 1]]``.
    start_of_source : (n_sources + 1,), output
    real : (n_sources, N_REAL), integer : (n_sources, N_INTEGER), output
        Measurements; see the column numbers at the top.
    """
    unit = np.float32(RANDOM_MAX)
    for c in range(first_component, past_component):
        begin = first[c]
        end = first[c + 1]
        n = n_branches[c]
        s0 = first_source[c]
        if n < 2:
            for k in range(begin, end):
                members[k] = order[k]
            _shape(
                px, py, filtered, value, limit, has_limit, members, begin, end,
                threshold, True, 0.0, 0.0, real[s0], integer[s0],
            )  # fmt: skip
            real[s0, MTHRESH] = _clean_limit(
                filtered, limit, has_limit, threshold, members, begin, end, min_area
            )
            integer[s0, FLAGS] = TRUNCATED if _truncated(px, py, members, begin, end, nx, ny) else 0
            integer[s0, PARENT] = c + 1
            start_of_source[s0] = begin
            continue

        start = np.empty(n + 1, np.int64)
        fit = np.empty((n, N_REAL), np.float64)
        fit_integer = np.empty((n, N_INTEGER), np.int32)
        amplitude = np.empty(n, np.float32)
        chance = np.empty(n, np.float32)
        lowest = _lowest_limit(limit, has_limit, threshold, order, begin, end)
        _collect(branch, order, begin, end, n, members, start)
        _fit_branches(
            px, py, filtered, value, limit, has_limit, lowest, branch_level[begin:end],
            members, start, n, fit, fit_integer, amplitude,
        )  # fmt: skip
        for b in range(n):
            core_truncated = _truncated(px, py, members, start[b], start[b + 1], nx, ny)
            integer[s0 + b, FLAGS] = BLENDED + (TRUNCATED if core_truncated else 0)
        draw = first_draw[c]
        for k in range(begin, end):
            if branch[k] != -1:
                continue
            p = order[k]
            b, total = _chances(np.float64(px[p]), np.float64(py[p]), n, fit, amplitude, chance)
            if np.float64(total) > _LEAST:
                pick = total * draws[draw] / unit
                draw += 1
                i = 0
                while i < n and chance[i] < pick:
                    i += 1
                b = i if i < n else b
            branch[k] = -b - 2
        _collect(branch, order, begin, end, n, members, start)
        for b in range(n):
            s = s0 + b
            flags = integer[s, FLAGS]
            _shape(
                px, py, filtered, value, limit, has_limit, members, start[b], start[b + 1],
                threshold, False, fit[b, X], fit[b, Y], real[s], integer[s],
            )  # fmt: skip
            real[s, MTHRESH] = _clean_limit(
                filtered, limit, has_limit, threshold, members, start[b], start[b + 1], min_area
            )
            integer[s, FLAGS] = flags
            integer[s, PARENT] = c + 1
            start_of_source[s] = start[b]


@kernel
def measure_sources(
    px: I4,
    py: I4,
    filtered: F4,
    value: F4,
    threshold: float,
    start: I8,
    length: I4,
    recentre: Bools,
    x: F8,
    y: F8,
    real: F8,
    integer: I4,
) -> None:
    """Measure sources whose pixels are ``start[i]`` to ``start[i] + length[i] - 1``.

    Second moments are about the barycentre with `recentre`, else about (x, y).
    """
    members = np.empty(len(px), np.int32)
    for k in range(len(px)):
        members[k] = k
    for i in range(len(length)):
        _shape(
            px, py, filtered, value, np.zeros(1, np.float32), False, members, start[i],
            start[i] + length[i], threshold, recentre[i], x[i], y[i], real[i], integer[i],
        )  # fmt: skip


@kernel
def random_numbers(n: int) -> F4:
    """Return n random integers, 0 to `RANDOM_MAX`, rounded to float32.

    The additive feedback generator of the GNU C library with its default seed, 1
    (x[i] = x[i - 3] + x[i - 31]; Knuth, TAOCP 2, section 3.2.2): pixels are shared out as
    SExtractor does it on Linux, and each run on the same image repeats the last.
    """
    state = np.empty(n + 344, np.uint32)
    word = np.int64(1)
    state[0] = 1
    for i in range(1, 31):
        word = (16807 * word) % RANDOM_MAX
        state[i] = np.uint32(word)
    for i in range(31, 34):
        state[i] = state[i - 31]
    for i in range(34, n + 344):
        state[i] = np.uint32((np.int64(state[i - 31]) + np.int64(state[i - 3])) & 0xFFFFFFFF)
    out = np.empty(n, np.float32)
    for i in range(n):
        out[i] = np.float32(state[i + 344] >> np.uint32(1))
    return out
