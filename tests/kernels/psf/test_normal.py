"""The PSF solver's kernels against matrices written out."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.psf.normal import information, right_side, smooth_terms
from skyextract.kernels.psf.product import filled_up, multiply

N, SIZE, STEP, STARS = 9, 7, 0.8, 11


def spline(t):
    t = np.abs(t)
    return np.where(t < 1, (4 - 6 * t**2 + 3 * t**3) / 6, np.where(t < 2, (2 - t) ** 3 / 6, 0))


def design(cx, cy):
    """Matrix from the coefficients of one image to the pixels of a stamp."""

    def axis(centre):
        t = (np.arange(SIZE) - centre) / STEP + (N - 1) / 2
        weights = spline(t[:, None] - np.arange(N))
        inside = (np.floor(t) >= 1) & (np.floor(t) + 2 < N)
        return weights * inside[:, None]

    return np.einsum("aj,bi->abji", axis(cy), axis(cx)).reshape(SIZE * SIZE, N * N)


@pytest.fixture(params=[1, 2, 3, 6])
def problem(request):
    random = np.random.default_rng(request.param)
    others = random.uniform(-0.5, 0.5, (STARS, request.param - 1))
    terms = np.concatenate([np.ones((STARS, 1)), others], axis=1)
    cx, cy = random.uniform(2.6, 3.4, (2, STARS))
    weight = random.uniform(0, 1, (STARS, SIZE, SIZE)).astype(np.float32)
    matrices = [
        np.concatenate([u * design(a, b) for u in t], axis=1)
        for t, a, b in zip(terms, cx, cy, strict=True)
    ]
    return random, terms, cx, cy, weight, matrices


def test_normal_matrix_and_right_side(problem):
    random, terms, cx, cy, weight, matrices = problem
    v = random.normal(size=(terms.shape[1], N, N))
    expected = sum(
        m.T @ (w.ravel() * (m @ v.ravel())) for m, w in zip(matrices, weight, strict=True)
    )
    out = np.ones_like(v)
    filled = np.zeros((STARS, SIZE, filled_up(SIZE)), np.float32)
    filled[:, :, :SIZE] = weight.transpose(0, 2, 1)
    multiply(v, terms, STEP, cx, cy, filled, out)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(out.ravel(), 1.0 + expected, rtol=0, atol=1e-6 * scale)

    out[:] = 0
    right_side(terms, STEP, cx, cy, weight, out)
    expected = sum(m.T @ w.ravel() for m, w in zip(matrices, weight, strict=True))
    np.testing.assert_allclose(out.ravel(), expected, atol=1e-12)


def test_information_has_the_scale_of_the_normal_matrix(problem):
    _, _, cx, cy, weight, _ = problem
    found = np.zeros((N, N))
    information(STEP, cx, cy, np.ones_like(weight), found)
    matrices = [design(a, b) for a, b in zip(cx, cy, strict=True)]
    exact = sum(m.T @ m for m in matrices).sum(axis=1).reshape(N, N)
    inner = (slice(3, 6), slice(3, 6))
    np.testing.assert_allclose(found[inner], exact[inner], rtol=0.6)


@pytest.mark.parametrize("length", [0.7, 2.0])
def test_smoothing(length):
    random = np.random.default_rng(2)
    images = random.normal(size=(2, 11, 11))
    half = int(np.ceil(3 * length))
    taps = np.exp(-0.5 * (np.arange(-half, half + 1) / length) ** 2)
    offset = np.arange(11)[:, None] - np.arange(11)
    matrix = np.where(np.abs(offset) <= half, np.exp(-0.5 * (offset / length) ** 2), 0)
    out = np.full_like(images, np.nan)
    smooth_terms(images, taps, out)
    np.testing.assert_allclose(out, matrix @ images @ matrix, atol=1e-12)
