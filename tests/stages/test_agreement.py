"""Parts of the stars that tell something else than the rest."""

import numpy as np
import pytest

from skyextract.datamodel.photocal import field_terms
from skyextract.stages.agreement import (
    bins,
    cells,
    second_group,
    smooth_spread,
    spread_of_medians,
)


def residuals(n, seed, outliers=0.2):
    rng = np.random.default_rng(seed)
    errors = 0.005 * 10 ** rng.random(n)
    values = rng.normal(0.0, np.hypot(errors, 0.01))
    wrong = rng.random(n) < outliers
    values[wrong] += rng.uniform(0.1, 1.0, wrong.sum()) * rng.choice([-1.0, 1.0], wrong.sum())
    return values, errors, *rng.uniform(0.0, 1000.0, (2, n))


def test_parts_that_are_alike_are_seldom_told_apart():
    false = [
        spread_of_medians(values, errors, cells(x, y, (1000, 1000))[0]).rms > 0.0
        for values, errors, x, y in (residuals(100, seed) for seed in range(60))
    ]
    assert np.mean(false) < 0.15


@pytest.mark.parametrize("amplitude", [0.04, 0.1])
def test_the_spread_is_that_of_the_frame(amplitude):
    found = []
    for seed in range(20):
        values, errors, x, y = residuals(300, seed)
        bend = amplitude * (x / 500.0 - 1.0)
        part, _ = cells(x, y, (1000, 1000))
        found.append(spread_of_medians(values + bend, errors, part).rms)
    # A straight line from -1 to 1, in four steps: an rms of 0.56.
    assert np.mean(found) == pytest.approx(0.56 * amplitude, rel=0.1)


def of_surface(values, errors, x, y):
    values = values - np.median(values)
    good = np.abs(values) < 4.0 * np.hypot(errors, 0.02)
    terms = field_terms(x[good], y[good], (1000, 1000), 2)
    return smooth_spread(values[good], errors[good], terms)


@pytest.mark.parametrize("n", [40, 100])
def test_a_surface_is_seldom_seen_where_there_is_none(n):
    false = [of_surface(*residuals(n, seed)) > 0.0 for seed in range(100)]
    assert np.mean(false) < 0.06


def test_a_surface_is_seen_before_the_parts_differ():
    """A patch of 0.04 mag: its rms over the frame is 0.0099."""
    surface, parts = [], []
    for seed in range(40):
        values, errors, x, y = residuals(150, seed)
        values = values + 0.04 * np.exp(-((x - 400.0) ** 2 + (y - 550.0) ** 2) / 9e4)
        surface.append(of_surface(values, errors, x, y))
        parts.append(spread_of_medians(values, errors, cells(x, y, (1000, 1000))[0]).rms)
    assert np.mean(np.array(surface) > 0) > 0.7 > np.mean(np.array(parts) > 0)
    assert np.mean([s for s in surface if s > 0.0]) == pytest.approx(0.0099, rel=0.15)


def test_bins_are_equal_and_ordered():
    values = np.random.default_rng(1).normal(size=60)
    part = bins(values)
    assert np.bincount(part).tolist() == [10] * 6
    assert values[part == 0].max() < values[part == 1].min()
    assert bins(np.zeros(0)).size == 0


def test_a_group_is_no_tail_and_no_random_outliers():
    values, errors, _, _ = residuals(200, 3, outliers=0.3)
    total = np.hypot(errors, 0.01)
    zero = np.zeros_like(values)
    assert second_group(values, zero, total, np.abs(values) > 4.0 * total).number == 0
    shifted = np.arange(200) % 5 == 0
    values = np.where(shifted, 0.3 + 0.01 * np.sin(np.arange(200)), 0.1 * values)
    group = second_group(values, zero, total, np.abs(values) > 4.0 * total)
    assert group.number == 40
    assert group.x == pytest.approx(0.3, abs=0.01)


def test_few_stars_are_not_divided():
    values, errors, x, y = residuals(8, 1)
    assert spread_of_medians(values, errors, cells(x, y, (1000, 1000))[0]).rms == 0.0
    assert spread_of_medians(values[:0], errors[:0], np.zeros(0, np.int64)).part == -1
