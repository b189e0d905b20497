"""Pixels of footprints that have grown, source by source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import I4, I8


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
