"""The approximate inverse of the PSF's normal equations against matrices written out."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.psf.precondition import SPLINE_TAPS, Preconditioner, smoothing_taps

N, TERMS = 9, 3


def smoothing_matrix(taps):
    """Matrix of a convolution of an N x N image, with zeros beyond the edges."""
    half = taps.size // 2
    offset = np.arange(N)[:, None] - np.arange(N)
    line = np.where(np.abs(offset) <= half, taps[np.clip(offset + half, 0, 2 * half)], 0.0)
    return np.kron(line, line)


@pytest.fixture
def problem():
    random = np.random.default_rng(5)
    r2 = (np.arange(N) - N // 2)[:, None] ** 2 + (np.arange(N) - N // 2) ** 2
    star = np.exp(-r2 / 8.0)
    sigma = np.stack([0.3 * star + 1e-3, 0.2 * star + 1e-3, 0.1 * star + 1e-3])
    terms = np.stack([np.ones(40), *random.uniform(-0.5, 0.5, (2, 40))], axis=1)
    density = random.uniform(1e3, 2e3, (N, N))
    return sigma, density, terms.T @ terms / 40, smoothing_taps(1.3)


def test_it_takes_most_of_an_error_away(problem):
    sigma, density, moments, taps = problem
    wide = np.kron(np.eye(TERMS), smoothing_matrix(np.convolve(taps, SPLINE_TAPS)))
    width = np.diag(sigma.ravel())
    data = np.kron(moments, np.diag(density.ravel()))
    matrix = np.eye(wide.shape[0]) + wide.T @ width @ data @ width @ wide

    truth = np.random.default_rng(2).normal(size=sigma.size)
    right = matrix @ truth
    found = Preconditioner(*problem)(right.reshape(sigma.shape)).ravel()
    left = found - truth
    # In the norm of the matrix, in which conjugate gradients count.
    assert left @ matrix @ left < 0.05 * (truth @ right)
    assert found @ right > 0


def test_smoothing_keeps_the_variance_of_white_noise():
    assert (smoothing_taps(0.8) ** 2).sum() == pytest.approx(1.0)
    assert smoothing_taps(2.0).size == 13
