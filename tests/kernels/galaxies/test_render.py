"""Convolved profiles and their derivatives, against differences and galsim."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skyextract.kernels.galaxies.render import (
    MAX_COLUMNS,
    N_PLANES,
    N_TERMS,
    SPARE,
    Grid,
    Sums,
    add_profile,
    ellipse,
)
from skyextract.kernels.galaxies.sersic import (
    N_GAUSSIANS,
    group_gaussians,
    merge_gaussians,
    sersic_mixture,
)
from tests.entry import entry

PSF = np.array(
    [[0.9, 0.0, 0.0, 2.2, 0.1, 1.9], [0.3, 0.4, -0.6, 6.0, -0.5, 5.0], [-0.2, 0, 0, 1.1, 0, 1.0]]
)
ROUND = np.array([[1.0, 0.0, 0.0, 2.0, 0.0, 2.0]])
WHOLE = Grid(0, 0, 1, 61, 61)
PARAMETERS = np.array([30.2, 29.7, math.log(4.0), 0.2, -0.3, math.log(2.0)])
group, merge = entry(group_gaussians), entry(merge_gaussians)
mixture_of, ellipse_of, draw = entry(sersic_mixture), entry(ellipse), entry(add_profile)


def planes(
    parameters: np.ndarray,
    psf: np.ndarray = PSF,
    grid: Grid = WHOLE,
    faintest: float = 1e-12,
    ends: np.ndarray | None = None,
) -> np.ndarray:
    x, y, log_radius, e1, e2, log_index = parameters
    mixture, shape = np.empty((4, N_GAUSSIANS)), np.empty((4, 3))
    mixture_of(log_index, mixture)
    ellipse_of(log_radius, e1, e2, shape)
    if ends is not None:
        mixture = np.ascontiguousarray(mixture[:, : merge(mixture, ends)])
    out = np.empty((N_PLANES, grid.n_x * grid.n_y))
    sums = Sums(
        np.empty((N_GAUSSIANS * len(psf), N_TERMS)),
        np.empty(2 * N_GAUSSIANS * len(psf) * (grid.n_x + SPARE)),
        np.empty(grid.n_x + SPARE),
        np.empty(N_PLANES * MAX_COLUMNS),
    )
    draw(mixture, shape, psf, x, y, grid, faintest, True, sums, out)
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


@pytest.mark.parametrize("grid", [WHOLE, Grid(-10, 20, 1, 93, 9), Grid(4, 2, 3, 17, 19)])
@pytest.mark.parametrize("e", [0.3, 1.5])
def test_values_are_those_of_the_formula(grid: Grid, e: float) -> None:
    # e = 1.5 is a line at 45 degrees, whose box has hardly any light in its corners
    there = np.array([30.2, 29.7, math.log(4.0), 0.0, e, math.log(1.0)])
    narrow = np.array([[1.0, 0.3, -0.2, 0.05, 0.0, 0.05]])
    mixture, shape = np.empty((4, N_GAUSSIANS)), np.empty((4, 3))
    mixture_of(there[5], mixture)
    ellipse_of(*there[2:5], shape)
    middle = 0.5 * (grid.step - 1)
    x = grid.x + middle + grid.step * np.arange(grid.n_x) - there[0] - narrow[0, 1]
    y = (grid.y + middle + grid.step * np.arange(grid.n_y) - there[1] - narrow[0, 2])[:, None]
    spread = (grid.step**2 - 1) / 12
    total = np.zeros((grid.n_y, grid.n_x))
    for weight, variance in mixture[:2].T:
        xx, xy, yy = variance * shape[0] + narrow[0, 3:] + np.array([spread, 0.0, spread])
        determinant = xx * yy - xy**2
        exponent = (yy * x**2 - 2 * xy * x * y + xx * y**2) / determinant
        total += weight * np.exp(-0.5 * exponent) / (2 * np.pi * math.sqrt(determinant))
    drawn = planes(there, narrow, grid, 1e-12)[0]
    assert np.abs(drawn - total).max() < 1e-9 * total.max()


@pytest.mark.parametrize("index", [0.5, 1.0, 2.5, 6.0])
@pytest.mark.parametrize("radius", [0.3, 1.2, 5.0])
@pytest.mark.parametrize("part", [1e-2, 1e-3])
def test_merged_gaussians_change_the_light_by_what_is_allowed(
    index: float, radius: float, part: float
) -> None:
    there = np.array([30.2, 29.7, math.log(radius), 0.2, -0.3, math.log(index)])
    mixture, ends = np.empty((4, N_GAUSSIANS)), np.full(N_GAUSSIANS, -1)
    mixture_of(there[5], mixture)
    stretch = math.exp(2 * math.hypot(0.2, 0.3))
    exact = planes(there)[0]
    most = part * exact.max()
    group(mixture, radius**2 * stretch, radius**2 / stretch, PSF, most, ends)
    groups = int(np.argmax(ends == N_GAUSSIANS)) + 1
    assert groups < N_GAUSSIANS or radius > 1.0
    assert np.abs(planes(there, ends=ends)[0] - exact).max() < most * groups
    assert planes(there, ends=ends)[0].sum() == pytest.approx(exact.sum(), rel=1e-3)


def test_merged_gaussians_have_the_derivatives_of_differences() -> None:
    ends = np.array([3, 5, 8, 0, 0, 0, 0, 0])
    drawn = planes(PARAMETERS, ends=ends)
    for i in range(6):
        step = np.zeros(6)
        step[i] = 1e-5
        high, low = (planes(PARAMETERS + sign * step, ends=ends)[0] for sign in (1, -1))
        numeric = (high - low) / 2e-5
        assert np.abs(drawn[1 + i] - numeric).max() < 1e-7 * np.abs(numeric).max()
