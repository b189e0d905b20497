"""Neighbours of stars that were not detected: what the fits leave in their apertures.

In the light of a bright star a source must be brighter than elsewhere to be told apart from it,
yet all of it is in a large aperture.  Once the star is taken away, it stands out.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, U2, Bools
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.psf import Psf
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.stages.psf.sweeps import UNUSABLE

SIGNIFICANT = 4.0
"""S/N of what is left, from which it is no noise; of either sign, so that noise that is taken for
a source by chance shifts no mean."""
MIN_SHARE = 0.2
"""It is at least this part of the models there: the rest of an imperfect PSF is less."""
CORE = 1.0
"""Within so many FWHM of a star what is left is its own..."""
OWN = 1.0
"""... and within so many of what is significant, of that."""
_CHUNK = 256
FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))


def without_neighbours(
    mask: U2, image: F4, residual: F4, variance: F4, gain: float, psf: Psf, x: F8, y: F8,
    radius: float,
) -> U2:  # fmt: skip
    """Return the mask with the pixels of undetected neighbours of stars as pixels without data.

    Parameters
    ----------
    mask, image, residual, variance, gain, psf
        As in `growth_curves`.
    x, y : (n,) float64
        Stars, 0-based pixels.
    radius : float
        Of the aperture, pixels.
    """
    half = math.ceil(radius + OWN * psf.fwhm)
    axis = np.arange(-half, half + 1)
    photons = 1.0 / gain if gain > 0.0 and math.isfinite(gain) else 0.0
    column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    found = mask.copy()
    for chunk in np.array_split(np.arange(len(x)), 1 + len(x) // _CHUNK):
        v, u = row[chunk, None] + axis, column[chunk, None] + axis
        place, inside = _pixels(v, u, mask.shape)
        left, total, noise = (p[place].astype(np.float64) for p in (residual, image, variance))
        good = inside & ((mask[place] & UNUSABLE) == 0) & np.isfinite(left)
        good &= (noise > 0.0) & (noise < MAX_VARIANCE)
        models = np.where(good, total - left, 0.0)
        noise = np.where(good, noise + photons * np.maximum(models, 0.0), 0.0)
        distance = np.hypot((u - x[chunk, None])[:, None, :], (v - y[chunk, None])[:, :, None])
        own = distance < CORE * psf.fwhm
        spoiled = _spoiled(np.where(good, left, 0.0), models, noise, own, psf.fwhm) & inside
        found[place[0][spoiled], place[1][spoiled]] |= np.uint16(Mask.INTRP)
    return found


def _pixels(v: I8, u: I8, shape: tuple[int, ...]) -> tuple[tuple[I8, I8], Bools]:
    """Return rows and columns of stamps, within the frame, and which of these pixels are in it."""
    inside = ((v >= 0) & (v < shape[0]))[:, :, None] & ((u >= 0) & (u < shape[1]))[:, None, :]
    v, u = np.broadcast_arrays(
        np.clip(v, 0, shape[0] - 1)[:, :, None], np.clip(u, 0, shape[1] - 1)[:, None, :]
    )
    return (v, u), inside


def _spoiled(values: F8, models: F8, noise: F8, own: Bools, fwhm: float) -> Bools:
    """Return the pixels of what is significant in stamps, (n, k, k)."""
    reach = math.ceil(fwhm)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (fwhm / FWHM_PER_SIGMA)) ** 2)
    light, model = _smoothed(values, taps), _smoothed(models, taps)
    sigma = np.sqrt(_smoothed(noise, taps**2))
    size = np.abs(light)
    peaks = ~own & (size > SIGNIFICANT * sigma) & (size > MIN_SHARE * model)
    disc = math.ceil(OWN * fwhm)
    place = np.arange(-disc, disc + 1)
    wide = np.zeros_like(peaks)
    for dy, dx in np.argwhere(np.hypot(place[:, None], place) <= OWN * fwhm) - disc:
        wide |= _shifted(peaks, dy, dx)
    return np.asarray(wide & ~own)


def _shifted(marks: Bools, dy: int, dx: int) -> Bools:
    """Return marks moved within their stamps."""
    out = np.zeros_like(marks)
    n = marks.shape[1]
    to = [slice(max(d, 0), n + min(d, 0)) for d in (dy, dx)]
    of = [slice(max(-d, 0), n + min(-d, 0)) for d in (dy, dx)]
    out[:, to[0], to[1]] = marks[:, of[0], of[1]]
    return out


def _smoothed(stamps: F8, taps: F8) -> F8:
    """Return stamps convolved with symmetric taps along both axes; 0 beyond them."""
    for axis in (1, 2):
        half = len(taps) // 2
        widths = [(0, 0)] * 3
        widths[axis] = (half, half)
        padded = np.pad(stamps, widths)
        n = stamps.shape[axis]
        stamps = sum(
            tap * np.take(padded, np.arange(k, k + n), axis=axis) for k, tap in enumerate(taps)
        )
    return stamps
