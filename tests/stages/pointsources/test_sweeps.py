"""Fits that go on: new sources join earlier ones, and some go."""

from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf
from skyextract.kernels.psf.fit import NO_PIXELS
from skyextract.run import Run
from skyextract.stages.pointsources import sweeps
from skyextract.stages.pointsources.fit import psf_photometry
from skyextract.stages.pointsources.sweeps import (
    CALM_SWEEPS,
    CROWDED,
    FINE,
    MAX_SWEEPS,
    FittedSources,
    _is_calm,
    _largest,
    add_models,
    point_fit,
)
from tests.stages.pointsources.test_fit import GAIN, NOISE, add_stars, with_noise

PSF = Psf.gaussian(3.5)


def crowd(n=64, size=60):
    """Stars in each other's wings, their noise and mask, and where they are."""
    rng = np.random.default_rng(5)
    row, column = np.divmod(np.arange(n), 8)
    x, y = 10 + 5.5 * np.array([column, row]) + rng.uniform(-1, 1, (2, n))
    image = np.zeros((size, size))
    add_stars(image, PSF, x, y, rng.uniform(2e3, 3e4, n))
    planes = np.full(image.shape, NOISE**2, np.float32), GAIN, np.zeros(image.shape, np.uint16)
    return with_noise(image), planes, x, y


def fitted(image, planes, sources, models=None, sweeps=30):
    fit = point_fit(image, *planes, PSF, sources, models)
    return fit.sweep(sources, sweeps, Run()), image - fit.planes.residual


def test_sources_that_join_later_end_where_all_at_once_do():
    image, planes, x, y = crowd()
    at_once = psf_photometry(image, *planes, PSF, x, y, Run(), spread=False)
    first, models = fitted(image, planes, FittedSources.at(x[:40], y[:40]), sweeps=2)
    both, models = fitted(image, planes, first.append(FittedSources.at(x[40:], y[40:])), models)
    start = both.all_stale(), models
    later = psf_photometry(image, *planes, PSF, x, y, Run(), spread=False, start=start)
    assert at_once.converged.all()
    assert later.converged.all()
    offset = np.abs(later.flux - at_once.flux) / at_once.flux_error
    assert offset.max() < 0.1
    np.testing.assert_allclose(later.flux_error, at_once.flux_error, rtol=0.01)


def test_of_two_sources_that_end_at_one_star_the_first_has_its_light():
    """As where a detection beside a bright star moves onto it, which was found beneath it."""
    image, planes, x, y = crowd()
    alone = psf_photometry(image, *planes, PSF, x, y, Run(), spread=False)
    other = int(np.argmax(alone.flux))
    twice = FittedSources.at(np.append(x, x[other] + 0.3), np.append(y, y[other]))
    twice, models = fitted(image, planes, twice, sweeps=1)
    start = twice.all_stale(), models
    places = twice.parameters[:, 1], twice.parameters[:, 2]
    both = psf_photometry(image, *planes, PSF, *places, Run(), spread=False, start=start)
    assert np.isnan(both.flux[-1])
    offset = (both.flux[:-1] - alone.flux) / alone.flux_error
    assert np.abs(offset).max() < 0.1
    np.testing.assert_allclose(both.flux_error[:-1], alone.flux_error, rtol=0.01)
    np.testing.assert_allclose(both.residual, alone.residual, atol=0.1 * NOISE)


def test_a_fit_that_goes_on_with_nothing_new_stays():
    image, planes, x, y = crowd()
    sources, models = fitted(image, planes, FittedSources.at(x, y))
    again, models_again = fitted(image, planes, sources, models)
    np.testing.assert_array_equal(again.parameters, sources.parameters)
    np.testing.assert_allclose(models_again, models, atol=0.01)
    assert again.sweeps == sources.sweeps


