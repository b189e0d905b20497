"""The model of the stars beside the zero point."""

import math

import numpy as np
import pytest

from skyextract.stages.photometry.model import (
    ColorTerm,
    StarModel,
    affordable_degree,
    fit_stars,
)
from skyextract.stages.photometry.stars import Stars

SHAPE = (1000, 2000)


def _stars(n: int, model, noise: float = 0.003) -> Stars:
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0, SHAPE[1], n), rng.uniform(0, SHAPE[0], n)
    mag, color = rng.uniform(14, 18, n), rng.normal(0.7, 0.3, n)
    rows = np.arange(n)
    instrumental = mag - model(x, y, color) + rng.normal(0.0, noise, n)
    return Stars(rows, rows, x, y, mag, instrumental, np.full(n, noise), color)


@pytest.mark.parametrize(
    ("wanted", "n_stars", "degree"), [(0, 5, 0), (2, 48, 2), (2, 47, 1), (3, 23, 0)]
)
def test_a_coefficient_takes_eight_stars(wanted, n_stars, degree):
    assert affordable_degree(wanted, n_stars) == degree


@pytest.mark.parametrize("fixed", [None, 0.12])
def test_color_term_and_field_are_those_of_the_truth(fixed):
    def truth(x, y, color):
        return 25.0 + 0.12 * color + 0.05 * (x / 1000.0 - 1.0)

    stars = _stars(300, truth)
    model = StarModel(ColorTerm(("g", "r"), fixed), 1, SHAPE)
    checks = {}
    fit, kept, pivot = fit_stars(stars, model, checks)
    assert len(kept.row) == 300
    assert fit.zero_point == pytest.approx(25.0 + 0.12 * pivot, abs=2e-3)
    if fixed is None:
        assert fit.slopes[0] == pytest.approx(0.12, abs=4 * fit.slope_errors[0])
        assert checks["scatter_without_color"] > 5.0 * fit.scatter
    constant, *slopes = model.polynomial(fit)
    assert len(slopes) == 2
    assert math.isfinite(constant)
    assert np.abs(model.residuals(fit, stars, pivot)).max() < 0.02


def test_bright_stars_that_are_too_faint_are_left_out():
    stars = _stars(200, lambda x, y, color: 25.0 + 0.0 * x)
    saturated = stars.mag < 14.3
    stars.instrumental[saturated] += 0.3
    checks = {}
    fit, kept, _ = fit_stars(stars, StarModel(ColorTerm(None, 0.0), 0, SHAPE), checks)
    assert checks["n_bright_left_out"] > 0.5 * saturated.sum()
    assert fit.zero_point == pytest.approx(25.0, abs=3.0 * fit.error)
    assert kept.mag.min() > stars.mag.min()
