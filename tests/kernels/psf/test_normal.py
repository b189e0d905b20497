"""The PSF solver's kernels against matrices written out."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.psf.normal import filled_up, multiply

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


def filled(images):
    """Fill rows up with zeros."""
    out = np.zeros((*images.shape[:2], filled_up(images.shape[2])), np.float32)
    out[:, :, : images.shape[2]] = images
    return out


def test_normal_matrix_and_right_side(problem):
    random, terms, cx, cy, weight, matrices = problem
    v = random.normal(size=(terms.shape[1], N, N))
    values = filled(weight.transpose(0, 2, 1))
    for is_right in (False, True):
        expected = sum(
            m.T @ (w.ravel() * (1.0 if is_right else m @ v.ravel()))
            for m, w in zip(matrices, weight, strict=True)
        )
        out = filled(np.ones_like(v))
        multiply(filled(v), terms, STEP, cx, cy, values, is_right, out)
        scale = np.abs(expected).max()
        found = out[:, :, :N].ravel()
        np.testing.assert_allclose(found, 1.0 + expected, rtol=0, atol=1e-6 * scale)
        assert not out[:, :, N:].any()
