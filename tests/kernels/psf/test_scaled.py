"""Means of stretched profiles over pixels against plain numpy."""

from __future__ import annotations

import numpy as np

from skyextract.kernels.psf.scaled import over_pixels


def test_means_over_four_places_of_each_pixel():
    random = np.random.default_rng(1)
    step, half = 0.03, 0.2887
    values = np.exp(-0.3 * np.arange(200) * step) + 0.1 * random.random(200)
    shapes = np.array([[1.0, 0.6], [0.7, 1.3], [0.2, -0.1]])
    dx = np.arange(7) - np.array([[3.1], [2.8]])
    dy = np.arange(5) - np.array([[2.2], [1.9]])
    for distance in (half, 0.0):
        out = np.empty((2, 5, 7))
        over_pixels(values, step, distance, shapes, dx, dy, out)
        expected = np.zeros((2, 5, 7))
        for v in (-distance, distance):
            for u in (-distance, distance):
                x, y = dx[:, None, :] + u, dy[:, :, None] + v
                xx, yy, xy = shapes[:, :, None, None]
                r = np.sqrt(xx * x**2 + yy * y**2 + 2.0 * xy * x * y)
                expected += 0.25 * np.interp(r, step * np.arange(200), values)
        np.testing.assert_allclose(out, expected, rtol=1e-12)
    assert np.hypot(dx[0, 0], dy[0, 0]) < 199 * step


def test_the_last_value_holds_beyond_the_table():
    out = np.empty((1, 1, 1))
    far, one = np.array([[30.0]]), np.array([[1.0], [1.0], [0.0]])
    over_pixels(np.array([3.0, 2.0, 1.0]), 0.5, 0.1, one, far, far, out)
    assert out[0, 0, 0] == 1.0