def test_sources_at_rest_are_left_as_they_are():
    """Visited once more, nothing changes but for those that were displaced, and these come back."""
    image, planes, x, y = crowd()

    def go_on(sources, models):
        fit = point_fit(image, *planes, PSF, sources, models, CROWDED)
        return fit.sweep(sources, 30, Run()), image - fit.planes.residual

    sources, models = go_on(FittedSources.at(x, y), None)
    for _ in range(5):
        sources, models = go_on(sources.all_stale(), models)
    still, models_still = go_on(sources.all_stale(), models)
    np.testing.assert_array_equal(still.parameters, sources.parameters)
    np.testing.assert_array_equal(models_still, image - (image - models))
    fine = psf_photometry(image, *planes, PSF, x, y, Run(), spread=False, accuracy=CROWDED)
    assert np.abs((sources.parameters[:, 0] - fine.flux) / fine.flux_error).max() < 0.1

    moved = np.arange(x.size) % 9 == 0
    displaced = sources.parameters.copy()
    displaced[moved] *= (1.02, 1.001, 0.999)
    stale = replace(sources, parameters=displaced, stale=moved.astype(np.uint8))
    models = np.zeros_like(image)
    add_models(models, PSF, stale, 1.0)
    back, models_back = go_on(stale, models)
    difference = np.abs((back.parameters[:, 0] - sources.parameters[:, 0]) / fine.flux_error)
    assert difference.max() < 0.1
    drawn = np.zeros_like(image)
    add_models(drawn, PSF, back, 1.0)
    np.testing.assert_allclose(models_back, drawn, atol=1e-3 * NOISE)


def test_errors_in_crowds_feel_the_near_neighbours():
    """All but 1 % of what all do that are fitted too."""
    image, planes, x, y = crowd()

    def errors(felt):
        accuracy = CROWDED._replace(felt=felt)
        fit = psf_photometry(image, *planes, PSF, x, y, Run(), spread=False, accuracy=accuracy)
        return np.array([fit.flux_error**2, fit.variance_x, fit.variance_y])

    alone, near, everything = errors(0.0), errors(CROWDED.felt), errors(1.0)
    assert np.median(everything / alone) > 1.02
    assert (near <= everything * (1.0 + 1e-9)).all()
    np.testing.assert_allclose(near, everything, rtol=0.02)


def test_sources_are_put_back():
    """Models of some that are taken out leave those of the others."""
    image, planes, x, y = crowd()
    sources, models = fitted(image, planes, FittedSources.at(x, y))
    kept = np.arange(x.size) % 3 > 0
    left = models.copy()
    add_models(left, PSF, sources.take(~kept), -1.0)
    add_models(left, PSF, sources.take(np.flatnonzero(kept)), -1.0)
    assert np.abs(left).max() < 0.02 * NOISE
    assert models.max() > 20 * NOISE


def test_positions_outside_have_no_fit():
    image, planes, x, y = crowd()
    sources, _ = fitted(image, planes, FittedSources.at(np.append(x, np.nan), np.append(y, 500.0)))
    assert np.isnan(sources.parameters[-1, 0])
    assert np.isfinite(sources.parameters[:-1]).all()


def test_sweeps_that_diverge_leave_sources_without_a_fit():
    """A PSF that no image has: most of its light in a ring where its fits do not look."""
    narrow = Psf.gaussian(1.8)
    half = narrow.basis.shape[-1] // 2
    radius = np.hypot(*np.mgrid[-half : half + 1, -half : half + 1]) * narrow.sampling
    ring = ((radius > 2.9) & (radius < 5.0))[None]
    wrong = replace(narrow, basis=(narrow.basis + 10.0 * ring).astype(np.float32))
    image = np.random.default_rng(1).normal(100.0, 10.0, (60, 60)).astype(np.float32)
    grid = np.arange(5.0, 55.0, 1.5)
    x, y = (c.ravel() for c in np.meshgrid(grid, grid))
    start = FittedSources.at(x, y)
    variance, mask = np.full(image.shape, 100.0, np.float32), np.zeros(image.shape, np.uint16)
    fit = point_fit(image, variance, 1.0, mask, wrong, start)
    sources = fit.sweep(start, 30, Run())
    flux = sources.parameters[:, 0]
    assert np.abs(flux).max() <= fit.max_flux < 1e6
    lost = (sources.status & NO_PIXELS) != 0
    assert lost.any()
    assert (flux[lost] == 0.0).all()
    models = np.zeros_like(image)
    add_models(models, wrong, sources, 1.0)
    largest = np.abs(models).max()
    np.testing.assert_allclose(fit.planes.residual, image - models, atol=1e-4 * largest)


