"""Connected components (8 neighbours) of runs of pixels.

Components come in the order in which a raster scan completes them, and their pixels in the
order in which Lutz's one-pass algorithm (1980, Computer Journal 23, 262) links them: the
order matters where later steps draw random numbers per pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.detection.pixels import Components, Runs
from skyextract.kernels.detection.sets import find_root
from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import I4


class _Lists(NamedTuple):
    """Linked lists of pixels: the first and last one of each group, -1 in an empty one."""

    head: I4
    tail: I4
    following: I4


@kernel
def _append(lists: _Lists, group: int, first: int | np.int64, last: int | np.int64) -> None:
    """Append the linked pixels first..last to the list of a group."""
    head, tail, following = lists
    if head[group] < 0:
        head[group] = first
    else:
        following[tail[group]] = first
    tail[group] = last


@kernel
def _list_components(
    group: I4, parent: I4, lists: _Lists, min_area: int, components: Components
) -> int:
    """List the pixels of each component; return the number of components.

    A component is complete when its last run is: they are numbered in that order.
    """
    head, tail, following = lists
    order, first = components
    n_runs = len(group)
    last_run = np.full(n_runs, -1, np.int32)
    for i in range(n_runs):
        last_run[find_root(parent, group[i])] = i
    n = 0
    filled = 0
    first[0] = 0
    for i in range(n_runs):
        g = find_root(parent, group[i])
        if last_run[g] != i:
            continue
        begin = filled
        p = head[g]
        while True:
            order[filled] = p
            filled += 1
            if p == tail[g]:
                break
            p = following[p]
        if filled - begin < min_area:
            filled = begin
        else:
            n += 1
            first[n] = filled
    return n


@kernel
def label_runs(runs: Runs, min_area: int, components: Components) -> int:
    """Connect runs to components.

    Parameters
    ----------
    min_area : int
        Fewest pixels of a component.
    components : Components, output
        `first` has n_runs + 1 elements, of which the last ones may stay empty.

    Returns
    -------
    int
        Number of components.
    """
    run_y, run_first, run_last, run_pixel = runs
    n_runs = len(run_y)
    n_pixels = run_pixel[n_runs]
    group = np.empty(n_runs, np.int32)
    leading = np.zeros(n_runs, np.bool_)
    parent = np.empty(n_runs, np.int32)
    seen = np.full(n_runs, -1, np.int32)
    lists = _Lists(
        np.full(n_runs, -1, np.int32), np.full(n_runs, -1, np.int32), np.empty(n_pixels, np.int32)
    )
    for p in range(n_pixels):
        lists.following[p] = p + 1
    for i in range(n_runs):
        parent[i] = i

    above = 0  # runs of the row above: above..above_end
    above_end = 0
    start = 0
    while start < n_runs:
        y = run_y[start]
        end = start
        while end < n_runs and run_y[end] == y:
            end += 1
        if above_end > above and run_y[above] != y - 1:
            above = above_end
        j = above
        for i in range(start, end):
            c0 = run_first[i]
            c1 = run_last[i]
            p = run_pixel[i]
            while j < above_end and run_last[j] + 1 < c0:
                j += 1
            k = j
            if k < above_end and run_first[k] <= c0:
                g = find_root(parent, group[k])
                k += 1
            else:
                g = i
            done = c0
            while k < above_end and run_first[k] <= c1 + 1:
                x = run_first[k]
                if x > done:
                    _append(lists, g, p + done - c0, p + x - 1 - c0)
                    done = x
                other = find_root(parent, group[k])
                if other != g:
                    # the first run of a component in its row is taken in by the run that
                    # meets it; at a later one the run's own group joins the component
                    into, from_ = (g, other) if leading[k] else (other, g)
                    if lists.head[from_] >= 0:
                        front, back = np.int64(lists.head[from_]), np.int64(lists.tail[from_])
                        _append(lists, into, front, back)
                    parent[from_] = into
                    g = into
                k += 1
            if done <= c1:
                _append(lists, g, p + done - c0, p + c1 - c0)
            group[i] = g
        for i in range(start, end):
            g = find_root(parent, group[i])
            leading[i] = seen[g] != y
            seen[g] = y
        above = start
        above_end = end
        start = end
    return _list_components(group, parent, lists, min_area, components)
