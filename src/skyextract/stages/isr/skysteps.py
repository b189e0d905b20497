"""Steps of the sky across the borders of amplifiers: they tell whether the gains are right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import F4, F8, U2
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.rawframe import Amplifier
from skyextract.kernels.values import MAD_TO_SIGMA

_BORDER = 32
"""Width (pixels) of the strips on both sides of a border that are compared."""


def sky_steps(
    image: F4, mask: U2, amplifiers: tuple[Amplifier, ...], scales: F8
) -> list[dict[str, Any]]:
    """Return the steps of the sky across the borders of neighbouring amplifiers.

    Returns
    -------
    list of dict
        `amplifiers`, and the steps `before` and `after` the gains as fractions of the level.
    """
    steps = []
    for k, a in enumerate(amplifiers):
        for m in range(k + 1, len(amplifiers)):
            strips = _strips(a, amplifiers[m])
            if strips is None:
                continue
            levels = [_level(image[s], mask[s]) for s in strips]
            steps.append(
                {
                    "amplifiers": [a.name, amplifiers[m].name],
                    "before": _step(levels[0] / float(scales[k]), levels[1] / float(scales[m])),
                    "after": _step(*levels),
                }
            )
    return steps


def _step(a: float, b: float) -> float:
    """Return the difference of two levels relative to their mean; NaN if that is not positive."""
    return 2.0 * (b - a) / (b + a) if b + a > 0.0 else math.nan


_Index = tuple[slice, slice]


def _strips(a: Amplifier, b: Amplifier) -> tuple[_Index, _Index] | None:
    """Return the strips on both sides of the border of two amplifiers, or None."""
    p, q = a.place, b.place
    y = slice(max(p.y0, q.y0), min(p.y1, q.y1))
    x = slice(max(p.x0, q.x0), min(p.x1, q.x1))
    if y.stop > y.start and p.x1 == q.x0:
        return (y, slice(p.x1 - _BORDER, p.x1)), (y, slice(q.x0, q.x0 + _BORDER))
    if y.stop > y.start and q.x1 == p.x0:
        return (y, slice(p.x0, p.x0 + _BORDER)), (y, slice(q.x1 - _BORDER, q.x1))
    if x.stop > x.start and p.y1 == q.y0:
        return (slice(p.y1 - _BORDER, p.y1), x), (slice(q.y0, q.y0 + _BORDER), x)
    if x.stop > x.start and q.y1 == p.y0:
        return (slice(p.y0, p.y0 + _BORDER), x), (slice(q.y1 - _BORDER, q.y1), x)
    return None


def _level(image: F4, mask: U2) -> float:
    """Return the sky level of a strip: mean of what lies within 3 sigma of the median."""
    good = image[(mask & np.uint16(Mask.BAD | Mask.SAT | Mask.NO_DATA)) == 0].astype(np.float64)
    if not good.size:
        return math.nan
    distance = np.abs(good - np.median(good))
    return float(good[distance <= 3.0 * MAD_TO_SIGMA * np.median(distance)].mean())
