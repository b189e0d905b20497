"""The sky in rings about stars that stand on structure, and how uncertain it makes large apertures.

On a nebula the sky that fits of stars stand on follows all that is broader than they are, what a
PSF has too much or too little of in its wings, too: it cannot tell how much light these have. The
sky in a ring about the aperture does not know it.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F4, F8, U2
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.stages.pointsources.fit import FittedImage
from skyextract.stages.pointsources.growth import Growth
from skyextract.stages.pointsources.sweeps import UNUSABLE

OUTER = 1.5
"""Outer radius of the ring, in radii of the aperture."""
SECTORS = 8
"""Parts of the ring: by how much their skies differ tells how much that of the aperture may."""
MIN_SHARE, MIN_SECTORS = 0.3, 5
"""Share of the pixels of a sector that it needs, and sectors that a ring needs."""


def sky_in_rings(
    rest: F4, variance: F4, mask: U2, x: F8, y: F8, radius: float
) -> tuple[F8, F8]:  # fmt: skip
    """Return the sky about stars and the error of it within their apertures; NaN if it is unknown.

    Parameters
    ----------
    rest : (ny, nx) float32
        What the fits of all sources leave of the image, with the structure of the sky.
    variance : (ny, nx) float32
        Of the background; NO_INFORMATION in bad pixels.
    mask : (ny, nx) uint16
    x, y : (n,) float64
        0-based pixels.
    radius : float
        Of the aperture, pixels.
    """
    ny, nx = rest.shape
    half = math.ceil(OUTER * radius) + 1
    axis = np.arange(-half, half + 1)
    row = np.rint(y).astype(np.int64)[:, None, None] + axis[:, None]
    column = np.rint(x).astype(np.int64)[:, None, None] + axis
    inside = (row >= 0) & (row < ny) & (column >= 0) & (column < nx)
    place = np.broadcast_arrays(np.clip(row, 0, ny - 1), np.clip(column, 0, nx - 1))
    dx, dy = column - x[:, None, None], row - y[:, None, None]
    distance = np.hypot(dx, dy)
    ring = (distance > radius) & (distance < OUTER * radius)
    noise, values = variance[tuple(place)], rest[tuple(place)]
    good = ring & inside & (noise > 0.0) & (noise < MAX_VARIANCE) & np.isfinite(values)
    good &= (mask[tuple(place)] & UNUSABLE) == 0
    sector = ((np.arctan2(dy, dx) / (2.0 * math.pi) + 0.5) * SECTORS).astype(np.int64) % SECTORS
    means = np.full((SECTORS, x.size), np.nan)
    for k in range(SECTORS):
        own = good & (sector == k)
        number = own.sum(axis=(1, 2))
        whole = (ring & (sector == k)).sum(axis=(1, 2))
        total = np.where(own, values, 0.0).sum(axis=(1, 2), dtype=np.float64)
        enough = number > MIN_SHARE * np.maximum(whole, 1)
        means[k] = np.where(enough, total / np.maximum(number, 1), np.nan)
    known = np.isfinite(means)
    n_known = known.sum(axis=0)
    some = np.where(known, means, 0.0)
    level = some.sum(axis=0) / np.maximum(n_known, 1)
    square = (np.where(known, means - level, 0.0) ** 2).sum(axis=0)
    scatter = np.sqrt(square / np.maximum(n_known - 1, 1))
    unknown = n_known < MIN_SECTORS
    return np.where(unknown, np.nan, level), np.where(unknown, np.nan, scatter)


def mean_within(image: F4, x: F8, y: F8, radius: F8) -> F8:
    """Return the mean of an image within circles, of what of them is in it, (n,) float64."""
    ny, nx = image.shape
    half = math.ceil(float(radius.max(initial=0.0))) + 1
    axis = np.arange(-half, half + 1)
    row = np.rint(y).astype(np.int64)[:, None, None] + axis[:, None]
    column = np.rint(x).astype(np.int64)[:, None, None] + axis
    distance = np.hypot(column - x[:, None, None], row - y[:, None, None])
    within = (row >= 0) & (row < ny) & (column >= 0) & (column < nx)
    within = within & (distance <= radius[:, None, None])
    place = np.broadcast_arrays(np.clip(row, 0, ny - 1), np.clip(column, 0, nx - 1))
    total = np.where(within, image[tuple(place)], 0.0).sum(axis=(1, 2), dtype=np.float64)
    mean: F8 = total / np.maximum(within.sum(axis=(1, 2)), 1)
    return mean


def above_rings(growth: Growth, beneath: F4, fitted: FittedImage) -> Growth:
    """Return curves of growth above the sky in rings about the stars.

    All of a star is lost whose ring has too little data.

    Parameters
    ----------
    growth : Growth
        Above the structure of the sky.
    beneath : (ny, nx) float32
        This structure, which was taken from the image.
    fitted : FittedImage
    """
    stars, radii, sources = growth.stars, growth.radii, fitted.sources
    if not len(stars):
        return growth
    x, y, flux = (values[stars] for values in (sources.x, sources.y, sources.flux))
    rest = sources.residual + beneath
    radius = float(np.median(radii[:, 0]))
    level, scatter = sky_in_rings(rest, fitted.variance, fitted.mask, x, y, radius)
    area = math.pi * radii**2 * (1.0 - growth.lost) / flux[:, None]
    within = np.stack([mean_within(beneath, x, y, r) for r in radii.T], axis=1)
    error = np.hypot(growth.error, scatter[:, None] * area)
    return replace(
        growth,
        light=growth.light + (within - level[:, None]) * area,
        error=error,
        lost=np.where(np.isfinite(error), growth.lost, 1.0),
    )
