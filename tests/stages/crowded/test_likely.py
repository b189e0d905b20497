"""Fluxes of faint stars in a crowd are those of the truth on average."""

import numpy as np
import pytest

from skyextract.stages.crowded.likely import likely_fluxes, slope_of_counts


def counts(rng, n, slope, least=50.0):
    """Fluxes whose numbers above F are as F^-slope."""
    return least * rng.uniform(1e-4, 1.0, n) ** (-1.0 / slope)


@pytest.mark.parametrize("slope", [0.5, 0.625, 1.0])
def test_slope_of_a_power_law(slope):
    found = [slope_of_counts(counts(np.random.default_rng(k), 400, slope)) for k in range(20)]
    assert np.mean(found) == pytest.approx(slope, rel=0.05)


@pytest.mark.parametrize("snr", [6.0, 10.0, 20.0])
def test_it_is_the_likeliest_magnitude(snr):
    """The highest of the posterior of the logarithm of a flux, on a grid."""
    rng = np.random.default_rng(5)
    flux = np.append(counts(rng, 5000, 0.625, least=300.0), 30.0 * snr)
    error, faint = np.full(flux.size, 30.0), np.arange(flux.size) == 5000
    true = np.linspace(10.0, 2.0 * flux[-1], 100_000)
    posterior = -0.625 * np.log(true) - 0.5 * ((flux[-1] - true) / 30.0) ** 2
    likely = likely_fluxes(flux, error, np.ones_like(faint), faint, 0.0 * flux)[-1]
    assert likely / flux[-1] == pytest.approx(true[posterior.argmax()] / flux[-1], abs=0.002)


def test_faint_stars_are_less_too_bright():
    """Noise of a given size, and what is found of it."""
    rng = np.random.default_rng(5)
    true = counts(rng, 200_000, 1.0, least=20.0)
    flux = true + 50.0 * rng.standard_normal(true.size)
    error, every = np.full(true.size, 50.0), np.ones(true.size, dtype=bool)
    likely = likely_fluxes(flux, error, every, every, 0.0 * flux)
    for low, high in ((5.0, 7.0), (7.0, 10.0), (10.0, 15.0)):
        seen = (flux > low * error) & (flux < high * error)
        raw, mended = (np.median(np.log(f[seen] / true[seen])) for f in (flux, likely))
        assert 0.0 < mended < 0.6 * raw


def test_what_is_not_beneath_others_stays():
    rng = np.random.default_rng(6)
    flux = counts(rng, 300, 0.625, least=300.0)
    error = np.full(flux.size, 40.0)
    flux[:3], error[3:5] = (np.nan, -5.0, 0.0), (np.nan, np.inf)
    faint = np.arange(300) < 100
    dense = np.where(np.arange(300) < 50, 0.3, 0.0)
    likely = likely_fluxes(flux, error, np.ones_like(faint), faint, dense)
    np.testing.assert_array_equal(likely[100:], flux[100:])
    np.testing.assert_array_equal(likely[:5], flux[:5])
    assert (likely[5:100] < flux[5:100]).all()
    noise = likely_fluxes(flux, error, np.ones_like(faint), faint, 0.0 * flux)
    np.testing.assert_allclose(likely[5:50], np.minimum(noise, 0.7 * flux)[5:50])  # one of both
    np.testing.assert_array_equal(likely[50:], noise[50:])
    few = np.arange(300) >= 280
    np.testing.assert_array_equal(likely_fluxes(flux, error, few, faint, dense), flux)
