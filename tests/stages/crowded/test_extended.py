"""Galaxies of several kinds are not torn into stars, and blends of stars are not eaten."""

from dataclasses import replace

import galsim
import numpy as np
import pytest

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import FlagsSky
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.stages.crowded import search
from skyextract.stages.measure import measure
from skyextract.stages.measurement.sources import MeasureInputs
from tests.simulate.crowds import FWHM, GAIN, simulate

WANTED = frozenset("X_IMAGE Y_IMAGE FLUX_PSF XPSF_IMAGE YPSF_IMAGE".split())


def measured(field):
    exposure = Exposure(
        image=field.image, mask=np.zeros(field.image.shape, np.uint16),
        detector=Detector(gain=GAIN), psf=Psf.gaussian(FWHM, PsfSource.FILE),
    )  # fmt: skip
    config = Config()
    config = replace(config, background=replace(config.background, back_size=(64,)))
    return measure(exposure, config, WANTED, MeasureInputs(pixel_scale=1.0), Run(2)).sources


def matches(field, sources):
    """Rows by true stars: within half a FWHM and 0.75 mag."""
    x, y, flux = (np.asarray(sources[k]) for k in ("XPSF_IMAGE", "YPSF_IMAGE", "FLUX_PSF"))
    distance = np.hypot(x[:, None] - 1 - field.x, y[:, None] - 1 - field.y)
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = np.abs(2.5 * np.log10(flux[:, None] / field.flux))
    return (distance < 0.5 * FWHM) & (offset < 0.75)


def torn(field, sources):
    """Number of rows on each galaxy that are no star, beyond its own."""
    star = matches(field, sources).any(axis=1)
    hidden = (sources["FLAGS_SKY"] & FlagsSky.HIDDEN) != 0
    x, y, radius, _ = field.galaxies.T
    distance = np.hypot(sources["X_IMAGE"][:, None] - 1 - x, sources["Y_IMAGE"][:, None] - 1 - y)
    upon = (distance < 1.7 * radius + FWHM) & ~star[:, None]
    return np.minimum((upon & hidden[:, None]).sum(axis=0), np.maximum(upon.sum(axis=0) - 1, 0))


@pytest.fixture(scope="module")
def field():
    return simulate("galaxies", 512, 4, galsim.Gaussian(fwhm=FWHM))


@pytest.fixture(scope="module")
def all_added(field):
    """The same without a test for galaxies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            search, "pieces_of_extended", lambda _, hidden, *__: np.zeros(hidden.x.size, np.bool_)
        )
        return measured(field)


def test_galaxies_are_not_torn(field, all_added):
    sources = measured(field)
    assert (torn(field, all_added) > 0).mean() > 0.5
    assert (torn(field, sources) > 0).mean() < 0.12


def test_blends_are_not_eaten(field, all_added):
    sources = measured(field)
    blended = (field.kind > 1) & (field.flux > 1000.0)
    before = matches(field, all_added).any(axis=0)[blended].mean()
    after = matches(field, sources).any(axis=0)[blended].mean()
    assert before > 0.6
    assert after > 0.93 * before
