"""Plate fits against truth."""

import dataclasses

import numpy as np
import pytest

from skyextract.sky.plate import Plate, exponents
from skyextract.stages.astrometry.heldout import follows_stars
from skyextract.stages.astrometry.platefit import fit_plate
from skyextract.stages.astrometry.platemodels import Model, models

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
    listed = models(prior, 3, 24, linear=False)
    assert [m.kind for m in listed] == ["similarity", "affine", "polynomial"]
    assert len(models(prior, 7, 5, linear=False)) == 1
    assert len(models(prior, 7, 23, linear=False)) == 2
    assert [m.degree for m in models(prior, 7, 1000, linear=False)[2:]] == [2, 3, 4, 5, 6, 7]
    assert len(models(prior, 3, 1000, linear=True)) == 2


def faint_and_bright(seed: int, n: int = 66, floor: float = 0.02):
    """Stars of a linear frame: errors from 0.003 to 0.4 pixel, and a scatter that none quotes."""
    plate = truth(1, 0.0)
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.0, 1999.0, (2, n))
    ra, dec = plate.to_sky(x, y)
    quoted = 0.4 * 10.0 ** (-2.1 * rng.uniform(size=n) ** 2)
    sigma = np.hypot(quoted, floor)
    x, y = x + sigma * rng.normal(size=n), y + sigma * rng.normal(size=n)
    return plate, fit(x, y, ra, dec, variance=(quoted * SCALE) ** 2)


def off(found, plate):
    """Errors of a fitted plate over the frame, arcsec: in RA and in Dec."""
    x, y = (v.ravel() for v in np.mgrid[0.0:1999.0:15j, 0.0:1999.0:15j])
    (ra, dec), (own_ra, own_dec) = plate.to_sky(x, y), found.plate.to_sky(x, y)
    return 3600.0 * np.stack([(own_ra - ra) * np.cos(np.deg2rad(dec)), own_dec - dec])


def test_stars_of_very_different_errors_do_not_make_a_distortion():
    """No clipping down to the few stars that a cubic polynomial goes through."""
    degrees, worst, pulls = [], [], []
    for seed in range(100):
        plate, found = faint_and_bright(seed)
        error = off(found, plate)
        degrees.append(found.plate.degree)
        worst.append(np.hypot(*error).max() / SCALE)
        pulls.append(np.sqrt(np.mean(error**2)) / found.error)
        # The wings beyond 3 sigma of one axis hold 1 %.
        assert found.used.mean() > 0.85
        assert found.rms(held=True) < 1.5 * found.rms()
    assert np.mean(np.array(degrees) == 1) >= 0.95
    assert max(worst) < 0.1
    assert np.sqrt(np.mean(np.square(pulls))) == pytest.approx(1.0, abs=0.1)


def test_the_floor_is_that_of_the_bright_stars():
    """Errors of faint stars that are quoted too large do not hide it."""
    floors = []
    for seed in range(40):
        plate = truth(1, 0.0)
        rng = np.random.default_rng(seed)
        x, y = rng.uniform(0.0, 1999.0, (2, 80))
        ra, dec = plate.to_sky(x, y)
        quoted = np.where(np.arange(80) < 30, 0.005, 0.4)
        sigma = np.hypot(0.5 * quoted, 0.05)
        noise = sigma * rng.normal(size=(2, 80))
        found = fit(x + noise[0], y + noise[1], ra, dec, 1, (quoted * SCALE) ** 2)
        floors.append(found.floor)
    assert np.mean(floors) == pytest.approx(0.05 * SCALE, rel=0.1)


def test_a_distortion_is_found_under_stars_of_very_different_errors():
    """What the data show is still followed: 2 pixels at the edges."""
    plate = truth(3, 1.0)
    rng = np.random.default_rng(5)
    x, y = rng.uniform(0.0, 1999.0, (2, 120))
    ra, dec = plate.to_sky(x, y)
    quoted = 0.4 * 10.0 ** (-2.1 * rng.uniform(size=120) ** 2)
    sigma = np.hypot(quoted, 0.02)
    x, y = x + sigma * rng.normal(size=120), y + sigma * rng.normal(size=120)
    found = fit(x, y, ra, dec, variance=(quoted * SCALE) ** 2)
    assert found.plate.degree == 3
    assert np.sqrt(np.mean(off(found, plate) ** 2)) < 2.0 * found.error
    assert found.used.mean() > 0.85


def test_a_fit_that_held_out_stars_contradict_is_told():
    found = fit(*stars(truth(1, 0.0), 40, 0.1))
    assert follows_stars(found) == ""
    dx, dy = 4.0 * found.dx, 4.0 * found.dy
    told = follows_stars(dataclasses.replace(found, held_dx=dx, held_dy=dy))
    assert told.startswith(f"the fit follows its {found.used.sum()} stars: rms 0.0")
    # Far below a pixel's hundredth it does not matter.
    exact = fit(*stars(truth(1, 0.0), 40, 1e-4))
    loose = dataclasses.replace(exact, held_dx=4.0 * exact.dx, held_dy=4.0 * exact.dy)
    assert follows_stars(loose) == ""


def test_the_first_guess_of_the_tangent_point_leaves_no_trace():
    """From 2" off stars are clipped in one tangent plane, from 7' off in two."""
    plate = truth(3, 3.0)
    x, y, ra, dec = stars(plate, 80, 0.05)
    x[:4] += 3.0
    fits = [
        fit(x, y, ra, dec, prior=dataclasses.replace(expected(), ra0=10.0 + off, dec0=60.0))
        for off in (0.001, 0.2)
    ]
    assert not fits[0].used[:4].any()
    np.testing.assert_array_equal(fits[0].used, fits[1].used)
    assert fits[0].floor == pytest.approx(fits[1].floor, rel=1e-6)
    assert fits[0].error == pytest.approx(fits[1].error, rel=1e-6)
    np.testing.assert_allclose(fits[0].dx, fits[1].dx, atol=1e-5)
    places = [f.plate.to_sky(x, y) for f in fits]
    np.testing.assert_allclose(*places, rtol=0.0, atol=1e-9)
