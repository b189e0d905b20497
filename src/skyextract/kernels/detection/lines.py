"""Pairs of sources that are elongated along the line through both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8


@kernel
def pairs_along(x: F8, y: F8, cos: F8, sin: F8, least: float, first: I8, second: I8) -> int:
    """Find the pairs whose members both point along the line through them.

    Parameters
    ----------
    x, y : (n,) float64
    cos, sin : (n,) float64
        Of the directions.
    least : float
        Square of the cosine of the largest angle between a source and the line.
    first, second : (n (n - 1) / 2,) int64, output
        The sources, ``first < second``, pair after pair.

    Returns
    -------
    int
        Number of pairs.
    """
    n = 0
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            dx, dy = x[j] - x[i], y[j] - y[i]
            limit = least * (dx * dx + dy * dy)
            one = dx * cos[i] + dy * sin[i]
            other = dx * cos[j] + dy * sin[j]
            if one * one > limit and other * other > limit:
                first[n], second[n] = i, j
                n += 1
    return n
