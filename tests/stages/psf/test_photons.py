"""The gain of means of frames or pixels, whose card is that of one of them."""

import numpy as np
import pytest

import skyextract as sky
from tests.simulate.zeropointfields import GAIN, READ_NOISE, draw_sources, simulate_field

SIZE = 512


def mean_of(n, seed, level=300.0, bias=0.0, smoothed=False):
    """Return pixels of so many frames' mean."""
    field = simulate_field(seed, n_stars=120)
    light = draw_sources(field.sources, field.fwhm, SIZE) + level
    random = np.random.default_rng(seed + 99)
    image = random.poisson(light * GAIN * n) / (GAIN * n)
    image += random.normal(0.0, READ_NOISE / GAIN / n**0.5, light.shape)
    if smoothed:  # by bilinear interpolation, half a pixel along both axes
        image = sum(np.roll(image, shift, (0, 1)) for shift in ((0, 0), (0, 1), (1, 0), (1, 1))) / 4
    return (image + bias).astype(np.float32)


def gain_of(image, **keywords):
    """Return the gain that characterize leaves."""
    return sky.characterize(sky.exposure(image, gain=GAIN), **keywords).detector.gain


@pytest.mark.parametrize(("n", "seed"), [(4, 1), (9, 2), (9, 7)])
def test_means_of_frames_have_the_gain_of_all(n, seed, caplog):
    gain = gain_of(mean_of(n, seed))
    assert f"a gain of {gain:.4g} e- per image unit is used" in caplog.text
    assert gain == pytest.approx(n * GAIN, rel=0.2)  # the read noise, which no card tells, is noise


@pytest.mark.parametrize(("n", "seed"), [(9, 3), (4, 8)])
def test_means_of_dark_frames_have_the_gain_of_their_stars(n, seed, caplog):
    """The sky has 5 to 9 times its noise, more than half of it that of reading."""
    gain = gain_of(mean_of(n, seed, level=10.0))
    assert f"a gain of {gain:.4g} e- per image unit is used" in caplog.text
    assert gain == pytest.approx(n * GAIN, rel=0.25)


@pytest.mark.parametrize("seed", [3, 8])
def test_dark_frames_that_are_no_means_keep_their_gain(seed):
    assert gain_of(mean_of(1, seed, level=40.0)) == GAIN
    assert gain_of(mean_of(1, seed, level=40.0, bias=15.0)) == GAIN
    assert gain_of(mean_of(1, seed, level=15.0, smoothed=True)) == GAIN
    assert gain_of(np.sqrt(mean_of(1, seed, level=20.0) + np.float32(20.0))) == GAIN


def test_a_bias_in_the_level_is_no_mean():
    assert gain_of(mean_of(1, 3, bias=1000.0)) == GAIN
    assert gain_of(mean_of(9, 3, bias=1000.0)) == GAIN  # which nothing tells


def test_square_roots_are_no_mean():
    """Their sky has as little noise, but stars do not confirm its gain."""
    assert gain_of(np.sqrt(mean_of(1, 6))) == GAIN
    assert gain_of(np.sqrt(mean_of(1, 8, level=3000.0))) == GAIN


def test_noise_that_neighbours_share_is_no_mean():
    assert gain_of(mean_of(1, 4, smoothed=True)) == GAIN


def test_a_frame_without_sky_and_sextractors_noise_keep_their_gain():
    assert gain_of(mean_of(9, 5) - np.float32(300.0)) == GAIN
    assert gain_of(mean_of(9, 5), noise_type="INDEPENDENT") == GAIN


def multiplied(seed, level=30.0, read_noise=0.2):
    """Return pixels of an electron multiplier: each electron becomes an exponential number."""
    field = simulate_field(seed, n_stars=120)
    light = draw_sources(field.sources, field.fwhm, SIZE) + level
    random = np.random.default_rng(seed + 99)
    electrons = random.poisson(light * GAIN)
    image = random.gamma(np.maximum(electrons, 1e-9)) * (electrons > 0)
    image += random.normal(0.0, read_noise, light.shape)
    return (image / GAIN).astype(np.float32)


@pytest.mark.parametrize("seed", [1, 2])
def test_an_electron_multiplier_doubles_the_variance_of_photons(seed, caplog):
    gain = gain_of(multiplied(seed))
    assert f"a gain of {gain:.4g} e- per image unit is used" in caplog.text
    assert gain == pytest.approx(0.5 * GAIN, rel=0.2)


def test_read_noise_that_no_card_tells_is_no_more_noise_of_photons():
    field = simulate_field(5, n_stars=120)
    light = draw_sources(field.sources, field.fwhm, SIZE) + 40.0
    random = np.random.default_rng(6)
    image = random.poisson(light * GAIN) / GAIN + random.normal(0.0, 12.0, light.shape)
    assert gain_of(image.astype(np.float32)) == GAIN


@pytest.mark.parametrize("sky_level", [0.0, 300.0])
def test_counts_per_second_without_a_unit_have_the_exposure_time_in_their_gain(sky_level, caplog):
    time = 20.0
    rates = (mean_of(1, 2) - np.float32(300.0 - sky_level)) / np.float32(time)
    frame = sky.exposure(rates, gain=GAIN, header={"EXPTIME": time, "RDNOISE": READ_NOISE})
    assert sky.characterize(frame).detector.gain == pytest.approx(time * GAIN)
    assert "stars and sky have the noise of counts per second" in caplog.text


def test_counts_are_no_rates():
    frame = sky.exposure(mean_of(1, 3), gain=GAIN, header={"EXPTIME": 20.0})
    assert sky.characterize(frame).detector.gain == GAIN
