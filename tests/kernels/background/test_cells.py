"""Sums in cells against plain numpy."""

import numpy as np
import pytest

from skyextract.kernels.background.cells import smooth_cells, sum_cells, sum_squares


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


@pytest.mark.parametrize(("shape", "n"), [((30, 40), 13), ((5, 3), 25), ((1, 1), 3)])
def test_smoothing_adds_the_shifted_values_one_after_the_other(shape, n):
    rng = np.random.default_rng(2)
    values, taps = rng.normal(size=shape), np.exp(-0.5 * np.linspace(-3.0, 3.0, n) ** 2)
    out = np.empty(shape)
    smooth_cells(values, taps, out)
    for _ in range(2):
        wide = np.pad(values, ((n // 2, n // 2), (0, 0)))
        values = sum(tap * wide[k : k + len(values)] for k, tap in enumerate(taps)).T
    np.testing.assert_array_equal(out, values)


@pytest.mark.parametrize("side", [1, 3, 8])
def test_sums_of_square_cells_are_those_of_numpy(side):
    rng = np.random.default_rng(3)
    values = rng.normal(size=(41, 58)) * 10.0 ** rng.uniform(-8, 8, (41, 58))
    rows = np.add.reduceat(values, np.arange(0, 41, side), axis=0)
    want = np.add.reduceat(rows, np.arange(0, 58, side), axis=1)
    sums = np.full(want.shape, np.nan)
    sum_squares(values, side, sums)
    np.testing.assert_array_equal(sums, want)
