"""Aperture corrections of simulated stars with wings that the PSF model lacks."""

from __future__ import annotations

import logging
import math

import numba
import numpy as np
import pytest

from skyextract.datamodel.flags import Mask
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.settings.keywords import Characterize
from skyextract.stages.pointsources.apercor import (
    ApertureCorrections,
    aperture_corrections,
    diameters_of,
    light_left,
)
from skyextract.stages.pointsources.fit import FittedImage, psf_photometry
from skyextract.stages.pointsources.growth import Growth, error_of_ratio

NOISE = 5.0
GAIN = 4.0
SIZE = 800
APERTURES = [5.0, 9.0]


@pytest.fixture(scope="module")
def field():
    """Stars of a Gaussian plus a 5 % halo that grows to the right by another 4 %."""
    galsim = pytest.importorskip("galsim")
    rng = np.random.default_rng(1)
    row, column = np.divmod(np.arange(100), 10)
    x = 45.0 + 78 * column + rng.uniform(-0.5, 0.5, 100)
    y = 45.0 + 78 * row + rng.uniform(-0.5, 0.5, 100)
    flux = 10 ** rng.uniform(4.5, 5.7, 100)
    image = galsim.Image(SIZE, SIZE)
    for a, b, value in zip(x, y, flux, strict=True):
        part = 0.05 + 0.04 * a / SIZE
        star = galsim.Gaussian(fwhm=3.9) * (1 - part) + galsim.Moffat(2.5, fwhm=9.0) * part
        bounds = galsim.BoundsI(int(a) - 38, int(a) + 40, int(b) - 38, int(b) + 40)
        star.withFlux(value).drawImage(
            image[bounds & image.bounds], add_to_image=True, center=(a + 1, b + 1), scale=1.0
        )
    clean = image.array.astype(float)
    noisy = clean + rng.normal(size=clean.shape) * np.sqrt(NOISE**2 + clean / GAIN)
    return noisy.astype(np.float32), clean, x, y, flux


def planes(image):
    return np.full(image.shape, NOISE**2, dtype=np.float32), np.zeros(image.shape, dtype=np.uint16)


def corrections_of(
    image, x, y, stars, degree=1, mask=None, psf=None, apertures=APERTURES, handed_on=True,
):  # fmt: skip
    variance, good = planes(image)
    psf = psf or Psf.gaussian(4.0)
    mask = good if mask is None else mask
    fit = psf_photometry(image, variance, GAIN, mask, psf, x, y, Run())
    settings = Characterize(apercor_degree=degree)
    fitted = FittedImage(image, variance, GAIN, mask, psf, fit)
    left, growth = light_left(fitted, stars, diameters_of(psf, settings, apertures), Run(2))
    return fit, aperture_corrections(
        fitted, stars, apertures, settings, Run(), left, growth=growth if handed_on else None
    )


def test_curves_of_growth_that_were_measured_are_not_measured_again(field, monkeypatch):
    image, _, x, y, _ = field
    _, own = corrections_of(image, x, y, np.arange(100), handed_on=False)
    counted = []
    measured = Growth.measured
    monkeypatch.setattr(Growth, "measured", lambda *a: counted.append(a) or measured(*a))
    _, given = corrections_of(image, x, y, np.arange(100))
    assert len(counted) == 1
    for name in ("diameters", "coefficients", "errors"):
        np.testing.assert_array_equal(getattr(given, name), getattr(own, name))


def moffat_stamp(fwhm, half, dx=0.0, dy=0.0):
    """Return the pixels of a Moffat profile of unit flux."""
    scale = fwhm / (2.0 * math.sqrt(2.0 ** (1.0 / 3.0) - 1.0))
    fine = (np.arange(5) - 2.0) / 5.0
    axis = (np.arange(-half, half + 1)[:, None] + fine).ravel()
    light = 2.0 / (math.pi * scale**2)
    light *= (1.0 + ((axis - dx) ** 2 + (axis[:, None] - dy) ** 2) / scale**2) ** -3.0
    side = 2 * half + 1
    return light.reshape(side, 5, side, 5).mean(axis=(1, 3))


