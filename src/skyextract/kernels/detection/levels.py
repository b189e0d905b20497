"""Thresholds between that of a detection and its peak, and which of them its pixels reach."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I4

_FEW = 120
"""Up to so many thresholds all are computed and compared with all pixels; of more, those that are
asked for: a faint detection has a tenth as many pixels as there are thresholds."""
_ROUNDING = 1e-7
"""Part by which a threshold may be rounded, with some margin."""


class Levels(NamedTuple):
    """Thresholds of a component.

    Attributes
    ----------
    value : (n + 1,)
        Threshold 1 to n - 1; NaN: not computed so far.
    n : int
        DEBLEND_NTHRESH.
    lowest, highest : float
        Threshold and peak of the component.
    linear : bool
        At equal steps (photographic densities) instead of equal ratios.
    """

    value: F4
    n: int
    lowest: float
    highest: float
    linear: bool


@helper
def level_at(levels: Levels, k: int) -> np.float32:
    """Return threshold k."""
    if math.isnan(levels.value[k]):
        step = k / levels.n
        if levels.linear:
            level = levels.lowest + (levels.highest - levels.lowest) * step
        else:
            level = levels.lowest * math.pow(levels.highest / levels.lowest, step)
        levels.value[k] = np.float32(level)
    threshold: np.float32 = levels.value[k]
    return threshold


@helper
def set_levels(values: F4, level: I4, levels: Levels) -> None:
    """Set for each value the number of thresholds, output `level`, that it is above of."""
    levels.value[:] = np.float32(math.nan)
    size = math.log(levels.highest / levels.lowest) if levels.lowest > 0.0 else 0.0
    doubt = levels.n * _ROUNDING / size if size > 0.0 else 1.0
    if levels.n > _FEW and not levels.linear and doubt < 0.5:
        _find_levels(values, level, levels, levels.n / size, doubt)
        return
    level[:] = 0
    # Level by level, with vector instructions: in a search noise takes each branch at random.
    for k in range(1, levels.n):
        limit = level_at(levels, k)
        for i in range(len(values)):
            level[i] += np.int32(values[i] > limit)


@helper
def _find_levels(values: F4, level: I4, levels: Levels, per_ratio: float, doubt: float) -> None:
    """Do that by logarithms; a threshold is computed where a value is nearer than its rounding.

    Parameters
    ----------
    per_ratio : float
        Thresholds for each e-fold of the values.
    doubt : float
        Largest error of a threshold, in steps from one to the next.
    """
    for i in range(len(values)):
        level[i] = 0
        if values[i] > levels.lowest:
            place = per_ratio * math.log(np.float64(values[i]) / levels.lowest)
            nearest = int(place + 0.5)
            if place - nearest > doubt:
                k = nearest
            elif nearest - place > doubt or not 0 < nearest < levels.n:
                k = nearest - 1
            else:
                k = nearest - 1 + int(values[i] > level_at(levels, nearest))
            level[i] = min(max(k, 0), levels.n - 1)
