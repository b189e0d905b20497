"""Covariances by hand against numpy's linear algebra."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.starselection import ellipses


@pytest.fixture(params=range(5))
def pair(request):
    rng = np.random.default_rng(request.param)
    one, other = rng.normal(size=(2, 2, 5))
    return one @ one.T, other @ other.T


def test_root_and_distance(pair):
    first, second = pair
    xx, xy, yy = ellipses.root_of(first)
    np.testing.assert_allclose([[xx, 0.0], [xy, yy]], np.linalg.cholesky(first), rtol=1e-12)
    away = second[0]
    want = away @ np.linalg.solve(first, away)
    assert ellipses.distance2(first, *away) == pytest.approx(want, rel=1e-10)
    assert ellipses.square_of(first, *away) == pytest.approx(want, rel=1e-10)


def test_axes_in_the_frame_of_another_ellipse(pair):
    first, second = pair
    root = ellipses.root_of(first)
    low = np.linalg.cholesky(first)
    want = np.linalg.solve(low, np.linalg.solve(low, second).T)
    values, angle = ellipses.axes_of(*ellipses.whitened(second, root))
    np.testing.assert_allclose(values, np.linalg.eigvalsh(want), rtol=1e-9)
    np.testing.assert_allclose(ellipses.multiplied(root, *values, angle), second, rtol=1e-9)
