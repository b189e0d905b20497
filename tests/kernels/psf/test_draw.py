"""Models of many sources, drawn at once, against their stamps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf
from skyextract.kernels.psf.draw import draw_models, sum_light
from skyextract.kernels.psf.model import PsfModel


def test_models_are_stamps_out_to_their_reach():
    narrow, wide = (Psf.gaussian(fwhm).basis[0] for fwhm in (2.9, 3.3))
    room = (wide.shape[0] - narrow.shape[0]) // 2
    narrow = np.pad(narrow, room)
    basis = np.stack([narrow, wide - narrow, narrow - wide])
    psf = replace(Psf.gaussian(2.9), basis=basis, degree=1, x_zero=25.0, x_scale=25.0, y_scale=25.0)
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-4.0, 54.0, (2, 40))
    x[0], y[0] = -30.0, 20.0  # nothing of it is in the image
    flux, reach = rng.uniform(-50.0, 500.0, 40), rng.integers(0, psf.radius + 1, 40)
    image = rng.normal(size=(50, 48)).astype(np.float32)
    expected = image.astype(np.float64)
    for k in range(40):
        column, row = round(x[k]), round(y[k])
        stamp = psf.stamp(x[k], y[k], x[k] - column, y[k] - row)
        for (j, i), value in np.ndenumerate(stamp):
            v, u = row + j - psf.radius, column + i - psf.radius
            near = max(abs(v - row), abs(u - column)) <= reach[k]
            if near and 0 <= v < 50 and 0 <= u < 48:
                expected[v, u] += flux[k] * value
    u, v = psf.normalised(x, y)
    model = PsfModel(psf.coefficients, psf.degree, float(psf.sampling))
    draw_models(model, u, v, x, y, flux, reach, image)
    # Stamps are of unit sum over their pixels, models over all.
    assert image == pytest.approx(expected, rel=3e-4, abs=1e-3)


def test_light_about_sources_is_weighted_with_their_psf():
    psf = Psf.gaussian(3.0)
    rng = np.random.default_rng(4)
    image = rng.uniform(1.0, 2.0, (30, 34)).astype(np.float32)
    x, y, sums = rng.uniform(0.0, 33.0, 12), rng.uniform(0.0, 29.0, 12), np.empty((12, 3))
    model = PsfModel(psf.coefficients, psf.degree, float(psf.sampling))
    sum_light(model, *psf.normalised(x, y), x, y, 5, image, sums)
    padded = np.pad(image, 5)
    for k in range(12):
        column, row = round(x[k]), round(y[k])
        whole = psf.stamp(x[k], y[k], x[k] - column, y[k] - row).astype(float)
        stamp = whole[psf.radius - 5 : psf.radius + 6, psf.radius - 5 : psf.radius + 6]
        light = (stamp * padded[row : row + 11, column : column + 11]).sum()
        assert sums[k] == pytest.approx([stamp.sum(), (stamp**2).sum(), light], rel=1e-3)
