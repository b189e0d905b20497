"""Plate fits against truth."""

import dataclasses

import numpy as np
import pytest

from skyextract.sky.plate import Plate, exponents
from skyextract.stages.astrometry.platefit import Model, fit_plate, models

SCALE = 0.4


def truth(degree: int, bend: float) -> Plate:
    rng = np.random.default_rng(degree)
    terms = len(exponents(degree))
    coefficients = np.zeros((2, terms))
    step = 1000.0 * SCALE / 3600.0
    coefficients[:, 1:3] = step * np.array([[-0.96, 0.28], [0.28, 0.96]])
    coefficients[:, 3:] = rng.normal(0.0, bend * SCALE / 3600.0, (2, terms - 3))
    return Plate(10.0, 60.0, 999.5, 999.5, 1000.0, coefficients)


def expected() -> Plate:
    """What a header would say: 20" off, 2 deg turned, 1 % too large, no distortion."""
    plate = truth(1, 0.0)
    c, s = 1.01 * np.cos(0.035), 1.01 * np.sin(0.035)
    turned = np.array([[c, -s], [s, c]]) @ plate.coefficients
    return dataclasses.replace(plate, ra0=10.01, dec0=60.004, coefficients=turned)


def stars(plate: Plate, n: int, noise: float, seed: int = 0):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.0, 1999.0, (2, n))
    ra, dec = plate.to_sky(x, y)
    return x + rng.normal(0.0, noise, n), y + rng.normal(0.0, noise, n), ra, dec


def fit(x, y, ra, dec, degree=3, variance=None, prior=None):
    prior = prior or expected()
    variance = np.zeros(len(x)) if variance is None else variance
    return fit_plate(
        x, y, ra, dec, variance, prior, models(prior, degree, len(x), linear=False), 3.0
    )


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_exact_positions_give_the_exact_plate(degree):
    plate = truth(degree, 3.0)
    found = fit(*stars(plate, 300, 0.0), degree=degree)
    x, y = np.random.default_rng(9).uniform(0.0, 1999.0, (2, 100))
    for own, true in zip(found.plate.to_sky(x, y), plate.to_sky(x, y), strict=True):
        assert np.abs(own - true).max() * 3600.0 / SCALE < 1e-4
    assert found.plate.degree == degree
    assert np.abs(found.plate.coefficients[:, 0]).max() == 0.0


@pytest.mark.parametrize(("degree", "bend"), [(1, 0.0), (2, 2.0), (3, 2.0)])
def test_the_degree_is_that_of_the_truth(degree, bend):
    found = fit(*stars(truth(degree, bend), 300, 0.1), degree=5)
    assert found.plate.degree == degree
    assert found.rms(held=True) == pytest.approx(0.1 * SCALE, rel=0.1)
    assert found.rms() < found.rms(held=True)


def test_held_out_residuals_are_those_of_fits_without_the_star():
    x, y, ra, dec = stars(truth(2, 2.0), 60, 0.05)
    prior = expected()
    model = [Model("polynomial", 2)]
    everything = fit_plate(x, y, ra, dec, np.zeros(60), prior, model, 20.0)
    assert everything.used.all()
    for i in (0, 17, 59):
        keep = np.arange(60) != i
        without = fit_plate(x[keep], y[keep], ra[keep], dec[keep], np.zeros(59), prior, model, 20.0)
        sky = without.plate.to_sky(x[i : i + 1], y[i : i + 1])
        east = (sky[0][0] - ra[i]) * np.cos(np.deg2rad(dec[i])) * 3600.0
        # The two tangent planes are turned against each other by a negligible angle.
        assert east == pytest.approx(everything.held_dx[i], abs=1e-4)


def test_outliers_are_clipped_and_do_not_matter():
    x, y, ra, dec = stars(truth(1, 0.0), 200, 0.1)
    x[:20] += 8.0
    found = fit(x, y, ra, dec)
    assert not found.used[:20].any()
    assert found.used[20:].mean() > 0.95
    assert found.rms() == pytest.approx(0.1 * SCALE, rel=0.1)


def test_weights_follow_the_errors():
    plate = truth(1, 0.0)
    x, y, ra, dec = stars(plate, 200, 0.0)
    rng = np.random.default_rng(3)
    sigma = np.where(np.arange(200) < 100, 0.01, 0.5)
    x, y = x + sigma * rng.normal(size=200), y + sigma * rng.normal(size=200)
    found = fit(x, y, ra, dec, degree=1, variance=(sigma * SCALE) ** 2)
    off = found.plate.to_sky(np.array([999.5]), np.array([999.5]))[1][0] - plate.dec0
    assert abs(off) * 3600.0 / SCALE < 0.01
    assert found.floor < 0.01


def test_the_floor_is_the_unexplained_scatter():
    x, y, ra, dec = stars(truth(1, 0.0), 500, 0.2)
    found = fit(x, y, ra, dec, degree=1, variance=np.full(500, (0.05 * SCALE) ** 2))
    # Clipping at 3 sigma of one axis takes 1 % of the stars and 2.5 % of the scatter.
    assert found.floor == pytest.approx(SCALE * np.sqrt(0.2**2 - 0.05**2), rel=0.08)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_stars(n):
    assert fit(*stars(truth(1, 0.0), n, 0.1)) is None


def test_three_stars_make_a_similarity():
    found = fit(*stars(truth(1, 0.0), 3, 0.05))
    assert found.model.kind == "similarity"
    assert found.plate.pixel_scale == pytest.approx(SCALE, rel=1e-3)


def test_stars_on_one_line_do_not_break_the_fit():
    plate = truth(1, 0.0)
    x = np.linspace(0.0, 1999.0, 40)
    found = fit(x, x, *plate.to_sky(x, x))
    assert np.all(np.isfinite(found.plate.coefficients))
    assert found.rms() < 1e-3


def test_models_need_stars():
    prior = expected()
    listed = models(prior, 3, 20, linear=False)
    assert [m.kind for m in listed] == ["similarity", "affine", "polynomial"]
    assert len(models(prior, 7, 5, linear=False)) == 1
    assert [m.degree for m in models(prior, 7, 1000, linear=False)[2:]] == [2, 3, 4, 5, 6, 7]
    assert len(models(prior, 3, 1000, linear=True)) == 2
