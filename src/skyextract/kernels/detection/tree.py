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
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.detection.branches import (
    Branches,
    Found,
    TreeRules,
    more_rows,
    number_branches,
)
from skyextract.kernels.detection.levels import Levels, level_at, set_levels
from skyextract.kernels.detection.pixels import Components, Pixels, lowest_limit
from skyextract.kernels.detection.sets import find_root
from skyextract.kernels.jit import helper, kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I4


class _Grid(NamedTuple):
    """The pixels of a component, by their place in its list, and where they are.

    Attributes
    ----------
    values : (n,)
        Filtered values.
    level, by_level : (n,)
        Highest level below each value; the pixels, highest level first.
    past : (n_levels,)
        Number of pixels at level k or higher.
    cell : (n,)
        Element of `image` of each pixel.
    image : flat, with a margin of one pixel, (height * width,) at least
        Pixel in each element, -1: none.
    """

    values: F4
    level: I4
    by_level: I4
    past: I4
    cell: I4
    image: I4


_LIKE_POINTS = 1.3
"""Flux, at most, over that of a point source that rises as high, where it is no higher than the
light beneath: the peak is between pixels."""
_WIDEST = 2.0
"""Pixels, at most, over flux over peak of a point source, of an isophote that is its own."""
_ROUNDING = 1e-6
"""Part by which a level may be rounded, with some margin."""

# rows of the table of isophotes: connected pixels above the level that was reached, described
# at the root of their set, which is the head of their list
FOLLOWING, TAIL = range(2)
"""The pixels of an isophote as a list."""
AREA, LAST = range(2, 4)
"""Number of pixels, last element of the grid."""
GOOD, STRONG = range(4, 6)
"""Whether there is no branch within; number of branches that could be one."""
POINT, POINT_TAIL = range(6, 8)
"""The part of it, as a list, that at a higher level stood upon its light as a point source; -1."""
N_NUMBERS = 8
FLUX, PEAK = range(2)
"""Sum and maximum of the values."""
# rows of the table of children: isophotes as they were before the next lower level joined
ROOT, CHILD_TAIL, CHILD_LAST, STATE, INTO = range(5)
"""As above; STATE 1: good, 2: strong; INTO: root of what contains it one level lower."""
N_CHILD = 5


class _Isophotes(NamedTuple):
    """The isophotes of a component, while its pixels join.

    Attributes
    ----------
    parent : (n,)
        Disjoint sets of pixels; -1 for a pixel below the level.
    numbers, light : (N_NUMBERS, n), (2, n)
        What is known about the set of a root.
    roots : (n,)
    children : (N_CHILD, n)
    """

    parent: I4
    numbers: I4
    light: F8
    roots: I4
    children: I4


@kernel
def _work_space(size: int, cells: int, n_levels: int) -> tuple[_Grid, _Isophotes]:
    """Return work space for components of `size` pixels in `cells` elements of the grid."""
    numbers = np.empty((5, size), np.int32)
    values = np.empty(size, np.float32)
    past = np.empty(n_levels + 1, np.int32)
    grid = _Grid(values, numbers[0], numbers[1], past, numbers[2], np.full(cells, -1, np.int32))
    isophotes = _Isophotes(
        numbers[3], np.empty((N_NUMBERS, size), np.int32), np.empty((2, size), np.float64),
        numbers[4], np.empty((N_CHILD, size), np.int32),
    )  # fmt: skip
    return grid, isophotes


@kernel
def _sort_pixels(grid: _Grid, n: int, levels: Levels) -> None:
    """Find the level of each of n pixels, and sort them by it, the highest first."""
    level, by_level, past = grid.level, grid.by_level, grid.past
    past[:] = 0
    set_levels(grid.values[:n], level[:n], levels)
    for i in range(n):
        past[level[i]] += 1
    filled = 0
    for k in range(levels.n - 1, -1, -1):
        count = past[k]
        past[k] = filled
        filled += count
    for i in range(n):
        by_level[past[level[i]]] = i
        past[level[i]] += 1


