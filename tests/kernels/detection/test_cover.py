"""Pixels of sources in the cells of a frame, beside a count by numpy."""

import numpy as np
import pytest

from skyextract.kernels.detection.cover import count_in_cells


@pytest.mark.parametrize("order", ["along rows", "any"])
def test_each_pixel_counts_in_its_cell(order):
    rng = np.random.default_rng(3)
    ny, nx, n_y, n_x = 53, 61, 7, 5
    pixel = rng.choice(ny * nx, 1500, replace=False)
    pixel = np.sort(pixel) if order == "along rows" else pixel
    of_row, of_column = np.arange(ny) * n_y // ny * n_x, np.arange(nx) * n_x // nx
    number = np.ones(n_y * n_x, np.int64)
    count_in_cells(pixel, nx, of_row, of_column, number)
    cells = np.zeros((ny, nx), np.int64)
    cells[:] = of_row[:, None] + of_column
    assert np.array_equal(number - 1, np.bincount(cells.ravel()[pixel], minlength=n_y * n_x))
