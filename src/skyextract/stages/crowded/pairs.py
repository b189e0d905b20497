"""Two extended sources in one footprint, fitted together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8
from skyextract.kernels.psf.profiles import N_SHAPE
from skyextract.record import record
from skyextract.stages.crowded.profile import Windows, fit_profiles

if TYPE_CHECKING:
    from skyextract.stages.crowded.profile import Profiles

START = 0.3
"""Scale length of the second profile to start from, in FWHM."""
STEPS = 24
"""Steps of the fit of both, at most: where they overlap, what one loses the other has to gain."""
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


def fit_alone(windows: Windows, shape: F8) -> Profiles:
    """Fit one profile to each window, however far it is from describing it.

    Parameters
    ----------
    windows : Windows
        Without stars.
    shape : (n, 7) float64
        To start from, see `Profiles.shape`.
    """
    never = np.full(len(shape), np.inf)
    return fit_profiles(windows, shape, never, never)


def fit_pairs(windows: Windows, one: Profiles, second: F8, limit: F8, fwhm: float) -> Pairs:
    """Fit two profiles to each window, in turn and then together.

    Parameters
    ----------
    windows : Windows
        Without stars.
    one : Profiles
        Fitted alone; the second starts in what they leave.
    second : (n, 2) float64
        x, y of the second source to start from.
    limit : (n,) float64
        Fits that will not bring chi2 near this are given up.
    fwhm : float
        Of the PSF.
    """
    n = len(second)
    guess = np.zeros((n, N_SHAPE))
    guess[:, 0], guess[:, 1:3] = 0.5 * one.shape[:, 0], second
    guess[:, 3] = guess[:, 5] = START * fwhm
    guess[:, 6] = 0.4
    other = fit_alone(replace(windows, data=windows.data - one.models), guess)
    own = fit_alone(replace(windows, data=windows.data - other.models), one.shape)
    never = np.full(n, np.inf)
    both = fit_profiles(
        windows, np.concatenate([own.shape, other.shape], axis=1), limit, never, steps=STEPS,
        slow=True,
    )  # fmt: skip
    return Pairs(both.shape.reshape(n, 2, N_SHAPE)[:, :, 1:3], both.models, both.chi2)


def nearest_members(x: F8, y: F8, group: I8, middle: I8, centres: F8) -> I8:
    """Return the source of a group that is nearest to each centre, from pixel `middle` (y, x)."""
    dx = x[group] - middle[1] - centres[:, None, 0]
    dy = y[group] - middle[0] - centres[:, None, 1]
    nearest: I8 = group[np.argmin(np.hypot(dx, dy), axis=1)]
    return nearest
