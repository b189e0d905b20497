"""Convolved profiles and their derivatives, against differences and galsim."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skyextract.kernels.galaxies.render import N_PLANES, Grid, add_profile, ellipse
from skyextract.kernels.galaxies.sersic import N_GAUSSIANS, sersic_mixture
from tests.entry import entry

PSF = np.array(
    [[0.9, 0.0, 0.0, 2.2, 0.1, 1.9], [0.3, 0.4, -0.6, 6.0, -0.5, 5.0], [-0.2, 0, 0, 1.1, 0, 1.0]]
)
ROUND = np.array([[1.0, 0.0, 0.0, 2.0, 0.0, 2.0]])
WHOLE = Grid(0, 0, 1, 61, 61)
PARAMETERS = np.array([30.2, 29.7, math.log(4.0), 0.2, -0.3, math.log(2.0)])
mixture_of, ellipse_of, draw = entry(sersic_mixture), entry(ellipse), entry(add_profile)


def planes(parameters: np.ndarray, psf: np.ndarray = PSF, grid: Grid = WHOLE) -> np.ndarray:
    x, y, log_radius, e1, e2, log_index = parameters
    mixture, shape = np.empty((4, N_GAUSSIANS)), np.empty((4, 3))
    mixture_of(log_index, mixture)
    ellipse_of(log_radius, e1, e2, shape)
    out = np.empty((N_PLANES, grid.n_x * grid.n_y))
    draw(mixture, shape, psf, x, y, grid, 1e-12, True, np.empty(grid.n_x), out)
    return out.reshape(N_PLANES, grid.n_y, grid.n_x)


@pytest.mark.parametrize("grid", [Grid(0, 0, 1, 61, 61), Grid(4, 2, 3, 17, 19)])
def test_derivatives_are_those_of_differences(grid: Grid) -> None:
    drawn = planes(PARAMETERS, grid=grid)
    for i in range(6):
        step = np.zeros(6)
        step[i] = 1e-5
        change = planes(PARAMETERS + step, grid=grid)[0] - planes(PARAMETERS - step, grid=grid)[0]
        numeric = change / 2e-5
        assert np.abs(drawn[1 + i] - numeric).max() < 1e-7 * np.abs(numeric).max()


def test_a_round_profile_has_derivatives_too() -> None:
    there = PARAMETERS.copy()
    there[3:5] = 0.0
    for i in (3, 4):
        step = np.zeros(6)
        step[i] = 1e-5
        numeric = (planes(there + step)[0] - planes(there - step)[0]) / 2e-5
        assert np.abs(planes(there)[1 + i] - numeric).max() < 1e-7 * np.abs(numeric).max()


def test_squares_are_means_of_their_pixels() -> None:
    fine = planes(PARAMETERS)[0]
    coarse = planes(PARAMETERS, grid=Grid(0, 0, 2, 30, 30))[0]
    means = fine[:60, :60].reshape(30, 2, 30, 2).mean(axis=(1, 3))
    assert np.abs(coarse - means).max() < 0.01 * means.max()


@pytest.mark.parametrize(("index", "worst"), [(0.5, 5e-3), (1.0, 1e-3), (2.5, 3e-3), (4.0, 6e-3)])
def test_profiles_are_those_of_galsim(index: float, worst: float) -> None:
    galsim = pytest.importorskip("galsim")
    angle = 0.5 * math.atan2(-0.3, 0.2) * galsim.radians
    profile = galsim.Sersic(n=index, half_light_radius=4.0)
    profile = profile.shear(q=math.exp(-2 * math.hypot(0.2, 0.3)), beta=angle)
    profile = galsim.Convolve(profile, galsim.Gaussian(sigma=math.sqrt(2.0)))
    theirs = profile.drawImage(nx=61, ny=61, scale=1, method="no_pixel", offset=(0.2, -0.3)).array
    ours = planes(np.array([30.2, 29.7, math.log(4.0), 0.2, -0.3, math.log(index)]), ROUND)[0]
    assert np.abs(ours - theirs).max() < worst * theirs.max()
