"""Pixels above the detection threshold, the runs and the components that they form."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I4, I8


class Runs(NamedTuple):
    """Runs of pixels along the rows, in raster order.

    Attributes
    ----------
    y, first, last : (n_runs,)
        Row, first and last column.
    pixel : (n_runs + 1,)
        Number of the first pixel, counting all pixels of runs in raster order.
    """

    y: I4
    first: I4
    last: I4
    pixel: I8


class Pixels(NamedTuple):
    """Pixels above the threshold, in raster order.

    Attributes
    ----------
    x, y, filtered, value : (n_pixels,)
        Column, row, filtered and unfiltered value.
    limit : (n_pixels,), or (1,) without `local`
        Threshold at each pixel; that of a source is the lowest of its pixels.
    """

    x: I4
    y: I4
    filtered: F4
    value: F4
    limit: F4
    local: bool


class Components(NamedTuple):
    """Connected pixels.

    Attributes
    ----------
    order : (n_pixels,)
        Pixels of component c: ``order[first[c]:first[c + 1]]``.
    first : (n_components + 1,) or longer
    """

    order: I4
    first: I8


@helper
def lowest_limit(pixels: Pixels, members: I4, begin: int, end: int, threshold: float) -> float:
    """Return the threshold of ``members[begin:end]``: the lowest of the pixels'."""
    if not pixels.local:
        return threshold
    limit = pixels.limit
    lowest = np.float64(limit[members[begin]])
    for k in range(begin, end):
        lowest = min(lowest, np.float64(limit[members[k]]))
    return lowest
