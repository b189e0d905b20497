"""Few photons and coarse steps: level and noise are those that were put in."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.run import Run
from skyextract.settings.keywords import Background
from skyextract.stages.background.coarse import sample_good
from skyextract.stages.background.estimate import estimate_background

SHAPE = (256, 320)


def with_stars(image, rng):
    """Return the image with stars, and the pixels that they cover."""
    v, u = np.indices(SHAPE)
    covered = np.zeros(SHAPE, np.uint8)
    for x, y in zip(rng.uniform(0, 320, 20), rng.uniform(0, 256, 20), strict=True):
        covered |= (np.hypot(u - x, v - y) < 8).astype(np.uint8)
        image = image + rng.poisson(100 * np.exp(-((u - x) ** 2 + (v - y) ** 2) / 4.0))
    return image.astype(np.float32), covered


@pytest.mark.parametrize("photons", [0.1, 0.3, 1.0, 3.0])
def test_level_and_noise_of_few_photons(photons):
    rng = np.random.default_rng(3)
    image, stars = with_stars(rng.poisson(photons, SHAPE).astype(float), rng)
    found = estimate_background(
        image, None, None, Background(), Run(1), sources=stars, measured=True
    )
    assert found.mean == pytest.approx(photons, abs=0.06 * np.sqrt(photons) + 0.01)
    assert found.sigma == pytest.approx(np.sqrt(photons), rel=0.08)
    assert found.skewness == pytest.approx(1 / np.sqrt(photons), rel=0.25)


@pytest.mark.parametrize("rms", [0.34, 0.44, 1.0])
def test_level_and_noise_of_coarse_steps(rms):
    rng = np.random.default_rng(3)
    noise = np.rint(rng.normal(100.3, rms, SHAPE))
    image, stars = with_stars(noise, rng)
    found = estimate_background(
        image, None, None, Background(), Run(1), sources=stars, measured=True
    )
    assert found.mean == pytest.approx(noise.mean(), abs=0.05)
    assert found.sigma == pytest.approx(noise.std(), rel=0.08)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (lambda rng: np.rint(rng.normal(100.1, 0.2, SHAPE)), True),
        (lambda rng: np.rint(rng.normal(100.5, 0.2, SHAPE)), True),
        (lambda rng: np.rint(rng.normal(7.3, 0.1, SHAPE)), True),
        (lambda rng: np.rint(rng.normal(100.1, 0.4, SHAPE)), False),
        (lambda rng: np.rint(rng.normal(100.5, 0.4, SHAPE)), False),
        (lambda rng: rng.poisson(0.03, SHAPE), False),
        (lambda rng: rng.poisson(0.3, SHAPE) * 0.5, False),
    ],
)
def test_noise_that_rounding_hides_is_told(values, told):
    rng = np.random.default_rng(5)
    image, stars = with_stars(values(rng).astype(float), rng)
    run = Run(1)
    estimate_background(image, None, None, Background(), run, sources=stars, measured=True)
    assert any("rounding hides" in warning for warning in run.warnings) == told


def test_fine_noise_is_as_in_sextractor():
    image = np.random.default_rng(1).normal(100, 5, SHAPE).astype(np.float32)
    for frame in (image, np.rint(image)):
        ours = estimate_background(frame, None, None, Background(), Run(1), measured=True)
        theirs = estimate_background(frame, None, None, Background(), Run(1))
        np.testing.assert_array_equal(ours.level, theirs.level)
        np.testing.assert_array_equal(ours.rms, theirs.rms)
        assert ours.skewness is None


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999, 1.0])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_sample_of_the_good_pixels(share, n_threads):
    rng = np.random.default_rng(6)
    image = rng.normal(size=(300, 900)).astype(np.float32)
    good = rng.random(image.shape) >= share
    good[50:80] = share < 1.0  # whole rows
    values = image[good]
    expected = values[:: max(1, values.size // 40_000)]
    found = sample_good(image, lambda rows: good[rows], Run(n_threads))
    np.testing.assert_array_equal(found, expected)
