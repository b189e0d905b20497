"""Fluxes that are not in proportion to light: waves that multiply it, copied pixels."""

from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.stages.photometry.checks import Verdict
from skyextract.stages.photometry.stars import Stars
from skyextract.stages.photometry.uneven import with_uneven_fluxes, with_waves

SKY = 400.0
BEFORE = Verdict({}, "", "", 0.004, [])


def frame(height):
    """Return a frame from which waves of this part of the sky were subtracted."""
    y, x = np.mgrid[:300, :300]
    waves = (height * SKY * np.sin(2.0 * np.pi * (y + 0.3 * x) / 40.0)).astype(np.float32)
    one = np.full((1, 1), SKY, np.float32)
    background = BackgroundMap(one, one, 300, 300, (300, 300), SKY, 20.0)
    mask = np.zeros(waves.shape, np.uint16)
    return Exposure(np.zeros_like(waves), mask, background=background, waves=waves)


def stars(exposure, part, seed):
    """Return residuals of stars that have this part of the waves in their light, and the stars."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.0, 299.0, (2, 60))
    errors = rng.uniform(0.005, 0.04, x.size)
    waves = exposure.waves[np.rint(y).astype(int), np.rint(x).astype(int)]
    residuals = 2.5 * np.log10(1.0 + part * waves / SKY) + rng.normal(0.0, errors)
    none = np.zeros(x.size)
    return residuals, Stars(none.astype(int), none.astype(int), x, y, none, none, errors, none)


@pytest.mark.parametrize(
    ("height", "part", "weak", "told"),
    [(0.08, 1.0, True, 1), (0.03, 1.0, False, 1), (0.08, 0.0, False, 0), (0.003, 1.0, False, 0)],
)
def test_waves_that_multiply_light(height, part, weak, told):
    exposure = frame(height)
    after = with_waves(BEFORE, *stars(exposure, part, 4), exposure)
    assert (bool(after.weak), len(after.remarks)) == (weak, told - weak)
    if told:
        assert after.numbers["waves_in_light"] == pytest.approx(1.0, abs=0.25)
        assert "multiply light" in after.weak + "".join(after.remarks)


def test_waves_of_interference_are_in_no_star():
    exposure = frame(0.08)
    for seed in range(40):
        assert with_waves(BEFORE, *stars(exposure, 0.0, seed), exposure) is BEFORE
    none = replace(exposure, waves=None)
    assert with_waves(BEFORE, *stars(exposure, 1.0, 1), none) is BEFORE


def test_fluxes_of_copied_pixels_are_doubtful():
    exposure = replace(frame(0.0), uneven="values are copied")
    assert with_uneven_fluxes(BEFORE, exposure, "FLUX_PSF").weak == "values are copied"


def test_pieces_of_stars_are_doubtful_where_no_psf_is_known():
    exposure = frame(0.0)
    flags = np.array([3, 2, 2, 0, 1])
    weak = with_uneven_fluxes(BEFORE, exposure, "FLUX_AUTO", flags).weak
    assert weak.startswith("3 of the 5 stars of the zero point are parts of blends")
    known = replace(exposure, psf=Psf.gaussian(3.0, PsfSource.MEASURED))
    for frame_of, of_stars in ((exposure, flags[1:]), (known, flags)):
        assert with_uneven_fluxes(BEFORE, frame_of, "FLUX_AUTO", of_stars) == BEFORE
