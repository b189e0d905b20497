"""Sources that are one pixel: hot pixels of detectors that are not cooled, or of the infrared.

No point source is sharper than the PSF: where it is sampled, the pixels beside its peak have light.
A hot pixel that a matched filter takes for a faint star has none there, whatever its noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, Bools
    from skyextract.datamodel.psf import Psf

SAMPLED = 1.5
"""FWHM, pixels, from which on stars are no single pixels."""
PEAK = 5.0
"""Noise of a pixel that the brightest one is at least."""
MORE_LIKELY = 6.0
"""Difference of chi2 by which one pixel describes a source better than the PSF does, in the square
of five pixels about the peak, at whatever place within the pixel."""
DARKER = 0.6
"""Light of the eight pixels about the peak, over that of a star in the middle of a pixel: others
are looked at no further."""
PLACES = 5
"""Along an axis of a pixel, that are tried."""
SIDE = 5


def are_single_pixels(image: F4, bad: Bools, sigma: float, psf: Psf, x: F8, y: F8) -> Bools:
    """Return which sources are one pixel, (n,) bool.

    Parameters
    ----------
    image : (ny, nx) float32
        Background-subtracted.
    bad : (ny, nx) bool
        Pixels without data.
    sigma : float
        Noise of the sky.
    psf : Psf
        That of the stars.
    x, y : (n,) float64
        0-based positions.
    """
    ny, nx = image.shape
    single = np.zeros(len(x), np.bool_)
    if psf.fwhm < SAMPLED or not sigma > 0.0 or min(ny, nx) < 5:
        return single
    rows = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    i = np.clip(np.rint(x[rows]), 2, nx - 3).astype(np.int64)
    j = np.clip(np.rint(y[rows]), 2, ny - 3).astype(np.int64)
    about = np.arange(-1, 2)
    part = image[(j[:, None] + about)[:, :, None], (i[:, None] + about)[:, None, :]]
    highest = part.reshape(-1, 9).argmax(axis=1)
    j = np.clip(j + highest // 3 - 1, 2, ny - 3)
    i = np.clip(i + highest % 3 - 1, 2, nx - 3)
    peak = image[j, i].astype(np.float64)
    beside = part.sum(axis=(1, 2), dtype=np.float64) - part.max(axis=(1, 2))
    likely = (peak > PEAK * sigma) & (beside < DARKER * _ratio(psf) * peak)
    rows, i, j = rows[likely], i[likely], j[likely]
    if not rows.size:
        return single
    about = np.arange(SIDE) - SIDE // 2
    box = (j[:, None] + about)[:, :, None], (i[:, None] + about)[:, None, :]
    data = np.where(bad[box], 0.0, image[box].astype(np.float64) / sigma)
    known = ~bad[box]
    best = np.zeros(rows.size)
    places = (np.arange(PLACES) + 0.5) / PLACES - 0.5
    for dy in places.tolist():
        for dx in places.tolist():
            offset = np.full(rows.size, dx), np.full(rows.size, dy)
            model = psf.stamps(i.astype(np.float64), j.astype(np.float64), *offset, SIDE) * known
            power = (model**2).sum(axis=(1, 2), dtype=np.float64)
            light = np.maximum((model * data).sum(axis=(1, 2)), 0.0)
            best = np.maximum(best, light**2 / np.maximum(power, 1e-30))
    single[rows] = data[:, SIDE // 2, SIDE // 2] ** 2 > best + MORE_LIKELY
    return single


def _ratio(psf: Psf) -> float:
    """Return the light of the pixels about the brightest one over that of this one."""
    zero = np.zeros(1)
    stamp = psf.stamps(zero + psf.x_zero, zero + psf.y_zero, zero, zero)[0].astype(np.float64)
    j, i = np.unravel_index(stamp.argmax(), stamp.shape)
    part = stamp[max(j - 1, 0) : j + 2, max(i - 1, 0) : i + 2]
    return float(part.sum() / stamp[j, i]) - 1.0
