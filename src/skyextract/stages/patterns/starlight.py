"""Light of stars in a binned image, wings and all, by the profile that the bright ones have.

Filters that follow a pattern beneath stars do so from the pixels about them, in which wings are
that nobody sees: they pass for the pattern, and star after star loses a part of its light to it.
"""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools

REACH, WINGS = 14, 9
"""Bins out to which profiles are measured, and to which they are drawn: what is beyond is taken for
the level that neighbours and the pattern leave there."""
CLEAR = 40.0
"""Light of a star within its 3 x 3 bins, in the noise of one, at least."""
APART = 3
"""A star is the highest place within so many bins along both axes."""
FEWEST, BRIGHTEST = 5, 60
"""Stars that tell a profile, at least and at most."""


def light_of_stars(rest: F4, known: Bools, noise: float) -> F4:
    """Return the light of the stars of an image; 0 where they are too few to tell a profile.

    Parameters
    ----------
    rest : (n_y, n_x) float32
        Above the sky, and without a pattern, with REACH bins and more of nothing on all sides.
    known : (n_y, n_x) bool
        Bins with data.
    noise : float
        Of a bin.
    """
    light = np.zeros_like(rest)
    y, x = _peaks(rest, known, noise)
    if y.size < FEWEST:
        return light
    near = np.arange(-2, 3)
    core = rest[y[:, None, None] + near[:, None], x[:, None, None] + near].astype(np.float64)
    flux = np.maximum(core.sum(axis=(1, 2)), noise)
    dx = np.clip((core * near).sum(axis=(1, 2)) / flux, -1.0, 1.0)
    dy = np.clip((core * near[:, None]).sum(axis=(1, 2)) / flux, -1.0, 1.0)
    bright = np.argsort(-flux, kind="stable")[:BRIGHTEST]
    profile = _profile(rest, known, x[bright], y[bright], dx[bright], dy[bright], flux[bright])
    middles = np.arange(WINGS) + 0.5
    axis = np.arange(-WINGS, WINGS + 1)
    for k in range(y.size):
        r = np.hypot(axis - dx[k], axis[:, None] - dy[k])
        stamp = slice(y[k] - WINGS, y[k] + WINGS + 1), slice(x[k] - WINGS, x[k] + WINGS + 1)
        light[stamp] += (flux[k] * np.interp(r, middles, profile, right=0.0)).astype(np.float32)
    return light


def _peaks(rest: F4, known: Bools, noise: float) -> tuple[I8, I8]:
    """Return row and column of the bins in which stars are centred."""
    total = rest
    for axis in (0, 1):
        total = total + np.roll(total, 1, axis) + np.roll(total, -1, axis)
    highest = total
    for axis in (0, 1):
        shifted = [np.roll(highest, k, axis) for k in range(-APART, APART + 1)]
        highest = np.maximum.reduce(shifted)
    y, x = np.nonzero((total == highest) & (total > CLEAR * noise) & known)
    return y, x


def _profile(rest: F4, known: Bools, x: I8, y: I8, dx: F8, dy: F8, flux: F8) -> F8:
    """Return the light per bin in rings of one bin, over that of the core: medians of the stars.

    The brighter ones count more, as what others leave in rings is a smaller part of them.
    """
    axis = np.arange(-REACH, REACH + 1)
    place = y[:, None, None] + axis[:, None], x[:, None, None] + axis
    stamps, good = rest[place], known[place]
    r = np.hypot(axis - dx[:, None, None], axis[:, None] - dy[:, None, None])
    profile = np.zeros(REACH)
    for k in range(REACH):
        ring = good & (r >= k) & (r < k + 1)
        # The two innermost ones are steep.
        middle = np.mean if k < 2 else np.median
        some = ring.any(axis=(1, 2))
        values = np.array([middle(stamps[j][ring[j]]) for j in np.flatnonzero(some)])
        profile[k] = _weighted_median(values / flux[some], flux[some]) if some.any() else 0.0
    out: F8 = np.maximum(profile - np.median(profile[WINGS:]), 0.0)[:WINGS]
    return out


def _weighted_median(values: F8, weights: F8) -> float:
    """Return the value below and above which half of the weight is."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])
