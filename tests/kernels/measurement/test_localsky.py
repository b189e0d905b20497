"""The local background against the plain form of its estimator."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.measurement.localsky import local_backgrounds
from skyextract.kernels.measurement.records import SourcePixels

BOX = {"xmin": 28, "xmax": 35, "ymin": 22, "ymax": 25}
THICK = 14


def measure(image, labels, *, mask=2, thick=THICK, **box):
    box = {**BOX, **box}
    limits = [np.array([box[k]], np.int32) for k in BOX]
    out = np.full(1, 9.0)
    local_backgrounds(SourcePixels(image, labels, mask), *limits, thick, 0, 1, out)
    return out[0]


def annulus(shape):
    """The box grown by a quarter on each side is the hole."""
    v, u = np.indices(shape)
    hole = (u >= 26) & (u < 38) & (v >= 21) & (v < 27)
    return (u >= 26 - THICK) & (u < 38 + THICK) & (v >= 21 - THICK) & (v < 27 + THICK) & ~hole


def plain_mode(values):
    """Clip at 3 sigma around the median until sigma is stable; 2.5 median - 1.5 mean."""
    kept = values[np.abs(values - values.mean()) <= 2 * values.std()]
    for _ in range(100):
        sigma = kept.std()
        near = np.abs(values - np.median(kept)) <= 3 * sigma
        if np.array_equal(values[near], kept):
            break
        kept = values[near]
    mean, median = kept.mean(), np.median(kept)
    return 2.5 * median - 1.5 * mean if abs(mean - median) < 0.3 * kept.std() else median


@pytest.mark.parametrize("crowded", [0.0, 0.1, 0.5])
def test_same_as_the_plain_estimator(crowded):
    rng = np.random.default_rng(3)
    image = rng.normal(12, 2, (50, 70))
    image += np.where(rng.random(image.shape) < crowded, rng.exponential(20, image.shape), 0)
    image[22:26, 28:36] += 500
    labels = np.zeros(image.shape, np.int32)
    labels[5:15, 40:50] = 3
    image[5:15, 40:50] += 1000
    image[12, 20] = np.nan
    used = annulus(image.shape) & (labels == 0) & np.isfinite(image)
    expected = plain_mode(image[used])
    found = measure(image.astype(np.float32), labels)
    # the bins of the histogram are 0.05 sigma wide or less
    assert found == pytest.approx(expected, abs=0.1)


def test_sources_count_without_a_mask():
    image = np.random.default_rng(1).normal(0, 1, (50, 70)).astype(np.float32)
    labels = np.ones(image.shape, np.int32)
    assert measure(image, labels) == 0
    assert measure(image, labels, mask=0) != 0


def test_zero_where_the_annulus_does_not_fit_or_is_bad():
    image = np.random.default_rng(1).normal(50, 1, (50, 70)).astype(np.float32)
    labels = np.zeros(image.shape, np.int32)
    assert measure(image, labels) == pytest.approx(50, abs=0.2)
    assert measure(image, labels, xmin=2, xmax=6) == 0
    assert measure(image, labels, ymin=44, ymax=48) == 0
    assert measure(image, labels, thick=0) == 0
    assert measure(np.full_like(image, np.nan), labels) == 0
    assert measure(np.full_like(image, 7), labels) == pytest.approx(7)
