"""Coefficients and samples of B-splines against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import spline_filter

from skyextract.kernels.psf.bspline import PAD, spline_coefficients, spline_samples


def test_coefficients_agree_with_scipy_and_reproduce_the_samples():
    rng = np.random.default_rng(1)
    basis = np.zeros((2, 25, 31), dtype=np.float32)
    basis[:, 6:-6, 6:-6] = rng.normal(size=(2, 13, 19))
    out = np.empty((2, 25 + 2 * PAD, 31 + 2 * PAD))
    spline_coefficients(basis, out)
    padded = np.pad(basis, ((0, 0), (PAD, PAD), (PAD, PAD))).astype(float)
    for k in range(2):
        assert out[k] == pytest.approx(spline_filter(padded[k], mode="mirror"), abs=1e-6)
        samples = np.empty_like(out[k])
        spline_samples(out[k], samples)
        assert samples == pytest.approx(padded[k], abs=1e-6)
