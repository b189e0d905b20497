"""Mesh statistics and splines against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.background import mesh as kernels

NO_MASK = np.zeros((1, 1), np.uint16)
NO_SOURCES = np.zeros((1, 1), np.uint8)
NO_PLANE = np.zeros((1, 1), np.float32)


def reference_mode(values, pearson=2.5):
    """Histogram mode with the median found by walking in from both ends."""
    v = values.astype(np.float64).ravel()
    mean, sigma = v.mean(), v.std()
    low, high = np.float32(mean - 2 * sigma), np.float32(mean + 2 * sigma)
    cut = v[(v >= low) & (v <= high)]
    mean, sigma = cut.mean(), cut.std()
    n = min(int(np.sqrt(2 / np.pi) * 5 / 4 * len(cut) + 1), 4096)
    if sigma == 0:
        return mean, 0.0
    width, zero = np.float32(10 * sigma / n), np.float32(mean - 5 * sigma)
    bins = (v.astype(np.float32) / width + np.float32(0.499999 - zero / width)).astype(int)
    histogram = np.bincount(bins[(bins >= 0) & (bins < n)], minlength=n)
    low, high = 0, n - 1
    sigma, last = 10.0 * (n - 1), 1.0
    for _ in range(100):
        if sigma < 0.1 or abs(sigma / last - 1) <= 1e-4:
            break
        last = sigma
        a, b, below, above = low, high, 0, 0
        while a <= b:
            if below < above:
                below += histogram[a]
                a += 1
            else:
                above += histogram[b]
                b -= 1
        median = b + 0.5 + (above - below) / (2 * max(histogram[a], histogram[b]))
        i = np.arange(low, high + 1)
        h = histogram[low : high + 1]
        mean = (h * i).sum() / h.sum()
        sigma = np.sqrt((h * i * i).sum() / h.sum() - mean**2)
        low = max(int(median - 3 * sigma + 0.5), 0)
        high = min(int(median + 3 * sigma + 0.5), n - 1)
    if abs((mean - median) / sigma) < 0.3:
        level = pearson * median - (pearson - 1) * mean
    else:
        level = median
    return zero + level * width, sigma * width


def meshes(image, size=32, mask=None, sources=None, weight=None, pearson=2.5):
    ny, nx = image.shape
    shape = (-(-ny // size), -(-nx // size))
    level, rms, weights = (np.empty(shape, np.float32) for _ in range(3))
    kernels.mesh_statistics(
        image,
        NO_MASK if mask is None else mask,
        0 if mask is None else 1,
        NO_SOURCES if sources is None else sources,
        sources is not None,
        NO_PLANE if weight is None else weight,
        weight is not None,
        np.float32(1e29),
        size,
        size,
        0,
        shape[0],
        pearson,
        level,
        rms,
        weights,
    )
    return level, rms, weights


@pytest.mark.parametrize("pearson", [2.5, 3.0])
def test_mode_equals_reference(pearson):
    rng = np.random.default_rng(1)
    image = rng.normal(1000, 7, (70, 100)).astype(np.float32)
    image[:, 40:60] += rng.exponential(30, (70, 20)).astype(np.float32)  # crowded
    image[5, 5] = 1e8
    level, rms, _ = meshes(image, pearson=pearson)
    assert level.shape == (3, 4)
    for j in range(3):
        for i in range(4):
            piece = image[32 * j : 32 * j + 32, 32 * i : 32 * i + 32]
            want = reference_mode(piece, pearson)
            assert (level[j, i], rms[j, i]) == pytest.approx(want, rel=1e-6, abs=1e-4)


def test_left_out_pixels_do_not_matter():
    rng = np.random.default_rng(2)
    image = rng.normal(10, 1, (64, 64)).astype(np.float32)
    clean = meshes(image)
    keep = np.ones((64, 64), bool)
    keep[:, 5:9] = keep[40] = False
    dirty = np.where(keep, image, np.float32(1e6)).astype(np.float32)
    bad = (~keep).astype(np.uint16)
    by_mask = meshes(dirty, mask=bad)
    by_sources = meshes(dirty, sources=bad.astype(np.uint8))
    by_weight = meshes(dirty, weight=np.where(keep, 4.0, 1e30).astype(np.float32))
    by_nan = meshes(np.where(keep, image, np.nan).astype(np.float32))
    for other in (by_sources, by_weight, by_nan):
        np.testing.assert_array_equal(by_mask[0], other[0])
        np.testing.assert_array_equal(by_mask[1], other[1])
    np.testing.assert_allclose(by_mask[0], clean[0], atol=0.2)
    np.testing.assert_allclose(by_weight[2], 4.0)


def test_bad_meshes_are_filled_from_the_nearest():
    level = np.full((3, 4), kernels.BAD, np.float32)
    rms = level.copy()
    level[0, 0], rms[0, 0] = 1, 10
    level[2, 0], rms[2, 0] = 3, 30
    assert kernels.fill_bad_meshes(level, rms) == 2
    assert (level[1, 0], rms[1, 3]) == (2, 20)  # both are nearest
    assert (level[0, 3], level[2, 3]) == (1, 3)
    level[:] = rms[:] = kernels.BAD
    assert kernels.fill_bad_meshes(level, rms) == 0
    assert (level == 0).all()
    assert (rms == 1).all()


def test_median_filter_shrinks_at_the_border():
    rng = np.random.default_rng(3)
    level = rng.random((6, 7)).astype(np.float32)
    out, out_rms = np.empty_like(level), np.empty_like(level)
    kernels.median_filter(level, level, 1, 2, 0.0, out, out_rms)
    for y in range(6):
        for x in range(7):
            hy, hx = min(2, y, 5 - y), min(1, x, 6 - x)
            want = np.median(level[y - hy : y + hy + 1, x - hx : x + hx + 1])
            assert out[y, x] == want == out_rms[y, x]
    kernels.median_filter(level, level, 1, 1, 10.0, out, out_rms)
    np.testing.assert_array_equal(out, level)


@pytest.mark.parametrize("shape", [(4, 5), (1, 5), (4, 1), (1, 1), (2, 2)])
def test_spline_follows_a_plane_and_passes_the_nodes(shape):
    size = 17
    ny, nx = shape[0] * size - 3, shape[1] * size - 5
    y, x = np.indices(shape)
    nodes = (100 + 3.0 * x + 2.0 * y).astype(np.float32)
    out = np.empty((ny, nx), np.float32)
    kernels.spline_rows(nodes, size, size, 0, ny, False, False, NO_PLANE, NO_MASK, 0, out)
    v, u = np.indices((ny, nx))
    plane = 100.0 + (3.0 * (u - size // 2) / size if shape[1] > 1 else 0)
    plane = plane + (2.0 * (v / size - 0.5) if shape[0] > 1 else 0)
    np.testing.assert_allclose(out, plane, atol=2e-3)


def test_spline_subtracts_and_blanks():
    image = np.full((40, 40), 7, np.float32)
    mask = np.zeros((40, 40), np.uint16)
    mask[3, 4] = 32
    out = np.empty_like(image)
    nodes = np.full((3, 3), 5, np.float32)
    kernels.spline_rows(nodes, 16, 16, 0, 40, True, False, image, mask, 32, out)
    assert out[3, 4] == 0
    mask[:] = 0
    np.testing.assert_allclose(np.delete(out.ravel(), 3 * 40 + 4), 2, atol=1e-5)


def test_bad_pixels_of_variance_and_image():
    rng = np.random.default_rng(6)
    shape = (8, 11)
    variance = rng.choice([-1, 0, 3, 1e30, np.nan, np.inf], shape).astype(np.float32)
    mask = rng.integers(0, 16, shape).astype(np.uint16)
    good = (variance > 0) & (variance < 1e30) & (mask & 3 == 0)
    expected = np.where(good, variance, np.float32(1e30))
    for first, past in ((0, 3), (3, 8)):
        kernels.exclude(variance, mask, 3, np.float32(1e30), first, past)
    np.testing.assert_array_equal(variance, expected)

    image = rng.choice([1, 1, 1, np.nan, np.inf], shape).astype(np.float32)
    image[2] = mask[2] = 0
    bad = np.zeros(shape, np.bool_)
    expected = (mask & 8 != 0) | ((mask & 3 != 0) & (mask & 4 == 0)) | ~np.isfinite(image)
    found = [kernels.mark_bad(image, mask, 3, 4, 8, *rows, bad) for rows in ((0, 3), (3, 8))]
    assert sum(found) == expected.sum()
    np.testing.assert_array_equal(bad, expected)
    assert not bad[2].any()
