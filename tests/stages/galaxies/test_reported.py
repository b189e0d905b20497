"""What columns tell of fits, beside fits without priors and profiles that are known to be wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from skyextract.datamodel.background import BackgroundMap
from skyextract.kernels.galaxies.source import E1, INDEX, RADIUS, SPHEROID
from skyextract.run import Run
from skyextract.stages.galaxies.fit import ModelFits, Profile, fit_models
from skyextract.stages.galaxies.reported import GROWTH, _skewed, reported
from tests.stages.galaxies.test_fit import GAIN, NOISE, frame, grid_of, sersic, sky_of

galsim = pytest.importorskip("galsim")


def _pulls(fits: ModelFits, flux: np.ndarray) -> np.ndarray:
    error = np.sqrt(fits.covariance[:, SPHEROID, SPHEROID])
    return (fits.parameters[:, SPHEROID] - flux) / error


def _width(values: np.ndarray) -> float:
    low, high = np.percentile(values, (16, 84))
    return float(0.5 * (high - low))


def test_steep_profiles_are_those_without_priors() -> None:
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
    assert bias_shown - bias > 0.6 * (bias_free - bias)
    for part, true in ((RADIUS, np.log(radius)), (INDEX, np.log(6.0))):
        off, off_free, off_shown = (
            np.median(each.parameters[:, SPHEROID + part] - true) for each in (fits, free, shown)
        )
        assert off < -0.1
        assert off_shown - off > 0.2 * (off_free - off)
    # the scatter stays below that without priors, and the error knows of what it grew by
    assert _width(shown.parameters[:, SPHEROID] / flux) < _width(
        free.parameters[:, SPHEROID] / flux
    )
    assert _width(_pulls(shown, flux)) == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize("radius", [1.5, 2.5])
def test_the_flux_grows_with_the_index_as_is_taken(radius: float) -> None:
    """Fits with the index held: what the flux gains with ln n, from n to n."""
    n, held = 25, np.log([0.7, 1.4, 2.8, 5.6])
    positions, shape = grid_of(n, 73)
    image, variance, found = frame([sersic(1000.0, radius, 1.0)] * n, positions, shape, 74)
    sky = sky_of(image, variance)
    fluxes = [
        np.median(fit_models(sky, found, Profile(True, False, of), Run()).parameters[:, SPHEROID])
        for of in held
    ]
    slopes = np.diff(fluxes) / np.diff(held)
    growth = np.log(slopes[-1] / slopes[0]) / (held[-2] - held[0])
    assert growth == pytest.approx(GROWTH, abs=0.2)


def test_a_flux_that_grows_with_the_index_is_as_uncertain() -> None:
    error, slope, rng = 0.5, 3.0, np.random.default_rng(75)
    log_n = rng.normal(0.0, error, 200_000)
    flux = slope * np.expm1(GROWTH * log_n) / GROWTH
    more = _skewed(np.array([slope * error**2]), np.array([error**2]))[0]
    assert more == pytest.approx(np.var(flux) - (slope * error) ** 2, rel=0.03)


def test_what_the_prior_alone_knows_is_not_given_back() -> None:
    positions, shape = grid_of(16, 64)
    image, variance, found = frame([sersic(150.0, 2.0, 1.0)] * 16, positions, shape, 65)
    sky = sky_of(image, variance)
    fits = fit_models(sky, found, Profile(True, False), Run())
    shown = reported(fits, sky)
    error = np.sqrt(fits.covariance[:, SPHEROID, SPHEROID])
    assert np.all(np.abs(shown.parameters - fits.parameters)[:, SPHEROID] < 0.5 * error)
    assert np.all(np.isfinite(shown.covariance[:, SPHEROID, SPHEROID]))


def test_residuals_tell_what_a_profile_has_wrong() -> None:
    """Each pixel of bright galaxies is wrong by a twentieth of its light, or by nothing."""
    n, wrong, rng = 25, 0.05, np.random.default_rng(66)
    positions, shape = grid_of(n, 67)
    image, variance, found = frame([sersic(1e5, 4.0, 1.0)] * n, positions, shape, 68, 14)
    right = fit_models(sky_of(image, variance), found, Profile(True, False), Run())
    image *= (1.0 + wrong * rng.normal(size=shape)).astype(np.float32)
    rough = fit_models(sky_of(image, variance), found, Profile(True, False), Run())
    # what the sums of Gaussians may have wrong, 1 per cent, is in the weights
    assert np.median(rough.misfit[:, 0]) == pytest.approx(wrong**2 - 0.01**2, rel=0.15)
    assert abs(np.median(right.misfit[:, 0])) < 2e-4
    off = right.misfit[:, 0] - np.median(right.misfit[:, 0])
    assert _width(off / right.misfit[:, 1]) < 1.3


def test_errors_of_bright_galaxies_contain_that_of_a_wrong_profile() -> None:
    """Sersic profiles, and bulges with disks, both of S/N 400."""
    n, rng = 36, np.random.default_rng(69)
    positions, shape = grid_of(n, 70)
    flux = 1e5
    share = rng.uniform(0.2, 0.6, n)
    both = [sersic(b * flux, 1.5, 4.0, 1.0) + sersic((1 - b) * flux, 4.5, 1.0, 0.4) for b in share]
    for galaxies, right in (([sersic(flux, 4.0, 1.5)] * n, True), (both, False)):
        image, variance, found = frame(galaxies, positions, shape, 71, 16)
        sky = sky_of(image, variance)
        fits = fit_models(sky, found, Profile(True, False), Run())
        shown = reported(fits, sky)
        added = shown.covariance - fits.covariance
        of_flux = np.sqrt(added[:, SPHEROID, SPHEROID]) / fits.parameters[:, SPHEROID]
        of_radius = np.sqrt(added[:, SPHEROID + RADIUS, SPHEROID + RADIUS])
        if right:
            assert np.median(of_flux) < 0.01
            assert np.median(of_radius) < 0.01
        else:
            assert np.sqrt(np.mean(_pulls(fits, flux) ** 2)) > 2.5
            assert np.sqrt(np.mean(_pulls(shown, flux) ** 2)) < 1.5


def test_fluxes_follow_the_wings() -> None:
    """A Sersic profile of a bulge with its disk has too much light where nothing is seen of it."""
    n, side, flux, radius = 16, 128, 5e4, 8.0
    rng = np.random.default_rng(76)
    place = np.stack(np.divmod(np.arange(n), 4), axis=1)
    positions, shape = (place + 0.5) * side + rng.uniform(-1.0, 1.0, (n, 2)), (4 * side, 4 * side)
    level = np.zeros((4, 4), np.float32)
    meshes = BackgroundMap(level, np.full_like(level, NOISE), side, side, shape, 0.0, NOISE)
    disk, bulge = sersic(0.75 * flux, radius, 1.0), sersic(0.25 * flux, 0.5 * radius, 4.0)
    for galaxy, right in ((sersic(flux, radius, 1.5), True), (disk + bulge, False)):
        image, variance, found = frame([galaxy] * n, positions, shape, 77, 22)
        sky = sky_of(image, variance, background=meshes)
        fits = fit_models(sky, found, Profile(True, False), Run())
        shown = reported(fits, sky)
        before, after = (each.parameters[:, SPHEROID] / flux - 1.0 for each in (fits, shown))
        if right:
            assert abs(np.median(after) - np.median(before)) < 0.003
        else:
            assert np.median(before) > 0.025
            assert abs(np.median(after)) < 0.015
            assert np.sqrt(np.mean(_pulls(shown, flux) ** 2)) < 1.0


@pytest.mark.parametrize("brightness", [1.0, 0.025])
def test_a_bar_makes_the_axes_uncertain(brightness: float) -> None:
    """It turns them away from the disk's by far more than errors of fits; no bar, no cost.

    Of the fainter ones all that a model has wrong is not beyond doubt, but that it turns is.
    """
    n, rng = 25, np.random.default_rng(69)
    positions, shape = grid_of(n, 70)
    angle = rng.uniform(0.0, 180.0, n)
    disks = [sersic(1.5e5 * brightness, 5.0, 1.0, 0.6, a) for a in angle]
    turns = angle + rng.uniform(40.0, 140.0, n)
    bars = [sersic(8e4 * brightness, 2.5, 0.5, 0.25, a) for a in turns]
    shear = -0.5 * np.log(0.6) * np.cos(2.0 * np.radians(angle))

    def pulls(galaxies: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        image, variance, found = frame(galaxies, positions, shape, 71, 14)
        sky = sky_of(image, variance)
        fits = fit_models(sky, found, Profile(True, False), Run())
        off = fits.parameters[:, SPHEROID + E1] - shear
        both = (fits, reported(fits, sky))
        errors = [np.sqrt(each.covariance[:, SPHEROID + E1, SPHEROID + E1]) for each in both]
        return off / errors[0], off / errors[1]

    without, shown = pulls([disk + bar for disk, bar in zip(disks, bars, strict=True)])
    assert _width(without) > 8.0
    assert 0.5 < _width(shown) < 2.0
    plain, told = pulls(disks)
    assert _width(plain) == pytest.approx(1.0, abs=0.35)
    assert _width(told) > 0.9 * _width(plain)


def test_photons_without_a_gain_are_no_wrong_profile() -> None:
    """Errors of radii and shears are those with the gain; those of a wrong profile stay larger."""
    positions, shape = grid_of(16, 77)
    errors = []
    for index, held in ((1.0, None), (1.0, np.log(4.0))):
        image, variance, found = frame(
            [sersic(1e5, 4.0, index)] * 16, positions, shape, 78, half=14
        )
        for gain in (GAIN, 0.0):
            sky = replace(sky_of(image, variance), gain=gain)
            shown = reported(fit_models(sky, found, Profile(True, False, held), Run()), sky)
            spread = np.einsum("nii->ni", shown.covariance)[:, [SPHEROID + RADIUS, SPHEROID + E1]]
            errors.append(np.sqrt(np.median(spread, axis=0)))
    assert np.all(errors[1] < 1.3 * errors[0])
    assert np.all(errors[3] > 5.0 * errors[1])
