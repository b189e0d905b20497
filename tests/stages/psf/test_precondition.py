"""The approximate inverse of the PSF's normal equations against matrices written out."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.psf import precondition
from skyextract.stages.psf.precondition import (
    SPLINE_TAPS,
    Preconditioner,
    convolution,
    smoothing_taps,
)

TERMS = 3


def problem(n, length):
    """Return sigma, density, moments and taps."""
    random = np.random.default_rng(5)
    r2 = (np.arange(n) - n // 2)[:, None] ** 2 + (np.arange(n) - n // 2) ** 2
    sigma = np.array([0.3, 0.2, 0.1])[:, None, None] * np.exp(-r2 / 8.0) + 1e-3
    terms = np.stack([np.ones(40), *random.uniform(-0.5, 0.5, (2, 40))], axis=1)
    density = random.uniform(1e3, 2e3, (n, n))
    return sigma, density, terms.T @ terms / 40, smoothing_taps(length)


def smoothing_matrix(taps, n):
    """Matrix of a convolution of an n x n image, with zeros beyond the edges."""
    half = taps.size // 2
    offset = np.arange(n)[:, None] - np.arange(n)
    line = np.where(np.abs(offset) <= half, taps[np.clip(offset + half, 0, 2 * half)], 0.0)
    return np.kron(line, line)


def written_out(sigma, density, moments, taps):
    """Return the matrix that the preconditioner states, and the inverse of its diagonal."""
    smooth = smoothing_matrix(np.convolve(taps, SPLINE_TAPS), density.shape[0])
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
    images = np.random.default_rng(3).normal(size=(2, 11, 11))
    taps = smoothing_taps(length)
    smooth = convolution(taps, 11)
    expected = images.reshape(2, -1) @ smoothing_matrix(taps, 11)
    np.testing.assert_allclose((smooth @ images @ smooth).reshape(2, -1), expected, atol=1e-12)


def test_smoothing_keeps_the_variance_of_white_noise():
    assert (smoothing_taps(0.8) ** 2).sum() == pytest.approx(1.0)
    assert smoothing_taps(2.0).size == 13
