"""True errors of the zero point, and robustness of its fit."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.noise import robust_sigma
from skyextract.stages.photometry.zeropoint import fit_zero_point, shortest_half
from tests.simulate.zeropoint import KINDS, TRUTH, pulls, simulate


def pulls_of_all_kinds(n, fractions, number, **more):
    """Return pulls of calibrations with each kind and fraction of outliers."""
    cases = [(f, kind) for f in fractions for kind in (KINDS if f else KINDS[:1])]
    return np.concatenate([pulls(n, f, kind, number, 4, **more) for f, kind in cases])


@pytest.mark.parametrize(
    ("intrinsic", "spread"),
    [(0.0, "0.005-0.05"), (0.015, "0.005-0.05"), (0.03, "0.02"), (0.0, "0.003-0.3")],
)
@pytest.mark.parametrize(("n", "low", "high"), [(10, 0.8, 1.3), (30, 0.9, 1.1), (100, 0.9, 1.1)])
def test_errors_are_true(n, low, high, intrinsic, spread):
    """Whatever the quoted errors leave out, and whatever the outliers."""
    fractions = (0.0, 0.1, 0.2) if n == 10 else (0.0, 0.2, 0.4)
    pulls = pulls_of_all_kinds(n, fractions, 50, intrinsic=intrinsic, spread=spread)
    assert low <= np.sqrt(np.mean(pulls**2)) <= high
    assert np.abs(pulls).max() < (5 if n > 10 else 8)


@pytest.mark.parametrize("factor", [0.3, 2.0])
def test_errors_are_true_where_the_quoted_ones_are_not(factor):
    rng = np.random.default_rng(6)
    fits = [
        fit_zero_point(y, factor * errors)
        for y, errors in (simulate(30, 0.2, "uniform", rng, 0.0) for _ in range(300))
    ]
    pulls = np.array([(fit.zero_point - TRUTH) / fit.error for fit in fits])
    assert 0.88 <= np.sqrt(np.mean(pulls**2)) <= 1.12


def test_errors_of_slopes_are_true():
    rng = np.random.default_rng(7)
    pulls = []
    for _ in range(200):
        y, errors = simulate(40, 0.2, "one side", rng)
        design = np.column_stack([rng.normal(0.8, 0.4, 40), rng.uniform(-1, 1, (40, 2))])
        slopes = rng.normal(0, 0.1, 3)
        fit = fit_zero_point(y + design @ slopes, errors, design)
        expected = TRUTH + fit.means @ slopes
        pulls.append(
            [(fit.zero_point - expected) / fit.error, *((fit.slopes - slopes) / fit.slope_errors)]
        )
    width = np.sqrt(np.mean(np.square(pulls), axis=0))
    assert (width > 0.88).all()
    assert (width < 1.12).all()


@pytest.mark.parametrize(
    ("n", "fraction", "low", "high"), [(10, 0.2, 0.8, 1.3), (30, 0.4, 0.9, 1.1)]
)
def test_errors_are_true_after_selection_and_verification(n, fraction, low, high):
    found = pulls(n, fraction, "both sides", 200, 4, stage=True)
    done = np.isfinite(found)
    assert done.mean() > 0.95
    assert low <= np.sqrt(np.mean(found[done] ** 2)) <= high


def test_outliers_are_told():
    rng = np.random.default_rng(1)
    y, errors = simulate(100, 0.0, "near", rng)
    y[:30] += 1.5
    fit = fit_zero_point(y, errors)
    assert (fit.good[:30] < 0.01).all()
    assert (fit.good[30:] > 0.5).all()
    assert fit.outlier_fraction == pytest.approx(0.3, abs=0.02)
    assert fit.intrinsic == pytest.approx(0.015, abs=0.005)


def test_slopes_are_fitted_beside_outliers():
    rng = np.random.default_rng(2)
    y, errors = simulate(200, 0.2, "both sides", rng)
    color, u = rng.normal(0.8, 0.4, 200), rng.uniform(-1, 1, 200)
    y += 0.05 * (color - 0.8) - 0.02 * u
    fit = fit_zero_point(y, errors, np.column_stack([color, u]))
    assert np.abs((fit.slopes - [0.05, -0.02]) / fit.slope_errors).max() < 4
    assert fit.means == pytest.approx([0.8, 0.0], abs=0.15)
    assert abs(fit.zero_point - TRUTH) < 0.01


def test_identical_values_and_too_few():
    fit = fit_zero_point(np.full(20, 25.0), np.full(20, 0.01))
    assert fit.zero_point == pytest.approx(25.0)
    assert 0.0003 < fit.error < 0.003
    assert fit.intrinsic < 0.01
    with pytest.raises(ValueError, match="2 stars"):
        fit_zero_point(np.ones(2), np.ones(2))


def test_the_majority_wins_over_one_sided_outliers():
    values = np.concatenate([np.linspace(-0.01, 0.01, 60), np.linspace(0.5, 3, 40)])
    assert abs(shortest_half(values)[0]) < 0.01
    assert robust_sigma(np.array([])) != robust_sigma(np.array([]))


def test_odd_input_gives_numbers():
    rng = np.random.default_rng(3)
    for n in (20, 22):
        wild = fit_zero_point(rng.uniform(0, 1e4, n), np.full(n, 0.01))
        assert wild.good.sum() < 5
        assert np.isfinite(wild.error)
    y = rng.normal(25, 0.01, 30)
    constant = fit_zero_point(y, np.full(30, 0.01), np.zeros((30, 1)))
    assert constant.slopes[0] == pytest.approx(0.0, abs=1e-6)
    assert constant.slope_errors[0] > 0.5
    assert constant.zero_point == pytest.approx(25.0, abs=0.01)
    exact = fit_zero_point(rng.normal(25, 1e-6, 20), np.full(20, 1e-9))
    assert 0 < exact.error < 1e-3
