"""What a PSF model leaves of its stars, in units of the noise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skyextract.stages.psf.misfit import core_misfit


def test_a_core_without_pixels_fits_nothing():
    """The stars of a frame without noise may have none; numpy has no word to say."""
    assert core_misfit(np.array([1.0, -3.0]), np.array([2.0, 3.0])) == pytest.approx(1.75)
    assert core_misfit(np.zeros(0), np.zeros(0)) == math.inf
