"""Walking noise: what a detector has of its own, drawn out by the drift of the frames of a stack.

Frames that were aligned upon stars without a dark or dithering have the same hot pixels, each time
a little farther on: streaks of one direction all over the stack, a pixel wide, longer than a star.
In the sky between sources pixels then go together along that direction and no other.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, Bools, widened
from skyextract.datamodel.noise import median
from skyextract.stages.detection.marked import Marked
from skyextract.stages.patterns.waves import TILE, level_and_noise

ALONG = 2
"""Tiles that are looked at, along an axis; those of the diagonal come first."""
STARS, MARGIN, MIN_SKY = 5.0, 3, 0.4
"""Sums of nine pixels so many times their noise off, and so many beside them, are no sky, which is
this part of a tile."""
CLIP = 3.0
"""Highest and lowest pixel of the sky, sigma: streaks of the hottest pixels are not all."""
REACH, N_LAGS = 1.8, 4
"""Distance in FWHM, at least, of the pixels that are compared, and of how many distances."""
LEAST = 6
"""... in pixels."""
STEP, BESIDE = 5, 25
"""Degrees between directions, and of those that are no others than the best one."""
FAR = 44.0
"""Pixels beyond which they go together no more: bands of rows and columns do."""
MIN_CORRELATION, SURE = 0.04, 8.0
"""Of the pixels along the streaks, and in units of its error."""
ALONE = 0.25
"""Highest correlation in other directions, its lowest, that ASIDE pixels across and that FAR along,
over that along the streaks: waves and light of the sky have more."""
ASIDE = 4.0
IN_ALL = 0.4
"""Correlation in each tile but one, over that of all: a trail is in few of them."""
ACROSS = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
"""Places across a source of the lines through it, pixels."""
LIGHT = 1.5
"""Light along a line, above that of the sky, in units of its scatter, that makes a source one."""
FAINT = 6.0, 6.0
"""Peak of a piece, at most, in sigma of a pixel and in units of that light."""
N_PLACES = 4000
"""Places that tell the light of lines through the sky."""
MANY = 0.02
"""Share of the sources above which they are doubtful: others are in the noise as well."""


def find_walking_noise(
    image: F4, sigma: float, bad: Bools, x: F8, y: F8, peak: F4, fwhm: float
) -> Marked | None:
    """Look for streaks of one direction all over the sky, and sources that are pieces of them.

    Parameters
    ----------
    image : (ny, nx) float32
        Without background.
    sigma : float
        Noise of a pixel.
    bad : (ny, nx) bool
    x, y : (n,) float64
        Sources, 0-based pixels.
    peak : (n,) float32
        Their highest pixels.
    fwhm : float
        Of stars, pixels.

    Returns
    -------
    Marked or None
        None where the sky has no such streaks.
    """
    angle = _direction(image, sigma, bad, fwhm)
    if angle is None:
        return None
    lags = _lags(fwhm)
    rng = np.random.default_rng(1)
    ny, nx = image.shape
    places = rng.uniform(0.0, nx - 1.0, N_PLACES), rng.uniform(0.0, ny - 1.0, N_PLACES)
    sky = _light(image, sigma, bad, *places, angle, lags)
    level = median(sky)
    scatter = level - float(np.quantile(sky, 0.16))
    light = _light(image, sigma, bad, x, y, angle, lags)
    sigmas, many = FAINT
    faint = (peak < sigmas * sigma) & (peak < many * light)
    rows = faint & (light - level > LIGHT * scatter)
    message = (
        f"{np.count_nonzero(rows)} of {rows.size} sources are pieces of streaks that cover the "
        f"sky, {math.degrees(angle):.0f} degrees from the rows (walking noise: frames that drifted "
        "were stacked without darks or dithering; TRACK in FLAGS_SKY)"
    )
    return Marked(rows, message, MANY)


def _lags(fwhm: float) -> F8:
    """Return the distances at which pixels are compared, beyond the light of a star."""
    return max(REACH * fwhm, LEAST) + 2.0 * np.arange(N_LAGS, dtype=np.float64)


def _direction(image: F4, sigma: float, bad: Bools, fwhm: float) -> float | None:
    """Return the direction of the streaks, radians from the x axis; None without any."""
    if min(image.shape) < ALONG * TILE or not sigma > 0.0:
        return None
    y, x = (
        [(size - TILE) * (2 * k + 1) // (2 * ALONG) for k in range(ALONG)] for size in image.shape
    )
    tiles: list[tuple[F8, F8]] = []
    angle = None
    for corners in ([(y[0], x[0]), (y[1], x[1])], [(y[0], x[1]), (y[1], x[0])]):
        for corner in corners:
            part = tuple(slice(first, first + TILE) for first in corner)
            products = _products(image[part], sigma, bad[part])
            tiles += [] if products is None else [products]
        angle = _best(tiles, fwhm) if tiles else None
        if angle is None:
            break
    return angle


def _products(tile: F4, sigma: float, bad: Bools) -> tuple[F8, F8] | None:
    """Return sums of products of pixels of the sky by their distance, and their numbers."""
    scaled = tile / np.float32(sigma)
    mean = scaled.copy()
    for axis in (0, 1):
        mean += np.roll(mean, 1, axis) + np.roll(mean, -1, axis)
    level, noise = level_and_noise(mean[~bad])
    known = ~(widened(np.abs(mean - level) > STARS * noise, MARGIN) | bad)
    if np.count_nonzero(known) < MIN_SKY * known.size:
        return None
    values = np.where(known, np.clip(scaled - median(scaled[known]), -CLIP, CLIP), 0.0)
    if not values.any():  # a map of weights
        return None
    both = np.abs(np.fft.rfft2(np.stack([values, known]).astype(np.float32))) ** 2
    products, numbers = np.fft.irfft2(both, s=tile.shape)
    return products, np.maximum(numbers, 1.0)


def _best(tiles: list[tuple[F8, F8]], fwhm: float) -> float | None:
    """Return the direction in which pixels of all tiles go together, alone; None without one."""
    lags = _lags(fwhm)
    angles = np.radians(np.arange(0.0, 180.0, STEP))
    of_each = []
    for products, numbers in tiles:
        values = (products / numbers) / (products[0, 0] / numbers[0, 0])
        at = ((lags, 0.0), (lags, -ASIDE), (lags, ASIDE), (lags + FAR - lags[0], 0.0))
        of_each.append([_along(values, angles, *where) for where in at])
    mean = np.mean(of_each, axis=0)
    n_pairs = sum(float(numbers[0, 0]) for _, numbers in tiles)
    best = int(mean[0].argmax())
    highest = float(mean[0, best])
    away = np.abs((np.degrees(angles - angles[best]) + 90.0) % 180.0 - 90.0)
    others = mean[0, away > BESIDE]
    sure = highest > max(MIN_CORRELATION, SURE / math.sqrt(N_LAGS * n_pairs))
    limit = ALONE * highest
    alone = others.max() < limit and others.min() > -limit and mean[1:3, best].max() < limit
    low = np.sort([values[0][best] for values in of_each])[min(1, len(tiles) - 1)]
    alone &= mean[3, best] < limit
    if not sure or not alone or low < IN_ALL * highest:
        return None
    return float(angles[best])


def _along(values: F8, angles: F8, lags: F8, aside: float) -> F8:
    """Return the mean of values at distances along each direction, and so far aside of it."""
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    x = np.rint(lags * cos - aside * sin).astype(np.int64)
    y = np.rint(lags * sin + aside * cos).astype(np.int64)
    out: F8 = values[y, x].mean(axis=1)
    return out


def _light(image: F4, sigma: float, bad: Bools, x: F8, y: F8, angle: float, lags: F8) -> F8:
    """Return the greatest light on lines through places, on one side of each, in image units."""
    ny, nx = image.shape
    cos, sin = math.cos(angle), math.sin(angle)
    away = np.arange(float(lags[0]) - 1.0, float(lags[-1]) + 0.5)
    most = np.full(x.size, -np.inf)
    for across in ACROSS:
        for side in (-1.0, 1.0):
            u = np.rint(x[:, None] + side * away * cos - across * sin).astype(np.int64)
            v = np.rint(y[:, None] + side * away * sin + across * cos).astype(np.int64)
            inside = (u >= 0) & (v >= 0) & (u < nx) & (v < ny)
            u, v = np.where(inside, u, 0), np.where(inside, v, 0)
            inside &= ~bad[v, u]
            values = np.where(inside, np.clip(image[v, u], -CLIP * sigma, CLIP * sigma), 0.0)
            np.maximum(most, values.mean(axis=1), out=most)
    return most
