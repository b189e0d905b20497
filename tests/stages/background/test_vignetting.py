"""A sky that falls to all corners is told; slopes, moons, galaxies and flat skies are not."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.run import Run
from skyextract.settings.keywords import Background
from skyextract.stages.background.estimate import estimate_background
from skyextract.stages.background.interpolate import subtract_background
from skyextract.stages.background.vignetting import (
    DOUBTED,
    about_flat,
    about_vignetting,
    sky_of_corners,
)
from tests.simulate.lights import galaxy

SIZE, SKY, GAIN = 512, 400.0, 1.5
Y, X = np.indices((SIZE, SIZE)) - 0.5 * (SIZE - 1)
R2 = (X**2 + Y**2) / (0.5 * SIZE * SIZE)


def background_of(level, seed=1, pedestal=0.0):
    random = np.random.default_rng(seed)
    image = random.poisson(np.clip(level, 0.0, None) * GAIN) / GAIN + random.normal(0, 4, Y.shape)
    image = (image + pedestal).astype(np.float32)
    return estimate_background(image, None, None, Background(), Run())


def missing_in_corners(background, largest=0):
    """Return the part that corners lack of a sky without sources."""
    sky = np.random.default_rng(2).normal(0.0, background.sigma, background.shape)
    no_bad = np.zeros(background.shape, np.bool_)
    return sky_of_corners(background, sky.astype(np.float32), no_bad, largest)[0]


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("depth", [0.15, 0.3, 0.8])
def test_what_corners_lack_is_measured(depth, power):
    found = missing_in_corners(background_of(SKY * (1.0 - depth * R2**power)))
    assert found == pytest.approx(depth, abs=0.02)
    assert f"falls by {found:.0%}" in about_vignetting(found)
    assert (found > DOUBTED) is (depth > 0.2)


def test_beside_a_slope_it_is_told_too():
    found = missing_in_corners(background_of(SKY * (1.0 - 0.4 * R2) * (1.0 + 0.1 * X / SIZE)))
    assert found == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize(
    "level",
    [
        SKY + 0.0 * X,
        SKY * (1.0 - 0.05 * R2),
        SKY + 0.6 * X,
        SKY * (1.0 + 0.8 * R2),
        SKY + 2000.0 * np.exp(-np.hypot(X - 300.0, Y - 200.0) / 150.0),
        SKY + 800.0 * np.exp(-np.hypot(X - 250.0, Y - 10.0) / 120.0),
        SKY - 200.0 * (X / SIZE) ** 2,
        SKY * (1.0 - 0.3 * (X > 0) * (Y > 0)),
        0.0 * X,
    ],
    ids=["flat", "little", "slope", "bowl", "moon", "side", "ridge", "amplifier", "none"],
)
def test_other_skies_are_not_vignetted(level):
    assert missing_in_corners(background_of(level)) == 0.0


def excess_of(level, by=1.0, seed=1):
    """Return what is found of a level whose pixels are multiplied."""
    random = np.random.default_rng(seed)
    image = random.poisson(level * GAIN) / GAIN + random.normal(0, 4, Y.shape)
    image = (image * by).astype(np.float32)
    background = estimate_background(image, None, None, Background(), Run())
    no_bad = np.zeros(image.shape, np.bool_)
    subtracted = subtract_background(image, np.zeros(image.shape, np.uint16), background, Run())
    missing, excess = sky_of_corners(background, subtracted, no_bad)
    assert missing == 0.0 or np.all(by == 1.0)
    return excess


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("excess", [0.15, 0.3, 0.6])
def test_a_flat_that_corrects_too_much(excess, seed):
    found = excess_of(SKY + 0.0 * X, 1.0 + excess * R2, seed)
    assert found == pytest.approx(excess, abs=0.03)
    assert f"rises by {found:.0%}" in about_flat(found)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rise", [0.15, 0.3, 0.6, 1.5])
def test_a_sky_that_is_brighter_in_the_corners_is_none(rise, seed):
    assert excess_of(SKY * (1.0 + rise * R2), seed=seed) == 0.0
    # Nor one that a flat has made even, whose noise rises, nor one that lacks a flat.
    vignetting = 1.0 / (1.0 + rise * R2)
    assert excess_of(SKY * vignetting, 1.0 / vignetting, seed) == 0.0
    assert excess_of(SKY * vignetting, seed=seed) == 0.0


@pytest.mark.parametrize("scale", [20.0, 60.0, 120.0])
def test_the_light_of_a_galaxy_is_no_vignetting(scale):
    light = galaxy(3000.0, scale)(np.random.default_rng(1), SIZE)
    assert missing_in_corners(background_of(SKY + light)) == 0.0


@pytest.mark.parametrize("size", [3.0, 6.0, 12.0])
def test_the_light_of_a_comet_is_no_vignetting(size):
    light = 8000.0 / (1.0 + np.hypot(X, Y) / size) ** 1.5
    assert missing_in_corners(background_of(200.0 + light)) == 0.0


def test_below_a_source_as_large_as_that_nothing_is_told():
    background = background_of(SKY * (1.0 - 0.3 * R2))
    assert missing_in_corners(background, largest=2000) > 0.25
    assert missing_in_corners(background, largest=5000) == 0.0


def test_a_pedestal_hides_a_part_only():
    found = missing_in_corners(background_of(SKY * (1.0 - 0.8 * R2), pedestal=SKY))
    assert found == pytest.approx(0.4, abs=0.02)
