"""Fluxes of models on the scale of the stars, of a whole run on a simulated frame."""

from __future__ import annotations

import galsim
import numpy as np
import pytest
from astropy.io import fits

import skyextract
from skyextract.kernels.galaxies.source import (
    DISK,
    E1,
    INDEX,
    N_PARAMETERS,
    POINT,
    RADIUS,
    SKY,
    SPHEROID,
)
from skyextract.stages.galaxies.columns import WINGS
from skyextract.stages.galaxies.quantities import parameters_of, slopes_of, unresolved_share
from tests.simulate.galaxies import GAIN, simulate_galaxies

COLUMNS = "X_IMAGE Y_IMAGE FLUX_MODEL FLUXERR_MODEL FLUX_PSF FLUX_SPHEROID"


def _rows(frame, table):
    """Return the nearest row of each true object, and whether it is within two pixels."""
    distance = np.hypot(
        table["X_IMAGE"] - 1.0 - frame.x[:, None], table["Y_IMAGE"] - 1.0 - frame.y[:, None]
    )
    return table[distance.argmin(axis=1)], distance.min(axis=1) < 2.0


def _measure(frame, folder, columns, **keywords):
    """Return the catalogue of a frame with some columns."""
    parameters = folder / "models.param"
    parameters.write_text("\n".join(columns.split()) + "\n")
    exposure = skyextract.exposure(frame.image, header={"GAIN": GAIN, "SATURATE": 1e7})
    return skyextract.process(exposure, PARAMETERS_NAME=str(parameters), **keywords).table


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Return the truth of the objects found, and their rows."""
    frame = simulate_galaxies(260, 1000, seed=3)
    return frame, *_rows(frame, _measure(frame, tmp_path_factory.mktemp("models"), COLUMNS))


def test_fluxes_of_models_do_not_depend_on_other_columns(tmp_path):
    """They take the aperture corrections, which come of fits of the PSF, wanted or not."""
    frame = simulate_galaxies(120, 500, seed=5, kind="bulge+disk")
    alone = _measure(frame, tmp_path, "X_IMAGE Y_IMAGE FLUX_MODEL")
    beside = _measure(frame, tmp_path, "X_IMAGE Y_IMAGE FLUX_MODEL FLUX_PSF")
    np.testing.assert_array_equal(alone["FLUX_MODEL"], beside["FLUX_MODEL"])


def test_the_unit_of_a_psf_file_is_that_of_psf_fluxes_alone(tmp_path):
    """PSFEx's is the light within an aperture; models have all light, in SExtractor, too."""
    frame = simulate_galaxies(120, 500, seed=5, kind="bulge+disk")
    psf = galsim.Convolve(
        galsim.Moffat(beta=3.0, fwhm=3.6).shear(g1=0.03, g2=0.01), galsim.Pixel(1)
    )
    stamp = psf.drawImage(nx=41, ny=41, scale=1.0, method="no_pixel").array
    mask = fits.Column("PSF_MASK", f"{stamp.size}E", dim="(41,41,1)", array=[1.12 * stamp[None]])
    unit = fits.BinTableHDU.from_columns([mask], name="PSF_DATA")
    cards = {"POLNAXIS": 0, "PSF_FWHM": 3.6, "PSF_SAMP": 1.0, "PSFNAXIS": 3, "PSFAXIS1": 41,
             "PSFAXIS2": 41, "PSFAXIS3": 1}  # fmt: skip
    unit.header.update(cards)
    unit.writeto(tmp_path / "stars.psf")
    for diameter, scale in ((0, 1.12), (6, 1.0)):
        given = {"PSF_NAME": str(tmp_path / "stars.psf"), "APERCOR_DIAMETER": diameter}
        alone = _measure(frame, tmp_path, "X_IMAGE Y_IMAGE FLUX_MODEL", **given)
        beside = _measure(frame, tmp_path, COLUMNS, **given)
        np.testing.assert_array_equal(alone["FLUX_MODEL"], beside["FLUX_MODEL"])
        rows, found = _rows(frame, beside)
        bright = found & frame.star & (frame.snr > 30.0)
        assert bright.sum() > 4
        for flux, its in (("FLUX_MODEL", 1.0), ("FLUX_PSF", scale)):
            ratio = np.array(rows[flux][bright]) / frame.flux[bright]
            assert np.median(ratio) == pytest.approx(1.0 / its, abs=0.02)


def test_models_of_stars_are_on_the_scale_of_psf_fluxes(measured):
    """The PSF of few faint stars has too much light in its wings; both fluxes correct for it."""
    frame, rows, found = measured
    bright = found & frame.star & (frame.snr > 40.0)
    assert bright.sum() > 8
    for flux in ("FLUX_MODEL", "FLUX_PSF"):
        ratio = np.array(rows[flux][bright]) / frame.flux[bright]
        assert abs(np.median(ratio) - 1.0) < 0.025
    np.testing.assert_allclose(rows["FLUX_SPHEROID"][found], rows["FLUX_MODEL"][found], rtol=1e-6)