def test_the_reference_aperture_goes_with_the_width_of_the_psf():
    """Stars twice as wide at one side as at the other, with wings: total fluxes are alike."""
    rng = np.random.default_rng(3)
    row, column = np.divmod(np.arange(100), 10)
    x, y = (45.0 + 78.0 * axis + rng.uniform(-0.5, 0.5, 100) for axis in (column, row))
    width, flux = 3.0 + 3.0 * x / SIZE, 10.0 ** rng.uniform(5.0, 6.0, 100)
    image, half = np.zeros((SIZE, SIZE)), 34
    for a, b, fwhm, value in zip(x, y, width, flux, strict=True):
        i, j = round(a), round(b)
        place = np.s_[j - half : j + half + 1, i - half : i + half + 1]
        image[place] += value * moffat_stamp(fwhm, half, a - i, b - j)
    noisy = image + rng.normal(size=image.shape) * np.sqrt(NOISE**2 + image / GAIN)
    at = np.linspace(-1.0, 1.0, 9)
    samples = np.array([moffat_stamp(4.5 + 1.5 * u, 15).ravel() for u in at])
    samples /= samples.sum(axis=1, keepdims=True)
    terms = np.polynomial.polynomial.polyvander(at, 3)
    powers = np.linalg.lstsq(terms, samples, rcond=None)[0].reshape(4, 31, 31)
    basis = np.zeros((10, 31, 31), dtype=np.float32)
    basis[:4] = powers
    psf = Psf(
        basis=basis, sampling=1.0, degree=3, x_zero=SIZE / 2, x_scale=SIZE / 2, y_zero=SIZE / 2,
        y_scale=SIZE / 2, fwhm=4.5, ellipticity=0.0, source=PsfSource.MEASURED,
    )  # fmt: skip
    assert psf.local_fwhm(x, y) == pytest.approx(width, rel=0.03)
    fit, corrections = corrections_of(noisy.astype(np.float32), x, y, np.arange(100), psf=psf)
    # of Moffat's profile with beta 3 within 3 FWHM
    expected = 1.0 - (1.0 + 36.0 * (2.0 ** (1.0 / 3.0) - 1.0)) ** -2.0
    wide = width > 4.5
    total = fit.flux * corrections.psf_factor(fit.x, fit.y) / flux
    for part in (wide, ~wide):
        assert np.mean(total[part]) == pytest.approx(expected, abs=0.003)
    factors = corrections.aperture_factors(x, y)
    for k, diameter in enumerate(APERTURES):
        light = exact_apertures(image, x, y, diameter) / flux * factors[:, k]
        assert light == pytest.approx(expected, abs=0.02)
        for part in (wide, ~wide):
            assert np.mean(light[part]) == pytest.approx(expected, abs=0.003)


def exact_apertures(clean, x, y, diameter):
    sep = pytest.importorskip("sep")
    return sep.sum_circle(clean, x, y, diameter / 2, subpix=0)[0]


def test_psf_and_apertures_are_brought_to_the_reference_aperture(field):
    image, clean, x, y, _ = field
    fit, corrections = corrections_of(image, x, y, np.arange(100))
    assert corrections.degree == 1
    reference = exact_apertures(clean, x, y, 24.0)
    psf = fit.flux * corrections.psf_factor(fit.x, fit.y)
    bright = reference > 1e5
    assert np.mean(psf[bright] / reference[bright]) == pytest.approx(1, abs=0.002)
    assert np.std(psf[bright] / reference[bright]) < 0.005
    factors = corrections.aperture_factors(x, y)
    for k, diameter in enumerate(APERTURES):
        flux = exact_apertures(clean, x, y, diameter) * factors[:, k]
        assert np.mean(flux / reference) == pytest.approx(1, abs=0.002)
        assert np.std(flux / reference) < 0.005
    assert (corrections.n_stars > 80).all()
    assert (corrections.errors < 0.002).all()


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="30 frames need compiled kernels")
def test_the_stated_error_is_true(field):
    _, clean, x, y, _ = field
    variance, mask = planes(clean)
    psf = Psf.gaussian(4.0)
    reference = exact_apertures(clean, x, y, 24.0)
    truth = psf_photometry(
        clean.astype(np.float32), variance, GAIN, mask, psf, x, y, Run(), spread=False
    ).flux
    expected = np.mean(reference / truth)
    pulls = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        use = rng.choice(100, 40, replace=False)
        sigma = np.sqrt(NOISE**2 + clean / GAIN)
        image = (clean + rng.normal(size=clean.shape) * sigma).astype(np.float32)
        fit = psf_photometry(image, variance, GAIN, mask, psf, x, y, Run(), spread=False)
        settings = Characterize(apercor_degree=0)
        found = aperture_corrections(
            FittedImage(image, variance, GAIN, mask, psf, fit), use, APERTURES, settings, Run()
        )
        pulls.append((found.coefficients[0, 0] - expected) / found.errors[0])
    assert 0.5 < np.std(pulls) < 1.5
    assert abs(np.mean(pulls)) < 0.8


