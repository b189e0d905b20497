"""Conjugate gradients in one kernel against the same in numpy, with the matrix written out."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.psf.precondition import solve_alike

TERMS = 3


def problem(n, length, unit):
    """Return sigma, density, moments, taps and a right side, in a unit of the pixels."""
    random = np.random.default_rng(5)
    r2 = (np.arange(n) - n // 2)[:, None] ** 2 + (np.arange(n) - n // 2) ** 2
    sigma = np.array([0.3, 0.2, 0.1])[:, None, None] * np.exp(-r2 / 8.0) + 1e-3
    terms = np.stack([np.ones(40), *random.uniform(-0.5, 0.5, (2, 40))], axis=1)
    density = random.uniform(1e3, 2e3, (n, n))
    half = int(np.ceil(3.0 * length))
    taps = np.exp(-0.5 * (np.arange(-half, half + 1) / length) ** 2)
    right = unit * random.normal(size=sigma.shape)
    return sigma, density, terms.T @ terms / 40, taps, right


def written_out(sigma, density, moments, taps):
    """Return the matrix 1 + K S (D x T) S K."""
    n, half = density.shape[0], taps.size // 2
    offset = np.arange(n)[:, None] - np.arange(n)
    line = np.where(np.abs(offset) <= half, taps[np.clip(offset + half, 0, 2 * half)], 0.0)
    spread = np.kron(np.eye(TERMS), np.kron(line, line)) * sigma.ravel()
    return np.eye(sigma.size) + spread @ np.kron(moments, np.diag(density.ravel())) @ spread.T


def conjugate_gradients(matrix, right, steps):
    """Solve with the diagonal of the matrix without K as preconditioner, as it is given."""
    system, inverse = matrix
    solution = np.zeros(right.size)
    residual = right.ravel().copy()
    direction = step = inverse * residual
    for _ in range(steps):
        image = system @ direction
        length = (residual @ step) / (direction @ image)
        solution += length * direction
        before = residual @ step
        residual -= length * image
        step = inverse * residual
        direction = step + (residual @ step) / before * direction
    return solution.reshape(right.shape)


@pytest.mark.parametrize(("n", "length"), [(9, 0.6), (9, 1.2), (12, 1.6)])
@pytest.mark.parametrize("unit", [1.0, 1e30, 1e-30])
def test_the_steps_are_those_of_conjugate_gradients(n, length, unit):
    sigma, density, moments, taps, right = problem(n, length, unit)
    inverse = 1.0 / (1.0 + sigma**2 * density * np.diag(moments)[:, None, None])
    matrix = written_out(sigma, density, moments, taps), inverse.ravel()
    found = np.full_like(right, np.nan)
    for steps in (1, 6):
        solve_alike(right, sigma, density, moments, taps, steps, found)
        expected = conjugate_gradients(matrix, right, steps)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_what_is_no_right_side_has_no_solution(value):
    sigma, density, moments, taps, right = problem(9, 0.6, 1.0)
    found = np.full_like(right, np.nan)
    solve_alike(value * np.ones_like(right), sigma, density, moments, taps, 3, found)
    assert not found.any()
