"""Knots of a nebula, which are broader than stars, among faint sources upon it.

One knot is hardly told from a faint star, but many are from many: SPREAD_MODEL of stars scatters
about 0 by its error, that of knots about another value. How many there are of each, for each
height above the structure of the nebula, is what makes all values likeliest (a mixture of two
normal distributions by the EM algorithm: A. P. Dempster, N. M. Laird & D. B. Rubin 1977, JRSS B
39, 1).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, Bools

HIGHEST = 16.0
"""Higher sources are no knots."""
HEIGHTS = np.array([4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, HIGHEST])
"""As many are knots of those between two of these."""
FIRST, WIDTH = 0.0095, 0.0047
"""SPREAD_MODEL of knots, and its scatter beyond the errors, at first."""
LEAST = 0.0047
"""They are broader than stars by this, at least."""
STARS, ALL = 1.5, 2.0
"""So many stars among so many sources are added to what each height has."""
MOST = 0.8
"""Of those of whose height more than this share are knots, none passes for a star."""
MIN_SOURCES = 20
ROUNDS = 50


def knots_among(spread: F8, error: F8, height: F8) -> Bools:
    """Tell which sources are likelier knots of light than stars.

    Parameters
    ----------
    spread, error : (n,) float64
        SPREAD_MODEL and its error.
    height : (n,) float64
        FLUX_PSF over what structure and noise of the nebula about the source pass for, rms.
    """
    found = np.zeros(spread.size, np.bool_)
    with np.errstate(invalid="ignore"):
        faint = np.isfinite(spread) & (error > 0.0) & (height < HIGHEST) & (height > 0.0)
    if faint.sum() < MIN_SOURCES:
        return found
    x, e2 = spread[faint], error[faint] ** 2
    group = np.searchsorted(HEIGHTS[:-1], height[faint])
    number: F8 = np.bincount(group, minlength=HEIGHTS.size).astype(np.float64)
    share = np.full(HEIGHTS.size, 0.5)
    middle, width = FIRST, WIDTH
    for _ in range(ROUNDS):
        variance = e2 + width**2
        of_star = (1.0 - share[group]) * np.exp(-0.5 * x**2 / e2) / np.sqrt(e2)
        of_knot = share[group] * np.exp(-0.5 * (x - middle) ** 2 / variance) / np.sqrt(variance)
        odds = of_knot / np.maximum(of_knot + of_star, 1e-300)
        share = np.bincount(group, odds, HEIGHTS.size) + ALL - STARS
        share = _falling(share / (number + ALL), number + ALL)
        weight = odds / variance
        middle = max(float(weight @ x) / max(float(weight.sum()), 1e-300), LEAST)
        # What their errors do not explain of the scatter, as in DerSimonian & Laird (1986).
        excess = odds @ ((x - middle) ** 2 - e2) / max(float(odds.sum()), 1e-300)
        width = math.sqrt(max(float(excess), 1e-8))
    if middle <= LEAST:
        return found
    found[faint] = (odds > 0.5) | (share[group] > MOST)
    return found


def _falling(share: F8, number: F8) -> F8:
    """Return shares of groups that are no less than those of later ones, by more than chance.

    Of the lower ones no fewer are knots; their narrow ones pass for stars.
    """
    sure = share - np.sqrt(share * (1.0 - share) / number)
    least: F8 = np.maximum.accumulate(sure[::-1])[::-1]
    return np.maximum(share, least)
