"""Sums in cells against plain numpy."""

import numpy as np
import pytest

from skyextract.kernels.background.cells import sum_cells


def test_sums_of_the_pixels_that_are_used():
    rng = np.random.default_rng(1)
    image = rng.normal(size=(23, 31)).astype(np.float32)
    used = rng.uniform(size=image.shape) < 0.6
    edge_y, edge_x = np.array([0, 5, 6, 17]), np.array([0, 10, 30])
    total, number = np.empty((2, 4, 3))
    sum_cells(image, used.view(np.uint8), edge_y, edge_x, total, number)
    ends_y, ends_x = [*edge_y[1:], 23], [*edge_x[1:], 31]
    for j in range(4):
        for i in range(3):
            cell = np.s_[edge_y[j] : ends_y[j], edge_x[i] : ends_x[i]]
            assert total[j, i] == pytest.approx(image[cell][used[cell]].sum(), abs=1e-5)
            assert number[j, i] == used[cell].sum()
