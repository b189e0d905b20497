"""Errors contain the light of sources that are one with others."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.flags import FlagsSky
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.stages.crowded.errors import (
    FELT,
    blended_errors,
    crowded_by_pairs,
    insignificant,
    mean_if_apart,
    mean_square_of_rest,
    of_positions,
    of_structure,
)
from skyextract.stages.crowded.hidden import MIN_SEPARATION
from skyextract.stages.detection.matched import filter_matched, matched_filter
from skyextract.stages.pointsources.fit import psf_photometry
from skyextract.stages.pointsources.sweeps import FittedSources, add_models, point_fit

FWHM, SHARE = 3.5, 0.2
statistical = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="hundreds of fits need compiled kernels"
)


@pytest.mark.parametrize("density", [2.0, 5.0, 20.0])  # per 100 FWHM^2
def test_errors_are_the_width_with_company_thrown_at_random(density: float) -> None:
    """Put as many as there are around into the disc in which two are one, again and again."""
    rng = np.random.default_rng(1)
    size = 1000.0
    n = int(density * (size / FWHM) ** 2 / 100.0)
    x, y = rng.uniform(0, size, (2, n))
    flux = 10.0 ** rng.uniform(1.5, 4.0, n)
    noise = 20.0 + 0.002 * flux
    error = blended_errors(x, y, flux, noise, FWHM, SHARE)
    inside = (np.minimum(x, y) > 30) & (np.maximum(x, y) < size - 30)
    for own in (300.0, 1000.0, 5000.0):
        like = inside & (np.abs(np.log(flux / own)) < 0.1)
        off = rng.normal(0.0, 20.0 + 0.002 * own, 40_000)
        for low, high, radius in ((0.0, SHARE, FELT), (SHARE, 1.0, MIN_SEPARATION)):
            fainter = flux[(flux >= low * own) & (flux < high * own)]
            mean = fainter.size / size**2 * np.pi * (radius * FWHM) ** 2
            number = rng.poisson(mean, off.size)
            off += [rng.choice(fainter, k).sum() if k else 0.0 for k in number]
        low, high = np.percentile(off, [15.865, 84.135])
        assert np.median(error[like]) == pytest.approx((high - low) / 2.0, rel=0.12), own


def test_rare_company_leaves_the_errors_of_most() -> None:
    """Stars of S/N 500, seven in 100 FWHM^2: one in twenty has company, and is far off."""
    rng = np.random.default_rng(2)
    n, size = 5000, FWHM * np.sqrt(5000 / 0.07)
    x, y = rng.uniform(0, size, (2, n))
    flux = 10.0 ** rng.uniform(2.0, 4.0, n)
    bright = flux > 5000.0
    error = blended_errors(x, y, flux, np.full(n, 10.0), FWHM, SHARE)
    assert np.median(error[bright]) < 12.0


def test_sources_that_are_alone_keep_their_errors() -> None:
    x, error = np.array([0.0, 100.0]), np.array([1.0, 2.0])
    assert blended_errors(x, x, np.array([1.0, 100.0]), error, FWHM, SHARE) == pytest.approx(error)
    assert blended_errors(x[:0], x[:0], x[:0], x[:0], FWHM, SHARE).size == 0


@statistical
@pytest.mark.parametrize("step", [30.0, 12.0, 9.0])
def test_noise_about_fits_is_that_of_the_image(step: float) -> None:
    """Stars take up 3, 19 and 34 % of the variance: what is left of it tells the whole."""
    rng = np.random.default_rng(3)
    size, noise = 900, 10.0
    psf = Psf.gaussian(FWHM, PsfSource.FILE)
    matched = matched_filter(psf, (size, size))
    places = np.mgrid[10.0 : size - 10 : step, 10.0 : size - 10 : step].reshape(2, -1)
    y, x = places + rng.uniform(-2.5, 2.5, places.shape)
    stars = FittedSources.at(x, y)
    stars.parameters[:, 0], stars.reach[:] = 100.0 * noise / matched.square**0.5, psf.radius
    image = rng.normal(0.0, noise, (size, size)).astype(np.float32)
    add_models(image, psf, stars, 1.0)
    run, variance = Run(1), np.full_like(image, noise**2)
    mask = np.zeros(image.shape, np.uint16)
    fit = point_fit(image, variance, 0.0, mask, psf, FittedSources.at(x, y))
    fit.sweep(FittedSources.at(x, y), 10, run)
    filtered = filter_matched(fit.planes.residual, matched, run, sigma=noise)
    filtered /= np.float32(matched.unit(noise))
    inner = np.minimum(np.minimum(x, y), size - np.maximum(x, y)) > 30.0
    free = mean_square_of_rest(filtered, x, y, round(2 * FWHM), matched.square)
    assert free[inner].mean() == pytest.approx(1.0, abs=0.1)


def test_what_is_left_of_a_galaxy_beside_a_star_is_none_of_its_noise() -> None:
    """A corner of the box is far off: taken for noise it makes errors ten times too large."""
    noise = np.ones((60, 120), np.float32)
    noise[26:34, 22:34] = 40.0
    places = np.array([20.0, 90.0]), np.array([20.0, 30.0])
    beside, alone = mean_square_of_rest(noise, *places, round(2 * FWHM), 7.0)
    assert alone == pytest.approx(1.0, rel=0.02)
    assert 1.0 < beside < 4.0
    noise[13:28, 13:28] = 3.0
    assert mean_square_of_rest(noise, *places, round(2 * FWHM), 7.0)[0] > 8.0  # its own is


@statistical
def test_stars_too_faint_to_be_found_are_in_the_errors_of_fluxes_and_positions() -> None:
    """Light of the PSF's shape, anywhere: errors of noise alone are too small."""
    rng = np.random.default_rng(8)
    size, noise = 900, 10.0
    psf = Psf.gaussian(FWHM, PsfSource.FILE)
    matched = matched_filter(psf, (size, size))
    places = np.mgrid[20.0 : size - 20 : 26.0, 20.0 : size - 20 : 26.0].reshape(2, -1)
    y, x = places + rng.uniform(-0.5, 0.5, places.shape)
    stars = FittedSources.at(x, y)
    flux = 100.0 * noise / matched.square**0.5
    stars.parameters[:, 0], stars.reach[:] = flux, psf.radius
    faint = filter_matched(
        rng.normal(0.0, 1.0, (size, size)).astype(np.float32), matched, Run(1), sigma=1.0
    )
    image = rng.normal(0.0, noise, (size, size)).astype(np.float32)
    image += faint * np.float32(0.3 * noise / faint.std())
    add_models(image, psf, stars, 1.0)
    mask = np.zeros(image.shape, np.uint16)
    fits = psf_photometry(
        image, np.full_like(image, noise**2), 0.0, mask, psf, x, y, Run(1), spread=False
    )
    filtered = filter_matched(fits.residual, matched, Run(1), sigma=noise)
    filtered /= np.float32(matched.unit(noise))
    mean = mean_square_of_rest(filtered, x, y, round(2 * FWHM), matched.square)
    factor = np.sqrt(np.maximum(mean, 1.0))
    inner = np.minimum(np.minimum(x, y), size - np.maximum(x, y)) > 30.0
    alone = [(fits.flux - flux) / fits.flux_error, (fits.x - x) / np.sqrt(fits.variance_x)]
    for pull, more in zip(alone, (factor, of_positions(factor)), strict=True):
        assert np.std(pull[inner]) > 1.25
        assert 0.95 < np.std((pull / more)[inner]) < 1.17


