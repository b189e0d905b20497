"""Few photons and coarse steps: level and noise are those that were put in."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.run import Run
from skyextract.settings.keywords import Background
from skyextract.stages.background.coarse import (
    MIN_SKEWNESS,
    own_skewness,
    sample_good,
    skewness_in_blocks,
    value_step,
)
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


@pytest.mark.parametrize("photons", [0.3, 1.0, 5.0, 15.0])
def test_photons_that_a_flat_field_left_without_steps(photons):
    rng = np.random.default_rng(3)
    image, stars = with_stars(rng.poisson(photons, SHAPE).astype(float), rng)
    image /= rng.normal(1.0, 0.02, SHAPE).astype(np.float32)
    found = estimate_background(
        image, None, None, Background(), Run(1), sources=stars, measured=True
    )
    assert found.mean == pytest.approx(photons, abs=0.03 * np.sqrt(photons))
    assert found.sigma == pytest.approx(np.sqrt(photons), rel=0.03)
    assert found.skewness == pytest.approx(1 / np.sqrt(photons), rel=0.1)


@pytest.mark.parametrize("shape", [1.0, 2.0, 4.0])
def test_level_of_a_gamma_distribution_is_its_mean(shape):
    image = np.random.default_rng(2).gamma(shape, 20.0, SHAPE).astype(np.float32)
    found = estimate_background(image, None, None, Background(), Run(1), measured=True)
    assert found.mean == pytest.approx(image.mean(), abs=0.02 * float(image.std()))
    assert found.sigma == pytest.approx(image.std(), rel=0.03)


@pytest.mark.parametrize("fwhm", [1.2, 2.0, 4.0])
def test_stars_are_no_skewness_of_the_noise(fwhm):
    """A third of the pixels holds faint stars: their light is on neighbouring pixels."""
    rng = np.random.default_rng(4)
    v, u = np.indices(SHAPE, dtype=np.float32)
    image = rng.normal(100.0, 5.0, SHAPE)
    n = round(SHAPE[0] * SHAPE[1] / (10.0 * fwhm**2))
    for x, y, height in zip(
        rng.uniform(0, 320, n), rng.uniform(0, 256, n), rng.uniform(5, 25, n), strict=True
    ):
        box = np.s_[max(int(y) - 12, 0) : int(y) + 13, max(int(x) - 12, 0) : int(x) + 13]
        distance2 = (u[box] - x) ** 2 + (v[box] - y) ** 2
        image[box] += height * np.exp(-2.7726 * distance2 / fwhm**2)
    assert float(((image - image.mean()) ** 3).mean() / image.std() ** 3) > MIN_SKEWNESS
    found = skewness_in_blocks(
        image.astype(np.float32), lambda rows: np.ones((rows.stop - rows.start, SHAPE[1]), np.bool_)
    )
    assert own_skewness(*found[:2]) == 0.0


def test_moments_of_blocks_are_those_of_each_alone():
    rng = np.random.default_rng(5)
    image = rng.gamma(4.0, 5.0, (120, 150)).astype(np.float32)
    good = rng.random(image.shape) < 0.9
    found = []
    for top in (0, 40, 80):
        for left in (0, 55, 110):
            block = np.s_[top : top + 40, left : left + 40]
            pixels = image[block][good[block]]
            order = np.sort(pixels)
            middle = order[order.size // 2]
            at = (np.array([0.1587, 0.8413]) * order.size).astype(int)
            sigma = 0.5 * float(order[at[1]] - order[at[0]])
            for _ in range(3):
                inside = pixels[np.abs(pixels - middle) < 5.0 * sigma].astype(np.float64)
                middle, sigma = inside.mean(), inside.std()
            z = (image[block] - middle) / sigma
            z = np.where(good[block] & (np.abs(z) < 5.0), z, 0.0)
            a, b, c, d = z[:, 1:], z[:, :-1], z[1:], z[:-1]
            shared = [(a * a * b), (b * b * a), (c * c * d), (d * d * c)]
            neighbours = (a * b).mean() + (c * d).mean()
            found.append(
                ((z**3).sum() / order.size, np.mean([v.mean() for v in shared]),
                 0.5 * neighbours / (z * z).mean())
            )  # fmt: skip
    want = np.median(found, axis=0)
    assert 0.3 < want[0] < 1.5
    measured = skewness_in_blocks(image, lambda rows: good[rows].copy())
    np.testing.assert_allclose(measured, want, rtol=1e-4, atol=1e-5)


def test_noise_without_steps_is_as_in_sextractor():
    image = np.random.default_rng(1).normal(100, 5, SHAPE).astype(np.float32)
    ours = estimate_background(image, None, None, Background(), Run(1), measured=True)
    theirs = estimate_background(image, None, None, Background(), Run(1))
    np.testing.assert_array_equal(ours.level, theirs.level)
    np.testing.assert_array_equal(ours.rms, theirs.rms)
    assert ours.skewness is None


@pytest.mark.parametrize("sources", [False, True])
def test_rounding_does_not_shift_the_level(sources):
    image = np.random.default_rng(1).normal(100.3, 5, SHAPE).astype(np.float32)
    left_out = np.zeros(SHAPE, np.uint8) if sources else None
    exact, rounded, theirs = (
        estimate_background(frame, None, None, Background(), Run(1), sources=left_out, measured=m)
        for frame, m in ((image, True), (np.rint(image), True), (np.rint(image), False))
    )
    assert rounded.mean == pytest.approx(exact.mean, abs=0.05)
    assert rounded.sigma == pytest.approx(exact.sigma, rel=0.01)
    # Pearson's mode of whole numbers, as SExtractor takes it
    assert theirs.mean < 99.9


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


def test_step_of_the_values():
    rng = np.random.default_rng(8)
    noise = rng.normal(100.0, 10.0, 40_000)
    few = np.zeros(40_000)
    few[:60] = 3.0 * rng.poisson(1.0, 60)
    pile = np.maximum(noise, 95.0)
    steps = [
        value_step(v.astype(np.float32))
        for v in (noise, pile, np.rint(noise), 16.0 * np.rint(noise / 16.0), few)
    ]
    # float32 near 100 has 10^6 values within the noise: many occur twice by chance
    assert steps == [0.0, 0.0, 1.0, 16.0, 3.0]


@pytest.mark.parametrize("share", [0.0, 0.0015, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("step", [1.0, 0.37])
def test_steps_of_some_pixels_are_those_of_counted_values(share, step):
    """Values that no 1 of 1000 pixels has are no steps, which is told without sorting them."""
    random = np.random.default_rng(int(1e4 * share))
    values = random.normal(100.0, 3.0, 40_000)
    rounded = random.random(values.size) < share
    values[rounded] = step * np.rint(random.normal(100.0, 0.4, rounded.sum()) / step)
    sample = values.astype(np.float32)
    found, counts = np.unique(sample[sample <= np.percentile(sample, 98.0)], return_counts=True)
    often = found[counts >= 0.98e-3 * sample.size]
    expected = float(np.diff(often).min()) if often.size > 1 else 0.0
    assert value_step(sample) == pytest.approx(expected, rel=1e-6)
