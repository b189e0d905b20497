"""Cholesky factors and solutions against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.cholesky import factor, invert_factor, solve
from tests.entry import entry


@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_factor_and_solution(damping):
    rng = np.random.default_rng(6)
    root = rng.normal(size=(5, 5))
    matrix = root @ root.T
    damped = matrix + damping * np.diag(np.diag(matrix))
    lower = np.tril(matrix)
    assert entry(factor)(lower, 5, damping)
    assert np.tril(lower) == pytest.approx(np.linalg.cholesky(damped))
    right = rng.normal(size=5)
    expected = np.linalg.solve(damped, right)
    entry(solve)(lower, 5, right, right)
    assert right == pytest.approx(expected)


@pytest.mark.parametrize("matrix", [np.zeros((3, 3)), np.ones((3, 3)), np.full((3, 3), np.nan)])
def test_what_is_not_positive_definite(matrix):
    assert not entry(factor)(matrix, 3, 0.0)


@pytest.mark.parametrize("n", [1, 2, 8])
def test_the_inverse_of_a_factor(n):
    given = np.random.default_rng(n).normal(size=(n + 3, n))
    matrix = np.full((n + 2, n + 2), np.nan)
    matrix[:n, :n] = given.T @ given
    expected = np.linalg.inv(matrix[:n, :n])
    assert entry(factor)(matrix, n, 0.0)
    entry(invert_factor)(matrix, n)
    inverse = np.tril(matrix[:n, :n])
    assert inverse.T @ inverse == pytest.approx(expected, rel=1e-9)
