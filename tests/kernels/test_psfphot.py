"""The fitting kernels against numpy: slopes of the model, weights, one source's least squares."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels import psf as evaluation
from skyextract.kernels import psfphot as fitting
from skyextract.psf import Psf
from skyextract.run import Run
from skyextract.stages.psfphot import psf_photometry


def render(psf: Psf, x: float, y: float, n: int) -> np.ndarray:
    model = psf.coefficients[0].copy()
    out = np.empty((3, n, n))
    fitting._render(
        model, psf.sampling, x, y, 0, 0, n, n, True,
        np.empty((2, n), dtype=np.int64), np.empty((2, n, 8)), np.empty((2, model.shape[1])), out,
    )  # fmt: skip
    return out


@pytest.mark.parametrize("fwhm", [1.6, 3.5])
def test_slopes_are_the_derivatives_to_the_centre(fwhm):
    psf = Psf.gaussian(fwhm)
    n, x, y, h = 15, 7.2, 6.9, 1e-5
    value, slope_x, slope_y = render(psf, x, y, n)
    numeric_x = (render(psf, x + h, y, n)[0] - render(psf, x - h, y, n)[0]) / (2 * h)
    numeric_y = (render(psf, x, y + h, n)[0] - render(psf, x, y - h, n)[0]) / (2 * h)
    assert slope_x == pytest.approx(numeric_x, abs=1e-7)
    assert slope_y == pytest.approx(numeric_y, abs=1e-7)
    assert value[4:11, 4:11] == pytest.approx(
        psf.stamps(*np.array([[x], [y], [0.2], [-0.1]]), size=7)[0]
        * value[4:11, 4:11].sum(),
        abs=1e-6,
    )  # fmt: skip


def test_the_two_copies_of_the_polynomial_agree():
    rng = np.random.default_rng(0)
    coefficients = rng.normal(size=(6, 20, 22)) + 5
    one, two = np.empty((2, 20, 22))
    evaluation._local(coefficients, 2, 0.7, 0.3, -0.9, one)
    fitting._local(coefficients, 2, 0.7, 0.3, -0.9, two)
    assert np.array_equal(one, two)
    terms = np.array([1, 0.3, 0.09, -0.9, -0.27, 0.81])
    expected = np.tensordot(terms, coefficients, axes=1)
    assert one == pytest.approx(expected / (expected.sum() * 0.49))


def test_inverse_of_a_symmetric_matrix():
    rng = np.random.default_rng(3)
    root = rng.normal(size=(3, 3))
    matrix = root @ root.T
    inverse = np.empty((3, 3))
    assert fitting._invert(matrix, inverse)
    assert inverse == pytest.approx(np.linalg.inv(matrix))
    assert not fitting._invert(np.ones((3, 3)), inverse)
    assert not fitting._invert(np.zeros((3, 3)), inverse)
    assert not fitting._invert(np.full((3, 3), np.nan), inverse)


def test_one_source_is_the_weighted_least_squares_solution():
    """Solve the same normal equations by numpy at the fitted position."""
    psf = Psf.gaussian(3.5)
    n, gain, noise = 41, 3.0, 4.0
    rng = np.random.default_rng(7)
    truth = 5000 * render(psf, 20.3, 19.8, n)[0]
    variance = np.full((n, n), noise**2, dtype=np.float32)
    image = (truth + rng.normal(size=(n, n)) * np.sqrt(noise**2 + truth / gain)).astype(np.float32)
    mask = np.zeros((n, n), dtype=np.uint16)
    fit = psf_photometry(
        image, variance, gain, mask, psf, np.array([20.0]), np.array([20.0]), Run()
    )
    p, p_x, p_y = render(psf, fit.x[0], fit.y[0], n)
    yy, xx = np.indices((n, n))
    # the region is around the given position, where the first visit starts
    region = (xx - 20) ** 2 + (yy - 20) ** 2 <= (1.5 * 3.5) ** 2
    weight = 1 / (noise**2 + fit.flux[0] * p[region] / gain)
    design = np.stack([p[region], fit.flux[0] * p_x[region], fit.flux[0] * p_y[region]], axis=1)
    residual = image[region] - fit.flux[0] * p[region]
    normal = design.T @ (weight[:, None] * design)
    step = np.linalg.solve(normal, design.T @ (weight * residual))
    assert abs(step[0]) < 0.01 * fit.flux_error[0]
    assert abs(step[1]) < 0.01 * np.sqrt(fit.variance_x[0])
    # the errors are those at the fitted position, whose region differs by a few pixels
    assert fit.flux_error[0] == pytest.approx(np.sqrt(np.linalg.inv(normal)[0, 0]), rel=0.01)
    assert fit.variance_x[0] == pytest.approx(np.linalg.inv(normal)[1, 1], rel=0.05)
    near = np.s_[15:26, 15:26]
    assert fit.residual[near] == pytest.approx((image - fit.flux[0] * p)[near], abs=1e-3)


def test_neighbours_are_eliminated_as_by_one_solution_for_both():
    """Two sources, weights that are not inverse variances: the sandwich of the 6 x 6 system."""
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, 40, 3))
    weight, noise = rng.uniform(0.5, 2.0, (2, 40))
    design = np.concatenate([a, b], axis=1)
    inverse = np.linalg.inv(design.T @ (weight[:, None] * design))
    passes = design.T @ ((weight**2 * noise)[:, None] * design)
    expected = (inverse @ passes @ inverse)[:3, :3]
    cross, cross_noise = (
        np.ascontiguousarray((a * w[:, None]).T @ b) for w in (weight, weight**2 * noise)
    )
    matrix, passed = ((a * w[:, None]).T @ a for w in (weight, weight**2 * noise))
    matrix, passed = np.ascontiguousarray(matrix), np.ascontiguousarray(passed)
    fitting._eliminate(
        cross, cross_noise, np.linalg.inv((b * weight[:, None]).T @ b),
        np.ascontiguousarray((b * (weight**2 * noise)[:, None]).T @ b), np.empty((3, 3)),
        matrix, passed,
    )  # fmt: skip
    left = np.linalg.inv(matrix)
    assert left @ passed @ left == pytest.approx(expected)
