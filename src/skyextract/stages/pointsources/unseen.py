"""Neighbours of stars that were not detected: what the fits leave in their apertures.

In the light of a bright star a source must be brighter than elsewhere to be told apart from it,
yet all of it is in a large aperture.  Once the star is taken away, it stands out.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, U2, Bools
from skyextract.datamodel.psf import Psf
from skyextract.kernels.values import FWHM_PER_SIGMA, MAX_VARIANCE, NO_INFORMATION
from skyextract.run import Run
from skyextract.stages.pointsources.sweeps import UNUSABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNIFICANT = 4.0
"""S/N of what is left, from which it is no noise; of either sign, so that noise that is taken for
a source by chance shifts no mean."""
MIN_SHARE = 0.2
"""It is at least this part of the models there: the rest of an imperfect PSF is less."""
CORE = 1.0
"""Within so many FWHM of a star what is left is its own..."""
OWN = 1.0
"""... and within so many of what is significant, of that."""
BLOCK = 4.0
"""PSFs of more pixels than twice this are looked at in blocks of so many to a FWHM, about."""
_CHUNK = 80_000
"""Pixels that are looked at together."""


@contextmanager
def without_neighbours(
    mask: U2, image: F4, residual: F4, variance: F4, gain: float, psf: Psf, x: F8, y: F8,
    radius: float, run: Run,
) -> Iterator[F4]:  # fmt: skip
    """Give the variance with the pixels of undetected neighbours of stars as pixels without data.

    It is that plane itself, which in the end is as it was; a copy if it cannot be written to.
    Memory for the mask would have to be cleared, for it was hardly ever written to.

    Parameters
    ----------
    mask, image, residual, variance, gain, psf
        As in `growth_curves`.
    x, y : (n,) float64
        Stars, 0-based pixels.
    radius : float
        Of the aperture, pixels.
    """
    step = max(1, int(psf.fwhm / BLOCK))
    side = step * math.ceil((2 * math.ceil(radius + OWN * psf.fwhm) + 1) / step)
    axis = np.arange(side) - side // 2
    middle = axis.reshape(-1, step).mean(axis=1)
    photons = 1.0 / gain if gain > 0.0 and math.isfinite(gain) else 0.0
    column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)

    def part(chunk: I8) -> I8:
        place, inside = _pixels(row[chunk, None] + axis, column[chunk, None] + axis, mask.shape)
        left, total, noise = (plane.take(place) for plane in (residual, image, variance))
        good = inside & ((mask.take(place) & UNUSABLE) == 0) & np.isfinite(left)
        good &= (noise > 0.0) & (noise < MAX_VARIANCE)
        models = np.where(good, total - left, np.float32(0.0))
        noise = np.where(good, noise + np.float32(photons) * np.maximum(models, 0.0), 0.0)
        left = np.where(good, left, np.float32(0.0))
        dx, dy = column[chunk] - x[chunk], row[chunk] - y[chunk]
        distance = np.hypot((middle + dx[:, None])[:, None, :], (middle + dy[:, None])[:, :, None])
        own = distance < CORE * psf.fwhm
        light, model, square = (_blocks(plane, step) for plane in (left, models, noise))
        spoiled = _spoiled(light, model, square, own, psf.fwhm / step)
        spoiled = spoiled.repeat(step, axis=1).repeat(step, axis=2) & inside
        return place[spoiled]

    n = run.n_threads * (1 + len(x) * side**2 // (run.n_threads * _CHUNK))  # alike for each
    places = run.map(part, np.array_split(np.arange(len(x)), n))
    at = np.divmod(np.concatenate(places), mask.shape[1])
    found = variance if variance.flags.writeable else variance.copy()
    before = found[at]
    try:
        found[at] = NO_INFORMATION
        yield found
    finally:
        found[at] = before


def _blocks(stamps: F4 | F8, step: int) -> F8:
    """Return the sums of blocks of pixels."""
    n, side, _ = stamps.shape
    if step == 1:
        return stamps.astype(np.float64)
    blocks = stamps.reshape(n, side // step, step, side // step, step)
    return np.asarray(blocks.sum(axis=(2, 4), dtype=np.float64))


def _pixels(v: I8, u: I8, shape: tuple[int, ...]) -> tuple[I8, Bools]:
    """Return ``y * nx + x`` of stamps, within the frame, and which of these pixels are in it."""
    inside = ((v >= 0) & (v < shape[0]))[:, :, None] & ((u >= 0) & (u < shape[1]))[:, None, :]
    v, u = np.clip(v, 0, shape[0] - 1), np.clip(u, 0, shape[1] - 1)
    return (v * shape[1])[:, :, None] + u[:, None, :], inside


def _spoiled(values: F8, models: F8, noise: F8, own: Bools, fwhm: float) -> Bools:
    """Return the pixels of what is significant in stamps, (n, k, k)."""
    offset = np.arange(own.shape[1])
    band = np.exp(-0.5 * ((offset[:, None] - offset) / (fwhm / FWHM_PER_SIGMA)) ** 2)
    size, wide = np.abs(band @ values @ band), np.zeros_like(own)
    peaks = ~own & (size > SIGNIFICANT * np.sqrt(band**2 @ noise @ band**2))
    some = np.flatnonzero(peaks.any(axis=(1, 2)))
    peaks = peaks[some] & (size[some] > MIN_SHARE * (band @ models[some] @ band))
    disc = math.ceil(OWN * fwhm)
    place = np.arange(-disc, disc + 1)
    about, n = np.zeros_like(peaks), peaks.shape[1]
    for dy, dx in (np.argwhere(np.hypot(place[:, None], place) <= OWN * fwhm) - disc).tolist():
        to = [slice(max(d, 0), n + min(d, 0)) for d in (dy, dx)]
        of = [slice(max(-d, 0), n + min(-d, 0)) for d in (dy, dx)]
        about[:, to[0], to[1]] |= peaks[:, of[0], of[1]]
    wide[some] = about
    return np.asarray(wide & ~own)
