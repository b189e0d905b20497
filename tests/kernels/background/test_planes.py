"""Marks of bad pixels against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.background.information import exclude
from skyextract.kernels.background.planes import Marks, subtract_rows
from skyextract.kernels.background.spline import spline_rows

NO_MASK = np.zeros((1, 1), np.uint16)
NO_PLANE = np.zeros((1, 1), np.float32)


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


def test_squares_of_a_spline_have_no_information_where_the_mask_says_so():
    rng = np.random.default_rng(7)
    shape, bands = (50, 70), ((0, 30), (30, 50))
    rms = rng.uniform(1.0, 2.0, (4, 5)).astype(np.float32)
    rms[2, 3] = 0.0
    mask = rng.integers(0, 16, shape).astype(np.uint16)
    plain, marked = np.empty((2, *shape), np.float32)
    for band in bands:
        spline_rows(rms, 15, 15, *band, False, True, NO_PLANE, NO_MASK, 0, plain)
        spline_rows(rms, 15, 15, *band, False, True, NO_PLANE, mask, 3, marked)
    exclude(plain, mask, 3, np.float32(1e30), 0, shape[0])
    assert 0 < np.count_nonzero(plain < 1e30) < plain.size
    np.testing.assert_array_equal(marked, plain)


def subtract(image, mask, level, saturation=np.inf, out=None):
    """Subtract in two bands; return the difference, bits, bad pixels and their number."""
    shape = image.shape
    out = np.empty_like(image) if out is None else out
    saturated = np.zeros((shape[0], -(-shape[1] // 8)), np.uint8)
    bad = np.zeros(shape, np.bool_)
    marks = Marks(np.float32(saturation), saturated, mask, 3, 4, 8, bad)
    bands = ((0, 3), (3, shape[0]))
    n_bad = sum(subtract_rows(level, 5, 4, *rows, image, marks, out) for rows in bands)
    return out, saturated, bad, n_bad


def test_bad_pixels_are_marked_where_the_background_is_subtracted():
    rng = np.random.default_rng(6)
    shape = (8, 11)
    image = rng.choice([1, 1, 1, np.nan, np.inf], shape).astype(np.float32)
    mask = rng.integers(0, 16, shape).astype(np.uint16)
    image[2] = mask[2] = 0
    level = rng.normal(size=(2, 3)).astype(np.float32)
    expected = (mask & 8 != 0) | ((mask & 3 != 0) & (mask & 4 == 0)) | ~np.isfinite(image)
    _, _, bad, n_bad = subtract(image, mask, level)
    assert n_bad == expected.sum()
    np.testing.assert_array_equal(bad, expected)
    assert not bad[2].any()


@pytest.mark.parametrize("meshes", [(2, 3), (1, 3), (2, 1), (1, 1)])
def test_saturated_pixels_are_those_before_the_background_is_subtracted(meshes):
    rng = np.random.default_rng(7)
    image = rng.choice([-3, 1, 5, np.nan, np.inf], (9, 13)).astype(np.float32)
    image[4] = 1
    level = rng.normal(3, 1, meshes).astype(np.float32)
    no_mask = np.zeros(image.shape, np.uint16)
    spline = np.empty_like(image)
    spline_rows(level, 5, 4, 0, 9, False, False, NO_PLANE, NO_MASK, 0, spline)
    expected = np.packbits(image >= 5, axis=1)
    inside = image.copy()
    for out in (None, inside):
        pixels = image if out is None else out
        found, saturated, _, _ = subtract(pixels, no_mask, level, 5, out)
        np.testing.assert_array_equal(saturated, expected)
        np.testing.assert_allclose(found, image - spline, rtol=1e-6, atol=1e-6)
