"""Splines through meshes against planes."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.background.spline import spline_rows, spline_squares

NO_MASK = np.zeros((1, 1), np.uint16)
NO_PLANE = np.zeros((1, 1), np.float32)


@pytest.mark.parametrize("shape", [(4, 5), (1, 5), (4, 1), (1, 1), (2, 2)])
def test_spline_follows_a_plane_and_passes_the_nodes(shape):
    size = 17
    ny, nx = shape[0] * size - 3, shape[1] * size - 5
    y, x = np.indices(shape)
    nodes = (100 + 3.0 * x + 2.0 * y).astype(np.float32)
    out = np.empty((ny, nx), np.float32)
    spline_rows(nodes, size, size, 0, ny, False, False, NO_PLANE, NO_MASK, 0, out)
    v, u = np.indices((ny, nx))
    plane = 100.0 + (3.0 * (u - size // 2) / size if shape[1] > 1 else 0)
    plane = plane + (2.0 * (v / size - 0.5) if shape[0] > 1 else 0)
    np.testing.assert_allclose(out, plane, atol=2e-3)


def test_spline_subtracts_and_blanks():
    image = np.full((40, 40), 7, np.float32)
    mask = np.zeros((40, 40), np.uint16)
    mask[3, 4] = 32
    out = np.empty_like(image)
    nodes = np.full((3, 3), 5, np.float32)
    spline_rows(nodes, 16, 16, 0, 40, True, False, image, mask, 32, out)
    assert out[3, 4] == 0
    mask[:] = 0
    np.testing.assert_allclose(np.delete(out.ravel(), 3 * 40 + 4), 2, atol=1e-5)
    inside = image.copy()
    spline_rows(nodes, 16, 16, 0, 40, True, False, inside, mask, 0, inside)
    spline_rows(nodes, 16, 16, 0, 40, True, False, image, mask, 0, out)
    np.testing.assert_array_equal(inside, out)


@pytest.mark.parametrize("shape", [(5, 6), (1, 6), (5, 1)])
def test_squares_in_windows_are_those_of_the_image(shape):
    ny, nx = shape[0] * 8, shape[1] * 8
    nodes = np.random.default_rng(1).uniform(3, 9, shape).astype(np.float32)
    whole, out = np.empty((ny, nx), np.float32), np.zeros((30, 40), np.float32)
    spline_rows(nodes, 8, 8, 0, ny, False, True, NO_PLANE, NO_MASK, 0, whole)
    windows = np.array([[0, 7, 0, 8], [1, 8, 3, min(nx, 40)], [ny - 3, ny, nx - 6, nx]])
    corners = np.array([[2, 3], [10, 0], [20, 9]])
    spline_squares(nodes, 8, 8, nx, windows, corners, out)
    for (a, b, c, d), (row, column) in zip(windows, corners, strict=True):
        here = out[row : row + b - a, column : column + d - c]
        assert np.array_equal(here, whole[a:b, c:d])
        here[:] = 0.0
    assert not out.any()
