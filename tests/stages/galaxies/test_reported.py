"""What columns tell of fits, beside fits without priors and profiles that are known to be wrong."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.galaxies.source import RADIUS, SPHEROID
from skyextract.run import Run
from skyextract.stages.galaxies.fit import ModelFits, Profile, fit_models
from skyextract.stages.galaxies.reported import PROFILE_ERROR, reported
from tests.stages.galaxies.test_fit import frame, grid_of, sersic, sky_of

galsim = pytest.importorskip("galsim")


def _pulls(fits: ModelFits, flux: np.ndarray) -> np.ndarray:
    error = np.sqrt(fits.covariance[:, SPHEROID, SPHEROID])
    return (fits.parameters[:, SPHEROID] - flux) / error


def _width(values: np.ndarray) -> float:
    low, high = np.percentile(values, (16, 84))
    return float(0.5 * (high - low))


def test_fluxes_of_steep_profiles_are_those_without_priors() -> None:
    """Profiles of n = 6 and S/N 20 to 50, which the priors take for less steep ones."""
    n, rng = 81, np.random.default_rng(61)
    positions, shape = grid_of(n, 62)
    radius = rng.uniform(1.0, 3.0, n)
    flux = rng.uniform(500.0, 1500.0, n)
    galaxies = [sersic(f, r, 6.0) for f, r in zip(flux, radius, strict=True)]
    image, variance, found = frame(galaxies, positions, shape, 63)
    sky = sky_of(image, variance)
    fits = fit_models(sky, found, Profile(True, False), Run())
    free = fit_models(sky, found, Profile(True, False, priors=False), Run())
    shown = reported(fits, sky)
    bias, bias_free, bias_shown = (
        np.median(each.parameters[:, SPHEROID] / flux) - 1.0 for each in (fits, free, shown)
    )
    assert bias < -0.05
    assert bias_free > -0.03
    assert bias_shown - bias > 0.3 * (bias_free - bias)
    # the scatter stays below that without priors, and the error knows of what it grew by
    assert _width(shown.parameters[:, SPHEROID] / flux) < _width(
        free.parameters[:, SPHEROID] / flux
    )
    assert _width(_pulls(shown, flux)) == pytest.approx(1.0, abs=0.25)


def test_what_the_prior_alone_knows_is_not_given_back() -> None:
    positions, shape = grid_of(16, 64)
    image, variance, found = frame([sersic(150.0, 2.0, 1.0)] * 16, positions, shape, 65)
    sky = sky_of(image, variance)
    fits = fit_models(sky, found, Profile(True, False), Run())
    shown = reported(fits, sky)
    error = np.sqrt(fits.covariance[:, SPHEROID, SPHEROID])
    assert np.all(np.abs(shown.parameters - fits.parameters)[:, SPHEROID] < 0.5 * error)
    assert np.all(np.isfinite(shown.covariance[:, SPHEROID, SPHEROID]))


def test_errors_of_bright_galaxies_contain_that_of_the_profile() -> None:
    positions, shape = grid_of(9, 67)
    flux = 2e5
    image, variance, found = frame([sersic(flux, 4.0, 2.0)] * 9, positions, shape, 68, 14)
    sky = sky_of(image, variance)
    fits = fit_models(sky, found, Profile(True, False), Run())
    shown = reported(fits, sky)
    before, after = (
        np.sqrt(each.covariance[:, SPHEROID, SPHEROID]) / flux for each in (fits, shown)
    )
    assert np.all(before < 0.005)
    np.testing.assert_allclose(after, np.hypot(before, PROFILE_ERROR), rtol=0.03)
    added = (shown.covariance - fits.covariance)[:, SPHEROID + RADIUS, SPHEROID + RADIUS]
    np.testing.assert_allclose(added, PROFILE_ERROR**2, rtol=1e-6)
