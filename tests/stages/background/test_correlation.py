"""Correlated noise: covariances that are known, and errors that the scatter confirms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.noise import NoiseCorrelation
from skyextract.stages.background.correlation import (
    LAG,
    MAX_LAG,
    has_correlated_errors,
    measure_correlation,
    with_correlated_errors,
)

SHAPE = (600, 500)


def noise_of(kind, seed=0):
    noise = np.random.default_rng(seed).normal(size=SHAPE)
    if kind == "smoothed":
        noise = sum(np.roll(noise, (j, i), (0, 1)) for j in (0, 1) for i in (0, 1)) / 2
    return noise.astype(np.float32)


def correlation_of(image, variance=1.0):
    plane = np.full(SHAPE, variance, np.float32)
    claimed = np.zeros(SHAPE, np.uint8)
    return measure_correlation(image, plane, claimed, 1.0)


def test_white_noise_has_none():
    lags = correlation_of(noise_of("white")).lags
    expected = np.zeros_like(lags)
    expected[LAG, LAG] = 1.0
    np.testing.assert_allclose(lags, expected, atol=0.012)


def test_covariance_of_shared_pixels():
    lags = correlation_of(noise_of("smoothed")).lags
    middle = lags[LAG - 1 : LAG + 2, LAG - 1 : LAG + 2]
    np.testing.assert_allclose(middle, np.outer([0.5, 1, 0.5], [0.5, 1, 0.5]), atol=0.03)
    np.testing.assert_array_equal(lags, lags[::-1, ::-1])
    # a variance that is twice the true one is part of the answer
    np.testing.assert_allclose(correlation_of(noise_of("smoothed"), 2.0).lags, lags / 2, rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_aperture_errors_in_bands(axis):
    """Sums over circles scatter as the covariance says, though a row is longer than its lags."""
    bands = 0.4 * np.random.default_rng(5).normal(size=(SHAPE[0] if axis else SHAPE[1], 1))
    image = noise_of("white", 6) + (bands if axis else bands.T).astype(np.float32)
    found = correlation_of(image)
    for radius in (2.0, 4.0, 8.0, 14.0):
        y, x = np.mgrid[-15:16, -15:16]
        circle = np.hypot(x, y) <= radius
        sums = [
            image[j : j + 31, i : i + 31][circle].sum()
            for j in range(0, SHAPE[0] - 31, 16)
            for i in range(0, SHAPE[1] - 31, 16)
        ]
        variance = np.var(sums) / circle.sum()
        assert found.aperture(float(circle.sum())) == pytest.approx(variance, rel=0.2)


def test_sources_take_no_part():
    image = noise_of("white")
    claimed = np.zeros(SHAPE, np.uint8)
    claimed[::7] = 1
    image[::7] += 50
    measured = measure_correlation(image, np.ones(SHAPE, np.float32), claimed, 1.0)
    assert measured.lags[LAG, LAG] == pytest.approx(1.0, abs=0.02)
    assert measure_correlation(image, np.ones(SHAPE, np.float32), claimed | 1, 1.0) is None


@pytest.mark.parametrize("radius", [2.0, 4.0, 8.0])
def test_variance_of_sums_over_circles(radius):
    v, u = np.indices((21, 21)) - 10
    circle = np.hypot(u, v) <= radius
    factor = correlation_of(noise_of("smoothed")).aperture(np.array([math.pi * radius**2]))[0]
    sums = []
    for seed in range(4):
        image = noise_of("smoothed", seed + 10)
        sums += [
            image[y : y + 21, x : x + 21][circle].sum()
            for y in range(0, SHAPE[0] - 21, 21)
            for x in range(0, SHAPE[1] - 21, 21)
        ]
    assert factor == pytest.approx(np.var(sums) / circle.sum(), rel=0.15)


def test_only_the_background_part_of_an_error_grows():
    lags = np.full((3, 3), 0.0)
    lags[1, 1] = 4.0
    sources = Catalog(
        {
            "FLUX_AUTO": np.array([0.0, 1000.0]),
            "FLUXERR_AUTO": np.sqrt([100.0, 100.0 + 500.0]),
            "FLUX_WIN": np.array([10.0, 10.0]),
            "FLUXERR_WIN": np.array([5.0, 5.0]),
            "SNR_WIN": np.array([2.0, 2.0]),
            "FLUXERR_PSF": np.array([1.0, 1.0]),
        }
    )
    result = with_correlated_errors(sources, NoiseCorrelation(lags), noise2=1.0, gain=2.0)
    np.testing.assert_allclose(result["FLUXERR_AUTO"] ** 2, [400.0, 900.0], rtol=1e-6)
    np.testing.assert_allclose(result["SNR_WIN"], 10.0 / result["FLUXERR_WIN"])
    np.testing.assert_array_equal(result["FLUXERR_PSF"], sources["FLUXERR_PSF"])


@pytest.mark.parametrize(("sigma", "reach"), [(1.0, LAG), (2.5, MAX_LAG)])
def test_noise_that_a_wide_filter_made(sigma, reach):
    """The scatter of sums over circles is what the covariance says, however far it reaches."""
    y, x = (np.fft.fftfreq(n) for n in SHAPE)
    kernel = np.exp(-2.0 * (math.pi * sigma) ** 2 * (y[:, None] ** 2 + x**2))
    noise = np.random.default_rng(8).normal(size=SHAPE)
    image = np.fft.ifft2(np.fft.fft2(noise) * kernel).real.astype(np.float32)
    variance = float(image.var())
    correlation = correlation_of(image, variance)
    assert correlation.lags.shape[0] == 2 * reach + 1

    j, i = np.mgrid[-8:9, -8:9]
    circle = np.zeros(SHAPE)
    circle[j, i] = np.hypot(j, i) <= 8.0
    sums = np.fft.ifft2(np.fft.fft2(image) * np.fft.fft2(circle)).real
    factor = float(correlation.aperture(np.array([circle.sum()]))[0])
    assert sums.std() == pytest.approx(math.sqrt(factor * circle.sum() * variance), rel=0.1)


def test_which_columns_it_is_measured_for() -> None:
    names = ("FLUXERR_APER", "FLUXERR_AUTO", "FLUXERR_WIN", "FLUX_AUTO", "FLUXERR_PSF", "X_IMAGE")
    sources = Catalog({name: np.ones(3) for name in names})
    lags = np.zeros((7, 7))
    lags[3] = 1.0
    result = with_correlated_errors(sources, NoiseCorrelation(lags), noise2=1e-3, gain=0.0)
    for name in names:
        assert has_correlated_errors(name) == bool((result[name] != sources[name]).any())


@pytest.mark.parametrize("kind", ["white", "smoothed"])
def test_light_in_a_part_of_the_frame_is_no_noise_of_all(kind):
    """The ghost of a pupil, of two sigma: circles elsewhere scatter as they did before.

    The mean over the frame has 4 and 1.8 times the variance.
    """
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    radius = np.hypot(y - 300.0, x - 250.0)
    ghost = 2.0 * ((radius > 50.0) & (radius < 80.0))
    image = noise_of(kind, 3)
    clean, found = (correlation_of((image + v).astype(np.float32)) for v in (0.0, ghost))
    for area in (80.0, 300.0):
        assert found.aperture(area) == pytest.approx(clean.aperture(area), rel=0.35)