def test_outliers_and_bad_pixels_do_not_matter(field):
    image, _, x, y, _ = field
    _, before = corrections_of(image, x, y, np.arange(100))
    spoiled = image.copy()
    mask = planes(image)[1]
    for k in range(0, 60, 10):  # undetected light beside some stars
        spoiled[int(y[k]) - 3 : int(y[k]) + 4, int(x[k]) + 8] += 2000
    for k in range(5, 60, 10):
        spoiled[int(y[k]) + 5, int(x[k])] = 6e4
        mask[int(y[k]) + 5, int(x[k])] = Mask.BAD
    _, after = corrections_of(spoiled, x, y, np.arange(100), mask=mask)
    assert after.coefficients[:, 0] == pytest.approx(before.coefficients[:, 0], abs=0.0015)
    assert after.n_stars[0] < before.n_stars[0]


def test_neighbours_are_subtracted(field):
    image, _, x, y, flux = field
    _, before = corrections_of(image, x, y, np.arange(100))
    crowded = image.astype(float)
    psf = Psf.gaussian(4.0)
    stamp = psf.stamp(0, 0).astype(float)
    half = stamp.shape[0] // 2
    new_x, new_y = np.floor(x) + 9.0, np.floor(y)
    for a, b, value in zip(new_x.astype(int), new_y.astype(int), flux, strict=True):
        if a + half < SIZE and b + half < SIZE:
            crowded[b - half : b + half + 1, a - half : a + half + 1] += 0.3 * value * stamp
    _, after = corrections_of(
        crowded.astype(np.float32), np.append(x, new_x), np.append(y, new_y), np.arange(100)
    )
    # 30 % of the light was added; the neighbours' fits take up 0.5 % of the stars' halos
    assert after.coefficients[:, 0] == pytest.approx(before.coefficients[:, 0], abs=0.008)


def test_few_stars_lower_the_degree(field):
    image, _, x, y, _ = field
    _, corrections = corrections_of(image, x, y, np.arange(0, 100, 12), degree=3)
    assert corrections.degree == 0
    assert np.isfinite(corrections.errors).all()
    _, corrections = corrections_of(image, x, y, np.array([17]))
    assert corrections.n_stars.tolist() == [1, 1, 1]
    assert np.isfinite(corrections.coefficients).all()


def test_without_stars_the_model_stands_in(field, caplog):
    image, _, x, y, _ = field
    with caplog.at_level(logging.WARNING):
        _, corrections = corrections_of(image, x, y, np.empty(0, dtype=np.int64))
    assert "aperture corrections" in caplog.text
    assert corrections.n_stars.tolist() == [0, 0, 0]
    assert np.isnan(corrections.errors).all()
    assert corrections.coefficients[0, 0] == pytest.approx(1, abs=1e-3)
    assert corrections.coefficients[1, 0] == pytest.approx(1 - 2 ** -((5 / 4.0) ** 2), abs=0.01)


def test_stars_that_failed_are_not_used(field):
    image, _, x, y, _ = field
    mask = np.full(image.shape, int(Mask.BAD), dtype=np.uint16)
    _, corrections = corrections_of(image, x, y, np.arange(100), mask=mask)
    assert corrections.n_stars[0] == 0


