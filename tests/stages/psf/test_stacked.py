"""Stacks that are no means of frames: clipped where stars are bright, the highest or lowest."""

import numpy as np
import pytest

import skyextract as sky

GAIN, READ_NOISE, BETA = 1.5, 5.0, 3.5
SIZE, SKY, SEEINGS = 256, 400.0, np.linspace(2.4, 4.4, 9)


def frames(seed, seeings, brightest=5.0):
    """Return pixels of frames of one field, one in each seeing."""
    random = np.random.default_rng(seed)
    places = 25.0 + 41.0 * np.indices((6, 6)).reshape(2, -1) + random.uniform(-4.0, 4.0, (2, 36))
    flux = 10.0 ** random.uniform(3.3, brightest, 36)
    y, x = np.indices((SIZE, SIZE), dtype=np.float32)
    r2 = [(x - x0) ** 2 + (y - y0) ** 2 for x0, y0 in places.T]
    images = []
    for fwhm in seeings:
        scale = (0.5 * fwhm) ** 2 / (2.0 ** (1.0 / BETA) - 1.0)
        light = sum(f * (1.0 + r / scale) ** -BETA for f, r in zip(flux, r2, strict=True))
        light = SKY + light * (BETA - 1.0) / (np.pi * scale)
        images.append(random.poisson(light * GAIN) + random.normal(0.0, READ_NOISE, light.shape))
    return np.array(images) / GAIN


def clipped(images, sigmas=3.0):
    """Return the mean of what is within so many sigma of the median."""
    middle = np.median(images, axis=0)
    noise = np.sqrt(middle / GAIN + (READ_NOISE / GAIN) ** 2)
    kept = np.abs(images - middle) < sigmas * noise
    return np.where(kept, images, 0.0).sum(axis=0) / np.maximum(kept.sum(axis=0), 1)


def medians(images):
    return np.median(images, axis=0)


def doubt(image, gain, read_noise=READ_NOISE):
    """Return what characterize says against an image."""
    frame = sky.exposure(image.astype(np.float32), gain=gain, header={"RDNOISE": read_noise})
    return sky.characterize(frame).uneven


@pytest.mark.parametrize(("combine", "n"), [(clipped, 9), (medians, 6)])
def test_frames_of_other_seeing_that_clip_bright_stars_are_told(combine, n):
    said = doubt(combine(frames(3, SEEINGS)), n * GAIN, n**0.5 * READ_NOISE)
    assert "times the noise, from pixel to pixel, of their photons" in said


def test_means_and_clipping_in_one_seeing_are_not():
    assert not doubt(frames(3, SEEINGS).mean(axis=0), 9 * GAIN, 3 * READ_NOISE)
    assert not doubt(clipped(frames(3, [3.2] * 9)), 9 * GAIN, 3 * READ_NOISE)


@pytest.mark.parametrize(
    ("combine", "said"), [(np.max, "the highest of"), (np.min, "the lowest of"), (np.mean, "")]
)
def test_the_highest_and_the_lowest_of_frames_are_told(combine, said):
    told = doubt(combine(frames(5, [3.2] * 5, 4.5), axis=0), GAIN)
    assert said in told
    assert bool(told) == bool(said)
