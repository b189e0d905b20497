"""Cleaning: merge detections that the wings of a brighter neighbour explain.

After Bertin & Arnouts (1996, A&AS 117, 393, section 6) and SExtractor's manual: each source
is given a profile ``(1 + alpha * r**2)**-beta`` (beta is CLEAN_PARAM) with its flux and its
isophotal area; a fainter neighbour is spurious if it would not have been detected without
the profile's contribution at its place.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.detection.pixels import Pixels
from skyextract.kernels.detection.queue import (
    N_LEFT,
    Queue,
    Scan,
    empty,
    make_queue,
    make_room,
    put_in,
    read_to,
    take_out,
)
from skyextract.kernels.detection.shape import (
    ABCOR,
    CXX,
    CXY,
    CYY,
    DTHRESH,
    FDFLUX,
    FDNPIX,
    MTHRESH,
    PARENT,
    YMAX,
    YMIN,
    A,
    B,
    X,
    Y,
)
from skyextract.kernels.jit import helper, kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I4, Bools


ZONE = 10.0
"""Neighbours within this many times the sum of their major axes are looked at."""

_CELL = 32.0
_N_CLASSES = 16


@helper
def cleaning_limit(
    pixels: Pixels, members: I4, begin: int, end: int, threshold: float, min_area: int
) -> float:
    """Return the excess over the threshold that about `min_area` pixels of the source have.

    The value that a neighbour's wing must exceed to make the whole source spurious.  The
    rule is SExtractor's, which decides borderline cases: it keeps the `min_area` highest
    pixels in a heap, but skips one pixel before it starts to exchange them, and restores the
    order of the heap along one branch of two levels only.
    """
    filtered, limit, local = pixels.filtered, pixels.limit, pixels.local
    n = end - begin
    if n < min_area:
        return 0.0
    heap = np.empty(min_area, np.float32)
    for k in range(n):
        p = members[begin + k]
        excess = filtered[p] - (limit[p] if local else np.float32(threshold))
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


class _Profiles(NamedTuple):
    """Positions, shapes and thresholds of sources, (n,) each.

    `area`, `flux`, `first` and `last` row are those of a source with what it took in so far.
    """

    x: F8
    y: F8
    a: F8
    b: F8
    cxx: F8
    cyy: F8
    cxy: F8
    abcor: F8
    flux: F8
    threshold: F8
    limit: F8
    area: I4
    first: I4
    last: I4


class _Cells(NamedTuple):
    """Sources by size class, each class in square cells.

    A newcomer looks only at those cells that a source of the class could reach from.

    Attributes
    ----------
    class_of : (n,)
    extent : (_N_CLASSES,)
        Largest semi-major axis.
    used : (_N_CLASSES,)
        A source of the class is in the cells.
    head : (_N_CLASSES, n_y, n_x), following : (n,)
        Linked lists of the sources in each cell; -1: no (other) source.
    """

    class_of: I4
    extent: F8
    used: Bools
    head: I4
    following: I4


@kernel
def _make_cells(x: F8, y: F8, a: F8) -> _Cells:
    """Return cells for sources, none of which is in them."""
    n = len(x)
    extent = np.zeros(_N_CLASSES)
    class_of = np.empty(n, np.int32)
    for i in range(n):
        k = 0
        while k < _N_CLASSES - 1 and a[i] >= 2.0 * 2.0**k:
            k += 1
        class_of[i] = k
        extent[k] = max(extent[k], a[i])
    n_x = int(x.max() / _CELL) + 1
    n_y = int(y.max() / _CELL) + 1
    head = np.full((_N_CLASSES, n_y, n_x), -1, np.int32)
    used = np.zeros(_N_CLASSES, np.bool_)
    return _Cells(class_of, extent, used, head, np.full(n, -1, np.int32))


@kernel
def _profile(p: _Profiles, i: int, beta: float) -> tuple[float, float]:
    """Return the amplitude of the profile of source i, and its alpha times the squared radius."""
    unit = math.pi * p.a[i] * p.b[i]
    amplitude = p.flux[i] / (2.0 * unit * p.abcor[i])
    alpha = (math.pow(amplitude / p.threshold[i], 1.0 / beta) - 1.0) * unit / p.area[i]
    return amplitude, alpha


@kernel
def _wing(
    p: _Profiles, i: int, amplitude: float, alpha: float, beta: float, dx: float, dy: float
) -> float:
    """Value of the profile of source i at an offset; 0 where it has none."""
    base = 1.0 + alpha * (p.cxx[i] * dx * dx + p.cyy[i] * dy * dy + p.cxy[i] * dx * dy)
    if base > 1.0 and base < 1e10:
        return amplitude * math.pow(base, -beta)
    return 0.0


@kernel
def _meet(
    p: _Profiles, cells: _Cells, position: I4, i: int, beta: float, victims: I4
) -> tuple[int, int]:
    """Return the source that takes in source i, or -1, and how many `victims` i takes in."""
    x, y, a, flux, limit = p.x, p.y, p.a, p.flux, p.limit
    n_y, n_x = cells.head.shape[1:]
    own, own_alpha = _profile(p, i, beta)
    eater = -1
    n_victims = 0
    for k in range(_N_CLASSES):
        if not cells.used[k]:
            continue
        reach = ZONE * (a[i] + cells.extent[k])
        cx0 = max(int((x[i] - reach) / _CELL), 0)
        cx1 = min(int((x[i] + reach) / _CELL), n_x - 1)
        cy0 = max(int((y[i] - reach) / _CELL), 0)
        cy1 = min(int((y[i] + reach) / _CELL), n_y - 1)
        for v in range(cy0, cy1 + 1):
            for u in range(cx0, cx1 + 1):
                j = cells.head[k, v, u]
                while j >= 0:
                    dx = x[i] - x[j]
                    dy = y[i] - y[j]
                    zone = ZONE * (a[i] + a[j])
                    if position[j] >= 0 and dx * dx + dy * dy < zone * zone:
                        if flux[j] < flux[i]:
                            if _wing(p, i, own, own_alpha, beta, dx, dy) > limit[j]:
                                victims[n_victims] = j
                                n_victims += 1
                        else:
                            other, alpha = _profile(p, j, beta)
                            wing = _wing(p, j, other, alpha, beta, dx, dy)
                            if wing > limit[i] and (eater < 0 or position[j] < position[eater]):
                                eater = j
                    j = cells.following[j]
    return eater, n_victims


@kernel
def _merge(p: _Profiles, i: int, into: int) -> None:
    """Add the light, the area and the rows of source i to another."""
    p.flux[into] += p.flux[i]
    p.area[into] += p.area[i]
    p.first[into] = min(p.first[into], p.first[i])
    p.last[into] = max(p.last[into], p.last[i])


@kernel
def _take_in(p: _Profiles, i: int, victims: I4, n_victims: int, queue: Queue, into: I4) -> None:
    """Let source i take in its victims, the last in the list first."""
    position = queue.position
    while n_victims > 0:
        m = 0
        for h in range(1, n_victims):
            if position[victims[h]] > position[victims[m]]:
                m = h
        j = victims[m]
        n_victims -= 1
        victims[m] = victims[n_victims]
        into[j] = i
        _merge(p, j, i)
        take_out(queue, j)


@kernel
def clean_sources(
    real: F8, integer: I4, candidate: Bools, beta: float, scan: Scan, into: I4, order: I4
) -> int:
    """Find which sources are spurious, in the order in which they were completed.

    Parameters
    ----------
    real : (n, N_REAL), integer : (n, N_INTEGER)
        Tables of measurements, see `shape`.  A source that takes in another gets its area and
        flux before it meets the next; the tables do not change.
    candidate : (n,)
        False: leave this one out altogether.
    beta : float
        CLEAN_PARAM; 0: nothing is spurious.
    scan : Scan
        How SExtractor would go through the image: what has left its list meets no later source.
    into : (n,), output
        Source that a spurious one is merged into (possibly merged further itself); else -1.
    order : (n,), output
        The sources that are kept, as they leave the list.

    Returns
    -------
    int
        Number of sources that are kept.
    """
    n = len(real)
    into[:] = -1
    if n == 0:
        return 0
    p = _Profiles(
        real[:, X].copy(), real[:, Y].copy(), real[:, A].copy(), real[:, B].copy(),
        real[:, CXX].copy(), real[:, CYY].copy(), real[:, CXY].copy(), real[:, ABCOR].copy(),
        real[:, FDFLUX].copy(), real[:, DTHRESH].copy(), real[:, MTHRESH].copy(),
        integer[:, FDNPIX].copy(), integer[:, YMIN].copy(), integer[:, YMAX].copy(),
    )  # fmt: skip
    cells = _make_cells(p.x, p.y, p.a)
    n_y, n_x = cells.head.shape[1:]
    queue = make_queue(n, scan)
    victims = np.empty(n, np.int32)
    parent = last_row = -1
    for i in range(n):
        if integer[i, PARENT] != parent:
            parent, last_row = integer[i, PARENT], integer[i, YMAX]
            j = i + 1
            while j < n and integer[j, PARENT] == parent:
                last_row = max(last_row, integer[j, YMAX])
                j += 1
            read_to(queue, scan, last_row)
        if not candidate[i]:
            continue
        make_room(queue, scan)
        if beta > 0.0:
            eater, n_victims = _meet(p, cells, queue.position, i, beta, victims)
            if eater >= 0:
                into[i] = eater
                _merge(p, i, eater)
                continue
            _take_in(p, i, victims, n_victims, queue, into)
            k = cells.class_of[i]
            cells.used[k] = True
            u = min(max(int(p.x[i] / _CELL), 0), n_x - 1)
            v = min(max(int(p.y[i] / _CELL), 0), n_y - 1)
            cells.following[i] = cells.head[k, v, u]
            cells.head[k, v, u] = i
        put_in(queue, scan, i, real[i], p.first[i], p.last[i])
    empty(queue, scan)
    order[:] = queue.left
    return int(queue.state[N_LEFT])