def test_what_was_found_beneath_others_and_is_lost_in_the_end():
    """It stays above 1.5 of its errors; where few are, alone or beside its like, above 3."""
    hidden = int(FlagsSky.HIDDEN)
    crowd = {
        "FLAGS_SKY": np.array([0, hidden, hidden | 8, hidden, hidden, 0, 0, 0, 0, 0, 0, 0]),
        "FLUX_PSF": np.array([1.0, 14.0, 16.0, np.nan, -20.0, np.nan, *np.full(6, 100.0)]),
        "FLUXERR_PSF": np.array([10.0, 10.0, 10.0, 10.0, 10.0, np.nan, *np.full(6, 10.0)]),
    }
    few = {
        "FLAGS_SKY": np.array([0, hidden, hidden, hidden, hidden, hidden, hidden, 0, 0]),
        "FLUX_PSF": np.array([16.0, 28.0, 32.0, 27.0, 29.0, 29.0, 31.0, 16.0, 16.0]),
        "FLUXERR_PSF": np.full(9, 10.0),
    }
    sources = Catalog({name: np.append(crowd[name], few[name]) for name in crowd})
    alone = 100.0 + FWHM * np.array([0.0, 1.0, 2.0, 5.0, 6.0, 22.0, 24.0, 3.5, 3.6])
    x = np.append(np.linspace(0.0, 7.9 * FWHM, 12), alone)
    y = np.zeros(21)
    crowd = (round(20 * FWHM), round(20 * FWHM))
    assert insignificant(sources, x, y, FWHM, (999, 999)).tolist() == [1, 3, 4, 13, 15, 17]
    assert insignificant(sources, x, y, FWHM, crowd).tolist() == [1, 3, 4, 13, 15]


