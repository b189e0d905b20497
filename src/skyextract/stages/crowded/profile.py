"""Smooth extended sources: Spergel profiles, convolved with the PSF, fitted to windows.

A profile of index nu has the transform ``(1 + k S k)^-(1 + nu)``, S the matrix of squared scale
lengths (D. N. Spergel 2010, ApJS 191, 58): an exponential disc for nu = 0.5, nearly de
Vaucouleurs' law for -0.6.  In windows the pixel of the centre is the first (as FFTs have it).
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from skyextract.datamodel.arrays import C8, F4, F8, I8
from skyextract.record import record

N_SHAPE = 7
"""Parameters of a profile: flux, x, y, three of the ellipse, the index."""
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
"""A fit ends when a step makes chi2 less by no more than this."""


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
    """

    shape: F8
    stars: F8
    models: F4
    chi2: F8


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
    n, size, _ = windows.data.shape
    n_stars = windows.stars.shape[1]
    transfer = np.fft.rfft2(windows.psf).astype(np.complex64, copy=False)
    points = _points(transfer, windows.stars, size)
    best = Profiles(
        guess.copy(), np.zeros((n, n_stars)), np.zeros_like(windows.data), np.full(n, np.inf)
    )
    shape, stars = best.shape.copy(), best.stars.copy()
    n_shape = shape.shape[1]
    n_free = n_shape + n_stars
    matrix, vector = np.zeros((n, n_free, n_free)), np.zeros((n, n_free))
    damping = np.full(n, 1e-2)
    going = np.arange(n)
    for number in range(steps):
        profile, waves = _profile(shape[going], transfer[going])
        light = stars[going].astype(np.float32)
        smooth = _pixels(profile, size)
        model = smooth.sum(axis=1) + np.einsum("ns,nsij->nij", light, points[going])
        rest = windows.data[going] - model
        weight = windows.weight[going]
        chi2 = np.einsum("nij,nij,nij->n", weight, rest, rest)
        gain = best.chi2[going] - chi2
        better = gain > 0.0
        damping[going] *= np.where(better, 0.2, 8.0)
        rows = going[better]
        best.shape[rows], best.stars[rows] = shape[rows], stars[rows]
        best.models[rows], best.chi2[rows] = model[better], chi2[better]
        on = ~((gain >= 0.0) & (gain < SETTLED)) & (damping[going] < 1e4)
        on &= (number < FIRST_STEPS) | (best.chi2[going] < FAR * goal[going])
        # Slopes are drawn where a fit goes on from here.
        here = better & on
        rows = going[here]
        slopes = _pixels(_slopes(shape[rows], profile[here], *(v[here] for v in waves)), size)
        flux = shape[rows, ::N_SHAPE].astype(np.float32)[:, :, None, None]
        slopes = np.concatenate([(smooth[here] / flux)[:, :, None], slopes], axis=2)
        slopes = slopes.reshape(rows.size, n_shape, size**2)
        stellar = points[rows].reshape(rows.size, n_stars, size**2)
        slopes = np.concatenate([slopes, stellar], axis=1)
        weighted = slopes * weight[here].reshape(rows.size, 1, size**2)
        matrix[rows] = weighted @ slopes.transpose(0, 2, 1)
        vector[rows] = (weighted @ rest[here].reshape(rows.size, size**2, 1))[:, :, 0]
        going = going[on]
        if going.size == 0:
            break
        normal = matrix[going]
        diagonal = np.einsum("nkk->nk", normal)
        diagonal += damping[going, None] * diagonal + 1e-30
        step = np.linalg.solve(normal, vector[going, :, None])[:, :, 0]
        promise = PATIENCE if slow else HOPE if number < FIRST_STEPS else 1.0
        hope = promise * np.einsum("nk,nk->n", step, vector[going])
        near = best.chi2[going] - hope < limit[going]
        going, step = going[near], step[near]
        shape[going] = _stepped(best.shape[going], step[:, :n_shape], size)
        stars[going] = best.stars[going] + step[:, n_shape:]
    return best