def test_models_are_drawn_out_to_their_reach():
    """Each is its flux times the PSF there, cut at its reach and at the edges of the image."""
    rng = np.random.default_rng(2)
    n, size = 40, 90
    sources = FittedSources.at(*rng.uniform(-6, size + 5, (2, n)))
    parameters = sources.parameters.copy()
    parameters[:, 0] = rng.uniform(10, 1000, n)
    reach = rng.integers(-1, PSF.radius + 1, n)
    image = np.zeros((size, size), np.float32)
    add_models(image, PSF, replace(sources, parameters=parameters, reach=reach), 2.0)
    expected = np.zeros((size, size))
    yy, xx = np.indices(expected.shape)
    for (flux, x, y), r in zip(parameters, reach, strict=True):
        row, column = round(y), round(x)
        near = (abs(yy - row) <= r) & (abs(xx - column) <= r)
        side = 2 * PSF.radius + 1
        stamp = PSF.stamps(*(np.array([v]) for v in (x, y, x - column, y - row)), size=side)[0]
        j, i = yy - row + PSF.radius, xx - column + PSF.radius
        expected[near] += 2.0 * flux * stamp[j[near], i[near]]
    assert image == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("values", [[1, -5.5, np.nan], [np.nan, np.nan], [np.inf, 1], [-np.inf, 1]])
def test_largest_value_is_that_of_the_numbers(values) -> None:
    image = np.array([values], np.float32)
    assert _largest(image, Run(2)) == np.nanmax(np.abs(image), initial=0.0)


@pytest.mark.parametrize("fwhm", [4.0, 12.0, 40.0])
def test_wide_stars_are_fitted_as_well_as_narrow_ones(fwhm):
    """Light in all pixels of a wide star is a flux's error, though it is little in each of them."""
    psf = Psf.gaussian(fwhm)
    rng = np.random.default_rng(8)
    column, row = np.divmod(np.arange(36), 6)
    x, y = fwhm * (3.0 + 1.3 * np.array([column, row]) + rng.uniform(-0.2, 0.2, (2, 36)))
    flux = fwhm * 10 ** rng.uniform(2.5, 4.5, x.size)
    image = np.zeros((round(12.5 * fwhm),) * 2)
    add_stars(image, psf, x, y, flux)
    planes = np.full(image.shape, NOISE**2, np.float32), 0.0, np.zeros(image.shape, np.uint16)
    fits = psf_photometry(image.astype(np.float32), *planes, psf, x, y, Run(), spread=False)
    pulls = (fits.flux - flux) / fits.flux_error
    assert np.abs(pulls).max() < 0.6
    assert np.sqrt(np.mean(pulls**2)) < 0.12


def test_sweeps_go_on_while_fewer_and_fewer_change():
    falling = [740, 642, 448, 327, 242, 189, 162, 150, 134, 126, 110]
    assert not any(_is_calm(falling[:k]) for k in range(1, 12))
    assert not _is_calm([9] * CALM_SWEEPS)
    assert _is_calm([*falling, 108, 106, 105, 104])
    assert _is_calm([*falling, 108, 106, 105, 104], 0.14)
    assert not _is_calm([*falling, 108, 106, 105, 104], 0.15)


@pytest.mark.parametrize(("accuracy", "most"), [(CROWDED, CALM_SWEEPS), (FINE, MAX_SWEEPS)])
def test_sweeps_of_a_crowd_end_where_light_is_passed_back_and_forth(monkeypatch, accuracy, most):
    for name in ("fit_tiles", "join_tiles"):  # none ever comes to rest
        monkeypatch.setattr(sweeps, name, lambda *_: None)
    image, planes, x, y = crowd()
    sources = FittedSources.at(x, y)
    fit = point_fit(image, *planes, PSF, sources, None, accuracy)
    assert fit.sweep(sources, MAX_SWEEPS, Run()).sweeps == most
