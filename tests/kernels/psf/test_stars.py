"""Peaks and adaptive moments against plain numpy and known Gaussians."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from skyextract.kernels.psf import stars

TAPS = np.array([0.1, 0.2, 0.4, 0.2, 0.1], dtype=np.float32)


def smooth(data, variance, taps, bands=1):
    out = np.full_like(data, np.nan)
    edges = np.linspace(0, data.shape[0], bands + 1).astype(int)
    for first, last in pairwise(edges):
        stars.smooth_band(data, variance, taps, int(first), int(last), out[first:last])
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
    n = stars.find_peaks_band(image, 0, variance, factor, reach, 0, image.shape[0], xy, value)
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


def test_a_plateau_is_one_peak_and_overflow_is_told():
    image = np.zeros((20, 20), dtype=np.float32)
    image[5:7, 5:7] = 10.0
    assert peaks(image)[0] == 1
    image[::4, ::4] = 20.0
    n, xy, _ = peaks(image, room=3)
    assert n == 25
    assert len(xy) == 3


def gaussian(shape, x, y, cxx, cyy, cxy, flux):
    gy, gx = np.mgrid[0 : shape[0], 0 : shape[1]]
    determinant = cxx * cyy - cxy**2
    r2 = (cyy * (gx - x) ** 2 + cxx * (gy - y) ** 2 - 2 * cxy * (gx - x) * (gy - y)) / determinant
    return flux * np.exp(-0.5 * r2) / (2 * np.pi * np.sqrt(determinant))


def moments(data, x, y, sigma, variance=None, mask=None, inverse_gain=0.0):
    data = np.ascontiguousarray(data, dtype=np.float32)
    variance = np.ones_like(data) if variance is None else variance
    mask = np.zeros(data.shape, dtype=np.uint16) if mask is None else mask
    x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    out = np.zeros((x.size, stars.N_COLUMNS))
    flags = np.zeros(x.size, dtype=np.int64)
    stars.adaptive_moments(
        data, variance, mask, 2, inverse_gain, sigma, x, y, 0, x.size, out, flags
    )
    return out, flags


@pytest.mark.parametrize("start", [0.7, 2.0, 8.0])
@pytest.mark.parametrize(("cxx", "cyy", "cxy"), [(4.0, 4.0, 0.0), (6.0, 3.0, 1.0), (60, 80, 5)])
def test_moments_of_a_gaussian_are_exact_whatever_the_start(start, cxx, cyy, cxy):
    data = gaussian((121, 121), 60.3, 59.8, cxx, cyy, cxy, 1000.0)
    out, flags = moments(data, 60, 60, start)
    assert flags[0] == 0
    row = out[0]
    mean, split = (cxx + cyy) / 2, np.hypot((cxx - cyy) / 2, cxy)
    a, b = np.sqrt(mean + split), np.sqrt(mean - split)
    assert row[stars.X] == pytest.approx(60.3, abs=2e-3 * a)
    assert row[stars.Y] == pytest.approx(59.8, abs=2e-3 * a)
    assert row[stars.SIGMA] == pytest.approx(np.sqrt(a * b), rel=3e-3)
    assert row[stars.ELLIPTICITY] == pytest.approx((a - b) / (a + b), abs=5e-3)
    # The weight is round: an elongated Gaussian's flux is low by a few per cent.
    assert row[stars.FLUX] == pytest.approx(1000.0, rel=0.01 if cxy == 0 else 0.06)
    if cxy == 0:
        # A matched filter: flux / (2 sigma sqrt(pi)) for unit noise; and F (4/5) / (F/2).
        assert row[stars.SNR] == pytest.approx(1000.0 / (2 * np.sqrt(np.pi * a * b)), rel=0.01)
        assert row[stars.BROADENING] == pytest.approx(1.6, rel=0.01)


def test_size_does_not_depend_on_the_signal():
    random = np.random.default_rng(3)
    sizes = []
    for flux in (300.0, 3000.0):
        trials = []
        for _ in range(60):
            data = gaussian((41, 41), 20.2, 19.7, 4, 4, 0, flux) + random.normal(0, 1, (41, 41))
            out, flags = moments(data, 20, 20, 3.0)
            if flags[0] == 0:
                trials.append(out[0, stars.SIGMA])
        sizes.append(np.median(trials))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


def test_flags():
    data = gaussian((60, 60), 30, 30, 4, 4, 0, 1e4) + gaussian((60, 60), 1, 30, 4, 4, 0, 1e4)
    mask = np.zeros((60, 60), dtype=np.uint16)
    variance = np.ones((60, 60), dtype=np.float32)
    assert moments(data, 30, 30, 2.0)[1][0] == 0
    assert moments(data, 1, 30, 2.0)[1][0] & stars.AT_EDGE
    assert moments(np.zeros((60, 60)), 30, 30, 2.0)[1][0] & stars.NOT_CONVERGED
    mask[31, 30] = 2
    assert moments(data, 30, 30, 2.0, mask=mask)[1][0] == stars.ABOVE_SATURATION
    variance[28, 30] = 1e30
    assert moments(data, 30, 30, 2.0, variance)[1][0] & stars.MASKED


def test_a_hot_pixel_and_a_slope_are_no_objects():
    hot = np.zeros((40, 40))
    hot[20, 20] = 1000.0
    assert moments(hot, 20, 20, 2.0)[1][0] & stars.NOT_CONVERGED
    slope = np.tile(np.arange(200.0), (200, 1))
    assert moments(slope, 100, 100, 2.0)[1][0] & stars.NOT_CONVERGED


def test_crowding_counts_neighbours_but_not_the_wing():
    x, y, height = np.array([50.0]), np.array([50.0]), np.array([1000.0])

    def rating(px, py, value):
        out = np.zeros(1)
        order = np.argsort(py)
        columns = (np.array(c, dtype=float)[order] for c in (px, py, value))
        stars.crowding(x, y, height, *columns, 3.0, out)
        return out[0]

    assert rating([50], [50], [1000]) == 0
    assert rating([50, 54], [50, 50], [1000, 300]) == pytest.approx(0.3)
    assert rating([50, 50], [50, 62], [1000, 300]) == pytest.approx(0.3 / 4)
    assert rating([50, 50], [50, 63], [1000, 300]) == 0
    assert rating([50, 56], [50, 50], [1000, 12]) == 0
