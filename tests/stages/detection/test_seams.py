"""Steps of the sky: amplifiers and chips of other gain, offsets, mosaics."""

import numpy as np
import pytest

from skyextract.run import Run
from skyextract.settings.resolve import resolve
from skyextract.stages.background.estimate import estimate_background
from skyextract.stages.background.interpolate import subtract_background
from skyextract.stages.detection.seams import find_seam

SIZE, SKY, GAIN = 512, 300.0, 1.5
"""Pixels, ADU, e-/ADU."""
HALF = SIZE // 2


def sky(level, seed=1, shape=(SIZE, SIZE)):
    """Photons of a sky, ADU, with a read noise of 4 electrons."""
    rng = np.random.default_rng(seed)
    light = np.broadcast_to(level, shape)
    return (rng.poisson(light * GAIN) + rng.normal(0.0, 4.0, shape)) / GAIN


def seam_of(image):
    image = image.astype(np.float32)
    config = resolve(None).config.background
    background = estimate_background(image, None, None, config, Run(1))
    plane = subtract_background(image, None, background, Run(1))
    bad = np.zeros(image.shape, np.bool_)
    return find_seam(plane, background.mean, background.sigma, bad)


@pytest.mark.parametrize("gain", [1.05, 1.1, 1.3])
@pytest.mark.parametrize("turned", [False, True])
def test_gains_that_differ(gain, turned):
    image = sky(SKY)
    image[:, 200:] *= gain
    seam = seam_of(image.T if turned else image)
    assert seam.are_many
    # Three errors of the ratio of noises of 48 columns on either side.
    assert seam.gain == pytest.approx(gain, abs=3.0 * 0.5 * np.sqrt(6.0 / (48 * SIZE)))
    assert f"at {'row' if turned else 'column'} 201, and its noise with it" in seam.doubt


def test_quadrants_of_four_gains():
    image = sky(SKY)
    image[:HALF, HALF:] *= 1.06
    image[HALF:, :HALF] *= 0.95
    image[HALF:, HALF:] *= 1.1
    seam = seam_of(image)
    assert seam.are_many
    assert str(HALF + 1) in seam.doubt


@pytest.mark.parametrize("offset", [12.0, -20.0])
def test_an_offset_changes_no_flux(offset):
    image = sky(SKY)
    image[:, 300:] += offset
    seam = seam_of(image)
    assert not seam.are_many
    assert seam.step == pytest.approx(abs(offset), rel=0.25)
    assert "at column 301" in seam.doubt


@pytest.mark.parametrize(
    ("kind", "words"),
    [("light", "as that of photons"), ("flat", "with it: gains"), ("offset", "offsets of")],
)
def test_what_a_dark_strip_is(kind, words):
    """Light that is missing, a flat field that is wrong, an offset: the noise tells which."""
    strip = np.ones((SIZE, SIZE))
    strip[:, 270:330] = 0.9
    level = np.full((SIZE, SIZE), SKY)
    for seed in range(8):
        if kind == "light":
            image = sky(level * strip, seed)
        else:
            image = sky(level, seed)
            image = image * strip if kind == "flat" else image - SKY * (1.0 - strip)
        assert words in seam_of(image).doubt
    bright = level * np.where(np.arange(SIZE) < HALF, 1.0, 1.3)
    assert not seam_of(sky(bright)).are_many


def test_a_smooth_sky_has_no_step():
    y, x = np.indices((SIZE, SIZE))
    for seed in range(15):
        assert seam_of(sky(SKY, seed)) is None
    assert seam_of(sky(SKY + 0.5 * x)) is None
    assert seam_of(sky(SKY + 100.0 * np.exp(-np.hypot(x - 256, y - 256) / 60.0))) is None
    assert seam_of(sky(SKY * (1.0 - 0.3 * np.hypot(x - 256, y - 256) ** 2 / 256**2))) is None


def test_one_broken_column_is_no_step():
    image = sky(SKY)
    image[:, 222] += 30.0
    image[:, 100:102] -= 20.0
    assert seam_of(image) is None


def test_every_second_column_of_a_wide_frame():
    image = sky(SKY, shape=(256, 4096))
    image[:, 1500:] *= 1.1
    seam = seam_of(image)
    assert seam.gain == pytest.approx(1.1, abs=0.03)
    assert "at column 1501, and" in seam.doubt
