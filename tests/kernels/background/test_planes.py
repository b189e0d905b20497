"""Marks of bad pixels against plain numpy."""

from __future__ import annotations

import numpy as np

from skyextract.kernels.background.planes import exclude, mark_bad, mark_saturated


def test_bad_pixels_of_variance_and_image():
    rng = np.random.default_rng(6)
    shape = (8, 11)
    variance = rng.choice([-1, 0, 3, 1e30, np.nan, np.inf], shape).astype(np.float32)
    mask = rng.integers(0, 16, shape).astype(np.uint16)
    good = (variance > 0) & (variance < 1e30) & (mask & 3 == 0)
    expected = np.where(good, variance, np.float32(1e30))
    for first, past in ((0, 3), (3, 8)):
        exclude(variance, mask, 3, np.float32(1e30), first, past)
    np.testing.assert_array_equal(variance, expected)

    image = rng.choice([1, 1, 1, np.nan, np.inf], shape).astype(np.float32)
    image[2] = mask[2] = 0
    bad = np.zeros(shape, np.bool_)
    expected = (mask & 8 != 0) | ((mask & 3 != 0) & (mask & 4 == 0)) | ~np.isfinite(image)
    found = [mark_bad(image, mask, 3, 4, 8, *rows, bad) for rows in ((0, 3), (3, 8))]
    assert sum(found) == expected.sum()
    np.testing.assert_array_equal(bad, expected)
    assert not bad[2].any()


def test_saturated_pixels():
    rng = np.random.default_rng(7)
    image = rng.choice([-3, 1, 5, np.nan, np.inf], (9, 13)).astype(np.float32)
    image[4] = 1
    saturated = np.zeros((9, 2), np.uint8)
    for rows in ((0, 4), (4, 9)):
        mark_saturated(image, np.float32(5), *rows, saturated)
    np.testing.assert_array_equal(saturated, np.packbits(image >= 5, axis=1))
