"""Adaptive moments against known Gaussians."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.psf import moments as kernels


def gaussian(shape, x, y, cxx, cyy, cxy, flux):
    gy, gx = np.mgrid[0 : shape[0], 0 : shape[1]]
    determinant = cxx * cyy - cxy**2
    r2 = (cyy * (gx - x) ** 2 + cxx * (gy - y) ** 2 - 2 * cxy * (gx - x) * (gy - y)) / determinant
    return flux * np.exp(-0.5 * r2) / (2 * np.pi * np.sqrt(determinant))


def moments(data, x, y, sigma, variance=None, mask=None, inverse_gain=0.0):
    data = np.ascontiguousarray(data, dtype=np.float32)
    variance = np.ones_like(data) if variance is None else variance
    mask = np.zeros(data.shape, dtype=np.uint16) if mask is None else mask
    x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    out = np.zeros((x.size, kernels.N_COLUMNS))
    flags = np.zeros(x.size, dtype=np.int64)
    kernels.adaptive_moments(
        data, variance, mask, 2, inverse_gain, sigma, x, y, 0, x.size, out, flags
    )
    return out, flags


@pytest.mark.parametrize("start", [0.7, 2.0, 8.0])
@pytest.mark.parametrize(("cxx", "cyy", "cxy"), [(4.0, 4.0, 0.0), (6.0, 3.0, 1.0), (60, 80, 5)])
def test_moments_of_a_gaussian_are_exact_whatever_the_start(start, cxx, cyy, cxy):
    data = gaussian((121, 121), 60.3, 59.8, cxx, cyy, cxy, 1000.0)
    out, flags = moments(data, 60, 60, start)
    assert flags[0] == 0
    row = out[0]
    mean, split = (cxx + cyy) / 2, np.hypot((cxx - cyy) / 2, cxy)
    a, b = np.sqrt(mean + split), np.sqrt(mean - split)
    assert row[kernels.X] == pytest.approx(60.3, abs=2e-3 * a)
    assert row[kernels.Y] == pytest.approx(59.8, abs=2e-3 * a)
    assert row[kernels.SIGMA] == pytest.approx(np.sqrt(a * b), rel=3e-3)
    assert row[kernels.ELLIPTICITY] == pytest.approx((a - b) / (a + b), abs=5e-3)
    if split:
        angle = 0.5 * np.arctan2(2.0 * cxy, cxx - cyy)
        assert row[kernels.ANGLE] == pytest.approx(angle, abs=5e-3)
    # The weight is round: an elongated Gaussian's flux is low by a few per cent.
    assert row[kernels.FLUX] == pytest.approx(1000.0, rel=0.01 if cxy == 0 else 0.06)
    if cxy == 0:
        # A matched filter: flux / (2 sigma sqrt(pi)) for unit noise; and F (4/5) / (F/2).
        assert row[kernels.SNR] == pytest.approx(1000.0 / (2 * np.sqrt(np.pi * a * b)), rel=0.01)
        assert row[kernels.BROADENING] == pytest.approx(1.6, rel=0.01)


def test_size_does_not_depend_on_the_signal():
    random = np.random.default_rng(3)
    sizes = []
    for flux in (300.0, 3000.0):
        trials = []
        for _ in range(60):
            data = gaussian((41, 41), 20.2, 19.7, 4, 4, 0, flux) + random.normal(0, 1, (41, 41))
            out, flags = moments(data, 20, 20, 3.0)
            if flags[0] == 0:
                trials.append(out[0, kernels.SIGMA])
        sizes.append(np.median(trials))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


def test_flags():
    data = gaussian((60, 60), 30, 30, 4, 4, 0, 1e4) + gaussian((60, 60), 1, 30, 4, 4, 0, 1e4)
    mask = np.zeros((60, 60), dtype=np.uint16)
    variance = np.ones((60, 60), dtype=np.float32)
    assert moments(data, 30, 30, 2.0)[1][0] == 0
    assert moments(data, 1, 30, 2.0)[1][0] & kernels.AT_EDGE
    assert moments(np.zeros((60, 60)), 30, 30, 2.0)[1][0] & kernels.NOT_CONVERGED
    mask[31, 30] = 2
    assert moments(data, 30, 30, 2.0, mask=mask)[1][0] == kernels.ABOVE_SATURATION
    variance[28, 30] = 1e30
    assert moments(data, 30, 30, 2.0, variance)[1][0] & kernels.MASKED


def test_a_hot_pixel_and_a_slope_are_no_objects():
    hot = np.zeros((40, 40))
    hot[20, 20] = 1000.0
    assert moments(hot, 20, 20, 2.0)[1][0] & kernels.NOT_CONVERGED
    slope = np.tile(np.arange(200.0), (200, 1))
    assert moments(slope, 100, 100, 2.0)[1][0] & kernels.NOT_CONVERGED


def test_what_has_no_width_is_not_looked_around():
    """Windows of the widest weight are the largest of all, and nobody asks for such light."""
    out, flags = moments(np.full((400, 400), 50.0), 3, 200, 2.0)
    assert flags[0] == kernels.NOT_CONVERGED
    assert out[0, kernels.BROADENING] == out[0, kernels.PEAK] == 0.0
