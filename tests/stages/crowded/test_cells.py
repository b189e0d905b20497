"""What is a crowd: many sources in what they cover, or one large light; not many separate ones."""

from dataclasses import replace

import galsim
import numpy as np
import pytest

from benchmarks.simulate.frame import frame
from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.stages.crowded.cells import MIN_COVER, crowded_patches, is_crowded
from skyextract.stages.find import find_sources
from skyextract.stages.measurement.sources import MeasureInputs
from tests.compare.crowds import measured
from tests.simulate.crowds import FWHM, GAIN, SKY, Crowd, draw, simulate

PSF = Psf.gaussian(FWHM, PsfSource.FILE)
COLUMNS = "X_IMAGE Y_IMAGE FLUX_PSF XPSF_IMAGE YPSF_IMAGE"


def found_in(image):
    exposure = Exposure(
        image=image, mask=np.zeros(image.shape, np.uint16), detector=Detector(gain=GAIN), psf=PSF
    )
    return find_sources(exposure, Config(), MeasureInputs(pixel_scale=1.0), Run(1)).detections


def with_galaxies(side: int, apart: int) -> Crowd:
    """A field of .4 stars per 100 FWHM^2, and galaxies on a grid that cover it."""
    field = simulate("0.4", side, 5, galsim.Gaussian(fwhm=FWHM))
    rng = np.random.default_rng(6)
    light = galsim.ImageF(side, side)
    middle = np.arange(apart // 2, side, apart)
    places = np.array([(x, y) for y in middle for x in middle]) + rng.uniform(
        -5, 5, (middle.size**2, 2)
    )
    for x, y in places:
        disc = galsim.Exponential(half_light_radius=rng.uniform(4, 6), flux=5e4)
        disc = galsim.Convolve(disc.shear(q=0.6, beta=rng.uniform(0, 3) * galsim.radians),
                               galsim.Gaussian(fwhm=FWHM))  # fmt: skip
        draw(light, disc, x, y, 100)
    noise = rng.normal(0.0, np.sqrt(np.maximum(light.array, 0.0) / GAIN))
    image = (field.image + light.array + noise).astype(np.float32)
    galaxies = np.column_stack([places, np.full(len(places), 5.0), np.zeros(len(places))])
    return replace(field, image=image, galaxies=galaxies)


@pytest.fixture(scope="module")
def covered():
    return with_galaxies(448, 50)


def test_galaxies_that_cover_a_frame_are_no_crowd(covered):
    found = found_in(covered.image)
    assert found.pixel.size > MIN_COVER * covered.image.size
    assert not is_crowded(found, FWHM)
    assert crowded_patches(found, FWHM) == []


def test_their_rows_are_true():
    """A third of the sources are galaxies; hardly any row has nothing beneath it."""
    size, n = 768, 500
    pixels = frame(size, n).astype(np.float32)
    rng = np.random.default_rng(1)
    rng.random(2 * n)  # fluxes
    x, y = rng.uniform(0, size, (n, 2)).T
    sources = measured(replace(simulate("0.4", 64, 5), image=pixels), COLUMNS)
    of_row = np.hypot(*(sources[f"{v}_IMAGE"][:, None] - 1.0 - w for v, w in (("X", x), ("Y", y))))
    nearest = of_row.argmin(axis=1)
    true = (of_row.min(axis=1) < 2.0) & (of_row.argmin(axis=0)[nearest] == np.arange(nearest.size))
    assert true.sum() > 0.65 * n
    assert true.mean() > 0.95


@pytest.mark.parametrize("scene", ["10", "20", "king"])
def test_crowds_are_crowds(scene):
    field = simulate(scene, 320, 7, galsim.Gaussian(fwhm=FWHM))
    assert is_crowded(found_in(field.image), FWHM)


def test_one_large_light_is_searched():
    field = simulate("0.4", 320, 8, galsim.Gaussian(fwhm=FWHM))
    y, x = np.indices(field.image.shape)
    band = 0.6 * SKY * np.exp(-0.5 * ((y - 160 - 0.3 * (x - 160)) / 25.0) ** 2)
    assert is_crowded(found_in((field.image + band).astype(np.float32)), FWHM)


def test_an_empty_frame_is_none():
    rng = np.random.default_rng(2)
    found = found_in(rng.normal(SKY, 10.0, (200, 200)).astype(np.float32))
    assert not is_crowded(found, FWHM)


def test_a_cluster_among_galaxies_is_a_region(covered):
    rng = np.random.default_rng(3)
    image = covered.image.astype(np.float64)
    stamp = galsim.Gaussian(fwhm=FWHM).drawImage(nx=21, ny=21, scale=1).array
    for x, y, flux in zip(*rng.normal(224, 22, (2, 350)), rng.uniform(2e3, 8e3, 350), strict=True):
        i, j = int(np.clip(y, 12, 430)), int(np.clip(x, 12, 430))
        image[i - 10 : i + 11, j - 10 : j + 11] += flux * stamp
    found = found_in(image.astype(np.float32))
    assert not is_crowded(found, FWHM)
    (patch,) = crowded_patches(found, FWHM)
    assert patch[patch.shape[0] // 2, patch.shape[1] // 2]
    assert patch.mean() < 0.4
