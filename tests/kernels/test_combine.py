"""Combination of frames against plain numpy, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.combine import combine_rows


def combine(stack, clip, use_median):
    level, variance = np.zeros((2, *stack.shape[1:]), np.float32)
    for first, last in ((0, 1), (1, stack.shape[1])):
        combine_rows(stack, clip, use_median, first, last, level, variance)
    return level, variance


def reference(stack, clip, use_median):
    _, ny, nx = stack.shape
    level, variance = np.full((2, ny, nx), np.nan)
    for y in range(ny):
        columns = [stack[:, y, x][np.isfinite(stack[:, y, x])].astype(float) for x in range(nx)]
        sigmas = [1.482602 * np.median(np.abs(v - np.median(v))) for v in columns if len(v) > 2]
        typical = np.median(sigmas) if sigmas else 0.0
        for x, values in enumerate(columns):
            if len(values) == 0:
                continue
            centre = np.median(values)
            kept = values
            if len(values) > 2:
                sigma = 1.482602 * np.median(np.abs(values - centre))
                kept = values[np.abs(values - centre) <= clip * max(sigma, typical)]
            level[y, x] = centre if use_median else kept.mean()
            if len(kept) > 1:
                variance[y, x] = kept.var(ddof=1) / len(kept)
                if use_median and len(values) > 2:
                    variance[y, x] *= np.pi / 2
    return level, variance


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 20])
@pytest.mark.parametrize("use_median", [False, True])
def test_same_as_numpy(n, use_median):
    rng = np.random.default_rng(n)
    stack = rng.normal(1000, 10, (n, 4, 150)).astype(np.float32)
    stack[rng.random(stack.shape) < 0.1] += 500
    stack[rng.random(stack.shape) < 0.15] = np.nan
    stack[:, 2, 7] = np.nan
    stack[0, 3, 5] = np.inf
    for found, expected in zip(
        combine(stack, 4.0, use_median), reference(stack, 4.0, use_median), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=2e-5)


def test_an_outlier_among_equal_values_does_not_count():
    stack = np.full((9, 1, 30), 5, np.float32) + np.arange(9, dtype=np.float32)[:, None, None]
    stack[3, 0, 12] = 1e6
    level, variance = combine(np.concatenate([stack, stack], axis=1), 3.0, False)
    assert level[0, 12] == pytest.approx(np.delete(np.arange(5, 14), 3).mean())
    assert level[0, 11] == pytest.approx(9)
    assert variance[0, 11] == pytest.approx(np.arange(9).var(ddof=1) / 9)
