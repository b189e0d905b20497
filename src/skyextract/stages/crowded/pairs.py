"""Two extended sources in one footprint, fitted together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8
from skyextract.record import record
from skyextract.stages.crowded.profile import N_SHAPE, Windows, fit_profiles

if TYPE_CHECKING:
    from skyextract.stages.crowded.profile import Profiles

ROUNDS = 3
"""Either profile is fitted so many times to what the other one leaves."""
START = 0.3
"""Scale length of the second profile to start from, in FWHM."""
N_PAIR = 2 * N_SHAPE
"""Parameters of two profiles."""


@record
class Pairs:
    """Two profiles in each window.

    Attributes
    ----------
    centres : (n, 2, 2) float64
        x, y of both from the first pixel.
    models : (n, size, size) float32
        Of both together.
    chi2 : (n,) float64
    """

    centres: F8
    models: F4
    chi2: F8


def fit_pairs(windows: Windows, shape: F8, second: F8, fwhm: float) -> Pairs:
    """Fit two profiles to each window, in turn.

    Parameters
    ----------
    windows : Windows
        Without stars.
    shape : (n, 7) float64
        Profiles that were fitted alone, see `Profiles.shape`; the second starts in what they leave.
    second : (n, 2) float64
        x, y of the second source to start from.
    fwhm : float
        Of the PSF.
    """
    n = len(shape)
    guess = np.zeros((n, N_SHAPE))
    guess[:, 0], guess[:, 1:3] = 0.5 * shape[:, 0], second
    guess[:, 3] = guess[:, 5] = START * fwhm
    guess[:, 6] = 0.4
    own = _fitted(windows, shape, np.zeros_like(windows.data))
    for _ in range(ROUNDS):
        other = _fitted(windows, guess, own.models)
        guess = other.shape
        own = _fitted(windows, own.shape, other.models)
    return Pairs(
        np.stack([own.shape[:, 1:3], other.shape[:, 1:3]], axis=1), own.models + other.models,
        own.chi2,
    )  # fmt: skip


def _fitted(windows: Windows, shape: F8, other: F4) -> Profiles:
    """Fit profiles to what others leave."""
    never = np.full(len(shape), np.inf)
    return fit_profiles(replace(windows, data=windows.data - other), shape, never, never)


def nearest_members(x: F8, y: F8, group: I8, middle: I8, centres: F8) -> I8:
    """Return the source of a group that is nearest to each centre, from pixel `middle` (y, x)."""
    dx = x[group] - middle[1] - centres[:, None, 0]
    dy = y[group] - middle[0] - centres[:, None, 1]
    nearest: I8 = group[np.argmin(np.hypot(dx, dy), axis=1)]
    return nearest
