"""Regions that sources are fitted in: circles of stars, ellipses along trails."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf
from skyextract.run import Run
from skyextract.stages.pointsources.fitregion import region_along
from skyextract.stages.pointsources.sweeps import (
    FINE,
    FIT_RADIUS,
    MAX_SWEEPS,
    FittedSources,
    add_models,
    fit_radius,
    point_fit,
)
from tests.stages.pointsources.test_fit import with_noise

LENGTH, WIDTH = 70.0, 4.0
SHAPE = 400, 400


def trail(angle: float, turn: float = 0.0) -> Psf:
    """Return a PSF that is a trail at an angle (radians), which turns from left to right."""
    offset = np.arange(-48, 49.0)
    images = []
    for side in (-0.5, 0.5):
        cos, sin = math.cos(angle + side * turn), math.sin(angle + side * turn)
        along = offset * cos + offset[:, None] * sin
        across = offset[:, None] * cos - offset * sin
        rest = np.maximum(np.abs(along) - LENGTH / 2, 0.0)
        image = np.exp(-4.0 * math.log(2.0) * (across**2 + rest**2) / WIDTH**2)
        images.append(image / image.sum())
    mean, slope = 0.5 * (images[0] + images[1]), images[1] - images[0]
    basis = np.stack([mean, slope, np.zeros_like(mean)]).astype(np.float32)
    round_psf = Psf.gaussian(WIDTH)
    return replace(
        round_psf, basis=basis, sampling=1.0, degree=1, x_zero=SHAPE[1] / 2, y_zero=SHAPE[0] / 2,
        x_scale=float(SHAPE[1]), y_scale=float(SHAPE[0]), fwhm=math.sqrt(LENGTH * WIDTH),
        ellipticity=1.0 - WIDTH / LENGTH,
    )  # fmt: skip


def test_stars_have_a_circle():
    for psf in (Psf.gaussian(3.5), replace(Psf.gaussian(3.5), ellipticity=0.5)):
        form, extent = region_along(psf, SHAPE, fit_radius(psf), FIT_RADIUS)
        np.testing.assert_array_equal(form, [1.0, 0.0, 1.0])
        np.testing.assert_array_equal(extent, 1.0)


@pytest.mark.parametrize("turn", [0.0, 0.3])
@pytest.mark.parametrize("angle", [0.0, 0.6, 1.5, 2.4])
def test_trails_have_an_ellipse_that_holds_them(angle, turn):
    psf = trail(angle, turn)
    radius = fit_radius(psf)
    form, extent = region_along(psf, SHAPE, radius, FIT_RADIUS)
    offset = np.arange(-48, 49.0)
    square = form[0] * offset**2 + form[1] * offset * offset[:, None]
    inside = square + form[2] * offset[:, None] ** 2 <= radius**2
    for x in (70.0, 200.0, 330.0):
        stamp = psf.stamp(x, 200.0)
        assert stamp[inside].sum() > 0.97
    assert inside.sum() < (0.5 if turn else 0.25) * math.pi * radius**2
    y, x = (np.abs(v - 48).max() for v in np.nonzero(inside))
    assert x <= radius * extent[0] < x + 1.5
    assert y <= radius * extent[1] < y + 1.5


def test_trails_beside_each_other_are_fitted_once():
    """They share no light, though the circle about each holds others."""
    psf = trail(0.0)
    rng = np.random.default_rng(3)
    x, y = 200.0 + rng.uniform(-0.4, 0.4, 7), 80.0 + 40.0 * np.arange(7)
    flux = rng.uniform(2e5, 4e5, 7)
    truth = FittedSources.at(x, y)
    parameters = np.column_stack([flux, x, y])
    truth = replace(truth, parameters=parameters, reach=np.full(7, psf.radius))
    image = np.zeros(SHAPE, np.float32)
    add_models(image, psf, truth, 1.0)
    planes = np.full(SHAPE, 100.0, np.float32), 1.0, np.zeros(SHAPE, np.uint16)
    fit = point_fit(with_noise(image), *planes, psf, FittedSources.at(np.rint(x), y), None, FINE)
    done = fit.sweep(FittedSources.at(np.rint(x), y), MAX_SWEEPS, Run())
    assert done.sweeps == 1
    area = 1.0 / float((psf.basis[0].astype(float) ** 2).sum())
    error = np.sqrt(100.0 * area + flux)
    assert np.abs((done.parameters[:, 0] - flux) / error).max() < 3.5
    assert np.abs(done.parameters[:, 1] - x).max() < 0.5
    assert np.abs(done.parameters[:, 2] - y).max() < 0.1