def test_knots_of_a_coma_are_lost_below_five_of_their_errors():
    """Where errors are far above the usual ones, and no point source was there."""
    hidden, no_point = int(FlagsSky.HIDDEN), int(FlagsSky.HIDDEN | FlagsSky.NO_POINT)
    usual = 12
    error = np.append(np.full(usual, 10.0), [500.0, 500.0, 500.0, 20.0, 500.0, np.nan])
    snr = np.append(np.full(usual, 8.0), [4.5, 5.5, 4.5, 4.5, 4.5, 9.0])
    flags = np.append(np.zeros(usual, int), [no_point, no_point, hidden, no_point, 4096, 0])
    sources = Catalog({"FLAGS_SKY": flags, "FLUX_PSF": snr * error, "FLUXERR_PSF": error})
    x = 100.0 * np.arange(flags.size)
    assert insignificant(sources, x, 0.0 * x, FWHM, (999, 999)).tolist() == [usual]


def test_light_of_a_nebula_keeps_one_row_for_a_patch():
    """Below three errors, and pieces where these are 1.5 times the usual; a crowd is no nebula."""
    error = np.array(
        [*np.full(8, 10.0), 40.0, 40.0, 40.0, 40.0, 40.0, 40.0, 12.0, 40.0, 90.0, 40.0]
    )
    snr = np.array([*np.full(8, 9.0), 2.0, 2.5, 8.0, 2.9, 2.0, 1.0, 2.0, 3.1, 2.5, 2.0])
    parent = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 10, 10, 0, 11, 12, 9, 9], np.int32)
    flags = np.append(np.zeros(17, np.int16), np.int16(FlagsSky.NO_POINT))
    sources = Catalog({"FLUX_PSF": snr * error, "FLUXERR_PSF": error, "FLAGS_SKY": flags})
    far = 50.0 * FWHM * np.arange(18), np.zeros(18)
    light = np.where(np.isin(np.arange(18), [8, 9, 12]), 1.0, 9.0)
    pieces, wholes = of_structure(sources, parent, light, *far, FWHM, (999, 999))
    assert pieces.tolist() == [8, 9, 12]  # beside a star; beside a brighter patch
    light[[8, 12]] = 12.0, 2.0  # most of what they are with, the wide disk of a galaxy; too little
    assert of_structure(sources, parent, light, *far, FWHM, (999, 999))[0].tolist() == [9, 12]
    light[8] = np.nan
    assert of_structure(sources, parent, light, *far, FWHM, (999, 999))[0].tolist() == [8, 9, 12]
    light[12] = 9.0
    assert wholes.tolist() == [11, 13, 14, 16, 17]  # the last are galaxies upon another
    crowd = (round(18 * FWHM), round(18 * FWHM))
    beside = far[0] - 49.0 * FWHM * (np.arange(18) % 2), far[1]
    near = far[0] / 500.0, far[1]
    pieces, wholes = of_structure(sources, parent, light, *beside, FWHM, (999, 999))
    assert pieces.size == 0
    assert wholes.tolist() == [8, 9, 11, 12, 13, 14, 16, 17]
    for place, shape in ((far, crowd), (near, (999, 999))):
        found = of_structure(sources, parent, light, *place, FWHM, shape)
        assert [rows.size for rows in found] == [0, 0]
    none = Catalog({name: sources[name][:0] for name in sources})
    found = of_structure(none, parent[:0], *np.zeros((3, 0)), FWHM, (99, 99))
    assert [rows.size for rows in found] == [0, 0]
    unknown = sources.with_columns(FLUXERR_PSF=error * np.nan)
    found = of_structure(unknown, parent, light, *far, FWHM, (999, 999))
    assert [rows.size for rows in found] == [0, 0]


def test_stars_that_keep_apart_are_no_crowd() -> None:
    """As far apart as 2.5 FWHM, 160 where chance makes 50 pairs; at random they are a crowd."""
    rng = np.random.default_rng(5)
    fwhm, size, apart = 24.0, 1024.0, np.zeros((0, 2))
    while len(apart) < 160:
        place = rng.uniform(0, size, 2)
        if not len(apart) or np.hypot(*(apart - place).T).min() > 2.5 * fwhm:
            apart = np.append(apart, [place], axis=0)
    assert crowded_by_pairs(*apart.T, fwhm) == 0.0
    assert crowded_by_pairs(*rng.uniform(0, size, (2, 160)), fwhm) == 1.0
    # Of few stars it cannot be told.
    assert crowded_by_pairs(*apart[:30].T, fwhm) == 1.0


def test_noise_about_stars_that_are_apart_has_no_chance_in_it() -> None:
    """Errors of a sky's noise that is .2 of the variance too large, whatever seven areas show."""
    rng = np.random.default_rng(6)
    error = np.repeat([10.0, 10.0, 40.0, 100.0], 200)
    true = 1.0 + 0.2 * (10.0 / error) ** 2
    mean = true * rng.chisquare(7, error.size) / 7
    mean[600:] += 2.0  # the PSF's, beneath bright stars
    assert mean_if_apart(mean, error) == pytest.approx(true, abs=0.04)
    assert np.mean(np.maximum(mean, 1.0)[:400]) > 1.3
