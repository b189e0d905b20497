"""Stars in the light that is scattered about a planet, and upon other wide light."""

import numpy as np
import pytest

from skyextract.datamodel.flags import Mask
from skyextract.datamodel.psf import Psf
from skyextract.run import Run
from skyextract.settings.keywords import Extraction
from skyextract.stages.detection.matched import matched_filter
from skyextract.stages.detection.withpsf import PixelNoise, detect_with_psf
from tests.stages.detection.test_detect import draw

ALONE = Extraction(noise_type="INDEPENDENT")
SIDE, NOISE, GAIN, FULL = 440, 10.0, 2.0, 30_000.0
V, U = np.indices((SIDE, SIDE))
R = np.hypot(U - 210.0, V - 225.0)
HALO = 12_000.0 / (1.0 + (R / 12.0) ** 2.2)
DISC = 9e4 / (1.0 + np.exp((R - 16.0) / 1.2))


def scene(seed, psf, filtering, light):
    """Return an image, where it is saturated, and positions and S/N of stars upon `light`."""
    rng = np.random.default_rng(seed)
    angle, r = rng.uniform(0, 2 * np.pi, 24), rng.uniform(50.0, 190.0, 24)
    x, y = 210.0 + r * np.cos(angle), 225.0 + r * np.sin(angle)
    snr = 10.0 ** np.linspace(1.6, 4.0, 24)
    beneath = light[np.rint(y).astype(int), np.rint(x).astype(int)]
    noise = np.sqrt(NOISE**2 + beneath / GAIN)
    expected = light + draw(psf, light.shape, x, y, snr * noise / np.sqrt(filtering.square))
    image = rng.normal(expected, np.sqrt(NOISE**2 + expected / GAIN))
    mask = np.where(image > FULL, np.uint16(Mask.SAT), np.uint16(0))
    return np.minimum(image, FULL).astype(np.float32), mask, x, y


@pytest.mark.parametrize("seed", range(3))
def test_stars_in_the_light_about_a_planet_are_found(seed):
    psf = Psf.gaussian(3.3)
    filtering = matched_filter(psf, (SIDE, SIDE))
    image, mask, x, y = scene(seed, psf, filtering, HALO + DISC)
    noise = PixelNoise(NOISE, gain=GAIN)
    before = detect_with_psf(image, filtering, noise, ALONE, Run(1))
    found = detect_with_psf(image, filtering, noise, ALONE, Run(1), mask=mask)
    at = [np.hypot(d.xpeak - x[:, None], d.ypeak - y[:, None]) for d in (before, found)]
    assert (at[0].min(1) < 2.0).sum() < 16
    assert (at[1].min(1) < 2.0).sum() >= 22
    # no part of the planet, nor of the light
    assert found.n <= 24 + 1


def upon(light, psf, filtering, height, seed=1):
    """Return an image, and positions of 24 stars that rise by `height` times the light beneath."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(30.0, 410.0, 24), rng.uniform(30.0, 410.0, 24)
    beneath = light[np.rint(y).astype(int), np.rint(x).astype(int)]
    expected = light + draw(psf, light.shape, x, y, height * beneath / filtering.square)
    image = rng.normal(expected, np.sqrt(NOISE**2 + expected / GAIN))
    return image.astype(np.float32), x, y


BAND = 40.0 * np.exp(-0.5 * ((V - 220.0) / 90.0) ** 4) * (1.0 + 0.3 * np.sin(U / 25.0 + V / 15.0))


@pytest.mark.parametrize("seed", range(2))
def test_stars_upon_a_wide_band_are_found_where_they_are(seed):
    """As a contrail: no star upon it has a share of all its light."""
    psf = Psf.gaussian(3.3)
    filtering = matched_filter(psf, (SIDE, SIDE))
    image, x, y = upon(np.maximum(BAND, 15.0), psf, filtering, 2.5, seed)
    noise = PixelNoise(NOISE, gain=GAIN)
    before = detect_with_psf(image, filtering, noise, ALONE, Run(1))
    found = detect_with_psf(
        image, filtering, noise, ALONE, Run(1), mask=np.zeros_like(image, np.uint16)
    )
    at = [np.hypot(d.x - x[:, None], d.y - y[:, None]).min(1) for d in (before, found)]
    assert (at[0] < 1.0).sum() <= 4
    assert (at[1] < 1.0).sum() >= 22
    # the band, and what of it passes for bright
    assert found.n <= 24 + 4
    # no pixel is lost, none has two owners
    assert np.unique(found.pixel).size == found.pixel.size == before.pixel.size


def test_a_galaxy_keeps_its_nucleus_and_loses_the_stars_upon_it():
    psf = Psf.gaussian(3.3)
    filtering = matched_filter(psf, (SIDE, SIDE))
    galaxy = 800.0 * np.exp(-R / 40.0) + draw(psf, R.shape, [210.0], [225.0], [4e4])
    image, x, y = upon(np.maximum(galaxy, 15.0), psf, filtering, 2.5, 5)
    noise = PixelNoise(NOISE, gain=GAIN)
    found = detect_with_psf(
        image, filtering, noise, ALONE, Run(1), mask=np.zeros_like(image, np.uint16)
    )
    assert (np.hypot(found.x - x[:, None], found.y - y[:, None]).min(1) < 1.0).sum() >= 22
    largest = np.argmax(np.diff(found.first))
    assert np.diff(found.first)[largest] > 0.8 * found.pixel.size
    assert np.hypot(found.xpeak[largest] - 210.0, found.ypeak[largest] - 225.0) < 1.5
    assert (np.hypot(found.x - 210.0, found.y - 225.0) < 20.0).sum() == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_steep_galaxy_beside_a_star_is_one_with_its_nucleus(seed):
    """Its light is no wide one upon which the middle stands, though a star is a second branch."""
    psf = Psf.gaussian(3.3)
    filtering = matched_filter(psf, (SIDE, SIDE))
    galaxy = np.fft.rfft2(34.0 * np.exp(-7.67 * ((np.hypot(R, 0.3) / 14.0) ** 0.25 - 1.0)))
    square = np.fft.fftfreq(SIDE)[:, None] ** 2 + np.fft.rfftfreq(SIDE) ** 2
    galaxy = np.fft.irfft2(galaxy * np.exp(-2.0 * (1.4 * np.pi) ** 2 * square), s=R.shape)
    expected = galaxy + draw(psf, R.shape, [238.0], [225.0], np.array([2500.0]))
    rng = np.random.default_rng(seed)
    image = rng.normal(expected, np.sqrt(NOISE**2 + expected / GAIN)).astype(np.float32)
    noise = PixelNoise(NOISE, gain=GAIN)
    none = np.zeros(image.shape, np.uint16)
    found = detect_with_psf(image, filtering, noise, ALONE, Run(1), mask=none)
    own = np.diff(found.first)
    assert own.max() > 0.8 * found.pixel.size
    assert np.hypot(found.xpeak[np.argmax(own)] - 210.0, found.ypeak[np.argmax(own)] - 225.0) < 1.5
    assert (np.hypot(found.x - 210.0, found.y - 225.0) < 20.0).sum() == 1


def test_knots_of_what_is_not_saturated_stay_together():
    """A spiral's knots rise by less than half of the light of their galaxy."""
    psf = Psf.gaussian(3.3)
    filtering = matched_filter(psf, (SIDE, SIDE))
    image, _, _ = upon(0.2 * HALO + 20.0 * np.exp(-0.5 * (R / 90.0) ** 2), psf, filtering, 0.4)
    noise = PixelNoise(NOISE, gain=GAIN)
    one = detect_with_psf(image, filtering, noise, ALONE, Run(1))
    both = detect_with_psf(
        image, filtering, noise, ALONE, Run(1), mask=np.zeros_like(image, np.uint16)
    )
    assert both.n == one.n
    assert np.array_equal(both.segmentation, one.segmentation)


