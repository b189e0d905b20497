"""Hot pixels among faint stars: sharper than any star where these are sampled."""

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf
from skyextract.stages.detection.singlepixels import are_single_pixels
from tests.simulate.noises import render

SIGMA, SIZE, STEP = 10.0, 600, 20


def field(fwhm, seed, hot=(6.0, 12.0)):
    """Return pixels, places of stars of S/N 5 to 30, and of hot pixels (in units of the noise)."""
    rng = np.random.default_rng(seed)
    grid = np.arange(STEP, SIZE - STEP, STEP, dtype=float)
    x, y = (g.ravel() for g in np.meshgrid(grid, grid))
    is_hot = np.arange(x.size) % 2 == 1
    x[~is_hot] += rng.uniform(-0.5, 0.5, np.count_nonzero(~is_hot))
    y[~is_hot] += rng.uniform(-0.5, 0.5, np.count_nonzero(~is_hot))
    snr = np.exp(rng.uniform(np.log(5.0), np.log(30.0), np.count_nonzero(~is_hot)))
    flux = snr * SIGMA * np.sqrt(4.0 * np.pi) * fwhm / 2.3548
    image = render(x[~is_hot], y[~is_hot], flux, fwhm, (SIZE, SIZE))
    image += rng.normal(0.0, SIGMA, image.shape)
    pixels = y[is_hot].astype(int), x[is_hot].astype(int)
    image[pixels] += SIGMA * rng.uniform(*hot, np.count_nonzero(is_hot))
    return image.astype(np.float32), x, y, is_hot


def single_in(image, fwhm, x, y):
    bad = np.zeros(image.shape, np.bool_)
    return are_single_pixels(image, bad, SIGMA, Psf.gaussian(fwhm), x, y)


@pytest.mark.parametrize("fwhm", [1.8, 2.2, 3.5])
def test_hot_pixels_are_told_from_faint_stars(fwhm):
    image, x, y, is_hot = field(fwhm, 3)
    single = single_in(image, fwhm, x, y)
    assert single[is_hot].mean() > (0.9 if fwhm > 2.0 else 0.8)
    assert single[~is_hot].mean() < 0.005


def test_stars_as_sharp_as_pixels_are_not_looked_at():
    image, x, y, _ = field(1.2, 4)
    assert not single_in(image, 1.2, x, y).any()


def test_edges_and_bad_pixels_have_none():
    image, x, y, is_hot = field(2.2, 5)
    bad = image > 5.0 * SIGMA
    image[bad] = 0.0
    assert not are_single_pixels(image, bad, SIGMA, Psf.gaussian(2.2), x, y)[is_hot].any()
    corners = np.array([0.0, SIZE - 1.0, np.nan])
    assert not single_in(image, 2.2, corners, corners).any()
