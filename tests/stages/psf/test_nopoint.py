"""NO_POINT: what a point source does not describe, and nothing else, is told."""

from dataclasses import replace

import galsim
import numpy as np
import pytest

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import FlagsSky
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.stages.measure import measure
from skyextract.stages.measurement.sources import MeasureInputs

FWHM, GAIN, SKY_NOISE, STEP, N = 3.6, 2.0, 7.0, 32, 12
PLACES = np.arange(N) * STEP + STEP / 2


def measured(profile, flux, seed, psf_fwhm=FWHM):
    """Rows of N x N sources, the numbers of those nearest to each, and which have NO_POINT.

    `profile` makes a galsim profile of unit flux from a position angle.
    """
    rng = np.random.default_rng(seed)
    image = np.zeros((N * STEP, N * STEP))
    x, y = (v.ravel() + rng.uniform(-2, 2, N * N) for v in np.meshgrid(PLACES, PLACES))
    for k in range(N * N):
        light = profile(rng.uniform(0.0, 180.0)).withFlux(flux[k])
        bounds = galsim.BoundsI(1, STEP, 1, STEP)
        j, i = divmod(k, N)
        centre = galsim.PositionD(x[k] - i * STEP + 1, y[k] - j * STEP + 1)
        drawn = light.drawImage(bounds=bounds, scale=1.0, center=centre, method="no_pixel")
        stamp = drawn.array
        image[j * STEP : (j + 1) * STEP, i * STEP : (i + 1) * STEP] = stamp
    image += rng.normal(size=image.shape) * np.sqrt(SKY_NOISE**2 + np.maximum(image, 0.0) / GAIN)
    exposure = Exposure(
        image=(image + 50.0).astype(np.float32), mask=np.zeros(image.shape, np.uint16),
        detector=Detector(gain=GAIN), psf=Psf.gaussian(psf_fwhm, PsfSource.FILE),
    )  # fmt: skip
    config = Config()
    config = replace(config, background=replace(config.background, back_size=(64,)))
    columns = frozenset({"FLUX_PSF", "X_IMAGE", "Y_IMAGE"})
    found = measure(exposure, config, columns, MeasureInputs(pixel_scale=1.0), Run(2)).sources
    distance = np.hypot(found["X_IMAGE"][:, None] - 1 - x, found["Y_IMAGE"][:, None] - 1 - y)
    told = (found["FLAGS_SKY"] & FlagsSky.NO_POINT) != 0
    near = distance < 6.0
    return found.n_rows, near.sum(axis=0), (near & told[:, None]).any(axis=0)


def fluxes(seed):
    return 10.0 ** np.random.default_rng(seed).uniform(3.5, 5.5, N * N)


def star(_):
    return galsim.Gaussian(fwhm=FWHM)


@pytest.mark.parametrize("wrong", [0.98, 1.0, 1.02])
def test_stars_are_points_also_where_the_psf_is_a_little_wrong(wrong):
    for seed in range(2):
        n_rows, number, told = measured(star, fluxes(seed), seed, wrong * FWHM)
        assert n_rows == N * N
        assert (number == 1).all()
        assert not told.any()


@pytest.mark.parametrize(
    ("apart", "least_two"), [(0.5, 0.3), (0.65, 0.9), (0.8, 0.97), (1.0, 0.99)]
)
def test_two_stars_are_two_rows_or_told(apart, least_two):
    """Equal ones of S/N 100 to 700 together; seldom are they three rows."""

    def pair(angle):
        shift = galsim.PositionD(0.5 * apart * FWHM, 0.0)
        one = galsim.Gaussian(fwhm=FWHM, flux=0.5)
        return (one.shift(shift) + one.shift(-shift)).rotate(angle * galsim.degrees)

    flux = fluxes(3)
    _, number, told = measured(pair, flux, 3)
    bright = flux > 9000.0
    two = number == 2
    assert two[bright].mean() > least_two
    assert (told | two)[bright].mean() > 0.94
    assert (number > 2)[bright].mean() < 0.06


def test_galaxies_are_told():
    def galaxy(angle):
        disk = galsim.Exponential(half_light_radius=3.0).shear(q=0.6, beta=angle * galsim.degrees)
        return galsim.Convolve(disk, galsim.Gaussian(fwhm=FWHM))

    flux = fluxes(4)
    _, _, told = measured(galaxy, flux, 4)
    assert told[flux > 2e4].all()
