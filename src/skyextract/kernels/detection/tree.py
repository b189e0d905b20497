"""Multi-threshold deblending: the tree of a detection's isophotes and its branches.

After Bertin & Arnouts (1996, A&AS 117, 393, section 5) and SExtractor's manual: the isophotes
of a detection at `n_levels` thresholds, spaced exponentially between its own threshold and
its peak, form a tree; a branch becomes a source if its flux above the level of the junction
exceeds a share of the total flux and at least one other branch there does so too.

The tree is not made by labelling each level anew: pixels join it from the brightest to the
faintest (union-find), which takes time in proportion to the pixels and has no limit on the
number of branches.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I4, I8


@kernel
def _find(parent: I4, i: int) -> int:
    """Return the root of set `i`, halving the path."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


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
    beam: float,
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
    beam : float
        Flux over peak of a point source: a branch has at least the flux of a point source
        that rises as high above the junction.  0: only what is in the isophote counts.
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
            if k > 0 and past[k] == added and n_found == 0:
                continue  # no pixel at this level: nothing can join
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
                height = np.float64(peak[i]) - rise
                if max(flux[i] - rise * area[i], height * beam) > least_flux and (
                    significance == 0.0
                    or height > significance * math.sqrt(1.0 + photon_noise * rise)
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
