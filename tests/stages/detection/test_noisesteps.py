"""Steps of the noise without one of the sky: chips of another gain whose sky was matched."""

import numpy as np
import pytest

from skyextract.datamodel.background import BackgroundMap
from skyextract.stages.background.interpolate import background_at
from skyextract.stages.detection.noisesteps import find_noise_step

SIZE, SKY = 512, 400.0
"""Electrons."""


def step_of(image, gain=1.0, header=None, level=SKY, **options):
    pixels = np.asarray(image - np.median(image), np.float32)
    sigma = float(pixels.std())
    mesh = np.full([-(-side // 64) for side in image.shape], level, np.float32)
    sky = BackgroundMap(mesh, mesh, 64, 64, image.shape, level, sigma)
    return find_noise_step(pixels, sky, np.zeros(image.shape, np.bool_), gain, header, **options)


def sky(seed=1, level=SKY, shape=(SIZE, SIZE)):
    return np.random.default_rng(seed).poisson(level, shape).astype(float)


def matched(seed, gain, column=256):
    image = sky(seed)
    image[:, column:] = gain * (image[:, column:] - SKY) + SKY
    return image


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("turned", [False, True])
def test_chips_whose_sky_was_matched(seed, turned):
    image = matched(seed, 1.15, 200)
    step = step_of(image.T if turned else image)
    assert step.are_many
    assert np.sqrt(step.ratio) == pytest.approx(1.15, abs=0.03)
    name, at = step.doubt.split("steps at ")[1].split(",")[0].split()
    assert name == ("row" if turned else "column")
    assert int(at) == pytest.approx(201, abs=8)


@pytest.mark.parametrize("seed", [3, 8, 35])
def test_a_step_of_the_sky_is_none_of_the_noise(seed):
    """Next to it the background is off, and of few columns pixels are left: the calm ones."""
    level = np.where(np.arange(SIZE) < 257, 400.0, 700.0)
    image = np.random.default_rng(seed).poisson(level * 1.5, (SIZE, SIZE)) / 1.5
    mesh = np.tile(np.repeat([400.0, 700.0], 4), (8, 1)).astype(np.float32)
    sky = BackgroundMap(mesh, mesh, 64, 64, (SIZE, SIZE), 550.0, 19.0)
    y, x = np.indices((SIZE, SIZE))
    pixels = (image - background_at(sky, x, y)).astype(np.float32)
    assert find_noise_step(pixels, sky, np.zeros(pixels.shape, np.bool_), 1.5, None) is None


def test_without_a_sky_gains_are_one_of_several_reasons():
    for step in (
        step_of(matched(1, 1.2), level=0.0),
        step_of(matched(1, 1.2), gain=0.0),
        step_of(matched(1, 1.2), header={"NCOMBINE": 3}),
        step_of(matched(1, 1.2), matched=True),
    ):
        assert not step.are_many
        assert "do not cover all" in step.doubt


def test_even_and_smooth_noise_has_no_step():
    y, x = np.indices((SIZE, SIZE))
    vignetting = 1.0 - 0.5 * np.hypot(x - 256, y - 256) ** 2 / 256**2 / 2
    for seed in range(12):
        assert step_of(sky(seed)) is None
        assert step_of(sky(seed, SKY * vignetting) / vignetting) is None
    assert step_of(sky(1, SKY * (0.5 + x / SIZE)) - SKY * (0.5 + x / SIZE)) is None


def test_one_noisy_column_and_small_frames_have_none():
    image = sky()
    image[:, 222:225] += np.random.default_rng(2).normal(0.0, 60.0, (SIZE, 3))
    assert step_of(image) is None
    assert step_of(matched(1, 1.3)[:150, 180:330]) is None


def test_wide_frames_are_looked_at_in_some_columns():
    image = sky(shape=(300, 4096))
    image[:, 1500:] = 1.2 * (image[:, 1500:] - SKY) + SKY
    step = step_of(image)
    assert int(step.doubt.split("column ")[1].split(",")[0]) == pytest.approx(1501, abs=64)


def on_nebula(seed, gain=1.0, amplitude=250.0, width=3.0):
    """A wall of gas along a column, which the mesh follows; chips of another gain."""
    rng = np.random.default_rng(seed)
    _, x = np.indices((SIZE, SIZE))
    light = amplitude / (1.0 + np.exp(-(x - 140.0) / width)) * (1.0 - 0.2 * x / SIZE)
    image = rng.poisson(SKY + light).astype(float) - SKY - light
    image[:, 300:] *= gain
    mesh = np.add.reduceat(light[::64], np.arange(0, SIZE, 8), axis=1).astype(np.float32) / 8 + SKY
    background = BackgroundMap(
        mesh, mesh, 8, 64, image.shape, float(np.median(mesh)), float(image.std())
    )
    bad = np.zeros(image.shape, np.bool_)
    return find_noise_step(image.astype(np.float32), background, bad, 1.0, None)


@pytest.mark.parametrize("seed", range(3))
def test_noise_of_a_nebula_is_that_of_its_light(seed):
    assert on_nebula(seed) is None
    step = on_nebula(seed, 1.2)
    assert step.are_many
    assert int(step.doubt.split("column ")[1].split(",")[0]) == pytest.approx(301, abs=8)
