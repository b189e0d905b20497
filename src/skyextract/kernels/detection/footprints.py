"""Pixels of footprints, source by source: those that are kept, and those that have grown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I4, I8


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