@kernel
def _add_level(
    added: int, past: int, by_level: I4, values: F4, cell: I4, image: I4, width: int,
    parent: I4, numbers: I4, light: F8,
) -> None:  # fmt: skip
    """Add the pixels of one level to the isophotes of the higher ones."""
    for m in range(added, past):
        i = by_level[m]
        parent[i] = i
        numbers[FOLLOWING, i] = -1
        numbers[TAIL, i] = i
        numbers[AREA, i] = 1
        numbers[LAST, i] = cell[i]
        numbers[POINT, i] = -1
        light[FLUX, i] = light[PEAK, i] = np.float64(values[i])
        r = i
        for v in range(-1, 2):
            for u in range(-1, 2):
                j = image[cell[i] + v * width + u]
                if j < 0 or parent[j] < 0:
                    continue
                into = find_root(parent, j)
                if into == r:
                    continue
                parent[r] = into
                numbers[FOLLOWING, numbers[TAIL, into]] = r
                numbers[TAIL, into] = numbers[TAIL, r]
                numbers[AREA, into] += numbers[AREA, r]
                if numbers[POINT, into] < 0:
                    numbers[POINT, into] = numbers[POINT, r]
                    numbers[POINT_TAIL, into] = numbers[POINT_TAIL, r]
                numbers[LAST, into] = max(numbers[LAST, into], numbers[LAST, r])
                light[FLUX, into] += light[FLUX, r]
                light[PEAK, into] = max(light[PEAK, into], light[PEAK, r])
                r = into


@helper
def _may_branch(grid: _Grid, n: int, width: int, lowest: float, rules: TreeRules) -> bool:
    """Tell whether at least two of n pixels are peaks that could be those of branches.

    Of one peak, and what is around it, the isophotes are one within the other at all levels.
    """
    values, cell, image = grid.values, grid.cell, grid.image
    least = lowest - _ROUNDING * abs(lowest)
    if rules.significance > 0.0:
        least += rules.significance * math.sqrt(1.0 + rules.photon_noise * max(least, 0.0))
    n_peaks = 0
    for i in range(n):
        value = values[i]
        if value < least:
            continue
        n_higher = 0
        for v in range(-1, 2):
            for u in range(-1, 2):
                j = image[cell[i] + v * width + u]
                n_higher += int(j >= 0 and values[j] > value)
            if n_higher > 0:
                break
        n_peaks += int(n_higher == 0)
        if n_peaks > 1:
            return True
    return False


@kernel
def _list_children(
    roots: I4, n_roots: int, numbers: I4, light: F8, level: float, rules: TreeRules,
    min_flux: float, children: I4,
) -> int:  # fmt: skip
    """List the isophotes that are large enough, with their strength above `level`."""
    n = 0
    for r in range(n_roots):
        i = roots[r]
        area = numbers[AREA, i]
        if area < rules.min_area:
            continue
        children[ROOT, n] = i
        children[CHILD_TAIL, n] = numbers[TAIL, i]
        children[CHILD_LAST, n] = numbers[LAST, i]
        children[STATE, n] = numbers[GOOD, i]
        height = light[PEAK, i] - level
        flux, of_point = light[FLUX, i] - level * area, height * rules.psf_area
        noise = math.sqrt(1.0 + rules.photon_noise * level)
        is_strong = max(flux, of_point) > min_flux and (
            rules.significance == 0.0 or height > rules.significance * noise
        )
        if rules.local > 0.0 and children[STATE, n] == 1:
            is_point = flux < _LIKE_POINTS * of_point and area < _WIDEST * rules.psf_area
            may_be = numbers[POINT, i] < 0 and flux < height / level * of_point
            if (is_point or may_be) and height > max(
                rules.local * level, rules.local_significance * noise
            ):
                numbers[POINT, i] = i
                numbers[POINT_TAIL, i] = numbers[TAIL, i]
            if numbers[POINT, i] >= 0:
                children[ROOT, n] = numbers[POINT, i]
                children[CHILD_TAIL, n] = numbers[POINT_TAIL, i]
                is_strong = True
        # others stand upon the same light
        is_strong |= rules.local > 0.0 and children[STATE, n] == 0
        if is_strong:
            children[STATE, n] += 2
        n += 1
    return n


