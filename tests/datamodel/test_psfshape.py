"""FWHM and ellipticity of PSF images."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skyextract.datamodel.psfshape import (
    core_ellipticity,
    core_shape,
    effective_fwhm,
    half_light_diameter,
)
from skyextract.errors import StepError


def elliptical(size, sigma_a, sigma_b, angle, x=0.0, y=0.0):
    gy, gx = np.mgrid[0:size, 0:size] - (size - 1) / 2
    gx, gy = gx - x, gy - y
    u = gx * math.cos(angle) + gy * math.sin(angle)
    v = gy * math.cos(angle) - gx * math.sin(angle)
    return np.exp(-0.5 * ((u / sigma_a) ** 2 + (v / sigma_b) ** 2))


@pytest.mark.parametrize("sampling", [0.3, 1.0])
@pytest.mark.parametrize("fwhm", [4.0, 4.7, 9.0])
def test_gaussian(fwhm, sampling):
    sigma = fwhm / 2.354820
    image = elliptical(41, sigma, sigma, 0.0, 0.3, -0.2)
    assert effective_fwhm(image, sampling) == pytest.approx(fwhm * sampling, rel=2e-3)
    assert half_light_diameter(image, sampling) == pytest.approx(fwhm * sampling, rel=2e-2)
    assert core_ellipticity(image) == pytest.approx(0.0, abs=1e-3)


def test_moffat_of_known_width():
    gy, gx = np.mgrid[-30:31, -30:31]
    alpha = 2.5 / math.sqrt(2 ** (1 / 2.5) - 1)
    image = (1 + (gx**2 + gy**2) / alpha**2) ** -2.5
    assert effective_fwhm(image, 1.0) == pytest.approx(5.0, rel=2e-3)


def test_wings_hold_light_but_do_not_widen_the_core():
    gy, gx = np.mgrid[-200:201, -200:201]
    alpha = 2.5 / math.sqrt(2 ** (1 / 3) - 1)
    image = (1 + (gx**2 + gy**2) / alpha**2) ** -3.0
    half = alpha * math.sqrt(math.sqrt(2.0) - 1.0)
    assert half_light_diameter(image, 0.5) == pytest.approx(half, rel=5e-3)
    assert effective_fwhm(image, 0.5) == pytest.approx(2.5, rel=2e-3)


def test_ellipse():
    image = elliptical(61, 4.0, 3.0, 0.6, -0.4, 0.7)
    x, y, xx, yy, xy = core_shape(image)
    assert (x, y) == (pytest.approx(-0.4, abs=1e-3), pytest.approx(0.7, abs=1e-3))
    assert core_ellipticity(image) == pytest.approx(0.25, abs=1e-3)
    assert 0.5 * math.atan2(2 * xy, xx - yy) == pytest.approx(0.6, abs=1e-3)


@pytest.mark.parametrize(
    "image", [np.zeros((21, 21)), -np.ones((21, 21)), np.full((21, 21), np.nan)]
)
def test_no_psf(image):
    with pytest.raises(StepError):
        effective_fwhm(image, 1.0)
