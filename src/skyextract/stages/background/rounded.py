"""Noise that is no larger than the step of the pixel values: level and sigma by maximum likelihood.

The mean of rounded values goes up and down about the level with the place of the level between two
steps, and so does their scatter.  What a Gaussian makes of these values tells both: its sigma is
that of all meshes, and the level of a mesh is the one whose rounded values have the mean.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, Bools
from skyextract.record import record

LARGEST = 0.7
"""Sigma in steps above which nothing is left of the steps."""
SMALLEST = 0.1
"""... and below which the place between them is not seen."""
VISIBLE = 0.17
"""Sigma in steps from which the level of a mesh is known."""
REACH = 2
"""Steps on either side of the most frequent value that are looked at."""
MISFIT = 0.02
"""Share of the pixels that may have other values than those of a Gaussian, in the typical mesh:
photons that are counted one by one are more."""
RAREST = 1e-5
"""Share of the pixels below which a value is no noise."""
CERTAIN, UNCERTAIN = 2.0, 0.07
"""Logarithm of the likelihood, and steps: where so different sigmas are as likely, the smallest one
is taken (two values, half of the pixels each, are those of any that is small)."""


@record
class Rounded:
    """Sky of rounded values.

    Attributes
    ----------
    level, rms : (n_mesh_y, n_mesh_x) float32
        NaN where a mesh has too few pixels.
    sigma : float
        Of the noise before rounding, steps.
    shift : float
        How much higher the mean of the values is than the level, in the mean of meshes.
    """

    level: F4
    rms: F4
    sigma: float
    shift: float

    @property
    def ripple(self) -> float:
        """Largest error of the mean of rounded values, steps."""
        return sum(abs(part) for part in _waves(self.sigma))


def rounded_sky(
    image: F4, good: Bools, width: int, height: int, step: float, level: F4, rms: F4
) -> Rounded | None:
    """Return level and noise of meshes of rounded values; None where a Gaussian makes none such.

    Parameters
    ----------
    image : (ny, nx) float32
    good : (ny, nx) bool
        Pixels that say something about the sky.
    width, height : int
        Of a mesh.
    step : float
        Of the values.
    level, rms : (n_mesh_y, n_mesh_x) float32
        Mean and standard deviation of the values of each mesh, without sources.
    """
    known = np.isfinite(level) & (rms > 0.0)
    if not known.any() or float(np.median(rms[known])) > LARGEST * step:
        return None
    offset = float(image[good][0])
    middle = np.rint((np.where(known, level, offset) - offset) / step)
    counts = np.zeros((*level.shape, 2 * REACH + 1))
    for j, i in np.argwhere(known).tolist():
        part = np.s_[j * height : (j + 1) * height, i * width : (i + 1) * width]
        place = np.rint((image[part][good[part]].astype(np.float64) - offset) / step)
        place += REACH - middle[j, i]
        inside = (place >= 0) & (place <= 2 * REACH)
        counts[j, i] = np.bincount(place[inside].astype(np.int64), minlength=2 * REACH + 1)
    seen = counts[known]
    sigma, places = _most_likely(seen)
    missed = np.abs(_parts(seen) - _shares(places, sigma)).max(axis=1)
    if not sigma < LARGEST or float(np.median(missed)) > MISFIT:
        return None
    seen = np.where(_shares(places, sigma) > RAREST, seen, 0.0)  # the others are of sources
    sigma, places = _most_likely(seen)
    out = np.full(level.shape, np.nan)
    out[known] = offset + step * (middle[known] + places)
    noise = np.full(level.shape, np.nan)
    # Pixels in stars take up all places between two steps.
    dithered = step * math.sqrt(sigma**2 + 1.0 / 12.0)
    noise[known] = np.maximum(rms[known].astype(np.float64), dithered)
    values = np.arange(-REACH, REACH + 1)
    shift = step * float(np.mean(_parts(seen) @ values - places))
    return Rounded(out.astype(np.float32), noise.astype(np.float32), sigma, shift)


def _most_likely(counts: F8) -> tuple[float, F8]:
    """Return sigma, in steps, and the place of each level about its middle value.

    Parameters
    ----------
    counts : (n, 2 REACH + 1) float64
        Pixels of each value in each mesh.
    """
    values = np.arange(-REACH, REACH + 1)
    mean = _parts(counts) @ values
    sigmas = np.arange(SMALLEST, LARGEST + 0.15, 0.01)
    likelihood = np.empty(sigmas.size)
    for k, sigma in enumerate(sigmas.tolist()):
        shares = np.maximum(_shares(_place_of(mean, sigma), sigma), 1e-9)
        likelihood[k] = float((counts * np.log(shares)).sum())
    likely = sigmas[likelihood > likelihood.max() - CERTAIN]
    wide = likely[-1] - likely[0] > UNCERTAIN
    sigma = float(likely[0] if wide else sigmas[likelihood.argmax()])
    return sigma, _place_of(mean, sigma)


def _waves(sigma: float) -> list[float]:
    """Return the amplitudes of the waves of the mean of rounded values about the level, steps."""
    return [
        (-1.0) ** k / (math.pi * k) * math.exp(-2.0 * (math.pi * k * sigma) ** 2)
        for k in range(1, 5)
    ]


def _place_of(mean: F8, sigma: float) -> F8:
    """Return the levels whose rounded values have these means, steps: by bisection."""
    waves = _waves(max(sigma, VISIBLE))
    low, high = mean - 0.5, mean + 0.5
    for _ in range(20):
        place = 0.5 * (low + high)
        rounded = place + sum(
            wave * np.sin(2.0 * math.pi * (k + 1) * place) for k, wave in enumerate(waves)
        )
        below = rounded < mean
        low, high = np.where(below, place, low), np.where(below, high, place)
    out: F8 = 0.5 * (low + high)
    return out


def _parts(counts: F8) -> F8:
    """Return the shares of the pixels of each mesh that have each value."""
    parts: F8 = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    return parts


def _shares(place: F8, sigma: float) -> F8:
    """Return the shares of the values about the middle one, (n, 2 REACH + 1)."""
    edges = np.arange(-REACH, REACH + 2) - 0.5
    below = _normal((edges - place[:, None]) / sigma)
    return np.diff(below, axis=1)


def _normal(z: F8) -> F8:
    """Return the normal distribution: Abramowitz & Stegun (1964), 26.2.17, within 1e-7."""
    t = 1.0 / (1.0 + 0.2316419 * np.abs(z))
    polynomial = t * (
        0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429)))
    )
    upper = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi) * polynomial
    return np.where(z > 0.0, 1.0 - upper, upper)
