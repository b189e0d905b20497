"""Chains of sources that are as bright as their neighbours: continuous light that was taken apart.

Filaments of a supernova remnant, the disk of a galaxy seen edge-on, the bright rim of a ghost are
fitted well by point sources about one FWHM apart, as a crowd of stars is.  None of them is told
from a star by itself, but stars are at random: next to one there is seldom another as bright, and
hardly ever a row of them, unless as many are all about.  What two-point statistics tell of stars
and of clouds (P. J. E. Peebles 1980, The Large-Scale Structure of the Universe) is looked at for
each connected set of such neighbours.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.stages.detection.marked import Marked
from skyextract.stages.pointsources.pairs import connected, pairs_within

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8

NEAR, AROUND = 2.0, 8.0
"""Neighbours in a chain are this near, in FWHM, and others are counted within this radius..."""
ALIKE = 2.0
"""... if neither is brighter by more than this factor."""
CHAIN, MANY = 8, 0.05
"""Sources of a chain, and share of all that is in chains where these tell together, ..."""
CLUSTERED, SURE = 1.25, 4.0
"""... if sources have so many times the neighbours that their surroundings have per area (stars
.5 to 1, remnants from 1.4 on), by so many of the scatter of their number."""
LONG, EXCESS = 14, 2.5
"""Sources of a chain that tells for itself, with as many times the neighbours: the longest ones of
equal stars, chosen among many, have up to 2."""
LOOSE, AS_BRIGHT, FEWEST = 2.5, 3.0, 3
"""Where chains tell together, sets of so many are of the same light, which are connected at this
distance, in FWHM, within this factor."""
DOUBTED = 0.1
"""Share of the sources in chains above which their list is doubtful."""


def find_chains(x: F8, y: F8, flux: F8, fwhm: float) -> Marked | None:
    """Look for chains of sources.

    Parameters
    ----------
    x, y, flux : (n,) float64
        Sources, pixels and image units; those without a number are in none.
    fwhm : float
        Of the PSF, pixels.
    """
    with np.errstate(invalid="ignore"):
        known = np.flatnonzero(np.isfinite(x) & np.isfinite(y) & (flux > 0.0))
    if known.size < CHAIN:
        return None
    x, y, level = x[known], y[known], np.log(flux[known])
    first, second = _alike(*pairs_within(x, y, NEAR * fwhm), level, ALIKE)
    if first.size < CHAIN - 1:
        return None
    label = connected(known.size, first, second)
    number = np.bincount(label, minlength=known.size)
    if number.max() < CHAIN:
        return None
    near, expected = _company(x, y, level, (first, second), fwhm)
    in_chain = number[label] >= CHAIN
    if in_chain.mean() > MANY and _are_clustered(near, expected):
        loose = connected(known.size, *_alike(*pairs_within(x, y, LOOSE * fwhm), level, AS_BRIGHT))
        in_chain = np.bincount(loose, minlength=known.size)[loose] >= FEWEST
    else:
        denser = np.bincount(label, near, known.size) > EXCESS * np.bincount(
            label, expected, known.size
        )
        in_chain = (denser & (number >= LONG))[label]
    if not in_chain.any():
        return None
    rows = np.zeros(flux.size, np.bool_)
    rows[known] = in_chain
    message = (
        f"{np.count_nonzero(rows)} of {rows.size} sources are in chains of neighbours as bright as "
        "they are: light of filaments, arms or rims that was taken apart (NO_POINT in FLAGS_SKY)"
    )
    return Marked(rows, message, DOUBTED)


def _are_clustered(near: I8, expected: F8) -> bool:
    """Tell whether sources have more neighbours than chance gives to stars."""
    pairs, by_chance = 0.5 * float(near.sum()), 0.5 * float(expected.sum())
    excess = pairs - by_chance
    return excess > max((CLUSTERED - 1.0) * by_chance, SURE * math.sqrt(by_chance))


def _alike(first: I8, second: I8, level: F8, factor: float) -> tuple[I8, I8]:
    """Return the pairs whose sources differ by no more than a factor."""
    alike = np.abs(level[first] - level[second]) < math.log(factor)
    return first[alike], second[alike]


def _company(x: F8, y: F8, level: F8, pairs: tuple[I8, I8], fwhm: float) -> tuple[I8, F8]:
    """Return how many neighbours each source has, and would have by its surroundings."""
    near = np.bincount(np.concatenate(pairs), minlength=x.size).astype(np.int64)
    around = np.concatenate(_alike(*pairs_within(x, y, AROUND * fwhm), level, ALIKE))
    number = np.bincount(around, minlength=x.size)
    return near, number.astype(np.float64) * (NEAR / AROUND) ** 2
