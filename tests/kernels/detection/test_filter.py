"""Convolution and thresholding against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.detection.filter import RowFilter, filter_rows, threshold_rows

NO_BAD = np.zeros((1, 1), np.uint8)
NO_PLANE = np.zeros((1, 1), np.float32)


def reference(image, taps):
    """Convolve by sums of shifted images, 0 beyond the border."""
    h, w = taps.shape
    ny, nx = image.shape
    padded = np.zeros((ny + 2 * h, nx + 2 * w))
    padded[h : h + ny, w : w + nx] = image
    out = np.zeros(image.shape)
    for v in range(h):
        for u in range(w):
            y, x = h + v - h // 2, w + u - w // 2
            out += taps[h - 1 - v, w - 1 - u] * padded[y : y + ny, x : x + nx]
    return out


@pytest.mark.parametrize("size", [(3, 3), (5, 7), (1, 1), (9, 3)])
@pytest.mark.parametrize("shape", [(20, 31), (2, 3), (3, 2), (4, 3), (1, 40)])
def test_convolution(size, shape):
    rng = np.random.default_rng(1)
    image = rng.normal(size=shape).astype(np.float32)
    taps = rng.random(size).astype(np.float32)
    out = np.empty_like(image)
    filter_rows(image, RowFilter(taps, True, NO_BAD, False), 0, shape[0], out)
    np.testing.assert_allclose(out, reference(image, taps), atol=1e-5)


def test_noise_is_the_same_beside_bad_pixels():
    rng = np.random.default_rng(2)
    image = rng.normal(size=(600, 300)).astype(np.float32)
    bad = np.zeros(image.shape, np.uint8)
    bad[::6] = 1
    image[bad == 1] = 0
    taps = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 16
    out = np.empty_like(image)
    filter_rows(image, RowFilter(taps, True, bad, True), 0, 600, out)
    expected = np.sqrt((taps.astype(float) ** 2).sum())
    for row in range(6):  # on the bad row, beside it, away from it
        assert out[12 + row :: 6].std() == pytest.approx(expected, rel=0.03)


def threshold(image, taps, level, variance=None):
    ny, nx = image.shape
    runs = np.empty((3, ny * nx), np.int32)
    values = np.empty((3, ny * nx), np.float32)
    n_runs, n = threshold_rows(
        image, image, RowFilter(taps, True, NO_BAD, False),
        NO_PLANE if variance is None else variance, variance is not None, np.float32(level),
        0, ny, runs, values,
    )  # fmt: skip
    return runs[:, :n_runs], values[:, :n]


@pytest.mark.parametrize("weighted", [False, True])
def test_runs_hold_what_is_above_the_threshold(weighted):
    rng = np.random.default_rng(3)
    image = rng.normal(size=(30, 40)).astype(np.float32)
    variance = rng.uniform(0.5, 2, image.shape).astype(np.float32) if weighted else None
    taps = np.ones((3, 3), np.float32) / 9
    runs, values = threshold(image, taps, 0.4, variance)
    filtered = np.empty_like(image)
    filter_rows(image, RowFilter(taps, True, NO_BAD, False), 0, 30, filtered)
    limit = np.full(image.shape, 0.4)
    if weighted:
        limit = 0.4 * np.sqrt(reference(variance, taps))
    found = np.zeros(image.shape, bool)
    for y, first, last in runs.T:
        assert not found[y, first : last + 1].any()
        found[y, first : last + 1] = True
    np.testing.assert_array_equal(found, filtered > limit)
    np.testing.assert_array_equal(values[0], filtered[found])
    np.testing.assert_array_equal(values[1], image[found])
    if weighted:
        np.testing.assert_allclose(values[2], limit[found], rtol=1e-5)


def test_nan_is_never_above():
    image = np.full((5, 5), np.nan, np.float32)
    runs, _ = threshold(image, np.ones((1, 1), np.float32), 1.0)
    assert runs.size == 0