def ring(x, y, radius, width):
    """Return a ring of light of unit height about a place."""
    return np.exp(-0.5 * ((np.hypot(U - x, V - y) - radius) / width) ** 2)


@pytest.mark.parametrize("angle", [0.3, 1.1, 2.9])
def test_the_one_star_within_a_ring_is_found_and_the_ring_is_one(angle):
    """Between the level at which it joins the ring and the highest of that there is no other."""
    psf = Psf.gaussian(3.3)
    filtering = matched_filter(psf, (SIDE, SIDE))
    x, y = 220.0 + 24.0 * np.cos(angle), 220.0 + 24.0 * np.sin(angle)
    light = 500.0 * ring(220.0, 220.0, 33.0, 5.0) + 500.0 * ring(90.0, 90.0, 18.0, 3.0)
    expected = light + draw(psf, light.shape, [x], [y], np.array([32_000.0]))
    image = np.random.default_rng(1).normal(expected, np.sqrt(NOISE**2 + expected / GAIN))
    noise = PixelNoise(NOISE, gain=GAIN)
    none = np.zeros(image.shape, np.uint16)
    found = detect_with_psf(image.astype(np.float32), filtering, noise, ALONE, Run(1), mask=none)
    assert (np.hypot(found.x - x, found.y - y) < 1.0).sum() == 1
    assert found.n == 3


@pytest.mark.parametrize("seed", range(3))
def test_bright_stars_upon_ghosts_of_a_few_hundred_pixels_are_found(seed):
    """A ghost has less than a hundred areas of a star for each of those upon it."""
    psf = Psf.gaussian(3.3)
    filtering = matched_filter(psf, (SIDE, SIDE))
    rng = np.random.default_rng(seed)
    light = np.zeros((SIDE, SIDE))
    for x, y, radius in ((120.0, 130.0, 45.0), (300.0, 310.0, 60.0)):
        r = np.hypot(U - x, V - y)
        light += 60.0 * ((r < radius) & (r > 0.4 * radius))
    y, x = rng.permutation(np.argwhere(light > 0.0))[:12].T
    flux = 10.0 ** rng.uniform(3.4, 4.7, 12)
    expected = light + draw(psf, light.shape, x, y, flux)
    image = rng.normal(expected, np.sqrt(NOISE**2 + expected / GAIN))
    noise = PixelNoise(NOISE, gain=GAIN)
    none = np.zeros_like(image, np.uint16)
    found = detect_with_psf(image.astype(np.float32), filtering, noise, ALONE, Run(1), mask=none)
    near = np.hypot(found.x - x[:, None], found.y - y[:, None]) < 1.5
    alone = np.sort(np.hypot(x - x[:, None], y - y[:, None]), axis=1)[:, 1] > 10.0
    assert near.any(axis=1)[alone].all()
    assert found.n <= 12 + 4
