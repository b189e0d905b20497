"""Mesh statistics against plain numpy."""

from __future__ import annotations

import itertools

import numba
import numpy as np
import pytest

from skyextract.kernels.background.mesh import Meshes, SkyPixels, mesh_statistics

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


def meshes(image, size=32, mask=None, sources=None, weight=None, pearson=2.5, step=0.0):
    ny, nx = image.shape
    shape = (-(-ny // size), -(-nx // size))
    level, rms, weights = (np.empty(shape, np.float32) for _ in range(3))
    pixels = SkyPixels(
        image,
        NO_MASK if mask is None else mask,
        0 if mask is None else 1,
        NO_SOURCES if sources is None else sources,
        sources is not None,
        NO_PLANE if weight is None else weight,
        weight is not None,
        np.float32(1e29),
        np.float32(step),
    )
    mesh_statistics(pixels, Meshes(size, size, level, rms, weights), 0, shape[0], pearson)
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


@pytest.mark.parametrize("kind", ["two levels", "steps", "spikes", "lopsided"])
def test_mode_of_odd_histograms_equals_reference(kind):
    """The limits and the median move far, and back, from one clipping to the next."""
    rng = np.random.default_rng(8)
    for number in range(30):
        values = rng.normal(100, 5, (32, 32))
        if kind == "two levels":
            values[: rng.integers(8, 24)] += rng.uniform(5, 60)
        elif kind == "steps":
            values = np.rint(values / 4) * 4
        elif kind == "spikes":
            values = rng.standard_cauchy((32, 32)) * 5 + 100
        else:
            values = rng.exponential(5, (32, 32)) ** rng.uniform(0.5, 2)
        image = values.astype(np.float32)
        level, rms, _ = meshes(image)
        want = reference_mode(image)
        assert (level[0, 0], rms[0, 0]) == pytest.approx(want, rel=2e-6, abs=1e-4), number


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


@pytest.mark.parametrize(
    ("level", "sigma"),
    [(60.3, 2.0)]  # 262,144 pixels take seconds in interpreted loops
    if numba.config.DISABLE_JIT
    else list(itertools.product([60.0, 60.3, 60.5, 60.7], [2.0, 3.5, 8.0])),
)
def test_level_and_noise_of_rounded_values_are_those_before_rounding(level, sigma):
    image = np.random.default_rng(3).normal(level, sigma, (512, 512))
    found, rms, _ = meshes(np.rint(image).astype(np.float32), 64, step=1.0)
    # an error of the mean of the 64 meshes is sigma / 200
    assert found.mean() == pytest.approx(level, abs=0.02 * sigma)
    assert np.ptp(found) < 0.3 * sigma
    assert rms.mean() == pytest.approx(np.hypot(sigma, 12**-0.5), rel=0.02)
