"""The search for seeds against a plain loop, and the counting of tracks."""

from __future__ import annotations

import numpy as np

from skyextract.kernels.repair.cosmics import (
    BLOCK,
    COSMIC,
    DIRECTIONS,
    UNUSABLE,
    cap_by_pairs,
    count_tracks,
    find_seeds,
    mark_unusable,
)

LIMITS = np.array([0.4, 0.4, 0.2, 0.2, 0.05, 0.05])


def reference(flux, sky_variance, variance, usable, contrast, excess):
    """Apply the criterion to every pixel, written out."""
    ny, nx = flux.shape
    found = np.zeros(flux.shape, bool)

    def ok(y, x):
        return 0 <= y < ny and 0 <= x < nx and usable[y, x]

    def pair(y, x, dx, dy):
        a, b = (y + dy, x + dx), (y - dy, x - dx)
        if not (ok(*a) and ok(*b)):
            return None
        return 0.5 * (flux[a] + flux[b]), 0.25 * (variance[a] + variance[b])

    for y, x in np.argwhere((flux > 0) & (flux**2 > contrast**2 * sky_variance) & usable):
        total, total2, n, limit_sum, high = 0.0, 0.0, 0, 0.0, False
        for k, (dx, dy) in enumerate(DIRECTIONS):
            mean = pair(y, x, dx, dy)
            if mean is None:
                continue
            if k < 4:
                total, total2 = total + mean[0], total2 + mean[1]
                n, limit_sum = n + 1, limit_sum + LIMITS[k]
            if flux[y, x] - mean[0] <= contrast * np.sqrt(variance[y, x] + mean[1]):
                continue
            high = True
            t = LIMITS[k] * flux[y, x] - mean[0]
            t2 = LIMITS[k] ** 2 * variance[y, x] + mean[1]
            if t > excess * np.sqrt(t2):
                found[y, x] = True
            if k >= 4 or t < np.sqrt(t2):
                continue
            ax, ay = DIRECTIONS[k ^ 1]
            for s in (-1, 1):
                q = (y + s * ay, x + s * ax)
                side = pair(*q, dx, dy) if ok(*q) else None
                if side is not None:
                    t += LIMITS[k] * flux[q] - side[0]
                    t2 += LIMITS[k] ** 2 * variance[q] + side[1]
            found[y, x] |= t > excess * np.sqrt(t2)
        if high and n >= 3:
            t = limit_sum * flux[y, x] - total
            found[y, x] |= t > excess * np.sqrt(limit_sum**2 * variance[y, x] + total2)
    return found


def test_seeds_equal_the_plain_loop():
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 1, (60, 70))
    yy, xx = np.mgrid[:60, :70]
    scene = 300 * np.exp(-((xx - 30) ** 2 + (yy - 20) ** 2) / 4)
    hits = rng.random(scene.shape) < 0.02
    image = (50 + noise + scene + hits * rng.uniform(3, 40, scene.shape)).astype(np.float32)
    data = image - np.float32(50)
    variance = np.ones(image.shape, np.float32)
    state = (rng.random(image.shape) < 0.01).astype(np.uint8)
    found = np.zeros(image.shape, np.uint8)
    bright = np.full((60, 3), 7, np.uint8)
    nothing, unmarked = np.zeros(image.shape, np.uint16), np.empty(image.shape, np.uint8)
    mark_unusable(
        data, nothing, 0, variance, np.float32(1e30), 4.0, 0, 60, unmarked, bright
    )  # fmt: skip
    blocks = np.pad(data > 4.0, ((0, 0), (0, 3 * BLOCK - 70))).reshape(60, 3, BLOCK).any(axis=2)
    np.testing.assert_array_equal(bright, blocks)
    assert 0 < blocks.mean() < 1
    for first, last in ((0, 25), (25, 60)):
        pixel = np.empty(image.size, np.int64)
        n = find_seeds(
            data, variance, state, 0.5, LIMITS, DIRECTIONS, 4.0, 3.0, bright, first, last, pixel
        )  # fmt: skip
        found.ravel()[pixel[:n]] = 1
    flux = image.astype(float) - 50
    expected = reference(flux, 1.0, 1 + 0.5 * np.maximum(flux, 0), state == 0, 4.0, 3.0)
    np.testing.assert_array_equal(found != 0, expected)
    assert expected.sum() > 30


def test_tracks_are_counted_by_eight_neighbours():
    state = np.zeros((20, 20), np.uint8)
    for y, x in ((0, 0), (1, 1), (2, 2), (10, 10), (10, 12), (19, 19)):
        state[y, x] = COSMIC
    ys, xs = np.nonzero(state)
    assert count_tracks(state.copy(), ys, xs) == 4
    assert count_tracks(np.zeros((3, 3), np.uint8), ys[:0], xs[:0]) == 0


def test_unusable_pixels():
    rng = np.random.default_rng(4)
    shape = (9, 13)
    data = np.where(rng.random(shape) < 0.1, np.nan, 1).astype(np.float32)
    data[0, 0] = np.inf
    mask = rng.integers(0, 8, shape).astype(np.uint16)
    variance = np.where(rng.random(shape) < 0.1, 1e30, 1).astype(np.float32)
    state = np.full(shape, 7, np.uint8)
    bright = np.empty((9, 1), np.uint8)
    for first, last in ((0, 4), (4, 9)):
        mark_unusable(data, mask, 5, variance, np.float32(1e30), 9.0, first, last, state, bright)
    assert bright[:, 0].tolist() == [1] + 8 * [0]
    good = np.isfinite(data) & (mask & 5 == 0) & (variance < 1e30)
    np.testing.assert_array_equal(state, np.where(good, 0, UNUSABLE))


def test_caps_are_the_highest_means_of_opposite_neighbours():
    rng = np.random.default_rng(5)
    data = rng.normal(0, 3, (12, 15)).astype(np.float32)
    state = np.where(rng.random(data.shape) < 0.3, COSMIC, 0).astype(np.uint8)
    ys, xs = np.nonzero(state)
    expected = data.copy()
    for y, x in zip(ys, xs, strict=True):
        if not (0 < y < 11 and 0 < x < 14):
            continue
        box, free = data[y - 1 : y + 2, x - 1 : x + 2].ravel(), state[y - 1 : y + 2, x - 1 : x + 2]
        free = free.ravel() == 0
        means = [(box[k] + box[8 - k]) / 2 for k in range(4) if free[k] and free[8 - k]]
        if means:
            expected[y, x] = min(data[y, x], max(means))
    cap_by_pairs(data, np.ones_like(data), state, DIRECTIONS, ys, xs)
    np.testing.assert_allclose(data, expected, rtol=1e-6)