@kernel
def _update_roots(roots: I4, n_roots: int, by_level: I4, added: int, past: int, parent: I4) -> int:
    """Drop the isophotes that were taken in, append the new ones; return their number."""
    kept = 0
    for r in range(n_roots):
        if parent[roots[r]] == roots[r]:
            roots[kept] = roots[r]
            kept += 1
    for m in range(added, past):
        i = by_level[m]
        if parent[i] == i:
            roots[kept] = i
            kept += 1
    return kept


@kernel
def _keep_branches(
    children: I4, n_children: int, numbers: I4, k: int, path: I4, branches: I4, n_found: int
) -> int:
    """Make branches of strong children, if there are at least two in an isophote of level k.

    They are appended to the `n_found` in `path` and `branches`, see `Found`; return their
    number.
    """
    for h in range(n_children):
        r = children[INTO, h]
        numbers[GOOD, r] = 1
        numbers[STRONG, r] = 0
    for h in range(n_children):
        r = children[INTO, h]
        numbers[GOOD, r] &= children[STATE, h] & 1
        numbers[STRONG, r] += children[STATE, h] >> 1
    for h in range(n_children):
        r = children[INTO, h]
        if numbers[STRONG, r] > 1:
            numbers[GOOD, r] = 0
            if children[STATE, h] == 3:
                branches[n_found, 0] = children[ROOT, h]
                branches[n_found, 1] = children[CHILD_TAIL, h]
                branches[n_found, 2] = k + 1
                path[n_found, k + 1] = children[CHILD_LAST, h]
                n_found += 1
    return n_found


@kernel
def _extend_paths(path: I4, branches: I4, n_found: int, k: int, parent: I4, numbers: I4) -> None:
    """Note for each branch which isophote of level k it is in."""
    for h in range(n_found):
        path[h, k] = numbers[LAST, find_root(parent, branches[h, 0])]


@kernel
def _keep_point(
    roots: I4, n_roots: int, numbers: I4, level: I4, most: float, branches: I4, path: I4
) -> int:
    """Make a branch of a point source upon light that is none; return the number of branches.

    Between the level at which it joins that light and the highest of this there may be no other,
    so that the light was no branch beside it.  It has `most` pixels at the most.
    """
    for r in range(n_roots):
        i = numbers[POINT, roots[r]]
        if i < 0:
            continue
        last, lowest, area = numbers[POINT_TAIL, roots[r]], level[i], 1
        branches[0, 0] = i
        while i != last:
            i = numbers[FOLLOWING, i]
            lowest = min(lowest, level[i])
            area += 1
        if area > most:
            continue
        branches[0, 1] = last
        branches[0, 2] = lowest
        path[0, :] = 0
        return 1
    return 0


