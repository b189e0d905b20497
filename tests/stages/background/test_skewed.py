"""The level of a sky of 10 to 500 electrons, the noise of which is skewed."""

from __future__ import annotations

import numpy as np
import pytest

import skyextract as sky
from skyextract.run import Run
from skyextract.settings.keywords import Background
from skyextract.stages.background.estimate import estimate_background

SHAPE = (768, 768)


def level_of(image, measured=True, pearson=2.5):
    config = Background(back_pearson=pearson)
    found = estimate_background(
        image.astype(np.float32), None, None, config, Run(1), measured=measured
    )
    return float(found.level.mean(dtype=np.float64))


@pytest.mark.parametrize("pearson", [2.5, 3.5])
@pytest.mark.parametrize(("photons", "read_noise"), [(28, 0.0), (40, 2.0), (80, 3.0)])
def test_the_level_of_skewed_noise_is_its_mean(photons, read_noise, pearson):
    """Electrons as real numbers, as after a flat field; the mode lies .04 to .12 sigma below."""
    random = np.random.default_rng(photons)
    image = random.poisson(photons, SHAPE) + random.uniform(-0.5, 0.5, SHAPE)
    image += random.normal(0.0, read_noise, SHAPE)
    sigma = float(np.hypot(np.sqrt(photons), read_noise))
    off = (level_of(image, pearson=pearson) - photons) / sigma
    assert abs(off) < 0.02
    # SExtractor's level stays what it is.
    assert (level_of(image, measured=False, pearson=pearson) - photons) / sigma < -0.03


def test_the_light_of_faint_stars_is_no_level():
    """It skews the pixels, too; symmetric noise is given no more than its own uncertainty."""
    random = np.random.default_rng(7)
    image = random.normal(100.0, 10.0, SHAPE)
    plain = level_of(image)
    assert plain == pytest.approx(100.0, abs=0.15)
    v, u = np.indices((25, 25)) - 12.0
    star = np.exp(-2.7726 * (u * u + v * v) / 3.0**2)
    for x, y in random.integers(12, 755, (4000, 2)):
        image[y - 12 : y + 13, x - 12 : x + 13] += random.exponential(15.0) * star
    assert level_of(image) == pytest.approx(level_of(image, measured=False), abs=0.05)


@pytest.mark.parametrize("photons", [0.002, 0.005, 0.02, 0.1])
def test_rare_photons_have_the_noise_of_their_number(photons):
    """No rounding hides it, as that of a converter's steps (.29) would."""
    image = np.random.default_rng(3).poisson(photons, SHAPE).astype(np.float32)
    found = estimate_background(image, None, None, Background(), Run(1), measured=True)
    assert found.sigma == pytest.approx(np.sqrt(photons), rel=0.06)
    assert float(found.rms.min()) > 0.6 * np.sqrt(photons)
    assert found.mean == pytest.approx(photons, rel=0.05)


def test_sources_of_fifteen_photons_in_a_sky_of_rare_ones():
    """A hundred of them, where .3 of the sky are beneath each; nothing else is found."""
    random = np.random.default_rng(1)
    image = random.poisson(0.005, (512, 512))
    y, x = 40.0 + 48.0 * np.indices((10, 10)).reshape(2, -1)
    for place in zip(x, y, strict=True):
        u, v = random.normal(place, 3.9 / 2.3548, (15, 2)).T
        np.add.at(image, (np.rint(v).astype(int), np.rint(u).astype(int)), 1)
    table = sky.measure(sky.exposure(image.astype(np.float32)), default_fwhm=3.9).table
    distance = np.hypot(table["X_IMAGE"][:, None] - 1 - x, table["Y_IMAGE"][:, None] - 1 - y)
    assert (distance.min(axis=0) < 3.0).sum() > 90
    assert (distance.min(axis=1) < 4.0).all()
