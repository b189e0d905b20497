import numpy as np
import pytest

from skyextract.kernels.isr.combine import combine_rows


def combine(stack, clip=4.0, use_median=False):
    shape = stack.shape[1:]
    level, variance = np.empty(shape, np.float32), np.empty(shape, np.float32)
    combine_rows(stack.astype(np.float32), clip, use_median, 0, shape[0], level, variance)
    return level, variance


def reference(stack, clip):
    """Plain numpy, pixel by pixel."""
    stack = stack.astype(np.float32).astype(np.float64)
    level, variance = np.full(stack.shape[1:], np.nan), np.full(stack.shape[1:], np.nan)
    for y in range(stack.shape[1]):
        pixels = [p[np.isfinite(p)] for p in stack[:, y].T]
        sigma = [1.482602 * np.median(np.abs(p - np.median(p))) if len(p) > 2 else np.nan
                 for p in pixels]  # fmt: skip
        known = [s for s in sigma if np.isfinite(s)]
        typical = np.median(known) if known else 0.0
        for x, p in enumerate(pixels):
            if len(p) > 2:
                p = p[np.abs(p - np.median(p)) <= clip * max(sigma[x], typical)]  # noqa: PLW2901
            if len(p):
                level[y, x] = p.mean()
            if len(p) > 1:
                variance[y, x] = p.var(ddof=1) / len(p)
    return level, variance


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 20, 33])
def test_equals_plain_numpy(n):
    rng = np.random.default_rng(n)
    stack = rng.normal(100.0, 3.0, (n, 4, 300))
    stack[rng.random(stack.shape) < 0.02] += 500.0
    stack[rng.random(stack.shape) < 0.05] = np.nan
    level, variance = combine(stack)
    expected, expected_variance = reference(stack, 4.0)
    np.testing.assert_allclose(level, expected, rtol=3e-7)
    np.testing.assert_allclose(variance, expected_variance, rtol=1e-4)


def test_median():
    stack = np.random.default_rng(0).normal(5.0, 1.0, (11, 3, 200))
    level, variance = combine(stack, use_median=True)
    np.testing.assert_allclose(level, np.median(stack.astype(np.float32), axis=0))
    scatter = np.var(level - 5.0)
    assert variance.mean() == pytest.approx(scatter, rel=0.15)


def test_the_mean_is_unbiased_and_its_variance_true():
    stack = np.random.default_rng(1).normal(0.0, 2.0, (10, 40, 500))
    level, variance = combine(stack)
    assert abs(level.mean()) < 0.02
    assert variance.mean() == pytest.approx(level.var(), rel=0.03)
    assert level.var() == pytest.approx(0.4, rel=0.03)


def test_outliers_go():
    stack = np.full((7, 2, 50), 10.0) + np.random.default_rng(2).normal(0, 1, (7, 2, 50))
    stack[3, 1, 20] = 1e6
    level, _ = combine(stack)
    assert abs(level[1, 20] - 10.0) < 2.0


def test_constant_and_empty_pixels():
    stack = np.full((5, 1, 4), 3.0)
    stack[:, 0, 2] = np.nan
    stack[2, 0, 0] = np.inf
    level, variance = combine(stack)
    np.testing.assert_array_equal(level[0], [3.0, 3.0, np.nan, 3.0])
    np.testing.assert_array_equal(variance[0], [0.0, 0.0, np.nan, 0.0])
