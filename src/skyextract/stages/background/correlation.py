"""Correlated noise: its measurement, and the errors of fluxes that it makes."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, U1
from skyextract.datamodel.noise import NoiseCorrelation
from skyextract.kernels.values import MAD_TO_SIGMA, MAX_VARIANCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from skyextract.datamodel.catalog import Catalog

LAG, MAX_LAG = 5, 10
"""Pixels; the second where noise is shared over more, as by a wide filter; what is shared over
still more is a matter of the background."""
SHARED = 0.1
"""Covariance at the first lag from which noise is shared over more."""
BANDED, ALONG, REACH = 0.04, 4.0, 32
"""Covariance along an axis beyond `LAG`, and times that along the other one, from which rows or
columns differ (banding): they share it to the end, of which so many pixels concern apertures."""
BLOCK = 64
BLOCKS = 12
"""The covariance is measured in up to 12 x 12 blocks of this size, spread over the frame."""
ENOUGH = 0.25
"""Blocks of which less is free, of the freest one, do not count."""
MIN_FREE = 2000
"""Free pixels without which it is not measured."""
MAX_SIGMA = 5.0


def measure_correlation(
    subtracted: F4, variance: F4, claimed: U1, point_source: float
) -> NoiseCorrelation | None:
    """Measure the autocovariance of the noise where no sources are.

    Parameters
    ----------
    subtracted, variance : (ny, nx) float32
        Background-subtracted image; its background variance, 1e30 in bad pixels.
    claimed : (ny, nx) uint8
        Pixels of sources (not 0).
    point_source : float
        Variance of the matched filter over that of independent pixels, already measured.

    Returns
    -------
    NoiseCorrelation or None
        None if there are too few free pixels.
    """
    found = _covariance(subtracted, variance, claimed, LAG)
    if found is not None and max(found[LAG, 0], found[0, LAG]) > SHARED:
        found = _along_bands(_covariance(subtracted, variance, claimed, MAX_LAG))
    return None if found is None else NoiseCorrelation(found, point_source)


def _along_bands(lags: F8 | None) -> F8 | None:
    """Return the covariance with lags along rows, or columns, if these differ from each other."""
    if lags is None:
        return None
    k = MAX_LAG
    across, along = float(lags[k, -LAG:].mean()), float(lags[-LAG:, k].mean())
    if max(across, along) < max(BANDED, ALONG * abs(min(across, along))):
        return lags
    wide = np.pad(lags, REACH - k)
    beyond = np.abs(np.arange(-REACH, REACH + 1)) > k
    line = wide[REACH] if across > along else wide[:, REACH]
    line[beyond] = max(across, along)
    return wide


def _covariance(subtracted: F4, variance: F4, claimed: U1, k: int) -> F8 | None:
    """Return the covariance by distance [dy, dx], -k to k; None for too few free pixels.

    The median of the blocks that are free enough: light in a few of them is no noise of all.
    """
    blocks = itertools.product(_blocks(subtracted.shape[0]), _blocks(subtracted.shape[1]))
    seen = [_free_noise(subtracted[one], variance[one], claimed[one]) for one in blocks]
    noise, free = (np.array(parts) for parts in zip(*seen, strict=True))
    n_free = free.sum(axis=(1, 2))
    means = np.divide(noise.sum(axis=(1, 2)), n_free, out=np.zeros(len(seen)), where=n_free > 0)
    noise -= free * (np.median(means[n_free > 0]) if n_free.any() else 0.0)
    if n_free.sum() < MIN_FREE:
        return None
    enough = n_free >= ENOUGH * n_free.max()
    total, pairs = _products(noise[enough], k), np.rint(_products(free[enough], k))
    half = np.median(np.divide(total, pairs, out=np.zeros_like(total), where=pairs > 0), axis=0)
    lags = np.zeros((2 * k + 1, 2 * k + 1))
    lags[k:] = half
    lags[k, :k] = half[0, :k:-1]
    lags[:k] = lags[:k:-1, ::-1]
    return lags


def _products(blocks: F8, k: int) -> F8:
    """Return sums of products of pixels by distance [dy, dx], 0 to k and -k to k, in each block.

    The autocorrelation by Wiener and Khinchin; zeros around keep the ends of a block apart.
    """
    shape = [-(-(size + k) // 8) * 8 for size in blocks.shape[1:]]  # lengths of quick transforms
    power = np.abs(np.fft.rfft2(blocks, shape)) ** 2
    lags = np.fft.irfft2(power, shape)[:, : k + 1]
    return np.concatenate([lags[:, :, -k:], lags[:, :, : k + 1]], axis=2)


def _blocks(size: int) -> list[slice]:
    n = min(BLOCKS, max(1, size // BLOCK))
    length = min(BLOCK, size)
    first = np.linspace(0, size - length, n).astype(int) if n > 1 else [(size - length) // 2]
    return [slice(int(i), int(i) + length) for i in first]


def _free_noise(image: F4, variance: F4, claimed: U1) -> tuple[F8, F8]:
    """Return noise in sigma, 0 where it is not free of sources, and 1 where it is."""
    free = (claimed == 0) & (variance < MAX_VARIANCE) & (variance > 0.0)
    noise = np.zeros(image.shape, np.float64)
    np.divide(image, np.sqrt(variance, where=free, out=np.ones_like(variance)), out=noise,
              where=free)  # fmt: skip
    if free.any():
        middle = np.median(noise[free])
        spread = MAD_TO_SIGMA * np.median(np.abs(noise[free] - middle))
        if spread > 0.0:
            free &= np.abs(noise - middle) < MAX_SIGMA * spread
    noise[~free] = 0.0
    return noise, free.astype(np.float64)


def has_correlated_errors(name: str) -> bool:
    """Tell whether a column is an error that `with_correlated_errors` changes."""
    return name.startswith("FLUXERR_") and not name.endswith("_PSF")


def with_correlated_errors(
    sources: Catalog, correlation: NoiseCorrelation, noise2: float, gain: float
) -> Catalog:
    """Return the sources with the errors of aperture fluxes that correlated noise makes.

    SExtractor's formula adds the background variance of the pixels and the photons of the
    source; the former is multiplied by what the covariance makes of it in a circle of the same
    area, the latter are what they are, as resampling keeps their sum.

    Parameters
    ----------
    sources : Catalog
        Fluxes and errors by SExtractor's formula.
    noise2 : float
        Background variance of the frame.
    gain : float
        e-/ADU; 0: unknown.
    """
    changed = {}
    for name, photons, background in _parts_of_errors(sources, gain):
        factor = correlation.aperture(background / noise2)
        changed[name] = np.sqrt(background * factor + photons)
        if name == "FLUXERR_WIN" and "SNR_WIN" in sources:
            changed["SNR_WIN"] = sources["SNR_WIN"] * sources[name] / changed[name]
    return sources.with_columns(**changed)


def errors_of_level(sources: Catalog, error: float, noise2: float, gain: float) -> dict[str, F8]:
    """Return what an error of the sky that all pixels share makes of aperture fluxes.

    Parameters
    ----------
    sources : Catalog
        Fluxes and errors by SExtractor's formula, which know the area.
    error : float
        Image units per pixel.
    noise2, gain
        As of `with_correlated_errors`.
    """
    parts = _parts_of_errors(sources, gain)
    return {name: error * background / noise2 for name, _, background in parts}


def _parts_of_errors(sources: Catalog, gain: float) -> Iterator[tuple[str, F8, F8]]:
    """Yield names of errors of aperture fluxes, and variances of photons and of background."""
    for name in sources:
        if not has_correlated_errors(name):
            continue
        error = np.asarray(sources[name], np.float64)
        flux_name = name.replace("FLUXERR", "FLUX")
        flux = sources[flux_name] if flux_name in sources else np.zeros_like(error)
        photons = np.zeros_like(error)
        if gain > 0.0 and math.isfinite(gain):
            photons = np.minimum(np.maximum(flux, 0.0) / gain, error**2)
        yield name, photons, error**2 - photons
