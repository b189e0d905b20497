"""Peaks of a filtered image against a plain search."""

import numpy as np
import pytest

from skyextract.kernels.detection.peaks import peaks_in_rows


def plain(image, model, threshold, share, half):
    found = []
    for j in range(image.shape[0]):
        for i in range(image.shape[1]):
            window = image[max(0, j - half) : j + half + 1, max(0, i - half) : i + half + 1]
            value = image[j, i]
            if value > threshold and value > share * model[j, i] and value == window.max():
                found.append((i, j))
    return found


@pytest.mark.parametrize("half", [1, 2, 3])
def test_equal_to_a_plain_search(half):
    rng = np.random.default_rng(half)
    image = rng.normal(size=(40, 37)).astype(np.float32)
    model = rng.normal(size=image.shape).astype(np.float32)
    x, y = np.empty((2, image.size), np.int32)
    found = []
    for first, last in ((0, 13), (13, 40)):
        n = peaks_in_rows(image, model, 0.5, 0.2, half, first, last, x, y)
        found += list(zip(x[:n].tolist(), y[:n].tolist(), strict=True))
    assert found == plain(image, model, 0.5, 0.2, half)
    assert found


def test_of_equal_pixels_the_first_is_taken():
    image = np.zeros((5, 6), np.float32)
    image[2, 2:4] = 3.0
    x, y = np.empty((2, image.size), np.int32)
    assert peaks_in_rows(image, np.zeros_like(image), 1.0, 0.2, 1, 0, 5, x, y) == 1
    assert (x[0], y[0]) == (2, 2)
