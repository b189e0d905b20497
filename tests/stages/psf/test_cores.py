"""Stars that lost their cores, from peaks alone."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf
from skyextract.stages.psf.cores import find_cut_cores

NOISE, SIZE = 5.0, 400


def scene(seed, fwhm, level=None, n=60):
    """Return an image of stars on a grid, its peaks, their fluxes; cut at the level if any."""
    rng = np.random.default_rng(seed)
    psf = Psf.gaussian(fwhm)
    x, y = (40.0 * (1 + k.ravel()[:n]) + rng.uniform(-3, 3, n) for k in np.mgrid[:8, :8])
    flux = 10 ** rng.uniform(3.0, 5.5, n)
    image = np.zeros((SIZE, SIZE))
    half = psf.radius
    for k in range(n):
        i, j = round(y[k]), round(x[k])
        image[i - half : i + half + 1, j - half : j + half + 1] += flux[k] * psf.stamp(
            x[k], y[k], x[k] - j, y[k] - i
        )
    image += rng.normal(0.0, NOISE, image.shape)
    if level is not None:
        image = np.minimum(image, level)
    peaks = np.stack([np.rint(x), np.rint(y), flux])
    return psf, image.astype(np.float32), peaks, x, y, flux


def found_in(psf, image, peaks, cosmic=()):
    variance = np.full(image.shape, NOISE**2, np.float32)
    return find_cut_cores(psf, image, variance, peaks, np.array(cosmic, np.int64), 0.0)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("fwhm", [2.0, 4.0])
def test_the_pixels_above_the_level(seed, fwhm):
    psf, image, peaks, x, y, _ = scene(seed, fwhm)
    level = np.sort(image[np.rint(y).astype(int), np.rint(x).astype(int)])[-15]
    cut = found_in(psf, np.minimum(image, level), peaks)
    assert cut is not None
    assert cut.flat
    assert abs(cut.level / level - 1.0) < 0.01
    assert 10 <= cut.n_stars <= 15
    lost = np.zeros(image.shape, bool)
    lost.ravel()[cut.pixels] = True
    assert lost[image > 1.15 * level].all()
    assert not lost[image < 0.75 * level].any()


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("fwhm", [2.0, 4.0])
def test_nothing_is_lost(seed, fwhm):
    psf, image, peaks, *_ = scene(seed, fwhm)
    assert found_in(psf, image, peaks) is None
    # Nor by a PSF that is a little off, or where all is noise.
    assert found_in(Psf.gaussian(1.03 * fwhm), image, peaks) is None
    noise = np.random.default_rng(seed).normal(0.0, NOISE, image.shape).astype(np.float32)
    assert found_in(psf, noise, peaks) is None


def test_holes_that_passed_for_cosmic_rays():
    """There is no peak at the place of a hole: its rim was repaired."""
    psf, image, peaks, x, y, flux = scene(3, 4.0)
    level = np.sort(image[np.rint(y).astype(int), np.rint(x).astype(int)])[-12]
    hollow = image.copy()
    hollow[image > level] = 0.4 * level
    bright = flux > np.sort(flux)[-12]
    cosmic = np.flatnonzero(image > 0.8 * level)
    cut = found_in(psf, hollow, peaks[:, ~bright], cosmic)
    assert cut is not None
    assert not cut.flat
    assert cut.n_stars >= 8
