"""Noise that was taken off but for what passed for light, and noise that only neighbours share."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, spline_filter1d, zoom

import skyextract as sky
from skyextract.datamodel.exposure import Exposure
from skyextract.run import Run
from skyextract.stages.pixels.denoised import with_doubt_of_denoising
from tests.simulate.zeropointfields import GAIN, draw_sources, simulate_field

SIZE, LEVEL = 512, 400.0
SIGMA = (LEVEL / GAIN) ** 0.5


def taken(seed):
    """Return sources of a field, and its pixels with the noise of photons."""
    field = simulate_field(seed, n_stars=150)
    light = draw_sources(field.sources, field.fwhm, SIZE) + LEVEL
    return field, np.random.default_rng(seed).poisson(light * GAIN) / GAIN


def denoised(image, left):
    """Take noise off where it is below 3 sigma of a small Gaussian, but for a part of it."""
    wide = gaussian_filter(image, 4.0)
    excursion = np.abs(gaussian_filter(image, 1.0) - wide) * 3.5449 / SIGMA
    share = (1.0 - left) / (1.0 + np.exp(np.minimum(2.0 * (excursion - 3.0), 50.0)))
    return image * (1.0 - share) + wide * share


def noted(image):
    exposure = Exposure(image.astype(np.float32), np.zeros(image.shape, np.uint16))
    return with_doubt_of_denoising(exposure, np.zeros(image.shape, np.bool_), Run()).denoised


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("left", [0.03, 0.1])
def test_islands_are_found(seed, left):
    _, image = taken(seed)
    assert "the pixels were smoothed but for islands" in noted(denoised(image, left))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_noise_that_neighbours_share_is_none(seed):
    _, image = taken(seed)
    rng = np.random.default_rng(seed)
    clouds = 40.0 * gaussian_filter(rng.normal(0.0, 30.0, image.shape), 10.0)
    telegraph = image + (rng.random(image.shape) < 0.02) * rng.choice([-40.0, 40.0], image.shape)
    for frame in (
        image, gaussian_filter(image, 1.0), zoom(image, 1.6, order=3)[:SIZE, :SIZE],
        spline_filter1d(image + clouds), telegraph, gaussian_filter(telegraph, 0.8),
        np.round(gaussian_filter(image, 0.7) / 10.0), np.zeros(image.shape), image[:40, :40],
    ):  # fmt: skip
        assert noted(frame) == ""


def test_negatives_of_stars_are_no_islands():
    """As of frames that are taken from each other after nodding."""
    for seed in (1, 2):
        field = simulate_field(seed, n_stars=400)
        light = 10.0 * draw_sources(field.sources, field.fwhm, SIZE)
        rng = np.random.default_rng(seed)
        one, other = (
            rng.poisson((np.roll(light, k, 1) + LEVEL) * GAIN) / GAIN for k in (0, 30)
        )  # fmt: skip
        assert noted(one - other) == ""


def test_islands_are_no_sources_and_no_cosmic_rays(caplog):
    field, image = taken(4)
    frame = sky.exposure(np.round(denoised(image, 0.03)).astype(np.float32), gain=GAIN)
    characterized = sky.characterize(frame)
    found = sky.measure(characterized)
    assert found.status["measure"] == "FALLBACK"
    assert "the pixels were smoothed but for islands" in caplog.text
    assert "cosmic rays" not in caplog.text
    x, y = (found.table[name] - 1.0 for name in ("X_IMAGE", "Y_IMAGE"))
    known = field.sources.flux > 5.0 * SIGMA
    away = np.hypot(
        np.subtract.outer(x, field.sources.x[known]), np.subtract.outer(y, field.sources.y[known])
    )
    assert np.mean(away.min(axis=1) > 4.0) < 0.1  # three quarters without a longer tail of noise
    bright = field.sources.flux[known] > 30.0 * SIGMA * field.fwhm
    assert np.mean(away.min(axis=0)[bright] < 2.0) > 0.9
