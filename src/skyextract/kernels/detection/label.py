"""Connected components (8 neighbours) of runs of pixels.

Components come in the order in which a raster scan completes them, and their pixels in the
order in which Lutz's one-pass algorithm (1980, Computer Journal 23, 262) links them: the
order matters where later steps draw random numbers per pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import I4, I8


@kernel
def _find(parent: I4, i: int) -> int:
    """Return the root of set `i`, halving the path."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@kernel
def _append(
    head: I4, tail: I4, following: I4, group: int, first: int | np.int64, last: int | np.int64
) -> None:
    """Append the linked pixels first..last to the list of a group."""
    if head[group] < 0:
        head[group] = first
    else:
        following[tail[group]] = first
    tail[group] = last


@kernel
def label_runs(
    run_y: I4,
    run_first: I4,
    run_last: I4,
    run_pixel: I8,
    min_area: int,
    order: I4,
    first: I8,
) -> int:
    """Connect runs to components.

    Parameters
    ----------
    run_y, run_first, run_last : (n_runs,)
        Row, first and last column of each run, in raster order.
    run_pixel : (n_runs + 1,)
        Number of the run's first pixel, counting all pixels of runs in raster order.
    min_area : int
        Fewest pixels of a component.
    order : (n_pixels,), output
        Pixels of component i: ``order[first[i]:first[i + 1]]``.
    first : (n_runs + 1,), output

    Returns
    -------
    int
        Number of components.
    """
    n_runs = len(run_y)
    n_pixels = run_pixel[n_runs]
    group = np.empty(n_runs, np.int32)
    leading = np.zeros(n_runs, np.bool_)
    parent = np.empty(n_runs, np.int32)
    head = np.full(n_runs, -1, np.int32)
    tail = np.full(n_runs, -1, np.int32)
    seen = np.full(n_runs, -1, np.int32)
    following = np.empty(n_pixels, np.int32)
    for p in range(n_pixels):
        following[p] = p + 1
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
                g = _find(parent, group[k])
                k += 1
            else:
                g = i
            done = c0
            while k < above_end and run_first[k] <= c1 + 1:
                x = run_first[k]
                if x > done:
                    _append(head, tail, following, g, p + done - c0, p + x - 1 - c0)
                    done = x
                other = _find(parent, group[k])
                if other != g:
                    # the first run of a component in its row is taken in by the run that
                    # meets it; at a later one the run's own group joins the component
                    into, from_ = (g, other) if leading[k] else (other, g)
                    if head[from_] >= 0:
                        front, back = np.int64(head[from_]), np.int64(tail[from_])
                        _append(head, tail, following, into, front, back)
                    parent[from_] = into
                    g = into
                k += 1
            if done <= c1:
                _append(head, tail, following, g, p + done - c0, p + c1 - c0)
            group[i] = g
        for i in range(start, end):
            g = _find(parent, group[i])
            leading[i] = seen[g] != y
            seen[g] = y
        above = start
        above_end = end
        start = end

    # a component is complete when its last run is: number them in that order
    last_run = np.full(n_runs, -1, np.int32)
    for i in range(n_runs):
        last_run[_find(parent, group[i])] = i
    n = 0
    filled = 0
    first[0] = 0
    for i in range(n_runs):
        g = _find(parent, group[i])
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
