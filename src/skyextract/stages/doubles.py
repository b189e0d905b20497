"""Stars that a reference catalogue has twice, and differently: two surveys in one table, say.

A source meets the nearer of both entries, which of them is right cannot be told.  Where many of
the matched stars have such a rival, and more than chance gives, both entries become one, in the
middle, and half of what they differ by is an error; or stars with one entry serve alone, where
there are enough.  Single close pairs are stars, and stay.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.datamodel.noise import median
from skyextract.datamodel.refcatalog import RefCatalog, reference_variance
from skyextract.kernels.astrometry.match import mutual_nearest
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.record import record

MIN_SHARE = 0.15
"""Share of the matched stars with a rival, beyond chance, from which a catalogue is doubled: close
pairs of stars are a few per cent."""
MIN_STARS = 5
ENOUGH = 30
"""Stars with one entry from which those with two are left out, ..."""
MOST = 0.5
"""... if they are this share of all."""
BEYOND = 2.0
"""Entries disagree from so many times what their errors say."""
_SHIFT = 4.0
"""Chance is what stars find at places so many radii beside theirs."""
_ROUNDS = 3
"""Catalogues that may be joined, less one."""
_MEDIAN_DISTANCE = 1.1774
"""Median length of two normal deviates."""


@record
class Doubles:
    """Entries of a reference catalogue that are of one star.

    Attributes
    ----------
    entries : RefCatalog
        All of them, of other stars too.
    stars : I8 (n,)
        For each entry the first entry of its star; itself for most.
    first, second : I8 (k,)
        Entries of one star.
    n_doubled, n_matched : int
        Matched stars with more than one entry, and all.
    distance : float
        Median distance of the entries of a star, in the unit of the positions.
    """

    entries: RefCatalog
    stars: I8
    first: I8
    second: I8
    n_doubled: int
    n_matched: int
    distance: float

    @property
    def suffices(self) -> bool:
        """Whether the stars with one entry are enough without the others."""
        single = self.n_matched - self.n_doubled
        return single >= max(ENOUGH, MOST * self.n_matched)

    @property
    def reference(self) -> RefCatalog:
        """The catalogue with one entry per star."""
        return self._without() if self.suffices else self._joined()

    def told(self, difference: str) -> str:
        """Return the disagreement in words."""
        use = "stars with one entry are used" if self.suffices else "which is right cannot be told"
        message = (
            f"{self.n_doubled} of {self.n_matched} matched stars stand twice in "
            f"{self.entries.name}, {difference} apart: two catalogues in one?"
        )
        return f"{message} {use}"

    def disagreement(self, key: str) -> float:
        """Return the median difference of the entries' magnitudes; 0 if their errors explain it."""
        unknown = np.full(self.entries.n_stars, np.nan)
        mag = self.entries.magnitudes[key]
        error = np.nan_to_num(self.entries.magnitude_errors.get(key, unknown))
        off = np.abs(mag[self.first] - mag[self.second])
        expected = BEYOND / MAD_TO_SIGMA * np.hypot(error[self.first], error[self.second])
        known = np.isfinite(off)
        if known.sum() < MIN_STARS:
            return 0.0
        middle = median(off[known])
        return middle if middle > median(expected[known]) else 0.0

    def displacement(self) -> float:
        """Return the median distance of the entries; 0 if their errors explain it."""
        first, second = (reference_variance(self.entries, k) for k in (self.first, self.second))
        expected = BEYOND * _MEDIAN_DISTANCE * median(np.sqrt(first + second))
        return self.distance if self.distance > expected else 0.0

    def _joined(self) -> RefCatalog:
        """Return the catalogue with one entry, in the middle, for those of one star."""
        entries = self.entries
        first, place, number = np.unique(self.stars, return_inverse=True, return_counts=True)

        def mean(values: F8) -> F8:
            known = np.isfinite(values)
            n = np.bincount(place[known], minlength=len(first))
            total = np.bincount(place[known], values[known], len(first))
            middle = np.divide(total, n, out=np.full(len(first), np.nan), where=n > 0)
            return np.where(number > 1, middle, values[first])

        # Right ascensions of one star may be on both sides of 0.
        turn = (entries.ra - entries.ra[self.stars] + 180.0) % 360.0 - 180.0
        kept = entries.take(first)
        return replace(
            kept,
            ra=(kept.ra + mean(turn)) % 360.0,
            dec=mean(entries.dec),
            ra_error=mean(entries.ra_error),
            dec_error=mean(entries.dec_error),
            pmra=mean(entries.pmra),
            pmdec=mean(entries.pmdec),
            epoch=mean(entries.epoch),
            magnitudes={key: mean(mag) for key, mag in entries.magnitudes.items()},
            magnitude_errors={key: mean(err) for key, err in entries.magnitude_errors.items()},
        )

    def _without(self) -> RefCatalog:
        """Return the catalogue without the stars that have several entries."""
        number = np.bincount(self.stars, minlength=len(self.stars))
        return self.entries.take(number[self.stars] == 1)


def find_doubles(entries: RefCatalog, x: F8, y: F8, matched: I8, radius: float) -> Doubles | None:
    """Find the second entries of matched stars; None where they are no more than close pairs.

    Parameters
    ----------
    entries : RefCatalog
    x, y : (n,) float64
        Their positions in a plane, arcsec.
    matched : (k,) int64
        Those that a source was matched with.
    radius : float
        Of the match, arcsec.
    """
    stars = np.arange(len(x))
    others = np.ones(len(x), dtype=np.bool_)
    others[matched] = False
    if others.sum() < MIN_STARS or len(matched) == 0:
        return None
    chance = 0.0
    found: list[tuple[I8, I8]] = []
    for _ in range(_ROUNDS):
        rest = np.flatnonzero(others)
        first, second, _ = mutual_nearest(x[matched], y[matched], x[rest], y[rest], radius)
        if len(first) < max(MIN_STARS, MIN_SHARE * len(matched) + chance):
            break
        chance = chance or _by_chance(x, y, matched, radius)
        if len(first) < MIN_SHARE * len(matched) + chance:
            break
        first, second = matched[first], rest[second]
        stars[second] = first
        others[second] = False
        found.append((first, second))
    if not found:
        return None
    first, second = (np.concatenate(side) for side in zip(*found, strict=True))
    distance = median(np.hypot(x[first] - x[second], y[first] - y[second]))
    # The first entry stands for the star, whichever was matched.
    least = np.arange(len(x))
    np.minimum.at(least, stars, np.arange(len(x)))
    return Doubles(entries, least[stars], first, second, len(found[0][0]), len(matched), distance)


def _by_chance(x: F8, y: F8, matched: I8, radius: float) -> float:
    """Return how many of the matched stars would have an entry within the radius elsewhere."""
    shift = _SHIFT * radius
    number = 0
    for angle in (0.0, 0.5 * math.pi, math.pi, 1.5 * math.pi):
        dx, dy = shift * math.cos(angle), shift * math.sin(angle)
        number += len(mutual_nearest(x[matched] + dx, y[matched] + dy, x, y, radius)[0])
    return number / 4.0
