"""The list of sources that SExtractor keeps while it scans an image, and its order.

SExtractor holds a strip of the image in memory.  A source waits in a list until the strip is
about to leave its surroundings, or until the list is full; what remains at the end of the image
leaves the list from its first place on.  Whenever one leaves, or is merged into another, the last
one takes its place.  The order in which they leave is that of the rows of the catalogue.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.detection.shape import CXX, CXY, CYY, Y
from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I4, I8

_HEIGHTS, _ROWS = 2.0, 4.5
"""The surroundings of a source: so many times its height, and rows, above and below."""
_FAR = 4
"""Surroundings end no farther than so many times the height of the image."""
N_KEPT, N_LEFT, N_MOVES, LOWEST = range(4)
"""Elements of `Queue.state`: length of the list, sources that left it, rows that the strip has
moved, and a row below which no surroundings end."""


class Scan(NamedTuple):
    """How an image is scanned.

    Attributes
    ----------
    height : int
        Rows of the image.
    strip, margin : int
        Rows of the strip; it moves before it is read to so many rows of its end.
    room : int
        Length of the list; 0: nothing ever leaves.
    aperture : int
        Rows above and below a source that are wanted at least.
    late : int
        Detected pixels are blanked so many rows after they are read: half the filter.
    """

    height: int
    strip: int
    margin: int
    room: int
    aperture: int
    late: int


class Queue(NamedTuple):
    """Sources in the list.

    Attributes
    ----------
    position, at : (n,)
        Place of each source, -1 for one that is not in the list; the source at each place.
    by_begin, next_begin, by_end, next_end
        Linked lists of the sources that begin, or end, with each row; some have left.
    left : (n,)
        Sources in the order in which they left.
    state : (4,)
    """

    position: I4
    at: I4
    by_begin: I4
    next_begin: I4
    by_end: I4
    next_end: I4
    left: I4
    state: I8


@helper
def make_queue(n: int, scan: Scan) -> Queue:
    """Return an empty list for n sources."""
    numbers = np.full((5, n), -1, np.int32)
    rows = scan.height + 1 if scan.room > 0 else 0
    return Queue(
        numbers[0], numbers[1], np.full(rows, -1, np.int32), numbers[2],
        np.full(_FAR * rows, -1, np.int32), numbers[3], numbers[4], np.zeros(4, np.int64),
    )  # fmt: skip


@helper
def take_out(queue: Queue, i: int) -> None:
    """Take source i out of the list."""
    queue.state[N_KEPT] -= 1
    moved = queue.at[queue.state[N_KEPT]]
    queue.at[queue.position[i]] = moved
    queue.position[moved] = queue.position[i]
    queue.position[i] = -1


@helper
def _leave(queue: Queue, i: int) -> None:
    """Let source i leave the list for the catalogue."""
    queue.left[queue.state[N_LEFT]] = i
    queue.state[N_LEFT] += 1
    take_out(queue, i)


@helper
def read_to(queue: Queue, scan: Scan, row: int) -> None:
    """Move the strip as is needed before a component whose last row this is becomes complete."""
    if scan.room == 0:
        return
    # a component is complete when the row after it has been read
    moves = scan.height - scan.strip
    first = scan.strip - scan.margin
    if moves <= 0:
        moves, first = 1, scan.height
    while queue.state[N_MOVES] < moves and first + queue.state[N_MOVES] <= row + 1:
        bucket = queue.state[N_MOVES]
        queue.state[N_MOVES] += 1
        while True:
            # the last in the list first
            last = -1
            i = queue.by_begin[bucket]
            while i >= 0:
                if queue.position[i] >= 0 and (
                    last < 0 or queue.position[i] > queue.position[last]
                ):
                    last = i
                i = queue.next_begin[i]
            if last < 0:
                break
            _leave(queue, last)


@helper
def make_room(queue: Queue, scan: Scan) -> None:
    """If the list is full, let the source leave whose surroundings end first."""
    if scan.room == 0 or queue.state[N_KEPT] < scan.room:
        return
    while True:
        bucket = queue.state[LOWEST]
        victim = -1
        i = queue.by_end[bucket]
        while i >= 0:
            if queue.position[i] >= 0 and (
                victim < 0 or queue.position[i] < queue.position[victim]
            ):
                victim = i
            i = queue.next_end[i]
        if victim >= 0:
            _leave(queue, victim)
            return
        queue.by_end[bucket] = -1
        queue.state[LOWEST] += 1


@helper
def put_in(queue: Queue, scan: Scan, i: int, real: F8, first: int, last: int) -> None:
    """Append source i, whose pixels are in the rows `first` to `last`, to the list."""
    queue.position[i] = queue.state[N_KEPT]
    queue.at[queue.state[N_KEPT]] = i
    queue.state[N_KEPT] += 1
    if scan.room == 0:
        return
    inverse = real[CYY] - real[CXY] ** 2 / (4.0 * real[CXX])
    # SExtractor takes the root of three times the inverse variance
    extent = 1.0 / math.sqrt(3.0 * inverse) if inverse > 0.0 else 0.0
    around = int(_HEIGHTS * max(extent, last - first + 1.0) + _ROWS)
    middle = int(real[Y] + 0.49999)
    begin = min(first - around, middle - scan.aperture)
    end = max(last + around, middle + scan.aperture)
    bucket = min(max(begin, queue.state[N_MOVES]), len(queue.by_begin) - 1)
    queue.next_begin[i] = queue.by_begin[bucket]
    queue.by_begin[bucket] = i
    bucket = min(max(end, 0), len(queue.by_end) - 1)
    queue.next_end[i] = queue.by_end[bucket]
    queue.by_end[bucket] = i
    queue.state[LOWEST] = min(queue.state[LOWEST], bucket)


@helper
def empty(queue: Queue, scan: Scan) -> None:
    """Let the sources leave that remain when the image is read to its end."""
    read_to(queue, scan, scan.height - 1)
    while queue.state[N_KEPT] > 0:
        _leave(queue, queue.at[0])
