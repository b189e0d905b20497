"""Errors of fluxes where rounding to the steps of the pixel values hides the level of the sky."""

from dataclasses import replace

import numpy as np
import pytest
import sep

import skyextract
from tests.simulate.noises import KINDS, make

COLUMNS = "XPSF_IMAGE YPSF_IMAGE FLUX_PSF FLUXERR_PSF FLUX_APER FLUXERR_APER MAG_AUTO"


@pytest.mark.parametrize("sky", [400.0, 370.0])
def test_fluxes_of_frames_with_noise_below_a_quarter_of_a_step(sky, tmp_path):
    """Errors of single fluxes, which all share the hidden level's, are not exceeded."""
    noise = replace(KINDS["rms 0.2 ADU"], sky=sky)
    aperture = 3.0 * noise.fwhm
    (tmp_path / "p.param").write_text("\n".join(COLUMNS.split()) + "\n")
    off = []
    for seed in (1, 2):
        frame = make(noise, seed)
        table = skyextract.process(
            skyextract.exposure(frame.image, frame.header), PHOT_APERTURES=aperture,
            PARAMETERS_NAME=str(tmp_path / "p.param"), CR_REPAIR=False,
        ).table  # fmt: skip
        x, y = (np.asarray(table[name]) - 1.0 for name in ("XPSF_IMAGE", "YPSF_IMAGE"))
        distance = np.hypot(x[:, None] - frame.x, y[:, None] - frame.y)
        star = distance.argmin(axis=1)
        true, _, _ = sep.sum_circle(frame.clean, frame.x, frame.y, 0.5 * aperture, subpix=0)
        pull = (table["FLUX_APER"] - true[star]) / table["FLUXERR_APER"]
        off.append(np.asarray(pull)[distance.min(axis=1) < 2.0])
    pulls = np.concatenate(off)
    assert pulls.size > 200
    assert 0.2 < np.sqrt(np.mean(pulls**2)) < 1.2
