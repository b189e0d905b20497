"""Stamps of stars, and their radial profile, against plain numpy."""

from __future__ import annotations

import numpy as np

from skyextract.kernels.psf.peaks import Peaks
from skyextract.kernels.psf.stamps import cut_stamps, radial_sums


def cut(x, y, peaks=((), (), (), ()), variance=None):
    data = np.arange(40.0 * 40).reshape(40, 40).astype(np.float32)
    variance = np.full_like(data, 4.0) if variance is None else variance
    stamps = np.empty((1, 11, 11), dtype=np.float32)
    noise = np.empty_like(stamps)
    columns = [np.array(c, dtype=float) for c in peaks]
    cut_stamps(
        data, variance, np.array([x]), np.array([y]), np.array([1000.0]), Peaks(*columns), 2.0,
        stamps, noise,
    )  # fmt: skip
    return data, stamps[0], noise[0]


def test_stamps_hold_the_pixels_and_nothing_outside():
    data, stamp, noise = cut(20.4, 15.6)
    np.testing.assert_array_equal(stamp[5], data[16, 15:26])
    assert noise[5, 5] == 4.0
    assert noise[0, 0] > 1e29  # outside the inscribed circle
    _, stamp, noise = cut(1.0, 39.0)
    assert (noise[:, :4] > 1e29).all()
    assert (noise[6:] > 1e29).all()
    assert (stamp[noise > 1e29] == 0).all()


def test_neighbours_are_masked_but_neither_the_star_nor_its_wing():
    _, _, noise = cut(20, 20, ([20, 24], [20, 20], [1000, 500], [2, 2]))
    assert (noise[5, 8:] > 1e29).all()
    assert (noise[5, :7] == 4.0).all()
    _, _, noise = cut(20, 20, ([20, 24], [20, 20], [1000, 5], [2, 2]))
    assert (noise[5] == 4.0).all()


def test_radial_sums():
    rng = np.random.default_rng(8)
    stamps = rng.normal(5, 1, (3, 7, 7)).astype(np.float32)
    noise = rng.uniform(1, 2, (3, 7, 7)).astype(np.float32)
    noise[1, 2, 2:5] = 1e30
    cx, cy = rng.uniform(2.5, 3.5, (2, 3))
    flux = np.array([100.0, 40.0, -1.0])
    shape, edges = np.array([1.2, 0.9, 0.2]), np.array([0.0, 1.0, 2.5, 6.0])
    out = np.zeros((3, 3))
    radial_sums(stamps, noise, 0.5, 0.01, cx, cy, flux, 0.1, shape, edges, out)
    expected = np.zeros((3, 3))
    v, u = np.indices((7, 7))
    for s in (0, 1):
        dx, dy = u - cx[s], v - cy[s]
        r2 = shape[0] * dx**2 + shape[1] * dy**2 + 2 * shape[2] * dx * dy
        weight = flux[s] ** 2 / (noise[s] + 0.1 * flux[s] * 0.5 + (0.01 * flux[s]) ** 2)
        for terms, column in ((1, 0), (stamps[s] / flux[s], 1), (np.sqrt(r2), 2)):
            used = noise[s] < 1e30
            sums, _ = np.histogram(r2[used], edges, weights=(weight * terms)[used])
            expected[:, column] += sums
    np.testing.assert_allclose(out, expected, rtol=1e-6)
