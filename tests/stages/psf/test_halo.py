"""A halo about stars that the PSF does not have."""

import numpy as np
import pytest

from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.psf import Psf
from skyextract.stages.psf.halo import FAR, NEAR, find_halo

SIZE, FWHM, WIDTH = 600, 3.0, 15.0
"""Of the halo: sigma of a Gaussian, pixels."""


def frame(share, beta, *, half=False, seed=1, n=40):
    """Stars of a Moffat PSF, part of whose light is scattered widely; noise of 5."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(20.0, SIZE - 20.0, (2, n))
    flux = 10.0 ** rng.uniform(4.0, 5.5, n)
    image = rng.normal(0.0, 5.0, (SIZE, SIZE))
    row, column = np.indices(image.shape)
    core = FWHM / 2.0 / np.sqrt(2.0 ** (1.0 / beta) - 1.0)
    for k in range(n):
        r2 = (column - x[k]) ** 2 + (row - y[k]) ** 2
        part = share if not half or x[k] > 0.6 * SIZE else 0.0
        psf = (beta - 1.0) / np.pi / core**2 * (1.0 + r2 / core**2) ** -beta
        wide = np.exp(-0.5 * r2 / WIDTH**2) / (2.0 * np.pi * WIDTH**2)
        image += flux[k] * (psf + part * wide)
    stars = Catalog({"X_IMAGE": x + 1.0, "Y_IMAGE": y + 1.0, "FLUX_PSF": flux})
    return stars, image.astype(np.float32)


def halo_of(stars, image):
    return find_halo(stars, Psf.gaussian(FWHM), image, np.zeros(image.shape, np.bool_))


def test_its_light_is_measured():
    """By the surface brightness halfway through either ring, to a fifth."""
    halo = halo_of(*frame(0.5, 4.0))
    inner, outer = (0.5 * sum(ring) * FWHM for ring in (NEAR, FAR))
    level = [np.exp(-0.5 * r**2 / WIDTH**2) / (2.0 * np.pi * WIDTH**2) for r in (inner, outer)]
    area = np.pi * (NEAR[1] ** 2 - NEAR[0] ** 2) * FWHM**2
    assert halo.share == pytest.approx(0.5 * (level[0] - level[1]) * area, rel=0.2)
    assert halo.doubt.startswith("stars have ")
    assert "fog" in halo.doubt


def test_wings_of_the_atmosphere_are_none():
    for seed, beta in enumerate((2.5, 3.0, 4.0)):
        assert not halo_of(*frame(0.0, beta, seed=seed)).doubt


def test_dew_on_a_part_of_the_frame():
    halo = halo_of(*frame(0.7, 4.0, half=True, n=60))
    assert "stars in the right half have" in halo.doubt


def test_few_stars_tell_nothing():
    stars, image = frame(0.5, 4.0)
    assert find_halo(None, Psf.gaussian(FWHM), image, image > np.inf) is None
    assert halo_of(stars.take(np.arange(7)), image) is None
    assert find_halo(stars, Psf.gaussian(FWHM), image, image > -np.inf) is None


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_the_brightest_stars_tell_where_the_noise_of_the_others_hides_it(seed):
    """Ten bright stars, and fifteen with a tenth of their flux in uneven light."""
    stars, image = frame(0.5, 4.0, seed=seed, n=10)
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(40.0, SIZE - 40.0, (2, 15))
    level = halo_of(stars, image).share
    row, column = np.indices(image.shape)
    for k in range(15):
        near = np.hypot(column - x[k], row - y[k]) < NEAR[1] * FWHM
        image[near] += np.float32(rng.normal(0.0, 3.0))
    columns = {
        "X_IMAGE": np.append(stars["X_IMAGE"], x + 1.0),
        "Y_IMAGE": np.append(stars["Y_IMAGE"], y + 1.0),
        "FLUX_PSF": np.append(stars["FLUX_PSF"], np.full(15, 5000.0)),
    }
    halo = halo_of(Catalog(columns), image)
    assert halo.doubt
    assert halo.share == pytest.approx(level, rel=0.3)
