"""Frames whose stars are not round, not smooth, or smaller than a pixel."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from skyextract.datamodel.beam import beam_of, is_beam
from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import Header
from skyextract.datamodel.wcs import SkyWcs
from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.settings.steps import Status
from skyextract.stages.characterize import characterize
from skyextract.stages.pointsources.fit import psf_photometry
from skyextract.stages.psf.doubt import doubt_of_stars
from skyextract.stages.starselection.stars import Selection
from tests.simulate.shapes import GAIN, NOISE, SKY, simulate_scene
from tests.simulate.shapetruth import best_fits

simulated = cache(simulate_scene)


def characterized(image):
    run = Run()
    exposure = Exposure(image, np.zeros(image.shape, np.uint16), detector=Detector(gain=GAIN))
    return characterize(exposure, Config(), run), run


@cache
def characterized_scene(name, seed):
    return characterized(simulated(name, seed).image)


def half_width(values):
    return 0.5 * np.subtract(*np.percentile(values, [84.135, 15.865]))


@pytest.mark.parametrize(
    ("name", "seed", "fwhm", "most_scatter", "widest"),
    [
        # FWHM: of the Gaussian of equal area; scatter (mag) at S/N 300 and more.
        ("fwhm 1.2", 1, (1.0, 1.3), 0.004, 1.6),
        ("trail 2", 1, (4.2, 5.2), 0.004, 1.6),
        ("trail 4", 1, (7.0, 8.5), 0.004, 1.6),
        ("donut 12", 1, (11.5, 12.5), 0.004, 1.6),
        # The share of light in its core is the same everywhere.
        ("varying", 11, (4.2, 4.8), 0.004, 1.55),
    ],
)
def test_the_psf_is_measured_as_it_is(name, seed, fwhm, most_scatter, widest):
    frame = simulated(name, seed)
    result, run = characterized_scene(name, seed)
    metrics = result.metrics
    assert Status(result.status) is Status.COMPLETE
    assert fwhm[0] < metrics["fwhm_pix"] < fwhm[1]
    assert metrics["n_cosmic_rays"] == 0
    assert not (result.exposure.mask & np.uint16(Mask.CR)).any()
    assert metrics["n_psf_stars"] > 0.3 * metrics["n_bright_sources"]
    assert metrics["psf_star_share"] > 0.5
    fits = psf_photometry(
        frame.image - np.float32(SKY), np.full(frame.image.shape, NOISE**2, np.float32), GAIN,
        np.zeros(frame.image.shape, np.uint16), result.exposure.psf, frame.x, frame.y, run,
        spread=False,
    )  # fmt: skip
    ratio = fits.flux / frame.flux
    error = ratio / np.median(ratio[frame.snr > 50]) - 1.0
    pull = error * frame.flux / fits.flux_error
    bright = frame.snr > 300
    assert half_width(error[bright]) < most_scatter
    assert half_width(pull[bright]) < widest


@pytest.mark.parametrize("name", ["fwhm 12", "wide varying"])
def test_wings_of_wide_stars_are_no_sky(name):
    """Meshes of 64 pixels took up 1 to 1.5 ADU of them, and the PSF lacked as much of the light."""
    frame = simulated(name, 1)
    result, run = characterized(frame.image)
    assert result.metrics["background"] == pytest.approx(SKY, abs=0.01 * NOISE)
    fits = psf_photometry(
        frame.image - np.float32(SKY), np.full(frame.image.shape, NOISE**2, np.float32), GAIN,
        np.zeros(frame.image.shape, np.uint16), result.exposure.psf, frame.x, frame.y, run,
        spread=False,
    )  # fmt: skip
    bright = frame.snr > 100
    assert np.median(fits.flux[bright] / frame.flux[bright]) == pytest.approx(1.0, abs=0.001)


def test_positions_of_undersampled_stars_have_the_error_that_they_claim():
    frame = simulated("fwhm 1.2", 1)
    result, run = characterized_scene("fwhm 1.2", 1)
    psf = result.exposure.psf
    fits = psf_photometry(
        frame.image - np.float32(SKY), np.full(frame.image.shape, NOISE**2, np.float32), GAIN,
        np.zeros(frame.image.shape, np.uint16), psf, frame.x, frame.y, run, spread=False,
    )  # fmt: skip
    bright = frame.snr > 300
    offsets = [
        (found - true)[bright] / np.sqrt(variance[bright] + psf.position_error**2)
        for found, true, variance in (
            (fits.x, frame.x, fits.variance_x), (fits.y, frame.y, fits.variance_y)
        )
    ]  # fmt: skip
    # The noise alone is 0.0007 pixels at S/N 1000; two halves of the stars tell the rest roughly.
    assert 0.6 < np.mean([half_width(pull - np.median(pull)) for pull in offsets]) < 1.7
    assert 0.001 < psf.position_error < 0.004


def test_well_sampled_stars_need_no_error_of_the_model():
    assert characterized_scene("fwhm 3", 1)[0].exposure.psf.position_error == 0.0


def test_sharp_stars_are_no_cosmic_rays_and_that_is_told_once():
    _, run = characterized_scene("fwhm 1.2", 1)
    assert sum("no cosmic ray is looked for" in warning for warning in run.warnings) == 1


def test_a_pattern_of_pixels_in_all_stars_is_no_cosmic_ray():
    frame, side = simulated("fwhm 3", 1), 256
    image = (frame.image[:side, :side] - SKY).astype(np.float32)
    image[::2, ::2] *= 0.4
    image[1::2, 1::2] *= 0.7
    result, _ = characterized(image + np.float32(SKY))
    stars = np.round([frame.y, frame.x]).astype(int)[:, frame.snr > 50]
    stars = stars[:, stars.max(axis=0) < side]
    assert not (result.exposure.mask[tuple(stars)] & np.uint16(Mask.CR)).any()


@pytest.mark.parametrize(
    ("n_bright", "share", "doubted"),
    [(100, 0.05, True), (100, 0.3, False), (10, 0.05, False)],
)
def test_a_psf_from_few_of_the_bright_sources_is_doubted(n_bright, share, doubted):
    selection = Selection(np.arange(5), 3.0, n_bright, share)
    assert bool(doubt_of_stars(selection)) is doubted


def test_real_cosmic_rays_between_stars_are_repaired():
    frame = simulated("fwhm 3", 1)
    image = frame.image.copy()
    random = np.random.default_rng(1)
    y, x = random.integers(5, image.shape[0] - 5, (2, 150))
    image[y, x] += random.uniform(500, 5000, 150).astype(np.float32)
    result, run = characterized(image)
    found = (result.exposure.mask[y, x] & np.uint16(Mask.CR)) != 0
    assert found.mean() > 0.9
    assert not any("no cosmic ray" in warning for warning in run.warnings)


def test_noise_alone_hides_as_much_as_errors_say() -> None:
    """What the benchmark of shapes compares with: fits that know all but one star."""
    frame = simulate_scene("coma", 3, most=60)
    fits = best_fits("coma", frame)
    for found, true, error in (
        (fits.flux, frame.flux, fits.flux_error),
        (fits.x, frame.x, fits.x_error),
        (fits.y, frame.y, fits.y_error),
    ):
        assert np.std((found - true) / error) == pytest.approx(1.0, abs=0.3)
    assert frame.flux / fits.flux_error == pytest.approx(frame.snr, rel=0.05)


@pytest.mark.parametrize(("fwhm", "doubted"), [(5.1, False), (4.9, False), (7.0, True)])
def test_peaks_of_noise_beside_the_sources_of_a_radio_map(fwhm, doubted):
    """They have about the size of the beam, which is that of the sources, and are many."""
    beam = 5.0 * 0.4 / 3600
    cards = {
        "CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CRVAL1": 150.0, "CRVAL2": 2.0,
        "CRPIX1": 20.0, "CRPIX2": 20.0, "CDELT1": -0.4 / 3600, "CDELT2": 0.4 / 3600,
        "BUNIT": "JY/BEAM", "BMAJ": beam, "BMIN": beam,
    }  # fmt: skip
    selection = Selection(np.arange(60), fwhm, 200, 0.05)
    as_beam = is_beam(fwhm, beam_of(Header(cards), SkyWcs.from_header(cards)))
    assert bool(doubt_of_stars(selection, as_beam)) is doubted
