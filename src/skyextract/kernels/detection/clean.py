"""Cleaning: merge detections that the wings of a brighter neighbour explain.

After Bertin & Arnouts (1996, A&AS 117, 393, section 6) and SExtractor's manual: each source
is given a profile ``(1 + alpha * r**2)**-beta`` (beta is CLEAN_PARAM) with its flux and its
isophotal area; a fainter neighbour is spurious if it would not have been detected without
the profile's contribution at its place.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I4, Bools


ZONE = 10.0
"""Neighbours within this many times the sum of their major axes are looked at."""

_CELL = 32.0
_N_CLASSES = 16


@kernel
def _wing(
    amplitude: float,
    alpha: float,
    beta: float,
    cxx: float,
    cyy: float,
    cxy: float,
    dx: float,
    dy: float,
) -> float:
    """Value of a source's profile at an offset; 0 where it has none."""
    base = 1.0 + alpha * (cxx * dx * dx + cyy * dy * dy + cxy * dx * dy)
    if base > 1.0 and base < 1e10:
        return amplitude * math.pow(base, -beta)
    return 0.0


@kernel
def clean_sources(
    x: F8,
    y: F8,
    a: F8,
    b: F8,
    cxx: F8,
    cyy: F8,
    cxy: F8,
    abcor: F8,
    area: I4,
    flux: F8,
    threshold: F8,
    limit: F8,
    candidate: Bools,
    beta: float,
    into: I4,
) -> None:
    """Find which sources are spurious, in the order in which they were completed.

    Parameters
    ----------
    x, y, a, b, cxx, cyy, cxy, abcor, threshold, limit : (n,)
        Positions, shapes, detection and cleaning thresholds (`Detections`, `deblend`).
    area, flux : (n,)
        Filtered isophotal area and flux; a source that takes in another gets its share
        before it meets the next.
    candidate : (n,)
        False: leave this one out altogether.
    into : (n,), output
        Source that a spurious one is merged into (possibly merged further itself); else -1.
    """
    n = len(x)
    into[:] = -1
    if n == 0:
        return
    area = area.copy()
    flux = flux.copy()
    # Sources by size class, each class in square cells: a newcomer then looks only at those
    # cells that a source of the class could reach from.
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
    heads = np.full((_N_CLASSES, n_y, n_x), -1, np.int32)
    used = np.zeros(_N_CLASSES, np.bool_)
    next_ = np.full(n, -1, np.int32)
    # position in the list that SExtractor keeps, where the last takes the place of a lost one
    position = np.full(n, -1, np.int32)
    at = np.empty(n, np.int32)
    n_kept = 0
    victims = np.empty(n, np.int32)
    for i in range(n):
        if not candidate[i]:
            continue
        unit = math.pi * a[i] * b[i]
        own = flux[i] / (2.0 * unit * abcor[i])
        own_alpha = (math.pow(own / threshold[i], 1.0 / beta) - 1.0) * unit / area[i]
        eater = -1
        n_victims = 0
        for k in range(_N_CLASSES):
            if not used[k]:
                continue
            reach = ZONE * (a[i] + extent[k])
            cx0 = max(int((x[i] - reach) / _CELL), 0)
            cx1 = min(int((x[i] + reach) / _CELL), n_x - 1)
            cy0 = max(int((y[i] - reach) / _CELL), 0)
            cy1 = min(int((y[i] + reach) / _CELL), n_y - 1)
            for v in range(cy0, cy1 + 1):
                for u in range(cx0, cx1 + 1):
                    j = heads[k, v, u]
                    while j >= 0:
                        dx = x[i] - x[j]
                        dy = y[i] - y[j]
                        zone = ZONE * (a[i] + a[j])
                        if position[j] >= 0 and dx * dx + dy * dy < zone * zone:
                            if flux[j] < flux[i]:
                                wing = _wing(own, own_alpha, beta, cxx[i], cyy[i], cxy[i], dx, dy)
                                if wing > limit[j]:
                                    victims[n_victims] = j
                                    n_victims += 1
                            else:
                                unit = math.pi * a[j] * b[j]
                                other = flux[j] / (2.0 * unit * abcor[j])
                                alpha = (
                                    (math.pow(other / threshold[j], 1.0 / beta) - 1.0)
                                    * unit
                                    / area[j]
                                )
                                wing = _wing(other, alpha, beta, cxx[j], cyy[j], cxy[j], dx, dy)
                                if wing > limit[i] and (eater < 0 or position[j] < position[eater]):
                                    eater = j
                        j = next_[j]
        if eater >= 0:
            into[i] = eater
            flux[eater] += flux[i]
            area[eater] += area[i]
            continue
        # the last in the list goes first
        while n_victims > 0:
            m = 0
            for h in range(1, n_victims):
                if position[victims[h]] > position[victims[m]]:
                    m = h
            j = victims[m]
            n_victims -= 1
            victims[m] = victims[n_victims]
            into[j] = i
            flux[i] += flux[j]
            area[i] += area[j]
            n_kept -= 1
            moved = at[n_kept]
            at[position[j]] = moved
            position[moved] = position[j]
            position[j] = -1
        k = class_of[i]
        used[k] = True
        u = min(max(int(x[i] / _CELL), 0), n_x - 1)
        v = min(max(int(y[i] / _CELL), 0), n_y - 1)
        next_[i] = heads[k, v, u]
        heads[k, v, u] = i
        position[i] = n_kept
        at[n_kept] = i
        n_kept += 1
