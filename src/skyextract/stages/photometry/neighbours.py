"""Scatter that neighbouring stars have in common, which is of the frame.

Errors of the reference, colours and variable stars scatter stars one by one.  What clouds, flat
fields and amplifiers do to a star they do to its neighbours, too: the mean product of the
residuals of neighbours is the variance that places have, whatever the pattern (P. A. P. Moran
1950, Biometrika 37, 17), as long as stars are closer than it changes.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, distinct
from skyextract.datamodel.noise import median, robust_sigma

MIN_STARS = 20
NEIGHBOURS = 2
"""Nearest stars that a star is compared with: more reach beyond small patterns."""
SURE = 3.0
"""The variance counts from this many sigma: of 10,000 fields without a pattern, of normal errors or
with outliers and broad wings, 5 have as much."""
_CLIPPED = 3.0
"""Residuals count up to this many sigma, that two outliers side by side are no pattern."""
_MOST_STARS = 1000


def shared_scatter(values: F8, errors: F8, x: F8, y: F8) -> float:
    """Return the scatter that neighbours have in common, 0 if it is not significant.

    Parameters
    ----------
    values, errors : (n,) float64
        Residuals and their standard errors.
    x, y : (n,) float64
        Places, in pixels.
    """
    step = 1 + (len(values) - 1) // _MOST_STARS
    values, errors, x, y = (each[::step] for each in (values, errors, x, y))
    n = len(values)
    if n < MIN_STARS:
        return 0.0
    # Errors, and what the values scatter by in all, where that is more.
    total = np.maximum(errors, robust_sigma(values))
    off = np.clip(values - median(values), -_CLIPPED * total, _CLIPPED * total)
    off -= np.average(off, weights=total**-2.0)
    distance = np.hypot(x[:, None] - x, y[:, None] - y)
    np.fill_diagonal(distance, math.inf)
    near = np.argsort(distance, axis=1, kind="stable")[:, :NEIGHBOURS].ravel()
    star = np.repeat(np.arange(n), NEIGHBOURS)
    # Two stars that are the nearest of each other are one pair.
    pairs = distinct(np.minimum(star, near) * n + np.maximum(star, near))
    first, second = pairs // n, pairs % n
    weight = (total[first] * total[second]) ** -2.0
    products = weight * off[first] * off[second]
    # Products of what is independent have mean 0, and are independent pair by pair.
    if not products.sum() > SURE * math.sqrt(float(products @ products)):
        return 0.0
    return math.sqrt(float(products.sum() / weight.sum()))
