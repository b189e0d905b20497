"""Symmetric 3 x 3 matrices against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.psf.matrix import NO_SUMS, add_cross, adjugate, invert
from tests.entry import entry


def test_adjugate():
    root = np.random.default_rng(4).normal(size=(3, 3))
    matrix = root + root.T
    out = np.empty((3, 3))
    assert entry(adjugate)(np.triu(matrix), out) == pytest.approx(np.linalg.det(matrix))
    assert out == pytest.approx(np.linalg.det(matrix) * np.linalg.inv(matrix))


def test_inverse_of_a_symmetric_matrix():
    rng = np.random.default_rng(3)
    root = rng.normal(size=(3, 3))
    matrix = root @ root.T
    inverse = np.empty((3, 3))
    assert entry(invert)(matrix, inverse)
    assert inverse == pytest.approx(np.linalg.inv(matrix))
    assert not entry(invert)(np.ones((3, 3)), inverse)
    assert not entry(invert)(np.zeros((3, 3)), inverse)
    assert not entry(invert)(np.full((3, 3), np.nan), inverse)


def test_block_between_two_sources():
    first, second = np.random.default_rng(8).normal(size=(2, 5, 3))
    weights = np.arange(1.0, 6.0)
    sums = NO_SUMS
    for weight, a, b in zip(weights, first, second, strict=True):
        sums = entry(add_cross)(sums, weight, *a, *b)
    assert np.reshape(sums, (3, 3)) == pytest.approx(first.T @ (weights[:, None] * second))
