"""The approximate inverse of the PSF's normal equations against matrices written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skyextract.stages.psf import precondition
from skyextract.stages.psf.precondition import (
    SPLINE_TAPS,
    Preconditioner,
    Smoothness,
    smoothed,
)

TERMS = 3


def problem(n, length):
    """Return sigma, density, moments and smoothness."""
    random = np.random.default_rng(5)
    r2 = (np.arange(n) - n // 2)[:, None] ** 2 + (np.arange(n) - n // 2) ** 2
    sigma = np.array([0.3, 0.2, 0.1])[:, None, None] * np.exp(-r2 / 8.0) + 1e-3
    terms = np.stack([np.ones(40), *random.uniform(-0.5, 0.5, (2, 40))], axis=1)
    density = random.uniform(1e3, 2e3, (n, n))
    return sigma, density, terms.T @ terms / 40, Smoothness(length, n)


def smoothing_matrix(taps, n):
    """Matrix of a convolution of an n x n image, with zeros beyond the edges."""
    half = taps.size // 2
    offset = np.arange(n)[:, None] - np.arange(n)
    line = np.where(np.abs(offset) <= half, taps[np.clip(offset + half, 0, 2 * half)], 0.0)
    return np.kron(line, line)


def written_out(sigma, density, moments, smoothness):
    """Return the matrix that the preconditioner states, and the inverse of its diagonal."""
    smooth = smoothing_matrix(np.convolve(smoothness.taps, SPLINE_TAPS), density.shape[0])
    spread = np.kron(np.eye(TERMS), smooth) * sigma.ravel()
    matrix = np.eye(sigma.size) + spread @ np.kron(moments, np.diag(density.ravel())) @ spread.T
    diagonal = 1.0 + sigma**2 * density * np.diag(moments)[:, None, None]
    return matrix, 1.0 / diagonal.ravel()


def conjugate_gradients(matrix, inverse, right, steps):
    """Solve with a diagonal preconditioner."""
    solution = np.zeros(right.size)
    residual = right.ravel().copy()
    direction = step = inverse * residual
    for _ in range(steps):
        image = matrix @ direction
        length = (residual @ step) / (direction @ image)
        solution += length * direction
        before = residual @ step
        residual -= length * image
        step = inverse * residual
        direction = step + (residual @ step) / before * direction
    return solution.reshape(right.shape)


@pytest.mark.parametrize(("n", "length"), [(9, 0.3), (9, 0.6), (9, 1.2), (12, 1.6)])
@pytest.mark.parametrize("unit", [1.0, 1e60, 1e-60])
@pytest.mark.parametrize("steps", [1, 2, 6])
def test_the_steps_are_those_of_conjugate_gradients(n, length, unit, steps, monkeypatch):
    parts = problem(n, length)
    right = unit * np.random.default_rng(6).normal(size=parts[0].shape)
    monkeypatch.setattr(precondition, "STEPS", steps)
    found = Preconditioner(*parts)(right)
    expected = conjugate_gradients(*written_out(*parts), right, steps)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_what_is_no_right_side_has_no_solution(value):
    parts = problem(9, 0.6)
    assert not Preconditioner(*parts)(np.full_like(parts[0], value)).any()


def test_it_takes_most_of_an_error_away():
    parts = problem(9, 1.3)
    matrix, _ = written_out(*parts)
    truth = np.random.default_rng(2).normal(size=parts[0].size)
    right = matrix @ truth
    found = Preconditioner(*parts)(right.reshape(parts[0].shape)).ravel()
    left = found - truth
    # In the norm of the matrix, in which conjugate gradients count.
    assert left @ matrix @ left < 0.05 * (truth @ right)
    assert found @ right > 0


@pytest.mark.parametrize("length", [0.4, 0.7, 2.0, 5.0])
def test_images_are_smoothed(length):
    image = np.random.default_rng(3).normal(size=(11, 11))
    half = max(1, math.ceil(3.0 * length))
    taps = np.exp(-0.5 * (np.arange(-half, half + 1) / length) ** 2)
    expected = image.ravel() @ smoothing_matrix(taps / taps.sum(), 11)
    np.testing.assert_allclose(smoothed(image, length).ravel(), expected, atol=1e-12)


def test_cells_of_one_sample_are_the_samples():
    smoothness = Smoothness(1.6, 11)
    noise = np.random.default_rng(3).normal(size=(2, 11, 11))
    expected = noise.reshape(2, -1) @ smoothing_matrix(smoothness.taps, 11)
    np.testing.assert_allclose(smoothness.spread(noise).reshape(2, -1), expected, atol=1e-12)
    assert (smoothness.taps**2).sum() == pytest.approx(1.0)
    assert smoothness.means(noise) is noise


@pytest.mark.parametrize("length", [2.0, 2.9, 3.5, 8.4, 14.0])
def test_the_noise_of_cells_makes_the_same_images(length):
    n = 2 * math.ceil(6 * length) + 1
    smoothness = Smoothness(length, n)
    assert smoothness.n_cells**2 < n**2 / 3.5
    covariance = smoothness.matrix @ smoothness.matrix.T
    inside = np.arange(math.ceil(3 * length), n - math.ceil(3 * length))
    distance = inside[:, None] - inside
    # White noise convolved with a Gaussian: the covariance is one, sqrt(2) times as wide.
    # The taps of both end at 3 sigma, exp(-4.5) of their peak.
    expected = np.exp(-((distance / length) ** 2) / 4.0)
    np.testing.assert_allclose(
        covariance[np.ix_(inside, inside)], expected, atol=2 * math.exp(-4.5)
    )
    np.testing.assert_allclose(np.diagonal(covariance)[inside], 1.0, atol=1e-3)


def test_gathering_is_the_transpose_of_spreading():
    random = np.random.default_rng(4)
    smoothness = Smoothness(3.2, 20)
    noise, images = random.normal(size=(2, 7, 7)), random.normal(size=(2, 20, 20))
    assert (smoothness.spread(noise) * images).sum() == pytest.approx(
        (noise * smoothness.gather(images)).sum()
    )


@pytest.mark.parametrize("length", [1.6, 3.2])
def test_spreading_and_gathering_are_products_with_the_matrix(length):
    random = np.random.default_rng(5)
    smoothness = Smoothness(length, 20)
    matrix = smoothness.matrix
    n = smoothness.n_cells
    noise, images = random.normal(size=(3, n, n)), random.normal(size=(3, 20, 20))
    np.testing.assert_allclose(
        smoothness.spread(noise), matrix @ noise @ matrix.T, rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(
        smoothness.gather(images), matrix.T @ images @ matrix, rtol=1e-12, atol=1e-12
    )


def test_means_over_cells():
    image = np.arange(25.0).reshape(5, 5)
    # Cells of 2 x 2; the last row and column of them reach beyond the edge.
    expected = np.array([[3.0, 5.0, 3.25], [13.0, 15.0, 8.25], [10.25, 11.25, 6.0]])
    np.testing.assert_array_equal(Smoothness(2.0, 5).means(image), expected)


def test_the_equations_of_cells_are_about_those_of_samples():
    # A broad, smooth PSF: the equations as the solver sees them, all samples.
    n, length = 61, 5.9
    sigma, density, moments, smoothness = problem(n, length)
    r2 = (np.arange(n) - n // 2)[:, None] ** 2 + (np.arange(n) - n // 2) ** 2
    sigma = np.array([0.3, 0.2, 0.1])[:, None, None] * np.exp(-r2 / 200.0) + 1e-4
    density = 30.0 * np.exp(-r2 / 400.0) + 1.0
    spline = np.convolve(np.eye(1, n, n // 2)[0], SPLINE_TAPS, "same")
    offset = np.arange(n)[:, None] - np.arange(n)
    splines = np.where(np.abs(offset) <= 1, spline[np.clip(offset + n // 2, 0, n - 1)], 0.0)

    def multiply(v):
        values = splines @ (sigma * smoothness.spread(v)) @ splines
        informed = np.tensordot(moments, density * values, 1)
        return v + smoothness.gather(sigma * (splines @ informed @ splines))

    truth = np.random.default_rng(7).normal(size=(TERMS, *[smoothness.n_cells] * 2))
    right = multiply(truth)
    left = Preconditioner(sigma, density, moments, smoothness)(right) - truth
    assert (left * multiply(left)).sum() < 0.01 * (truth * right).sum()


def test_steps_end_where_single_precision_has_nothing_left():
    """Of few cells that are soon solved; further steps divided rounding by itself."""
    n, smoothness = 80, Smoothness(8.2, 80)
    bell = np.exp(-(np.hypot(*(np.indices((n, n)) - n / 2)) ** 2) / 400.0)
    approximate = Preconditioner(np.stack([0.2 * bell + 1e-4]), bell, np.ones((1, 1)), smoothness)
    for seed in (22, 32, 48, 61, 96):
        right = np.random.default_rng(seed).normal(size=(1, 10, 10))
        assert np.isfinite(approximate(right)).all()