def test_catalogue_and_back(field):
    image, _, x, y, _ = field
    _, corrections = corrections_of(image, x, y, np.arange(100))
    back = ApertureCorrections.from_catalog(corrections.to_catalog())
    assert back.covers(APERTURES)
    assert not back.covers([5.0])
    assert np.array_equal(back.growth(x, y), corrections.growth(x, y))
    assert np.array_equal(back.growth(x[:1], y[:1]), corrections.growth(x, y)[:1])


def test_impossible_apertures_cost_nothing_but_themselves(field):
    image, _, x, y, _ = field
    stars = np.array([44, 45, 54])
    _, usual = corrections_of(image, x, y, stars)
    _, corrections = corrections_of(image, x, y, stars, apertures=[0.0, *APERTURES, 5000.0])
    factors = corrections.aperture_factors(x, y)
    assert np.isnan(factors[:, [0, 3]]).all()
    assert np.array_equal(factors[:, 1:3], usual.aperture_factors(x, y))
    assert np.array_equal(corrections.psf_factor(x, y), usual.psf_factor(x, y))


@pytest.mark.parametrize("n_faint", [0, 6000])
def test_stars_too_faint_to_be_found_are_no_light_of_others(n_faint):
    """The sky is the mode of the pixels; 20 stars of 400 times their noise carry the factor."""
    found = []
    psf = Psf.gaussian(4.0)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        image = np.zeros((SIZE, SIZE))
        padded = np.pad(image, psf.radius)
        place = rng.uniform(40, SIZE - 41, (2, 20))
        everywhere = rng.uniform(0, SIZE - 1, (2, n_faint))
        flux = np.append(np.full(20, 1.2e4), rng.uniform(20.0, 200.0, n_faint))
        x, y = np.append(place, everywhere, axis=1)
        column, row = np.rint(x).astype(int), np.rint(y).astype(int)
        stamps = psf.stamps(x, y, x - column, y - row)
        side = 2 * psf.radius + 1
        for j, i, stamp, f in zip(row, column, stamps, flux, strict=True):
            padded[j : j + side, i : i + side] += f * stamp
        image = padded[psf.radius : -psf.radius, psf.radius : -psf.radius]
        image = image + rng.normal(0.0, NOISE, image.shape)
        # What a mode would be: 60 % of the light of faint stars.
        image -= 0.6 * flux[20:].sum() / SIZE**2
        _, corrections = corrections_of(
            image.astype(np.float32), x[:20], y[:20], np.arange(20), degree=0, psf=psf
        )
        found.append((corrections.coefficients[0, 0], corrections.errors[0]))
    factor, error = np.array(found).T
    expected = 0.4 * 6000 * 110.0 / SIZE**2 * math.pi * 12.0**2 / 1.2e4
    assert expected > 5.0 * error.mean() / 2.0  # what it would be off by
    assert abs(np.mean(factor) - 1.0) < 3.0 * error.mean() / 2.0


def test_the_ratio_of_two_sums_over_the_same_pixels():
    """Light in an aperture over the flux of the fit: noise of both is in part the same."""
    random = np.random.default_rng(5)
    psf = Psf.gaussian(4.0)
    half, flux, n = 15, 4e4, 4000
    star = psf.stamp(psf.x_zero, psf.y_zero, size=2 * half + 1).astype(float)
    axis = np.arange(-half, half + 1)
    distance = np.hypot(axis[:, None], axis)
    fitted = distance <= 6.0
    variance = NOISE**2 + flux * star / GAIN
    noise = random.normal(size=(n, *star.shape)) * np.sqrt(variance)
    weight = np.where(fitted, star / variance, 0.0)
    power = np.sum(weight * star)
    fits = flux + (noise * weight).sum(axis=(1, 2)) / power
    for radius in (3.0, 6.0, 12.0):
        within = distance <= radius
        light = flux * star[within].sum() + noise[:, within].sum(axis=1)
        ratio = light / fits
        error = math.sqrt(variance[within].sum()) / flux
        told = error_of_ratio(
            np.array([[star[within].sum()]]), np.array([[error]]),
            np.array([power**-0.5 / flux]), float(star[fitted].sum()),
        )[0, 0]  # fmt: skip
        assert told == pytest.approx(ratio.std(), rel=0.08)
        assert told < 0.93 * error
