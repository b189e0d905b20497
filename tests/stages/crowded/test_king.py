"""The core of a cluster: its unresolved light is sky to the stars in it."""

from dataclasses import replace

import galsim
import numpy as np
import pytest

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.stages.crowded import search
from skyextract.stages.measure import measure
from skyextract.stages.measurement.sources import MeasureInputs
from tests.simulate.crowds import FWHM, GAIN, simulate

WANTED = frozenset("FLUX_PSF XPSF_IMAGE YPSF_IMAGE".split())


def scores(field):
    """Share of bright stars that are found, purity, and bias of faint stars' fluxes."""
    exposure = Exposure(
        image=field.image, mask=np.zeros(field.image.shape, np.uint16),
        detector=Detector(gain=GAIN), psf=Psf.gaussian(FWHM, PsfSource.FILE),
    )  # fmt: skip
    config = Config()
    config = replace(config, background=replace(config.background, back_size=(64,)))
    sources = measure(exposure, config, WANTED, MeasureInputs(pixel_scale=1.0), Run(2)).sources
    x, y, flux = (np.asarray(sources[k]) for k in ("XPSF_IMAGE", "YPSF_IMAGE", "FLUX_PSF"))
    distance = np.hypot(x[:, None] - 1 - field.x, y[:, None] - 1 - field.y)
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = 2.5 * np.log10(flux[:, None] / field.flux)
    match = (distance < 0.5 * FWHM) & (np.abs(offset) < 0.75)
    faint = match & (field.flux > 800.0) & (field.flux < 3000.0)
    return (
        match.any(axis=0)[field.flux > 2500.0].mean(),
        match.any(axis=1).mean(),
        -np.median(offset[faint]),
    )


@pytest.fixture(scope="module")
def field():
    return simulate("king", 384, 4, galsim.Gaussian(fwhm=FWHM))


def test_stars_of_a_core(field):
    found, purity, bias = scores(field)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "SKY_CELL", 100.0)  # that is BACK_SIZE
        with_wide_sky = scores(field)
    assert found > 0.94
    assert purity > 0.92
    assert abs(bias) < 0.05
    assert with_wide_sky[0] < found - 0.05
    assert with_wide_sky[1] < purity - 0.02
