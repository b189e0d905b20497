"""Frames that were subtracted: sources below the sky are neither sky nor noise."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

SIZE, GAIN, SKY, READ = 768, 1.5, 200.0, 5.0


def nodded(n: int, offset: int, brightest: float, seed: int):
    """Return one frame less another one whose stars are `offset` pixels beside, and the stars."""
    rng = np.random.default_rng(seed)
    core = 1.5 / np.sqrt(2.0 ** (1.0 / 3.0) - 1.0)
    x, y = rng.uniform(0, SIZE - 1, (2, n))
    flux = 300.0 * (brightest / 300.0) ** rng.random(n)
    yy, xx = np.mgrid[:SIZE, :SIZE]
    frames = np.zeros((2, SIZE, SIZE))
    for frame, shift in zip(frames, (0, offset), strict=True):
        for at_x, at_y, f in zip(x + shift, y, flux, strict=True):
            part = np.s_[
                max(int(at_y) - 30, 0) : int(at_y) + 31, max(int(at_x) - 30, 0) : int(at_x) + 31
            ]
            r2 = (xx[part] - at_x) ** 2 + (yy[part] - at_y) ** 2
            frame[part] += f * 2.0 / np.pi / core**2 * (1.0 + r2 / core**2) ** -3.0
    counts = rng.poisson((frames + SKY) * GAIN) + rng.normal(0.0, READ, frames.shape)
    return (counts[0] - counts[1]) / GAIN, x, y, flux


@pytest.mark.parametrize("offset", [30, 100])
def test_nodded_frames(skyextract, offset):
    image, x, y, flux = nodded(170, offset, 3e5, 25)
    fits.writeto("f.fits", image.astype(np.float32), fits.Header({"GAIN": GAIN}))
    skyextract("f.fits")
    rows = fits.getdata("f.cat", 2)
    distance = np.hypot(rows["X_IMAGE"][:, None] - 1 - x, rows["Y_IMAGE"][:, None] - 1 - y)
    assert np.mean(distance.min(axis=1) > 2.0) < 0.02
    bright = flux > 1e4
    # What lies upon the negative of a brighter one cannot be seen.
    apart = np.hypot(x[:, None] - x - offset, y[:, None] - y).min(axis=1) > 12.0
    apart &= np.sort(np.hypot(x[:, None] - x, y[:, None] - y), axis=1)[:, 1] > 12.0
    assert np.all(distance.min(axis=0)[bright & apart] < 1.0)
    nearest = distance.argmin(axis=0)[bright & apart]
    ratio = rows["FLUX_PSF"][nearest] / flux[bright & apart]
    assert abs(np.median(ratio) - 1.0) < 0.01
