"""Fits of the stars that a PSF is built from, against a rendered truth."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.psf.starfit import (
    N_CLIPPED,
    N_PIXELS,
    StarRules,
    Stars,
    fit_stars,
)
from tests.kernels.psf.test_normal import spline


def bump(size, x, y, sigma):
    gy, gx = np.mgrid[0:size, 0:size]
    return np.exp(-0.5 * ((gx - x) ** 2 + (gy - y) ** 2) / sigma**2)


def fit(stamps, noise, coefficients, step, cx, cy, flux, **options):
    n = len(stamps)
    weight, target = np.zeros((2, *stamps.shape), dtype=np.float32)
    out = np.zeros((n, 4))
    rules = StarRules(options.get("inverse_gain", 0.0), 0.003, 6.0, 6.0, options.get("clip", 5.0))
    stars = Stars(np.ones((n, 1)), cx, cy, flux, stamps, noise, weight, target)
    fit_stars(coefficients, step, rules, 5, stars, out)
    return weight, target, out


def test_fluxes_and_centres_are_recovered_and_odd_pixels_get_no_weight():
    # A coefficient image stands for the PSF: what it renders to is the truth here.
    coefficients = bump(25, 12, 12, 2.5)[None]
    step, size = 1.0, 17
    rendered = np.zeros((1, size, size), dtype=np.float32)

    def image(x, y):
        t = (np.arange(size) - x) / step + 12
        u = (np.arange(size) - y) / step + 12
        wx = spline(t[:, None] - np.arange(25))
        wy = spline(u[:, None] - np.arange(25))
        return wy @ coefficients[0] @ wx.T

    rendered[0] = 500.0 * image(8.3, 7.6)
    rendered[0, 1, 8] += 300.0
    noise = np.ones_like(rendered)
    noise[0, 8, 14] = 1e30
    cx, cy, flux = np.array([8.0]), np.array([8.0]), np.array([300.0])
    weight, target, out = fit(rendered, noise, coefficients, step, cx, cy, flux)
    assert flux[0] == pytest.approx(500.0, rel=1e-3)
    assert cx[0] == pytest.approx(8.3, abs=2e-3)
    assert cy[0] == pytest.approx(7.6, abs=2e-3)
    assert out[0, N_CLIPPED] == 1
    assert not weight[0, 0:3, 8].any()
    assert not weight[0, 1, 7:10].any()
    assert weight[0, 8, 14] == 0
    good = weight > 0
    np.testing.assert_allclose((target / np.where(good, weight, 1))[good],
                               (rendered / flux[0])[good], rtol=1e-4, atol=1e-6)  # fmt: skip


def test_a_star_without_light_or_pixels_gets_flux_zero():
    coefficients = bump(25, 12, 12, 2.5)[None]
    stamps = np.full((2, 17, 17), -5.0, dtype=np.float32)
    noise = np.ones_like(stamps)
    noise[1] = 1e30
    flux = np.array([100.0, 100.0])
    weight, _, out = fit(stamps, noise, coefficients, 1.0, *np.full((2, 2), 8.0), flux)
    assert flux[0] == 0
    assert not weight.any()
    assert out[1, N_PIXELS] == 0
    assert np.isfinite(out).all()
