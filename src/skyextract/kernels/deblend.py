"""Deblending: split detections at saddles, share out faint pixels, measure basic shapes.

Multi-threshold deblending after Bertin & Arnouts (1996, A&AS 117, 393, section 5) and
SExtractor's manual: the isophotes of a detection at `n_levels` thresholds, spaced
exponentially between its own threshold and its peak, form a tree; a branch becomes a source
if its flux above the level of the junction exceeds a share of the total flux and at least
one other branch there does so too.  Pixels outside all branches go to one of them at random,
with probabilities from Gaussian fits to the branches.

The tree is not made by labelling each level anew: pixels join it from the brightest to the
faintest (union-find), which takes time in proportion to the pixels and has no limit on the
number of branches.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from skyextract.kernels.jit import kernel

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
I4 = NDArray[np.int32]
I8 = NDArray[np.int64]

# columns of the table of real numbers
X, Y, X2, Y2, XY, A, B, THETA, CXX, CYY, CXY, ABCOR = range(12)
FDFLUX, DFLUX, FDPEAK, DPEAK, DTHRESH, MTHRESH = range(12, 18)
N_REAL = 18
# columns of the table of integers
XMIN, XMAX, YMIN, YMAX, XPEAK, YPEAK, FDNPIX, DNPIX, FLAGS, SINGULAR, PARENT = range(11)
N_INTEGER = 11

RANDOM_MAX = 2147483647

MERGED = 2
TRUNCATED = 8

_SINGULAR_DETERMINANT = 0.00694
_PIXEL_VARIANCE = 0.0833333
_FAR = 70.0
_LEAST = 1e-31


@kernel
def _find(parent: I4, i: int) -> int:
    """Return the root of set `i`, halving the path."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


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
def _before(path: I4, level: I4, i: int, j: int) -> bool:
    """Whether branch i precedes j: higher levels first, then in the order of the tree."""
    if level[i] != level[j]:
        return bool(level[i] > level[j])
    for k in range(1, level[i] + 1):
        if path[i, k] != path[j, k]:
            return bool(path[i, k] < path[j, k])
    return False


@kernel
def _sort_branches(path: I4, level: I4, n: int, rank: I4) -> None:
    """Sort branches (Shell's method) into `rank`."""
    for i in range(n):
        rank[i] = i
    gap = 1
    while gap < n // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            item = rank[i]
            j = i
            while j >= gap and _before(path, level, item, rank[j - gap]):
                rank[j] = rank[j - gap]
                j -= gap
            rank[j] = item
        gap //= 3


@kernel
def _more_rows(array: I4) -> I4:
    """Return a copy of a table with twice the rows."""
    larger = np.empty((2 * array.shape[0], array.shape[1]), np.int32)
    larger[: array.shape[0]] = array
    return larger


@kernel
def _add_level(
    added: int,
    past: int,
    by_level: I4,
    cell_of: I4,
    grid: I4,
    width: int,
    values: F4,
    parent: I4,
    following: I4,
    tail: I4,
    area: I4,
    last: I4,
    flux: F8,
    peak: F4,
) -> None:
    """Add the pixels of one level to the components of the higher ones."""
    for m in range(added, past):
        i = by_level[m]
        parent[i] = i
        following[i] = -1
        tail[i] = i
        area[i] = 1
        last[i] = cell_of[i]
        flux[i] = np.float64(values[i])
        peak[i] = values[i]
        for v in range(-1, 2):
            for u in range(-1, 2):
                j = grid[cell_of[i] + v * width + u]
                if j < 0 or parent[j] < 0:
                    continue
                into = _find(parent, j)
                r = _find(parent, i)
                if into == r:
                    continue
                # the root is the head of its list
                parent[r] = into
                following[tail[into]] = r
                tail[into] = tail[r]
                area[into] += area[r]
                last[into] = max(last[into], last[r])
                flux[into] += flux[r]
                peak[into] = max(peak[into], peak[r])


