"""Crowds in noise that neighbouring pixels share, as in frames that were resampled."""

from dataclasses import replace

import galsim
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tests.compare.crowds import matched, measured
from tests.simulate.crowds import FWHM, ZERO_POINT, simulate

SMOOTHED = 0.9  # standard deviation of a Gaussian, pixels


@pytest.mark.parametrize("seed", [11, 13])
def test_faint_stars_are_not_taken_for_sums(seed):
    """Errors of SPREAD_MODEL in such noise are larger than independent pixels make them."""
    narrow = galsim.Gaussian(fwhm=np.sqrt(FWHM**2 - (2.3548 * SMOOTHED) ** 2))
    field = simulate("40", 256, seed, narrow)
    field = replace(field, image=gaussian_filter(field.image, SMOOTHED))
    match, _ = matched(field, measured(field, "FLUX_PSF XPSF_IMAGE YPSF_IMAGE"))
    magnitude = ZERO_POINT - 2.5 * np.log10(field.flux)
    faint = np.abs(magnitude - 20.0) < 0.5
    assert match.any(axis=0)[faint].mean() > 0.6
    assert match.any(axis=1).mean() > 0.96
