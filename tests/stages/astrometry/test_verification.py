"""Verification of a match: chance is rejected, a true match is not."""

import math

import numpy as np
import pytest

from skyextract.sky.plate import Plate
from skyextract.stages.astrometry.verification import (
    Offset,
    _most_frequent,
    log_chance,
    log_trials,
    verify,
)

SHAPE = (1000, 1000)
STEP = 500.0 * 0.5 / 3600.0
PLATE = Plate(30.0, 10.0, 499.5, 499.5, 500.0, STEP * np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]))
NEAR = Offset(position=5.0, angle=0.01, log_scale=0.01, flips=1)


@pytest.mark.parametrize(
    ("m", "n", "p"), [(5, 10, 0.1), (10, 10, 0.3), (3, 200, 0.001), (0, 5, 0.2)]
)
def test_chernoff_is_above_the_binomial_tail(m, n, p):
    tail = sum(math.comb(n, k) * p**k * (1.0 - p) ** (n - k) for k in range(m, n + 1))
    bound = math.exp(log_chance(m, n, p))
    assert tail <= bound * (1.0 + 1e-12)
    assert bound <= max(1.0, 30.0 * tail)


def test_trials_grow_with_the_volume():
    small = log_trials(NEAR, 300.0, 1.0)
    assert log_trials(Offset(60.0, 0.01, 0.01, 1), 300.0, 1.0) > small
    assert log_trials(Offset(5.0, math.pi, 0.01, 1), 300.0, 1.0) > small
    assert log_trials(Offset(5.0, 0.01, 0.01, 2), 300.0, 1.0) == pytest.approx(small + math.log(2))


def field(n: int, share: float, seed: int):
    """Detections, and a reference of which `share` are the detections."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.0, 999.0, (2, n))
    rx, ry = rng.uniform(0.0, 999.0, (2, n))
    same = rng.random(n) < share
    rx[same], ry[same] = x[same] + rng.normal(0.0, 0.1, same.sum()), y[same]
    return x, y, *PLATE.to_sky(rx, ry)


def test_a_true_match_is_verified():
    for n, share in ((10, 0.8), (100, 0.3), (1000, 0.3)):
        match = verify(PLATE, SHAPE, *field(n, share, 1), 1.0, NEAR, 4)
        assert match.probability < 1e-6
        assert match.n_matched >= 0.7 * share * n
        assert match.n_reference == n


def test_chance_is_not():
    worst = min(
        verify(PLATE, SHAPE, *field(n, 0.0, seed), 2.0, NEAR, 4).probability
        for n in (5, 30, 200, 1000)
        for seed in range(20)
    )
    assert worst > 0.1


def test_expected_number_of_chance_pairs():
    x, y, ra, dec = field(1000, 0.0, 3)
    match = verify(PLATE, SHAPE, x, y, ra, dec, 2.0, NEAR, 4)
    # 1000 detections of area pi 4^2 pixels on 10^6: 4.9 % of 1000 stars.
    assert match.expected == pytest.approx(49.0, rel=0.2)
    assert abs(match.n_matched - match.expected) < 4.0 * math.sqrt(match.expected)


def test_clustering_raises_the_expectation():
    rng = np.random.default_rng(4)
    centres = rng.uniform(0.0, 999.0, (2, 20))
    x, y = (np.repeat(c, 25) + rng.normal(0.0, 6.0, 500) for c in centres)
    # The reference has the same clusters, the shifted frame does not know.
    rx, ry = (np.repeat(c, 25) + rng.normal(0.0, 6.0, 500) for c in centres)
    match = verify(PLATE, SHAPE, x, y, *PLATE.to_sky(rx, ry), 1.0, NEAR, 4)
    assert match.expected > 0.0


def test_nothing_to_compare():
    none = np.zeros(0)
    x, y, ra, dec = field(10, 1.0, 5)
    for arguments in ((none, none, ra, dec), (x, y, none, none), (x, y, ra + 90.0, dec)):
        assert verify(PLATE, SHAPE, *arguments, 1.0, NEAR, 4).probability == 1.0


def lattice(jitter, shift=0, step=100.0):
    """Detections on a lattice, and a reference that is displaced by so many of its steps."""
    grid = np.arange(50.0, 1000.0, step)
    random = np.random.default_rng(4)
    x, y = (g.ravel() + random.normal(0.0, jitter, g.size) for g in np.meshgrid(grid, grid))
    rx, ry = x + step * shift + random.normal(0.0, 0.1, x.size), y
    return x, y, *PLATE.to_sky(rx, ry)


@pytest.mark.parametrize("shift", [0, 1])
def test_a_lattice_of_stars_matches_at_many_places(shift):
    far = Offset(position=120.0, angle=0.01, log_scale=0.01, flips=1)
    match = verify(PLATE, SHAPE, *lattice(0.05, shift), 1.0, far, 4)
    assert match.n_matched >= 90
    assert match.probability > 1e-6
    # A header that is right to less than half of a step tells which place it is.
    assert verify(PLATE, SHAPE, *lattice(0.05), 1.0, NEAR, 4).probability < 1e-20


def test_stars_that_only_nearly_are_on_a_lattice_are_verified():
    far = Offset(position=120.0, angle=math.pi, log_scale=0.1, flips=2)
    assert verify(PLATE, SHAPE, *lattice(8.0), 1.0, far, 4).probability < 1e-20


def test_the_most_frequent_number_is_found_as_by_counting():
    for seed in range(20):
        random = np.random.default_rng(seed)
        numbers = random.integers(-30, 30, 1 + 20 * seed)
        values, counts = np.unique(numbers, return_counts=True)
        expected = int(values[counts.argmax()]), int(counts.max())
        assert _most_frequent(numbers) == expected
