"""True errors of the zero point, and robustness of its fit."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from skyextract.stages.zeropoint import fit_zero_point, robust_sigma, shortest_half

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "zeropoint.py"


def load_benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_zeropoint", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


bench = load_benchmark()


@pytest.mark.parametrize("kind", ["both sides", "one side"])
@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.4])
@pytest.mark.parametrize("n", [30, 100])
def test_errors_are_true(n, fraction, kind):
    pulls = bench.pulls(n, fraction, kind, 200, seed=4)
    assert 0.9 <= np.sqrt(np.mean(pulls**2)) <= 1.1
    assert np.abs(pulls).max() < 5


@pytest.mark.parametrize("kind", ["both sides", "one side"])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.2])
def test_errors_of_ten_stars(fraction, kind):
    pulls = bench.pulls(10, fraction, kind, 200, seed=4)
    assert 0.8 <= np.sqrt(np.mean(pulls**2)) <= 1.3


@pytest.mark.parametrize(
    ("n", "fraction", "low", "high"),
    [(10, 0.2, 0.8, 1.3), (30, 0.0, 0.9, 1.1), (30, 0.4, 0.9, 1.1), (100, 0.4, 0.9, 1.1)],
)
def test_errors_are_true_without_intrinsic_scatter(n, fraction, low, high):
    pulls = bench.pulls(n, fraction, "both sides", 300, seed=4, intrinsic=0.0)
    assert low <= np.sqrt(np.mean(pulls**2)) <= high
    assert np.abs(pulls).max() < 5


def test_outliers_are_told():
    rng = np.random.default_rng(1)
    y, errors = bench.simulate(100, 0.0, "near", rng)
    y[:30] += 1.5
    fit = fit_zero_point(y, errors)
    assert (fit.good[:30] < 0.01).all()
    assert (fit.good[30:] > 0.5).all()
    assert fit.outlier_fraction == pytest.approx(0.3, abs=0.02)
    assert fit.intrinsic == pytest.approx(0.015, abs=0.005)


def test_slopes_are_fitted_beside_outliers():
    rng = np.random.default_rng(2)
    y, errors = bench.simulate(200, 0.2, "both sides", rng)
    color, u = rng.normal(0.8, 0.4, 200), rng.uniform(-1, 1, 200)
    y += 0.05 * (color - 0.8) - 0.02 * u
    fit = fit_zero_point(y, errors, np.column_stack([color, u]))
    assert np.abs((fit.slopes - [0.05, -0.02]) / fit.slope_errors).max() < 4
    assert fit.means == pytest.approx([0.8, 0.0], abs=0.15)
    assert abs(fit.zero_point - bench.TRUTH) < 0.01


def test_identical_values_and_too_few():
    fit = fit_zero_point(np.full(20, 25.0), np.full(20, 0.01))
    assert fit.zero_point == pytest.approx(25.0)
    assert 0.001 < fit.error < 0.004
    assert fit.intrinsic < 0.01
    with pytest.raises(ValueError, match="2 stars"):
        fit_zero_point(np.ones(2), np.ones(2))


def test_the_majority_wins_over_one_sided_outliers():
    values = np.concatenate([np.linspace(-0.01, 0.01, 60), np.linspace(0.5, 3, 40)])
    assert abs(shortest_half(values)[0]) < 0.01
    assert robust_sigma(np.array([])) != robust_sigma(np.array([]))


def test_odd_input_gives_numbers():
    rng = np.random.default_rng(3)
    wild = fit_zero_point(rng.uniform(0, 1e4, 20), np.full(20, 0.01))
    assert wild.good.sum() < 5
    y = rng.normal(25, 0.01, 30)
    constant = fit_zero_point(y, np.full(30, 0.01), np.zeros((30, 1)))
    assert constant.slopes[0] == pytest.approx(0.0, abs=1e-6)
    assert constant.zero_point == pytest.approx(25.0, abs=0.01)
    exact = fit_zero_point(rng.normal(25, 1e-6, 20), np.full(20, 1e-9))
    assert 0 < exact.error < 1e-3
