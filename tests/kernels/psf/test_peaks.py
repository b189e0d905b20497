"""Peaks of a smoothed image, and their crowding, against plain numpy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from skyextract.kernels.psf.peaks import Peaks, crowding, find_peaks_band, smooth_band

TAPS = np.array([0.1, 0.2, 0.4, 0.2, 0.1], dtype=np.float32)


def smooth(data, variance, taps, bands=1):
    out = np.full_like(data, np.nan)
    edges = np.linspace(0, data.shape[0], bands + 1).astype(int)
    for first, last in pairwise(edges):
        smooth_band(data, variance, taps, int(first), int(last), out[first:last])
    return out


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("shape", [(23, 31), (1, 7), (7, 1), (2, 2)])
def test_smoothing_is_the_plain_convolution(bands, shape):
    random = np.random.default_rng(1)
    data = random.normal(size=shape).astype(np.float32)
    variance = np.ones(shape, dtype=np.float32)
    variance[random.random(shape) < 0.1] = 1e30
    padded = np.pad(np.where(variance > 1e29, 0, data), 2)
    expected = sum(
        float(TAPS[j]) * float(TAPS[i]) * padded[j : j + shape[0], i : i + shape[1]]
        for j in range(5)
        for i in range(5)
    )
    got = smooth(data, variance, TAPS, min(bands, shape[0]))
    np.testing.assert_allclose(got, expected, atol=1e-5)


def peaks(image, factor=1.0, reach=1, variance=None, room=100):
    variance = np.ones_like(image) if variance is None else variance
    xy = np.empty((room, 2), dtype=np.int64)
    value = np.empty(room, dtype=np.float32)
    n = find_peaks_band(image, 0, variance, factor, reach, 0, image.shape[0], xy, value)
    return n, xy[: min(n, room)], value[: min(n, room)]


def test_peaks_are_the_local_maxima_above_the_threshold():
    random = np.random.default_rng(2)
    image = random.normal(size=(40, 50)).astype(np.float32)
    variance = np.ones_like(image)
    variance[10:12, 10:20] = 1e30
    _, xy, value = peaks(image, 2.25, 2, variance)
    expected = [
        (x, y)
        for y in range(40)
        for x in range(50)
        if image[y, x] > 1.5
        and variance[y, x] < 1e29
        and image[y, x] == image[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].max()
    ]
    assert [tuple(p) for p in xy] == expected
    np.testing.assert_array_equal(value, [image[y, x] for x, y in expected])


def test_a_plateau_is_one_peak_and_overflow_is_reported():
    image = np.zeros((20, 20), dtype=np.float32)
    image[5:7, 5:7] = 10.0
    assert peaks(image)[0] == 1
    image[::4, ::4] = 20.0
    n, xy, _ = peaks(image, room=3)
    assert n == 25
    assert len(xy) == 3


def test_crowding_counts_neighbours_but_not_the_wing():
    x, y, height = np.array([50.0]), np.array([50.0]), np.array([1000.0])

    def rating(px, py, value):
        out = np.zeros(1)
        order = np.argsort(py)
        columns = (np.array(c, dtype=float)[order] for c in (px, py, value, np.zeros(len(px))))
        crowding(x, y, height, Peaks(*columns), 3.0, out)
        return out[0]

    assert rating([50], [50], [1000]) == 0
    assert rating([50, 54], [50, 50], [1000, 300]) == pytest.approx(0.3)
    assert rating([50, 50], [50, 62], [1000, 300]) == pytest.approx(0.3 / 4)
    assert rating([50, 50], [50, 63], [1000, 300]) == 0
    assert rating([50, 56], [50, 50], [1000, 12]) == 0
