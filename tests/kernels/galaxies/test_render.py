"""Convolved profiles and their derivatives, against formula, its differences and galsim."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest

from skyextract.kernels.galaxies.convolution import (
    LANES,
    TERM,
    WIDTH,
    convolve,
    group_gaussians,
    with_whole,
)
from skyextract.kernels.galaxies.render import (
    N_PLANES,
    SIDE,
    SPAN,
    SPARE,
    STRIDE,
    Grid,
    add_values,
    draw_slopes,
    ellipse,
    sums_of,
    window_of,
)
from skyextract.kernels.galaxies.sersic import N_GAUSSIANS, sersic_mixture
from tests.entry import entry

PSF = np.array(
    [[0.9, 0.0, 0.0, 2.2, 0.1, 1.9], [0.3, 0.4, -0.6, 6.0, -0.5, 5.0], [-0.2, 0, 0, 1.1, 0, 1.0]]
)
ROUND = np.array([[1.0, 0.0, 0.0, 2.0, 0.0, 2.0]])
PARAMETERS = np.array([30.2, 29.7, math.log(4.0), 0.2, -0.3, math.log(2.0)])
SINGLE = 2e-5
"""Of the peak: what single precision leaves."""
group, convolved, add_whole = entry(group_gaussians), entry(convolve), entry(with_whole)
Groups = tuple[int, np.ndarray]
"""The first Gaussian seen through all of the PSF, and the ends of groups."""
mixture_of, ellipse_of = entry(sersic_mixture), entry(ellipse)
add, draw, window, space = (entry(f) for f in (add_values, draw_slopes, window_of, sums_of))


def grid_of(x: int, y: int, step: int, n_x: int, n_y: int) -> Grid:
    return Grid(x, y, step, n_x, n_y, 0, 0, 0, 0)


WHOLE = grid_of(0, 0, 1, 61, 61)


def whole_of(psf: np.ndarray) -> np.ndarray:
    out = np.empty((len(psf) + 1, 6))
    add_whole(psf, out)
    return out


def profile_of(
    parameters: np.ndarray, psf: np.ndarray, groups: Groups | None = None
) -> tuple[np.ndarray, int, np.ndarray]:
    """Return Gaussians, their number and the shape; by default none are drawn as one."""
    mixture, shape = np.empty((4, N_GAUSSIANS)), np.empty((4, 3))
    mixture_of(parameters[5], mixture)
    ellipse_of(*parameters[2:5], shape)
    terms = np.full(len(psf) * N_GAUSSIANS * WIDTH, np.nan)
    if groups is None:
        groups = N_GAUSSIANS, np.tile(np.arange(1, N_GAUSSIANS + 1), (len(psf) + 1, 1))
    return terms, convolved(mixture, whole_of(psf), *groups, terms), shape


def planes(
    parameters: np.ndarray,
    psf: np.ndarray = PSF,
    grid: Grid = WHOLE,
    faintest: float = 1e-9,
    groups: Groups | None = None,
) -> np.ndarray:
    """Return values and derivatives, drawn window by window."""
    profile = profile_of(parameters, psf, groups)
    out, sums = np.empty((N_PLANES, grid.n_y, grid.n_x)), space(SIDE)
    for low in range(0, grid.n_y, SIDE):
        for left in range(0, grid.n_x, SIDE):
            part = window(grid, left, low, SIDE, SIDE)
            draw(*profile, parameters[0], parameters[1], part, faintest, sums)
            tile = sums.tile[: N_PLANES * SPAN].reshape(N_PLANES, SPAN)
            for p in range(N_PLANES):
                drawn = tile[p, : STRIDE * part.n_y].reshape(part.n_y, STRIDE)[:, : part.n_x]
                out[p, low : low + SIDE, left : left + SIDE] = drawn
    return out


def values(
    parameters: np.ndarray, psf: np.ndarray, grid: Grid, faintest: float = 1e-9
) -> np.ndarray:
    """Return values alone, drawn all at once."""
    n = grid.n_x * grid.n_y
    out = np.zeros(n + SPARE, np.float32)
    where = parameters[0], parameters[1], grid, 1.0, faintest
    add(*profile_of(parameters, psf), *where, space(grid.n_x), out, 0)
    return out[:n].reshape(grid.n_y, grid.n_x).astype(float)


def formula(
    parameters: np.ndarray,
    psf: np.ndarray = PSF,
    grid: Grid = WHOLE,
    groups: Groups | None = None,
) -> np.ndarray:
    """Return the sum of all Gaussians, to their ends, in double precision."""
    terms, count, shape = profile_of(parameters, psf, groups)
    middle, spread = 0.5 * (grid.step - 1), (grid.step**2 - 1) / 12
    columns = grid.x + middle + grid.step * np.arange(grid.n_x) - parameters[0]
    rows = grid.y + middle + grid.step * np.arange(grid.n_y) - parameters[1]
    total = np.zeros((grid.n_y, grid.n_x))
    numbers = terms.reshape(-1, WIDTH, LANES)[:, :TERM].swapaxes(1, 2).reshape(-1, TERM)
    for weight, variance, _, _, dx, dy, *covariance in numbers[:count]:
        x, y = columns - dx, (rows - dy)[:, None]
        xx, xy, yy = variance * shape[0] + covariance + np.array([spread, 0.0, spread])
        determinant = xx * yy - xy**2
        exponent = (yy * x**2 - 2 * xy * x * y + xx * y**2) / determinant
        total += weight / (2 * np.pi * math.sqrt(determinant)) * np.exp(-0.5 * exponent)
    return total


def differences(i: int, parameters: np.ndarray, **options: object) -> np.ndarray:
    """Return the derivative of the formula to parameter i."""
    step = np.zeros(6)
    step[i] = 1e-5
    high, low = (formula(parameters + sign * step, **options) for sign in (1, -1))  # type: ignore[arg-type]
    difference: np.ndarray = (high - low) / 2e-5
    return difference


@pytest.mark.parametrize("grid", [WHOLE, grid_of(4, 2, 3, 17, 19)])
def test_derivatives_are_those_of_differences(grid: Grid) -> None:
    drawn = planes(PARAMETERS, grid=grid)
    for i in range(6):
        numeric = differences(i, PARAMETERS, grid=grid)
        assert np.abs(drawn[1 + i] - numeric).max() < SINGLE * np.abs(numeric).max()


def test_a_round_profile_has_derivatives_too() -> None:
    there = PARAMETERS.copy()
    there[3:5] = 0.0
    for i in (3, 4):
        numeric = differences(i, there)
        assert np.abs(planes(there)[1 + i] - numeric).max() < SINGLE * np.abs(numeric).max()


def test_squares_are_means_of_their_pixels() -> None:
    fine = planes(PARAMETERS)[0]
    coarse = planes(PARAMETERS, grid=grid_of(0, 0, 2, 30, 30))[0]
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


@pytest.mark.parametrize(
    "grid",
    [WHOLE, grid_of(-10, 20, 1, 93, 9), grid_of(4, 2, 3, 17, 19), grid_of(28, -20, 1, 5, 120)],
)
@pytest.mark.parametrize("e", [0.3, 1.5])
def test_values_are_those_of_the_formula(grid: Grid, e: float) -> None:
    # e = 1.5 is a line at 45 degrees, whose box has hardly any light in its corners
    there = np.array([30.2, 29.7, math.log(4.0), 0.0, e, math.log(1.0)])
    narrow = np.array([[1.0, 0.3, -0.2, 0.05, 0.0, 0.05]])
    expected = formula(there, narrow, grid)
    for drawn in (planes(there, narrow, grid)[0], values(there, narrow, grid)):
        assert np.abs(drawn - expected).max() < SINGLE * expected.max()


def test_what_is_hidden_need_not_be_drawn_and_all_else_is() -> None:
    grid = Grid(0, 0, 1, 61, 61, 20, 40, 18, 42)
    drawn, expected = planes(PARAMETERS, grid=grid)[0], formula(PARAMETERS)
    seen = np.ones((61, 61), bool)
    seen[18:42, 20:40] = False
    assert np.abs(drawn - expected)[seen].max() < SINGLE * expected.max()


def test_nothing_is_too_small_to_be_quick() -> None:
    """Numbers below those of single precision take a processor a hundred times as long."""
    far = np.array([8.0, 8.0, math.log(0.3), 0.3, 0.4, math.log(0.5)])
    sums = space(SIDE)
    draw(*profile_of(far, PSF), far[0], far[1], grid_of(0, 0, 1, SIDE, SIDE), 1e-9, sums)
    written = np.abs(sums.tile[sums.tile != 0.0])
    assert written.min() > np.finfo(np.float32).tiny


CONCENTRIC = np.array(
    [[0.2, 0, 0, 1.4, 0.1, 1.3], [0.45, 0, 0, 2.9, 0.2, 2.7], [0.35, 0, 0, 8.1, -0.1, 7.9]]
)


@pytest.mark.parametrize("index", [0.5, 2.5, 6.0])
@pytest.mark.parametrize("radius", [0.3] if numba.config.DISABLE_JIT else [0.3, 1.2, 5.0])
@pytest.mark.parametrize("psf", [PSF, CONCENTRIC])
def test_gaussians_drawn_as_one_change_the_light_by_what_is_allowed(
    index: float, radius: float, psf: np.ndarray
) -> None:
    there = np.array([30.2, 29.7, math.log(radius), 0.2, -0.3, math.log(index)])
    mixture, shape = np.empty((4, N_GAUSSIANS)), np.empty((4, 3))
    mixture_of(there[5], mixture)
    ellipse_of(*there[2:5], shape)
    exact = planes(there, psf)[0]
    for part in (1e-2, 1e-3):
        most = part * exact.max()
        ends = np.full((len(psf) + 1, N_GAUSSIANS), -1)
        split = group(mixture, shape[0], whole_of(psf), most, ends)
        drawn, count = planes(there, psf, groups=(split, ends))[0], int((ends >= 0).sum())
        assert count < len(psf) * N_GAUSSIANS
        assert np.abs(drawn - exact).max() < most * count
        assert drawn.sum() == pytest.approx(exact.sum(), rel=1e-3)


def test_wide_gaussians_are_seen_through_the_whole_psf_and_narrow_ones_through_its_parts() -> None:
    mixture, shape = np.empty((4, N_GAUSSIANS)), np.empty((4, 3))
    mixture_of(0.0, mixture)
    splits = []
    for radius in (0.1, 4.0, 40.0):
        ellipse_of(math.log(radius), 0.0, 0.0, shape)
        peak = formula(np.array([30.0, 30.0, math.log(radius), 0, 0, 0]), CONCENTRIC).max()
        ends = np.full((4, N_GAUSSIANS), -1)
        splits.append(group(mixture, shape[0], whole_of(CONCENTRIC), 1e-3 * peak, ends))
    assert splits[0] == N_GAUSSIANS
    assert splits[0] > splits[1] > splits[2]


def test_gaussians_drawn_as_one_have_the_derivatives_of_differences() -> None:
    ends = np.array([[3, 5, 6, 0, 0, 0, 0, 0]] * 3 + [[7, 8, 0, 0, 0, 0, 0, 0]])
    drawn = planes(PARAMETERS, groups=(6, ends))
    for i in range(6):
        numeric = differences(i, PARAMETERS, groups=(6, ends))
        assert np.abs(drawn[1 + i] - numeric).max() < SINGLE * np.abs(numeric).max()
