"""Stars in the light that is scattered about a planet."""

import numpy as np
import pytest

from skyextract.datamodel.flags import Mask
from skyextract.datamodel.psf import Psf
from skyextract.run import Run
from skyextract.settings.keywords import Extraction
from skyextract.stages.detection.detect import detect
from skyextract.stages.detection.matched import matched_filter
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
    options = {"sigma": NOISE, "psf": filtering, "gain": GAIN}
    before = detect(image, ALONE, Run(1), **options)
    found = detect(image, ALONE, Run(1), **options, mask=mask)
    at = [np.hypot(d.xpeak - x[:, None], d.ypeak - y[:, None]) for d in (before, found)]
    assert (at[0].min(1) < 2.0).sum() < 16
    assert (at[1].min(1) < 2.0).sum() >= 22
    # no part of the planet, nor of the light
    assert found.n <= 24 + 1


def test_knots_of_what_is_not_saturated_stay_together():
    """A spiral's knots: what they rise above is light of their galaxy."""
    psf = Psf.gaussian(3.3)
    filtering = matched_filter(psf, (SIDE, SIDE))
    image, _, _, _ = scene(1, psf, filtering, 0.2 * HALO)
    options = {"sigma": NOISE, "psf": filtering, "gain": GAIN}
    one = detect(image, ALONE, Run(1), **options)
    both = detect(image, ALONE, Run(1), **options, mask=np.zeros_like(image, np.uint16))
    assert both.n == one.n
    assert np.array_equal(both.segmentation, one.segmentation)
