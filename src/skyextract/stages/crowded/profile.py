"""Smooth extended sources: Spergel profiles, convolved with the PSF, fitted to windows.

A profile of index nu has the transform ``(1 + k S k)^-(1 + nu)``, S the matrix of squared scale
lengths (D. N. Spergel 2010, ApJS 191, 58): an exponential disc for nu = 0.5, nearly de
Vaucouleurs' law for -0.6.  In windows the pixel of the centre is the first (as FFTs have it).
"""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8
from skyextract.kernels.psf.profiles import FitLimits, fit_windows
from skyextract.record import record

INDEX = (-0.85, 3.0)
"""Range of the index."""
MAX_GROWTH, MAX_BEND = 0.6, 0.5
"""Largest change of lengths in a step, as a share, and of the index."""
STEPS = 8
"""Steps of a fit, at most."""
HOPE = 1.3
"""How much more than the first steps promise is hoped for."""
PATIENCE = 16.0
"""The same of two profiles that creep past each other: those that end well have hoped for 14."""
FIRST_STEPS = 3
FAR = 3.0
"""After the first steps fits with more than so many times the chi2 that is the goal are given up;
not before: what bright sources start from leaves much of their light."""
SETTLED = 2.0
"""A fit ends when a step makes chi2 less by no more than this..."""
LITTLE = 1e-3
"""... and one that may creep by no more than this part of it: where profiles leave far more than
noise, as of what has edges, they creep without end."""


@record
class Windows:
    """Square pieces of an image about sources, all of one size.

    Attributes
    ----------
    data, weight : (n, size, size) float32
        Background-subtracted pixels and 1 / variance; 0 where a pixel does not count.
    psf : (n, size, size) float32
        Of unit sum, about the first pixel.
    stars : (n, k, 2) float64
        x, y from the first pixel of stars upon the source.
    """

    data: F4
    weight: F4
    psf: F4
    stars: F8

    def take(self, rows: I8, stars: F8) -> Windows:
        """Return some of the windows, with other stars."""
        return Windows(self.data[rows], self.weight[rows], self.psf[rows], stars)


@record
class Profiles:
    """Fitted profiles.

    Attributes
    ----------
    shape : (n, 7 m) float64
        Of each of m profiles flux, x, y from the first pixel; xx, xy, yy, with which S = L L',
        L = ((xx, 0), (xy, yy)), in pixels; index.
    stars : (n, k) float64
        Fluxes of the stars upon them.
    models : (n, size, size) float32
        Profiles and stars.
    chi2 : (n,) float64
    steps : (n,) int64
        That each fit has made.
    """

    shape: F8
    stars: F8
    models: F4
    chi2: F8
    steps: I8


def fit_profiles(
    windows: Windows, guess: F8, limit: F8, goal: F8, *, steps: int = STEPS, slow: bool = False
) -> Profiles:
    """Fit profiles, and the fluxes of stars upon them, by Levenberg's and Marquardt's method.

    Parameters
    ----------
    windows : Windows
    guess : (n, 7 m) float64
        As `Profiles.shape`: m profiles in each window, all at once.
    limit : (n,) float64
        A fit is given up where the next step will not bring chi2 near this.
    goal : (n,) float64
        Chi2 that profiles are to reach; fits that are far from it are given up too.
    steps : int
        At most.
    slow : bool
        The fit may creep: it is given up only where PATIENCE times what the next step brings will
        not bring chi2 near the limit.
    """
    n, n_stars = len(windows.data), windows.stars.shape[1]
    transfer = np.fft.rfft2(windows.psf)
    hope = PATIENCE if slow else HOPE
    limits = FitLimits(
        steps, FIRST_STEPS, SETTLED, FAR, hope, hope if slow else 1.0, LITTLE if slow else 0.0,
        MAX_GROWTH, MAX_BEND, *INDEX,
    )  # fmt: skip
    best = Profiles(
        np.array(guess, np.float64), np.zeros((n, n_stars)), np.empty_like(windows.data),
        np.empty(n), np.empty(n, np.int64),
    )  # fmt: skip
    fit_windows(
        windows.data, windows.weight, np.ascontiguousarray(transfer.real, np.float32),
        np.ascontiguousarray(transfer.imag, np.float32), np.ascontiguousarray(windows.stars),
        np.ascontiguousarray(limit, np.float64), np.ascontiguousarray(goal, np.float64), limits,
        best.shape, best.stars, best.models, best.chi2, best.steps,
    )  # fmt: skip
    return best
