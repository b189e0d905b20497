"""Parts of the stars that tell something else than the rest."""

import numpy as np
import pytest

from skyextract.datamodel.photocal import field_terms
from skyextract.stages import agreement
from skyextract.stages.agreement import (
    bins,
    cells,
    largest_step,
    most_agree,
    second_group,
    smooth_spread,
    spread_of_medians,
    two_groups,
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


def test_rounds_end_where_the_scatter_stays(monkeypatch):
    scatter = []

    def found(*_):
        scatter.append(0.01)
        return 0.01

    values, errors, x, y = residuals(100, 0)
    part, _ = cells(x, y, (1000, 1000))
    monkeypatch.setattr(agreement, "_extra_scatter", found)
    ended = spread_of_medians(values, errors, part)
    assert len(scatter) == 2
    monkeypatch.setattr(agreement, "_ROUNDS", 2)
    assert spread_of_medians(values, errors, part) == ended


def test_a_gap_tells_a_second_group_from_a_tail():
    """Stars with errors of .02 mag are not 8 errors off at .15, but nothing is between."""
    n_found = []
    for tail in (False, True):
        n_found.append(0)
        for seed in range(40):
            rng = np.random.default_rng(seed)
            errors = np.exp(rng.uniform(np.log(0.015), np.log(0.05), 100))
            values, some = rng.normal(0.0, errors), rng.random(100) < 0.3
            values[some] += rng.exponential(0.06, some.sum()) if tail else 0.15
            apart = np.abs(values) > 4.0 * errors
            group = second_group(values, np.zeros(100), errors, apart)
            n_found[-1] += group.contradicts
    assert n_found[0] > 25
    assert n_found[1] == 0


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


@pytest.mark.parametrize("outliers", [0.0, 0.2])
@pytest.mark.parametrize("n", [20, 40, 100, 300])
def test_a_step_is_seldom_seen_where_there_is_none(n, outliers):
    found = []
    for seed in range(200):
        values, errors, _, _ = residuals(n, seed, outliers=outliers)
        found.append(largest_step(values, errors, np.random.default_rng(seed).random(n))[0] != 0.0)
    assert np.mean(found) < 0.025


@pytest.mark.parametrize("n_few", [3, 5, 20])
def test_a_step_is_seen_beyond_which_few_stars_are(n_few):
    heights = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        errors, mag = np.full(40, 0.02), rng.uniform(18.0, 21.0, 40)
        values = rng.normal(0.0, errors)
        edge = np.sort(mag)[n_few - 1]
        values[mag <= edge] -= 0.08
        height, place = largest_step(values, errors, mag)
        heights.append(height)
        if height:
            assert abs(np.sum(mag <= place) - n_few) <= 4
    seen = np.array(heights)
    assert np.mean(seen != 0.0) > 0.75
    assert np.mean(seen[seen != 0.0]) == pytest.approx(0.08, rel=0.15)


def test_one_star_that_is_off_is_no_step():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        values, mag = rng.normal(0.0, 0.01, 40), np.arange(40.0)
        values[rng.integers(0, 5)] += 0.12
        assert largest_step(values, np.full(40, 0.01), mag)[0] == 0.0


def test_values_that_are_alike():
    rng = np.random.default_rng(1)
    errors = rng.uniform(0.01, 0.03, 8)
    alike = [most_agree(-0.3 + rng.normal(0.0, errors), errors) for _ in range(100)]
    assert np.mean(alike) > 0.95
    assert not most_agree(-0.05 * 1.3 ** np.arange(8), errors / 3.0)
    assert not most_agree(errors[:2], errors[:2])
    assert most_agree(np.append(np.zeros(7), 0.5), errors[[0, *range(7)]])


@pytest.mark.parametrize("share", [0.3, 0.5])
@pytest.mark.parametrize("n", [16, 60, 1500])
def test_two_places_and_nothing_between(share, n):
    rng = np.random.default_rng(n)
    x, y = rng.normal(0.0, 0.03, (2, n))
    second = np.arange(n) < share * n
    x, y = x + 0.8 * second, y - 0.6 * second
    # A tenth is chance.
    chance = rng.random(n) < 0.1
    x[chance], y[chance] = rng.uniform(-2.0, 2.0, (2, chance.sum()))
    scatter = 1.4826 * np.median(np.abs(np.append(x - x.mean(), y - y.mean())))
    place = rng.uniform(0.0, 500.0, (2, n))
    # Each in its part of the frame, they are a distortion that the fit lacks.
    for beside in (place[0] + 400.0 * second, 250.0 + (place[0] - 250.0) * (0.1 + second)):
        sides = beside, 250.0 + (place[1] - 250.0) * (0.1 + second)
        assert two_groups(x, y, np.full(n, 0.03), scatter, sides).number == 0
    group = two_groups(x, y, np.full(n, 0.03), scatter, (place[0], place[1]))
    assert group.contradicts
    assert group.share == pytest.approx(np.mean(second & ~chance), abs=0.08)
    assert group.number == pytest.approx(group.share * n, abs=1.0)
    assert np.hypot(group.x, group.y) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("kind", ["normal", "uniform", "tails", "narrow and wide"])
@pytest.mark.parametrize("n", [10, 20, 50, 200])
def test_one_place_is_not_two(kind, n):
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x, y = {
            "normal": lambda: rng.normal(0.0, 1.0, (2, n)),  # noqa: B023
            "uniform": lambda: rng.uniform(-1.7, 1.7, (2, n)),  # noqa: B023
            "tails": lambda: rng.standard_t(2, (2, n)),  # noqa: B023
            "narrow and wide": lambda: (
                rng.normal(0.0, 1.0, (2, n)) * rng.choice([0.1, 1.4], n)  # noqa: B023
            ),
        }[kind]()
        scatter = 1.4826 * float(np.median(np.abs(np.append(x, y))))
        place = rng.uniform(0.0, 500.0, n), rng.uniform(0.0, 500.0, n)
        assert two_groups(x, y, np.full(n, 0.02), scatter, place).number == 0
