"""Filling of pixels without weight."""

from __future__ import annotations

import numpy as np

from skyextract.kernels.background.weightfill import fill_from_neighbours


def test_left_neighbour_first_then_the_row_before() -> None:
    image = np.arange(40, dtype=np.float32).reshape(4, 10)
    variance = image + np.float32(100.0)
    state = np.zeros((4, 10), dtype=np.uint8)
    state[1, 3:8] = 1
    state[2, 0] = 1
    state[3, 5:7] = 2
    state[3, 7] = 1
    expected = image.copy()
    expected[1, 3:5] = image[1, 2]
    expected[1, 5:8] = image[0, 5:8]
    expected[2, 0] = image[1, 0]
    expected[3, 7] = image[2, 7]
    n = fill_from_neighbours(image, variance, state, 2, 1, True)
    assert n == 7
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(variance, expected + 100.0)
    assert (state[1, 3:8] == 3).all()


def test_pixels_out_of_reach_stay_and_the_image_can_be_left_alone() -> None:
    image = np.ones((3, 6), dtype=np.float32)
    image[:, 3:] = -1.0
    variance = image.copy()
    state = np.zeros((3, 6), dtype=np.uint8)
    state[:, 3:] = 1
    assert fill_from_neighbours(image, variance, state, 1, 5, False) == 3
    assert (image[:, 3:] == -1.0).all()
    assert variance[:, 3].tolist() == [1.0] * 3
    assert (variance[:, 4:] == -1.0).all()
