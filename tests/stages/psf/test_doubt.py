"""What is said of a PSF."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skyextract.datamodel.psf import Psf
from skyextract.datamodel.wcs import SkyWcs
from skyextract.run import Run
from skyextract.stages.psf.doubt import tell_elongation


@pytest.mark.parametrize(
    ("ellipticity", "height", "warned"),
    [(0.45, 2.0, False), (0.45, 1.0, True), (0.7, 2.0, True), (0.1, 2.0, False)],
)
def test_elongated_stars(ellipticity, height, warned):
    """Stars of frames that were binned along one axis are round on the sky."""
    cards = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 20.0, "NAXIS1": 100,
        "NAXIS2": 100, "CRPIX1": 50.0, "CRPIX2": 50.0, "CD1_1": -1e-4, "CD2_2": 1e-4 * height,
    }  # fmt: skip
    run = Run()
    tell_elongation(
        replace(Psf.gaussian(3.0), ellipticity=ellipticity), SkyWcs.from_header(cards), run
    )
    assert bool(run.warnings) == warned