def _stepped(shape: F8, step: F8, size: int) -> F8:
    """Return shapes after a step: lengths and index change little by little."""
    whole = shape.shape
    shape, step = shape.reshape(-1, N_SHAPE), step.reshape(-1, N_SHAPE)
    length = MAX_GROWTH * np.abs(shape[:, 3:6]).max(axis=1, keepdims=True)
    step[:, 3:6] = np.clip(step[:, 3:6], -length, length)
    step[:, 6] = np.clip(step[:, 6], -MAX_BEND, MAX_BEND)
    shape = shape + step
    shape[:, 0] = np.maximum(shape[:, 0], 1e-6)
    shape[:, 1:3] = np.clip(shape[:, 1:3], -size / 4, size / 4)
    shape[:, 3:6] = np.clip(shape[:, 3:6], -size, size)
    shape[:, 6] = np.clip(shape[:, 6], *INDEX)
    return shape.reshape(whole)


@cache
def _waves(size: int) -> tuple[F4, F4]:
    """Return the wave numbers k_y, k_x of a transform of real pixels; not to be changed."""
    k_y, k_x = 2 * math.pi * np.fft.fftfreq(size), 2 * math.pi * np.fft.rfftfreq(size)
    return k_y.astype(np.float32), k_x.astype(np.float32)


def _shift(x: F8, y: F8, size: int) -> C8:
    """Return the transforms of unit points at x, y."""
    k_y, k_x = _waves(size)
    along, across = (
        np.exp(np.complex64(-1j) * np.multiply.outer(at.astype(np.float32), k))
        for at, k in ((x, k_x), (y, k_y))
    )
    shift: C8 = across[..., :, None] * along[..., None, :]
    return shift


def _profile(shape: F8, transfer: C8) -> tuple[C8, tuple[F4, F4, F4]]:
    """Return the transforms of profiles, and what they are made of: (k L) in x and y, 1 + k S k.

    All are of the shape (n, m) and that of a transform.
    """
    size = transfer.shape[1]
    k_y, k_x = _waves(size)
    flux, x, y, xx, xy, yy, index = np.moveaxis(_parts(shape).astype(np.float32), 2, 0)
    along = xx[..., None, None] * k_x + xy[..., None, None] * k_y[:, None]
    across = yy[..., None, None] * k_y[:, None]
    base = 1.0 + along**2 + across**2
    fall = base ** -(1.0 + index)[..., None, None]
    profile = transfer[:, None] * _shift(x, y, size) * (flux[..., None, None] * fall)
    return profile, (along, across, base)


def _slopes(shape: F8, profile: C8, along: F4, across: F4, base: F4) -> C8:
    """Return the transforms of the derivatives of profiles to their parameters but the flux."""
    k_y, k_x = _waves(profile.shape[2])
    k_y = k_y[:, None]
    index = _parts(shape)[..., 6].astype(np.float32)[..., None, None]
    out = np.empty((*profile.shape[:2], N_SHAPE - 1, *profile.shape[2:]), np.complex64)
    out[:, :, 0] = profile * (np.complex64(-1j) * k_x)
    out[:, :, 1] = profile * (np.complex64(-1j) * k_y)
    falling = profile * (-2.0 * (1.0 + index) / base)
    out[:, :, 2] = falling * (along * k_x)
    out[:, :, 3] = falling * (along * k_y)
    out[:, :, 4] = falling * (across * k_y)
    out[:, :, 5] = -np.log(base) * profile
    return out


def _parts(shape: F8) -> F8:
    """Return the shapes of each profile of a window for itself, (n, m, 7)."""
    return shape.reshape(len(shape), shape.shape[1] // N_SHAPE, N_SHAPE)


def _points(transfer: C8, stars: F8, size: int) -> F4:
    """Return point sources of unit flux."""
    x, y = stars.transpose(2, 0, 1)
    return _pixels(transfer[:, None] * _shift(x, y, size), size)


def _pixels(transforms: C8, size: int) -> F4:
    """Return the pixels of transforms."""
    pixels: F4 = np.fft.irfft2(transforms, s=(size, size)).astype(np.float32, copy=False)
    return pixels