@kernel
def split_components(
    px: I4,
    py: I4,
    filtered: F4,
    limit: F4,
    has_limit: bool,
    threshold: float,
    order: I4,
    first: I8,
    first_component: int,
    past_component: int,
    n_levels: int,
    contrast: float,
    linear: bool,
    min_area: int,
    significance: float,
    photon_noise: float,
    branch: I4,
    branch_level: F4,
    n_branches: I4,
) -> None:
    """Find the branches of the components [first_component, past_component).

    Parameters
    ----------
    px, py, filtered : (n_pixels,)
        Column, row and filtered value of all detected pixels.
    limit : (n_pixels,), or (1,) without `has_limit`
        Threshold at each pixel; a component's threshold is the lowest of its pixels.
    order, first
        Pixels of each component, see `label_runs`.
    n_levels : int
        DEBLEND_NTHRESH.
    contrast : float
        DEBLEND_MINCONT: least share of the component's flux in a branch.
    linear : bool
        Levels at equal steps (photographic densities) instead of equal ratios.
    min_area : int
        Fewest pixels of an isophote of the tree.
    significance, photon_noise : float
        A branch must rise above its junction, at level s, by ``significance * sqrt(1 +
        photon_noise * s)``: so much noise can do.  0: no condition.
    branch : (n_pixels,), output
        For each element of `order`: number of its branch, -1: in none.
    branch_level : (n_pixels,), output
        ``branch_level[first[c] + b]``: threshold of branch b of component c.
    n_branches : (n_components,), output
    """
    level_of = np.empty(n_levels + 1, np.float32)
    past = np.empty(n_levels + 1, np.int32)
    table = np.empty((15, 256), np.int32)
    flux = np.empty(256, np.float64)
    values = np.empty((2, 256), np.float32)
    grid = np.full(1024, -1, np.int32)
    path = np.empty((16, n_levels + 1), np.int32)
    found = np.empty((16, 3), np.int32)
    for c in range(first_component, past_component):
        begin = first[c]
        n = first[c + 1] - begin
        n_branches[c] = 1
        branch[begin : begin + n] = 0
        if n < 2 * min_area or n_levels < 2:
            continue

        lowest = threshold
        if has_limit:
            lowest = np.float64(limit[order[begin]])
        top = filtered[order[begin]]
        total = 0.0
        x0 = x1 = px[order[begin]]
        y0 = y1 = py[order[begin]]
        for k in range(begin, begin + n):
            p = order[k]
            top = max(top, filtered[p])
            total += np.float64(filtered[p])
            if has_limit:
                lowest = min(lowest, np.float64(limit[p]))
            x0 = min(x0, px[p])
            x1 = max(x1, px[p])
            y0 = min(y0, py[p])
            y1 = max(y1, py[p])
        if not np.float64(top) > lowest:
            continue
        for k in range(1, n_levels):
            step = k / n_levels
            if linear:
                level_of[k] = np.float32(lowest + (np.float64(top) - lowest) * step)
            else:
                level_of[k] = np.float32(lowest * math.pow(np.float64(top) / lowest, step))
        least_flux = total * contrast

        if n > table.shape[1]:
            table = np.empty((15, 2 * n), np.int32)
            flux = np.empty(2 * n, np.float64)
            values = np.empty((2, 2 * n), np.float32)
        level, by_level, cell_of, parent, following = (
            table[0],
            table[1],
            table[2],
            table[3],
            table[4],
        )
        tail, area, last, good, strong = table[5], table[6], table[7], table[8], table[9]
        roots, child, child_tail, child_last, child_state = (
            table[10],
            table[11],
            table[12],
            table[13],
            table[14],
        )
        peak = values[1]
        width = x1 - x0 + 3
        cells = width * (y1 - y0 + 3)
        if cells > len(grid):
            grid = np.full(2 * cells, -1, np.int32)

        past[:] = 0
        for i in range(n):
            p = order[begin + i]
            f = filtered[p]
            low = 0
            high = n_levels
            while high - low > 1:
                middle = (low + high) // 2
                if f > level_of[middle]:
                    low = middle
                else:
                    high = middle
            level[i] = low
            past[low] += 1
            values[0, i] = f
            parent[i] = -1
            good[i] = 1
            cell_of[i] = (py[p] - y0 + 1) * width + px[p] - x0 + 1
            grid[cell_of[i]] = i
        filled = 0
        for k in range(n_levels - 1, -1, -1):
            count = past[k]
            past[k] = filled
            filled += count
        for i in range(n):
            by_level[past[level[i]]] = i
            past[level[i]] += 1
        # now past[k] is the number of pixels at level k or higher

        n_roots = 0
        n_found = 0
        added = 0
        for k in range(n_levels - 1, -1, -1):
            n_children = 0
            for r in range(n_roots):
                i = roots[r]
                if area[i] < min_area:
                    continue
                rise = np.float64(level_of[k + 1])
                child[n_children] = i
                child_tail[n_children] = tail[i]
                child_last[n_children] = last[i]
                child_state[n_children] = good[i]
                if flux[i] - rise * area[i] > least_flux and (
                    significance == 0.0
                    or np.float64(peak[i]) - rise
                    > significance * math.sqrt(1.0 + photon_noise * rise)
                ):
                    child_state[n_children] += 2
                n_children += 1
            if k > 0:
                _add_level(
                    added,
                    past[k],
                    by_level,
                    cell_of,
                    grid,
                    width,
                    values[0],
                    parent,
                    following,
                    tail,
                    area,
                    last,
                    flux,
                    peak,
                )
                kept = 0
                for r in range(n_roots):
                    if parent[roots[r]] == roots[r]:
                        roots[kept] = roots[r]
                        kept += 1
                for m in range(added, past[k]):
                    i = by_level[m]
                    if parent[i] == i:
                        roots[kept] = i
                        kept += 1
                n_roots = kept
                added = past[k]
            # at the lowest level all children have one parent, whatever pixel stands for it
            for h in range(n_children):
                r = _find(parent, child[h]) if k > 0 else 0
                good[r] = 1
                strong[r] = 0
            for h in range(n_children):
                r = _find(parent, child[h]) if k > 0 else 0
                good[r] &= child_state[h] & 1
                strong[r] += child_state[h] >> 1
            for h in range(n_children):
                r = _find(parent, child[h]) if k > 0 else 0
                if strong[r] > 1:
                    good[r] = 0
                    if child_state[h] == 3:
                        if n_found == path.shape[0]:
                            path = _more_rows(path)
                            found = _more_rows(found)
                        found[n_found, 0] = child[h]
                        found[n_found, 1] = child_tail[h]
                        found[n_found, 2] = k + 1
                        path[n_found, k + 1] = child_last[h]
                        n_found += 1
            if k > 0:
                for h in range(n_found):
                    path[h, k] = last[_find(parent, found[h, 0])]

        for i in range(n):
            grid[cell_of[i]] = -1
        if n_found > 0:
            branch[begin : begin + n] = -1
            n_branches[c] = n_found
            rank = np.empty(n_found, np.int32)
            _sort_branches(path, found[:, 2].copy(), n_found, rank)
            for b in range(n_found):
                branch_level[begin + b] = level_of[found[rank[b], 2]]
                i = found[rank[b], 0]
                end = found[rank[b], 1]
                while True:
                    branch[begin + i] = b
                    if i == end:
                        break
                    i = following[i]


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
        As `split_components` gives them; `branch` is updated: a pixel shared out to branch b
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
            integer[s0 + b, FLAGS] = MERGED + (TRUNCATED if core_truncated else 0)
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
    recentre: NDArray[np.bool_],
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
        state[i] = np.uint32(state[i - 31] + state[i - 3])
    out = np.empty(n, np.float32)
    for i in range(n):
        out[i] = np.float32(state[i + 344] >> np.uint32(1))
    return out