def test_models_of_galaxies_have_all_their_light(measured):
    frame, rows, found = measured
    own = found & ~frame.star & (frame.snr > 20.0)
    assert own.sum() > 30
    magnitude = -2.5 * np.log10(np.array(rows["FLUX_MODEL"][own]) / frame.flux[own])
    assert abs(np.median(magnitude)) < 0.035


def test_a_point_source_in_the_model_does_not_change_what_is_a_star(tmp_path):
    frame = simulate_galaxies(90, 600, seed=8, kind="bulge+disk")
    columns = "X_IMAGE Y_IMAGE FLUX_POINTSOURCE FLUX_SPHEROID PROB_POINTSOURCE"
    table = _measure(frame, tmp_path, columns)
    rows, found = _rows(frame, table)
    bright = found & (frame.snr > 30.0)
    probability = np.array(rows["PROB_POINTSOURCE"])
    star, galaxy = probability[bright & frame.star], probability[bright & (frame.radius > 1.5)]
    assert min(len(star), len(galaxy)) > 3
    assert np.median(star) > 0.8
    assert np.median(galaxy) < 0.01


def test_the_unresolved_share_of_light():
    p = np.zeros((5, N_PARAMETERS))
    p[0, POINT] = 7.0
    p[1, DISK], p[1, DISK + RADIUS] = 3.0, np.log(2.0)
    p[2, SPHEROID], p[2, SPHEROID + RADIUS] = 5.0, np.log(40.0)
    p[3] = p[1]
    p[3, POINT] = 3.0
    p[4] = np.nan
    share = unresolved_share(p, 4.0)
    np.testing.assert_allclose(share[[0, 1, 3, 4]], [1.0, 0.5, 0.75, 1.0])
    assert share[2] < 0.003


def test_what_models_of_given_shapes_lose_to_wings_that_the_psf_lacks():
    """Least squares of exponential galaxies through a Moffat, with what its core alone predicts."""
    fwhm, n = 4.4, 201
    y, x = np.indices((n, n)) - n // 2
    whole = galsim.Moffat(beta=3.5, fwhm=fwhm).drawImage(nx=n, ny=n, scale=1).array
    core = np.where(np.hypot(x, y) <= 2.0 * fwhm, whole, 0.0)
    core /= core.sum()
    diameters, lost = np.array([0.01, 0.5, 1.0, 2.0, 4.0, 8.0]), []
    for diameter in diameters:
        galaxy = galsim.Exponential(half_light_radius=0.5 * diameter * fwhm)
        profile = galsim.Convolve(galaxy, galsim.Gaussian(sigma=0.3))
        light = np.fft.rfft2(profile.drawImage(nx=n, ny=n, scale=1).array)
        seen, model = (
            np.fft.fftshift(np.fft.irfft2(light * np.fft.rfft2(psf), s=(n, n)))
            for psf in (whole, core)
        )
        box = np.maximum(abs(x), abs(y)) <= max(12.0, 1.5 * diameter * fwhm + fwhm)
        lost.append(1.0 - (seen * model)[box].sum() / (model * model)[box].sum())
    p = np.zeros((len(diameters), N_PARAMETERS))
    p[:, DISK], p[:, DISK + RADIUS] = 1.0, np.log(0.5 * diameters * fwhm)
    share = unresolved_share(p, WINGS * fwhm)
    np.testing.assert_allclose(share, np.array(lost) / lost[0], atol=0.06)


@pytest.mark.parametrize("kinds", [["SPHEROID"], ["DISK"], ["SPHEROID", "DISK"]])
def test_derivatives_of_columns_are_differences_of_them(kinds):
    rng = np.random.default_rng(8)
    p = rng.normal(0.5, 0.3, (40, N_PARAMETERS))
    both = {"SPHEROID": SPHEROID, "DISK": DISK}
    p[:, [*both.values(), POINT]] = 0.0
    free = [0, 1, POINT, SKY]
    for first in (both[kind] for kind in kinds):
        free += range(first, first + (INDEX if first == DISK else INDEX + 1))
        p[:, first + INDEX] = rng.uniform(-0.5, 1.8, 40) if first == SPHEROID else 0.0
        p[:, first + E1] = rng.choice([-1, 1], 40) * rng.uniform(0.05, 0.5, 40)
    fluxes = [f for f in free if f in (SPHEROID, DISK, POINT)]
    p[:, fluxes] = rng.uniform(500.0, 2000.0, (40, len(fluxes)))
    slopes = slopes_of(p, np.array(free), kinds)
    for k, parameter in enumerate(free):
        step = 1e-5 * max(1.0, np.abs(p[:, parameter]).max())
        ends = p.copy(), p.copy()
        ends[0][:, parameter] -= step
        ends[1][:, parameter] += step
        below, above = (parameters_of(end, kinds) for end in ends)
        assert slopes.keys() == below.keys()
        for name, slope in slopes.items():
            change = above[name] - below[name]
            if "THETA" in name:
                change = 90.0 - (90.0 - change) % 180.0
            difference = change / (2.0 * step)
            np.testing.assert_allclose(slope[:, k], difference, rtol=1e-4, atol=1e-6, err_msg=name)
