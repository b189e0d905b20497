"""Sums under elliptical Gaussians."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.psf.trails import sum_under


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("place", [(25.3, 18.8), (1.2, 34.0)])
def test_sums_are_those_of_plain_numpy(place, step):
    rng = np.random.default_rng(1)
    data = rng.normal(1.0, 2.0, (40, 60)).astype(np.float32)
    variance = rng.uniform(1.0, 3.0, data.shape).astype(np.float32)
    variance[rng.random(data.shape) < 0.1] = 1e30
    weight = np.array([[30.0, 11.0], [11.0, 6.0]])
    out = np.empty(7)
    n = sum_under(data, variance, 0.3, np.array(place), weight, 2.5, step, out)
    y, x = np.indices(data.shape)
    away = np.stack([x - place[0], y - place[1]])
    r2 = np.einsum("iyx,ij,jyx->yx", away, np.linalg.inv(weight), away)
    inside = (r2 < 2.5**2) & (x % step == 0) & (y % step == 0)
    w = np.where(inside & (variance < 1e29), np.exp(-0.5 * r2), 0.0)
    dx, dy = away
    shapes = (1.0, dx, dy, dx**2, dy**2, dx * dy)
    noise = w**2 * (variance + 0.3 * np.maximum(data, 0.0).astype(float))
    expected = [*((w * data * shape).sum() for shape in shapes), noise.sum()]
    assert n == inside.sum()
    assert out == pytest.approx(np.array(expected), rel=1e-9)
