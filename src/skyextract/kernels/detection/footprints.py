"""Pixels of footprints, source by source: how they grow, and how they are laid out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I4, I8


@kernel
def group_boxes(xmin: I4, xmax: I4, ymin: I4, ymax: I4, side: int, cell: I8, group: I8) -> None:
    """Put boxes that share a cell of the frame into one group, and those that share one with these.

    Parameters
    ----------
    xmin, xmax, ymin, ymax : (n,) int32
        First and last column and row of each box, in the frame.
    side : int
        Of a cell, pixels.
    cell : (n_y, n_x) int64
        All -1; used.
    group : (n,) int64, output
        The first box of the group of each.
    """
    for i in range(xmin.size):
        group[i] = i
    for i in range(xmin.size):
        for v in range(ymin[i] // side, ymax[i] // side + 1):
            for u in range(xmin[i] // side, xmax[i] // side + 1):
                if cell[v, u] < 0:
                    cell[v, u] = i
                    continue
                a, b = i, cell[v, u]
                while group[a] != a:
                    a = group[a]
                while group[b] != b:
                    b = group[b]
                group[max(a, b)] = min(a, b)
                group[i] = min(a, b)  # a shorter way
    for i in range(xmin.size):
        group[i] = group[group[i]]  # that of an earlier box is known


@kernel
def grow(
    segmentation: I4, filtered: F4, pixel: I8, first: I8, n_own: I4, member: I8, begin: I8,
    n_rounds: int, added: I8, owner: I4,
) -> int:  # fmt: skip
    """Grow sources in `segmentation` by up to `n_rounds` pixels, those of a group at the same pace.

    Rounds take in the 4 and the 8 neighbours in turn, which makes octagons.

    Parameters
    ----------
    segmentation : (ny, nx), changed in place
        Only pixels that are 0 and whose filtered value is positive are taken in.
    pixel, first, n_own
        As in `Detections`; those that are a source's own grow, earlier ones have precedence.
    member : (m,) int64
        Sources, group after group; no pixel can come to two groups.
    begin : (n_groups + 1,) int64
        First member of each group.
    added : (n,) int64, output
        Pixels taken in, group after group, as they came.
    owner : (n,) int32, output
        The sources that took them in, from 0 on.

    Returns
    -------
    int
        Number of pixels taken in.
    """
    ny, nx = segmentation.shape
    labels, values = segmentation.reshape(-1), filtered.reshape(-1)
    steps = np.array([-nx, -1, 1, nx, -nx - 1, -nx + 1, nx - 1, nx + 1])
    across = np.array([0, -1, 1, 0, -1, 1, -1, 1])
    in_order = np.array([[0, 1, 2, 3, 0, 0, 0, 0], [4, 0, 5, 1, 2, 6, 3, 7]])
    n_added = 0
    for g in range(begin.size - 1):
        members = member[begin[g] : begin[g + 1]]
        size = 0
        for i in members:
            size += n_own[i]
        edge = np.empty(size, np.int64)  # pixels that the next ones are beside
        size = 0
        for i in members:
            edge[size : size + n_own[i]] = pixel[first[i] : first[i] + n_own[i]]
            size += n_own[i]
        for turn in range(n_rounds):
            before = n_added
            order = in_order[turn % 2, : 4 if turn % 2 == 0 else 8]
            for p in edge:
                x = p % nx
                for s in order:
                    q = p + steps[s]
                    # not around the border, to the row before or after
                    if q < 0 or q >= ny * nx or x + across[s] < 0 or x + across[s] >= nx:
                        continue
                    if labels[q] != 0 or not values[q] > 0.0:
                        continue
                    labels[q] = labels[p]
                    added[n_added] = q
                    owner[n_added] = labels[p] - 1
                    n_added += 1
            edge = added[before:n_added]
    return n_added


@kernel
def gather_grown(
    pixel: I8, first: I8, n_own: I4, added: I8, owner: I4, grown: I8, grown_first: I8
) -> None:  # fmt: skip
    """Put the pixels that sources took in between those that they had and those merged into them.

    Parameters
    ----------
    pixel, first, n_own
        As in `Detections`.
    added : (m,) int64
        Pixels that were taken in.
    owner : (m,) int32
        The sources that did, from 0 on.
    grown : (n_pixels + m,) int64
        Output: the pixels of all sources, those taken in as they came.
    grown_first : (n + 1,) int64
        Output: first of each source.
    """
    n = n_own.size
    grown_first[:] = 0
    for k in range(added.size):
        grown_first[owner[k] + 1] += 1
    for i in range(n):
        grown_first[i + 1] += grown_first[i] + first[i + 1] - first[i]
    room = grown_first[:n].copy()
    for i in range(n):
        for k in range(first[i], first[i] + n_own[i]):
            grown[room[i]] = pixel[k]
            room[i] += 1
    for k in range(added.size):
        i = owner[k]
        grown[room[i]] = added[k]
        room[i] += 1
    for i in range(n):
        for k in range(first[i] + n_own[i], first[i + 1]):
            grown[room[i]] = pixel[k]
            room[i] += 1


@kernel
def lay_out(
    start: I8, pixel: I8, filtered: F4, sequence: I8, label: I4, pixel_out: I8, filtered_out: F4,
    labels: I4,
) -> None:  # fmt: skip
    """Put the pixels of some sources one after the other, and draw their labels.

    Parameters
    ----------
    start : (n + 1,) int64
    pixel, filtered : (n_pixels,)
        Pixels of source i, ``pixel[start[i]:start[i + 1]]``, and their values.
    sequence : (m,) int64
        Sources in the order of their pixels.
    label : (m,) int32
    pixel_out, filtered_out : output
    labels : (ny * nx,) int32, output
        Only these pixels change.
    """
    at = 0
    for i in range(sequence.size):
        for k in range(start[sequence[i]], start[sequence[i] + 1]):
            pixel_out[at] = pixel[k]
            filtered_out[at] = filtered[k]
            labels[pixel[k]] = label[i]
            at += 1
