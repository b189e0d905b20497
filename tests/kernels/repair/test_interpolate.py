"""Linear prediction against a plain numpy solution; shapes of defects."""

from __future__ import annotations

import numpy as np

from skyextract.kernels.repair.interpolate import N_NEIGHBOURS, narrow_defects, predict
from skyextract.stages.repair import _Interpolator


def reference(image, background, variance, state, y, x, sigma2):
    """Solve the prediction of one pixel with numpy."""
    ny, nx = image.shape
    grid = [(j, i) for j in range(-6, 7) for i in range(-6, 7) if (i, j) != (0, 0)]
    grid.sort(key=lambda p: p[0] ** 2 + p[1] ** 2)
    near = [
        p
        for p in grid
        if 0 <= y + p[0] < ny and 0 <= x + p[1] < nx and state[y + p[0], x + p[1]] == 0
    ][:N_NEIGHBOURS]
    d = np.array(near)
    rows = (y + d[:, 0], x + d[:, 1])
    flux = (image - background)[rows].astype(float)
    noise2 = variance[rows].astype(float)
    power = np.mean(flux**2 - noise2)
    if power <= 0:
        return background[y, x]
    squares = ((d[:, None] - d[None]) ** 2).sum(-1)
    matrix = np.exp(-0.25 * squares / sigma2) + np.diag(noise2 / power + 1e-4)
    weights = np.linalg.solve(matrix, np.exp(-0.25 * (d**2).sum(1) / sigma2))
    return background[y, x] + weights @ flux


def test_prediction_equals_numpy():
    rng = np.random.default_rng(1)
    background = rng.normal(100, 1, (30, 30)).astype(np.float32)
    yy, xx = np.mgrid[:30, :30]
    star = 900 * np.exp(-((xx - 14) ** 2 + (yy - 16) ** 2) / 6)
    image = (background + star + rng.normal(0, 3, star.shape)).astype(np.float32)
    variance = np.full(image.shape, 9, np.float32)
    state = (rng.random(image.shape) < 0.2).astype(np.uint8)
    ys, xs = np.nonzero(state)
    values = np.empty(len(ys), np.float32)
    filler = _Interpolator.for_psf(4.0)
    data = image - background
    predict(data, variance, state, filler.offsets, filler.correlation, ys, xs, values)
    expected = [
        reference(image, background, variance, state, y, x, (4.0 / 2.3548) ** 2)
        for y, x in zip(ys, xs, strict=True)
    ]
    np.testing.assert_allclose(values + background[ys, xs], expected, rtol=1e-4)


def test_nothing_usable_gives_the_sky():
    data = np.full((20, 20), 2.0, np.float32)
    state = np.ones((20, 20), np.uint8)
    values = np.ones(1, np.float32)
    filler = _Interpolator.for_psf(3.0)
    one = np.array([10])
    predict(data, data, state, filler.offsets, filler.correlation, one, one, values)
    assert values[0] == 0.0


def test_narrow_and_wide_runs():
    bad = np.zeros((40, 40), np.uint8)
    bad[:, 3:5] = 1
    bad[10:20, 10:20] = 1
    bad[30, 20:36] = 1
    ys, xs = np.nonzero(bad)
    saturated = np.zeros(len(ys), np.bool_)
    narrow = np.zeros(len(ys), np.uint8)
    narrow_defects(bad, saturated, 4, 16, ys, xs, narrow)
    result = np.zeros_like(bad)
    result[ys, xs] = narrow
    assert result[:, 3:5].all()
    assert not result[10:20, 10:20].any()
    assert result[30, 20:36].all()
    saturated[(ys == 30) & (xs >= 20) & (xs < 30)] = True
    narrow_defects(bad, saturated, 4, 16, ys, xs, narrow)
    result[ys, xs] = narrow
    assert result[30, 20:36].all()
    narrow_defects(bad, saturated, 4, 17, ys, xs, narrow)
    result[ys, xs] = narrow
    assert not result[30, 20:30].any()
