"""Levels and noise of rounded pixels, for any place of the level between two steps."""

import numpy as np
import pytest

from skyextract.run import Run
from skyextract.settings.keywords import Background
from skyextract.stages.background.coarse import coarse_meshes, row_step
from skyextract.stages.background.estimate import estimate_background
from skyextract.stages.background.rounded import rounded_sky

SIZE = 256


def sky(sigma, level, seed=1, step=1.0):
    image = np.random.default_rng(seed).normal(level, sigma, (SIZE, SIZE))
    return (step * np.rint(image)).astype(np.float32)


def found_in(image, step=1.0):
    good = np.ones(image.shape, np.bool_)
    level, rms, _ = coarse_meshes(image, good, 64, 64, step, photons=False)
    return rounded_sky(image, good, 64, 64, step, level, rms)


@pytest.mark.parametrize("place", [0.0, 0.1, 0.25, 0.4, 0.5, 0.8])
@pytest.mark.parametrize("sigma", [0.25, 0.3, 0.4, 0.6])
def test_level_and_sigma_are_those_before_rounding(sigma, place):
    found = found_in(sky(sigma, 5.0 + place))
    assert found.sigma == pytest.approx(sigma, abs=0.015)
    assert found.level.mean() == pytest.approx(5.0 + place, abs=0.01)
    assert found.shift == pytest.approx(sky(sigma, 5.0 + place).mean() - 5.0 - place, abs=0.01)


@pytest.mark.parametrize("place", [0.0, 0.1, 0.25, 0.4, 0.5])
def test_a_fifth_of_a_step_of_noise_shows_the_level_to_a_fiftieth(place):
    found = found_in(sky(0.2, 5.0 + place, step=0.01), 0.01)
    assert found.level.mean() == pytest.approx(0.01 * (5.0 + place), abs=0.0002)


def test_values_that_no_gaussian_makes_have_none():
    random = np.random.default_rng(3)
    assert found_in(random.poisson(0.1, (SIZE, SIZE)).astype(np.float32) + 7) is None
    assert found_in(sky(1.5, 5.0)) is None


@pytest.mark.parametrize("place", [0.0, 0.25, 0.5])
def test_what_rounding_hides_depends_on_sigma_and_not_on_the_place(place):
    """A whole step is hidden at sigma 0, a third at 0.3, at any place; it is 0 from 0.7 on."""
    for sigma, part in ((0.3, 0.31), (0.4, 0.08)):
        image = sky(sigma, 5.0 + place)
        found = estimate_background(image, None, None, Background(), Run(1), measured=True)
        assert found.hidden_step == pytest.approx(part, abs=0.06)
        assert found.mean == pytest.approx(5.0 + place, abs=0.01)
        assert found.sigma >= np.hypot(sigma, 12**-0.5) - 0.02
        assert found.mean + found.rounding == pytest.approx(float(image.mean()), abs=0.01)


def test_rows_that_are_rounded_each_by_itself_leave_the_level():
    """Steps of one sigma, as compressed images have in tiles of one row."""
    random = np.random.default_rng(2)
    step, offset = 15.0 * random.uniform(0.9, 1.1, (SIZE, 1)), random.uniform(0.0, 15.0, (SIZE, 1))
    image = random.normal(400.0, 15.0, (SIZE, SIZE))
    image = (step * np.rint((image - offset) / step) + offset).astype(np.float32)
    background = Background(back_size=(32,))
    found = estimate_background(image, None, None, background, Run(1), measured=True)
    assert found.level.std() < 0.8  # 0.6 of the values before, 1.7 as if they were not rounded
    assert found.sigma == pytest.approx(np.hypot(15.0, 15.0 / 12**0.5), rel=0.04)


def test_rates_over_an_exposure_map_have_no_steps():
    """Two of different rows are as near to each other as chance will: no sky has that noise."""
    random = np.random.default_rng(3)
    x, y = np.arange(1024) / 1024.0 - 0.5, np.arange(-2, 3)[:, None] / 5.0
    exposure = 2e4 * np.exp(-3.0 * (x * x + y * y))
    counts = random.poisson(exposure / 2e5)
    for image, step in ((counts / exposure, 0.0), (counts, 1.0)):
        pixels = image.astype(np.float32)
        assert row_step(pixels, lambda rows: np.ones((1, x.size), np.bool_)) == step
