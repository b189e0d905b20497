"""HEALPix pixel numbers in RING order (Gorski et al. 2005, ApJ 622, 759)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.sky.plate import stereographic_inverse

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8


def ang2pix_ring(nside: int, lon: F8, lat: F8) -> I8:
    """Return the RING pixel of each longitude and latitude (deg)."""
    z = np.sin(np.deg2rad(np.asarray(lat, np.float64)))
    quarter = (np.asarray(lon, np.float64) % 360.0) / 90.0
    cap = 2 * nside * (nside - 1)
    n_pixels = 12 * nside * nside
    # Equatorial belt: pixel edges are lines of rising and falling z.
    rising = np.floor(nside * (0.5 + quarter - 0.75 * z)).astype(np.int64)
    falling = np.floor(nside * (0.5 + quarter + 0.75 * z)).astype(np.int64)
    ring = nside + 1 + rising - falling
    shift = 1 - (ring & 1)
    column = (rising + falling - nside + shift + 1) // 2 % (4 * nside)
    belt = cap + (ring - 1) * 4 * nside + column
    # Polar caps: 1 - |z| from the latitude, which is exact near the pole.
    fraction = quarter % 1.0
    height = nside * np.sqrt(6.0) * np.sin(0.5 * np.deg2rad(90.0 - np.abs(lat)))
    first = np.floor(fraction * height).astype(np.int64)
    second = np.floor((1.0 - fraction) * height).astype(np.int64)
    ring = first + second + 1
    column = np.floor(quarter * ring).astype(np.int64) % (4 * ring)
    north = 2 * ring * (ring - 1) + column
    south = n_pixels - 2 * ring * (ring + 1) + column
    return np.asarray(np.where(np.abs(z) <= 2.0 / 3.0, belt, np.where(z > 0.0, north, south)))


def disc_pixels(nside: int, lon: float, lat: float, radius: float) -> I8:
    """Return, sorted, the RING pixels that a disc (deg) touches, and perhaps a few more.

    All pixels for a radius beyond 30 deg.
    """
    if radius > 30.0:
        return np.arange(12 * nside * nside)
    # A grid much finer than the pixels, over a disc so enlarged that the part of any pixel
    # touched by the disc, however small its corner inside, holds a point of the grid.
    step, margin = 4.0 / nside, 30.0 / nside
    reach = 2.0 * np.rad2deg(np.tan(np.deg2rad(min(radius + margin, 120.0)) / 2.0))
    n = int(np.ceil(reach / step))
    x, y = np.meshgrid(step * np.arange(-n, n + 1), step * np.arange(-n, n + 1))
    inside = np.hypot(x, y) <= reach
    ra, dec = stereographic_inverse(x[inside], y[inside], lon, lat)
    return np.unique(ang2pix_ring(nside, ra, dec))
