"""The sky of a crowded field: light of galaxies is none of it."""

from dataclasses import replace

import galsim
import numpy as np

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.stages.measure import measure
from skyextract.stages.measurement.sources import MeasureInputs
from tests.simulate.crowds import draw

SIZE, FWHM, SKY, GAIN = 600, 3.5, 200.0, 2.0


def galaxies(seed):
    """Galaxies of half-light radius 6 to 9 pixels on a grid."""
    rng = np.random.default_rng(seed)
    psf = galsim.Gaussian(fwhm=FWHM)
    image = galsim.ImageD(SIZE, SIZE, init_value=SKY)
    grid = np.arange(50, SIZE - 40, 100.0)
    x, y = (v.ravel() + rng.uniform(-8, 8, v.size) for v in np.meshgrid(grid, grid))
    flux = 10 ** rng.uniform(5, 5.7, x.size)
    for at_x, at_y, light, radius in zip(x, y, flux, rng.uniform(6, 9, x.size), strict=True):
        disc = galsim.Exponential(half_light_radius=radius, flux=light).shear(
            q=0.7, beta=light * galsim.radians
        )
        draw(image, galsim.Convolve(disc, psf), at_x, at_y, 100)
    noisy = rng.poisson(image.array * GAIN) / GAIN
    exposure = Exposure(
        image=noisy.astype(np.float32), mask=np.zeros(noisy.shape, np.uint16),
        detector=Detector(gain=GAIN), psf=Psf.gaussian(FWHM, PsfSource.FILE),
    )  # fmt: skip
    return exposure, x, y, flux


def test_light_of_galaxies_is_no_sky():
    """They cover enough of the frame that it counts as crowded."""
    exposure, x, y, flux = galaxies(1)
    config = Config()
    wanted = frozenset({"X_IMAGE", "Y_IMAGE", "FLUX_PSF", "FLUX_AUTO"})
    ratios = []
    for passes in (0, 8):
        extraction = replace(config.extraction, crowd_niter=passes)
        found = measure(
            exposure, replace(config, extraction=extraction), wanted, MeasureInputs(), Run()
        )
        assert found.metrics["sky_share"] < 0.8
        table = found.sources
        offset = np.hypot(table["X_IMAGE"][:, None] - 1 - x, table["Y_IMAGE"][:, None] - 1 - y)
        nearest = offset.argmin(axis=0)
        assert (offset.min(axis=0) < 1.0).all()
        ratios.append(np.median(table["FLUX_AUTO"][nearest] / flux))
    alone, crowd = ratios
    assert 0.97 < alone < 1.0
    assert abs(crowd - alone) < 0.003


def test_sky_between_wide_stars_is_the_sky():
    """Fits follow the sky from pass to pass, and it follows them, to a share of a flux's error.

    In a frame that stars cover each would keep what the other one had too much.
    """
    size, fwhm, noise = 800, 30.0, 15.0
    rng = np.random.default_rng(4)
    psf = Psf.gaussian(fwhm, PsfSource.FILE)
    grid = np.arange(45.0, size - 30, 75.0)
    x, y = (v.ravel() + rng.uniform(-12, 12, v.size) for v in np.meshgrid(grid, grid))
    error = noise / np.sqrt(np.square(psf.stamp(0.0, 0.0)).sum())
    flux = error * 10 ** rng.uniform(1.0, 2.5, x.size)
    pixels = np.full((size, size), SKY) + noise * rng.standard_normal((size, size))
    axis = np.arange(size)
    sigma = fwhm / 2.3548
    for at_x, at_y, light in zip(x, y, flux, strict=True):
        row, column = (np.exp(-0.5 * ((axis - at) / sigma) ** 2) for at in (at_y, at_x))
        pixels += light / (2 * np.pi * sigma**2) * np.outer(row, column)
    exposure = Exposure(
        image=pixels.astype(np.float32), mask=np.zeros(pixels.shape, np.uint16),
        detector=Detector(gain=0.0), psf=psf,
    )  # fmt: skip
    wanted = frozenset({"X_IMAGE", "Y_IMAGE", "FLUX_PSF", "FLUXERR_PSF"})
    found = measure(exposure, Config(), wanted, MeasureInputs(), Run())
    table = found.sources
    offset = np.hypot(table["X_IMAGE"][:, None] - 1 - x, table["Y_IMAGE"][:, None] - 1 - y)
    assert offset.min(axis=0).max() < 0.5 * fwhm
    assert abs(np.mean(found.plane.background.level) - SKY) < 0.3
    assert np.median(table["FLUXERR_PSF"]) < 1.3 * error
