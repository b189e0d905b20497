"""Stars so wide that their neighbours shine on most of their pixels."""

from __future__ import annotations

from dataclasses import replace

import galsim
import numpy as np
import pytest

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.psf import Psf
from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.stages.characterize import characterize
from skyextract.stages.pointsources.sweeps import FittedSources, add_models
from skyextract.stages.psf.neighbours import Neighbours
from tests.simulate.shapes import GAIN, NOISE, SCENES, Blend, simulate_scene


def test_light_beside() -> None:
    """What is subtracted from a star's stamp is the light of the others, not its own."""
    psf = Psf.gaussian(8.0)
    x, y, flux = np.array([40.3, 66.0]), np.array([45.8, 50.2]), np.array([4e4, 9e4])
    image = galsim.ImageF(110, 100, xmin=0, ymin=0)
    alone = []
    for star in range(2):
        one = image.copy()
        light = galsim.Convolve(galsim.Gaussian(fwhm=8.0), galsim.Pixel(1.0)).withFlux(flux[star])
        light.drawImage(one, center=(x[star], y[star]), scale=1.0, method="no_pixel")
        alone.append(one.array)
    data = alone[0] + alone[1]
    # A peak of noise on the wing of the first one is a part of it.
    peaks = np.array([[40, 66, 40], [46, 50, 56], [300.0, 700.0, 20.0], [20, 20, 10.0]])
    variance, mask = np.full(data.shape, 25.0, np.float32), np.zeros(data.shape, np.uint16)
    found = Neighbours.fit(data, variance, 1.0, mask, psf, peaks, Run())
    beside = found.light_beside(x, y, np.array([300.0, 700.0]), 20)
    assert beside.shape == (2, 41, 41)
    expected = alone[1][46 - 20 : 46 + 21, 40 - 20 : 40 + 21]
    assert np.abs(beside[0] - expected).max() < 0.02 * expected.max()
    expected = alone[0][50 - 20 : 50 + 21, 66 - 20 : 66 + 21]
    assert np.abs(beside[1] - expected).max() < 0.02 * expected.max()
    # Models of other kinds of the same stars ask again.
    assert found.light_beside(x, y, np.array([300.0, 700.0]), 20) is beside
    assert found.light_beside(x, y, np.array([300.0, 700.0]), 19).shape == (2, 39, 39)


def test_a_fit_on_another_sky_goes_on() -> None:
    """Fewer steps than anew lead to the same fluxes."""
    psf, rng = Psf.gaussian(8.0), np.random.default_rng(4)
    x, y = (v.ravel() * 14.0 + 20.0 + rng.uniform(-1.0, 1.0, 25) for v in np.mgrid[:5, :5])
    data = rng.normal(0.0, 5.0, (100, 100)).astype(np.float32)
    truth = FittedSources.at(x, y)
    flux = rng.uniform(2e4, 2e5, 25)
    truth = replace(
        truth, parameters=np.column_stack([flux, x, y]), reach=np.full(25, psf.radius)
    )  # fmt: skip
    add_models(data, psf, truth, 1.0)
    peaks = np.stack([np.rint(x), np.rint(y), np.full(25, 300.0), np.full(25, 12.0)])
    planes = np.full(data.shape, 25.0, np.float32), 1.0, np.zeros(data.shape, np.uint16), psf
    first = Neighbours.fit(data, *planes, peaks, Run())
    anew = Neighbours.fit(data + 0.5, *planes, peaks, Run())
    again = Neighbours.fit(data + 0.5, *planes, peaks, Run(), first)
    assert again.sources.iterations.sum() < 0.7 * anew.sources.iterations.sum()
    error = np.sqrt(25.0 * 145.0 + flux)
    change = again.sources.parameters[:, 0] - anew.sources.parameters[:, 0]
    assert np.abs(change / error).max() < 0.1


@pytest.mark.parametrize("seed", [1, 2])
def test_wide_stars_keep_their_wings(seed: int) -> None:
    """Light of the neighbours is in neither the sky nor the PSF: FWHM 24 px, stars 60 px apart."""
    frame = simulate_scene("fwhm 24", seed)
    mask = np.zeros(frame.image.shape, np.uint16)
    exposure = Exposure(frame.image, mask, detector=Detector(gain=GAIN, saturation=1e7))
    done = characterize(exposure, Config(), Run())
    assert done.exposure.background is not None
    assert done.exposure.background.mean - 400.0 < 0.2 * NOISE
    assert done.exposure.psf is not None
    middle, half = 511.5, done.exposure.psf.radius
    stamp = done.exposure.psf.stamp(middle, middle).astype(float)
    optics = SCENES["fwhm 24"].optics(0.0, 0.0)
    assert isinstance(optics, Blend)
    side = np.arange(-half, half + 1.0)
    truth = optics.draw(side, side)
    radius = np.hypot(side[:, None], side)
    for low, high in ((0, 12), (12, 24), (24, 48)):
        ring = (radius >= low) & (radius < high)
        assert stamp[ring].sum() == pytest.approx(truth[ring].sum(), rel=0.03), (low, high)
    # Wings that vary would be a gradient of all fluxes over the field.
    assert done.exposure.psf.degree == 0


def test_wide_stars_that_vary() -> None:
    """Where the PSF changes over the field bright stars show it: it is let vary."""
    frame = simulate_scene("wide varying", 1)
    mask = np.zeros(frame.image.shape, np.uint16)
    exposure = Exposure(frame.image, mask, detector=Detector(gain=GAIN, saturation=1e7))
    psf = characterize(exposure, Config(), Run()).exposure.psf
    assert psf is not None
    assert psf.degree >= 1


@pytest.mark.parametrize("seed", [1, 2])
def test_light_that_is_no_star_is_not_followed_for_long(seed: int) -> None:
    """Of peaks along lines, each fitted as a star, positions would go on moving: 75 steps each,
    160 of some.  What is left of the lines is hardly more."""
    rng = np.random.default_rng(seed)
    size, width = 300, 8.0
    data = rng.normal(0, 5, (size, size)).astype(np.float32)
    y, x = np.mgrid[:size, :size]
    for place in range(30, size, 40):
        line = 200 * np.exp(-((y - place) ** 2) / 8.0) * (1 + 0.3 * np.sin(x / 4.0))
        data += line.astype(np.float32)
    rows, columns = (v.ravel() for v in np.mgrid[30:size:40, 3 : size - 3 : 6])
    peaks = np.stack([columns, rows, np.full(rows.size, 200.0), np.full(rows.size, 20.0)])
    variance, mask = np.full(data.shape, 25.0, np.float32), np.zeros(data.shape, np.uint16)
    psf = Psf.gaussian(width)
    found = Neighbours.fit(data, variance, 1.0, mask, psf, peaks.astype(float), Run())
    assert found.sources.iterations.mean() < 50
    assert found.sources.iterations.max() < 60
    left = (data - found.models).std()
    assert 5.0 < left < 0.5 * data.std()
