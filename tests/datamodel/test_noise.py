"""Statistics of samples beside numpy's."""

import math

import numpy as np
import pytest

from skyextract.datamodel.noise import median, medians, quantile_of_sorted, quantiles, robust_sigma


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
@pytest.mark.parametrize("shape", [(1,), (7,), (8,), (5, 6), (3, 3, 3), (2001,), (70, 71)])
def test_the_median_is_numpys(dtype, shape):
    values = (np.random.default_rng(1).normal(0, 100, shape)).astype(dtype)
    assert median(values) == float(np.median(values))


def test_the_median_of_nothing_and_with_nan_is_nan():
    assert math.isnan(median(np.array([])))
    assert math.isnan(median(np.array([1.0, np.nan, 3.0])))
    many = np.arange(5000.0)
    many[7] = np.nan
    assert math.isnan(median(many))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 7, 8, 300])
def test_the_medians_of_rows_are_numpys(dtype, n):
    rows = np.random.default_rng(n).normal(0, 100, (n, 9)).astype(dtype).T
    rows[3, n // 2] = np.nan
    before = rows.copy()
    found = medians(rows)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.median(rows, axis=1))
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 10, 101, 5000])
@pytest.mark.parametrize("shares", [(0.1, 0.5, 0.9), (0.0, 1.0), (0.5, 0.5, 0.501)])
def test_quantiles_are_those_of_the_sorted_numbers(dtype, n, shares):
    rng = np.random.default_rng(4)
    for numbers in (rng.normal(0, 100, n), rng.integers(0, 4, n)):
        values = numbers.astype(dtype)
        ordered = np.sort(values)
        expected = [quantile_of_sorted(ordered, share) for share in shares]
        assert quantiles(values, shares) == expected
        np.testing.assert_allclose(expected, np.quantile(values.astype(float), shares), rtol=1e-6)


def test_the_robust_sigma_of_a_normal_sample():
    values = np.random.default_rng(2).normal(5.0, 3.0, 100_000)
    values[:1000] = 1e6
    assert robust_sigma(values) == pytest.approx(3.0, rel=0.02)


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.98, 1.0])
def test_quantiles_are_numpys(n, share):
    ordered = np.sort(np.random.default_rng(n).normal(0.0, 100.0, n))
    assert quantile_of_sorted(ordered, share) == pytest.approx(
        np.quantile(ordered, share), rel=1e-12
    )