@kernel
def _grow_tree(
    grid: _Grid, width: int, levels: Levels, rules: TreeRules, min_flux: float,
    isophotes: _Isophotes, found: Found,
) -> tuple[Found, int]:  # fmt: skip
    """Let the pixels of one component join from the highest level to the lowest.

    Returns
    -------
    found : Found
        The argument, or a larger copy.
    n_found : int
        Number of branches.
    """
    values, _, by_level, past, cell, image = grid
    parent, numbers, light, roots, children = isophotes
    path, branches = found
    n_roots = n_found = added = 0
    for k in range(rules.n_levels - 1, -1, -1):
        if k > 0 and past[k] == added:  # without new pixels nothing joins
            if n_found > 0:
                _extend_paths(path, branches, n_found, k, parent, numbers)
            continue
        n_children = 0
        if n_roots > 0:
            level = np.float64(level_at(levels, k + 1))
            n_children = _list_children(
                roots, n_roots, numbers, light, level, rules, min_flux, children
            )
        if k > 0:
            _add_level(added, past[k], by_level, values, cell, image, width, parent, numbers, light)
            n_roots = _update_roots(roots, n_roots, by_level, added, past[k], parent)
            added = past[k]
        if n_children > 0:
            # at the lowest level all children have one parent, whatever pixel stands for it
            for h in range(n_children):
                children[INTO, h] = find_root(parent, children[ROOT, h]) if k > 0 else 0
            while n_found + n_children > len(path):
                path, branches = more_rows(path), more_rows(branches)
            n_found = _keep_branches(children, n_children, numbers, k, path, branches, n_found)
        if k > 0:
            _extend_paths(path, branches, n_found, k, parent, numbers)
    if rules.local > 0.0 and n_found == 0:
        most = _WIDEST * rules.psf_area
        n_found = _keep_point(roots, n_roots, numbers, grid.level, most, branches, path)
    return Found(path, branches), n_found


@kernel
def split_components(
    pixels: Pixels, components: Components, rules: TreeRules, threshold: float,
    first_component: int, past_component: int, branches: Branches,
) -> None:  # fmt: skip
    """Find the branches, output, of the components [first_component, past_component)."""
    px, py, filtered = pixels.x, pixels.y, pixels.filtered
    order, first = components
    n_levels = rules.n_levels
    thresholds = np.empty(n_levels + 1, np.float32)
    found = Found(np.empty((16, n_levels + 1), np.int32), np.empty((16, 3), np.int32))
    size, room = 256, 1024
    grid, isophotes = _work_space(size, room, n_levels)
    for c in range(first_component, past_component):
        begin = first[c]
        n = first[c + 1] - begin
        branches.number[c] = 1
        branches.of_pixel[begin : begin + n] = 0
        if n < 2 * rules.min_area or n_levels < 2:
            continue
        lowest = lowest_limit(pixels, order, begin, begin + n, threshold)
        top = filtered[order[begin]]
        total = 0.0
        x0 = x1 = px[order[begin]]
        y0 = y1 = py[order[begin]]
        for k in range(begin, begin + n):
            p = order[k]
            top = max(top, filtered[p])
            total += np.float64(filtered[p])
            x0 = min(x0, px[p])
            x1 = max(x1, px[p])
            y0 = min(y0, py[p])
            y1 = max(y1, py[p])
        if not np.float64(top) > lowest:
            continue
        width = x1 - x0 + 3
        cells = width * (y1 - y0 + 3)
        if n > size or cells > room:
            size, room = max(size, 2 * n), max(room, 2 * cells)
            grid, isophotes = _work_space(size, room, n_levels)
        values, cell, image = grid.values, grid.cell, grid.image
        parent, numbers = isophotes.parent, isophotes.numbers
        for i in range(n):
            p = order[begin + i]
            values[i] = filtered[p]
            cell[i] = (py[p] - y0 + 1) * width + px[p] - x0 + 1
            image[cell[i]] = i
            parent[i] = -1
            numbers[GOOD, i] = 1
        n_found = 0
        if _may_branch(grid, n, width, lowest, rules):
            levels = Levels(thresholds, n_levels, lowest, np.float64(top), rules.linear)
            _sort_pixels(grid, n, levels)
            found, n_found = _grow_tree(
                grid, width, levels, rules, total * rules.contrast, isophotes, found
            )
        for i in range(n):
            image[cell[i]] = -1
        if n_found > 0:
            branches.of_pixel[begin : begin + n] = -1
            branches.number[c] = n_found
            number_branches(found, n_found, thresholds, numbers[FOLLOWING], begin, branches)
