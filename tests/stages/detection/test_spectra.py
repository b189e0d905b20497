"""Slitless spectra are told by their direction and their vector from zero orders."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skyextract.stages.detection.spectra import TURN, find_spectra, most_alike

SIZE = 1000.0


def stars(n, seed):
    """Return x, y, a, b, theta, flux of round sources, and of some galaxies at random angles."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.0, SIZE, (2, n))
    b = rng.uniform(1.3, 1.6, n)
    ratio = np.where(rng.random(n) < 0.15, rng.uniform(1.5, 4.0, n), rng.uniform(1.0, 1.2, n))
    flux = 10.0 ** rng.uniform(1.0, 4.0, n)
    return np.array([x, y, b * ratio, b, rng.uniform(-90.0, 90.0, n), flux])


def streaks(of, angle, distance, seed):
    """Return sources drawn out at an angle, and as far from others in its direction."""
    rng = np.random.default_rng(seed)
    out = of.copy()
    n = of.shape[1]
    along = distance + rng.normal(0.0, 2.0, n)
    out[0] += along * math.cos(angle)
    out[1] += along * math.sin(angle)
    out[2], out[3] = rng.uniform(6.0, 10.0, n), rng.uniform(1.7, 2.3, n)
    out[4] = (np.degrees(angle) + rng.normal(0.0, 1.0, n) + 90.0) % 180.0 - 90.0
    out[5] *= 0.5
    return out


@pytest.mark.parametrize("n", [60, 1000])
@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi / 2.0])
def test_spectra_are_told_and_their_stars_stay(n, angle):
    round_ = stars(n, 1)
    bright = round_[:, (round_[5] > 300.0) & (round_[2] < 1.3 * round_[3])]
    spectra = streaks(bright, angle, 110.0, 2)
    found = find_spectra(*np.hstack([round_, spectra]))
    assert found is not None
    assert found.rows[n:].mean() > 0.95
    assert found.rows[:n].mean() < (0.12 if n < 100 else 0.35)
    dx, dy = found.doubt.split("of others, ")[1].split(" pixels")[0].split(", ")
    assert float(dx) == pytest.approx(110.0 * math.cos(angle), abs=3.0)
    assert float(dy) == pytest.approx(110.0 * math.sin(angle), abs=3.0)


@pytest.mark.parametrize("seed", range(10))
def test_other_sources_that_are_drawn_out_are_none(seed):
    """Galaxies, those of one direction (shear, bleeding) with stars, and trailed stars."""
    n = 150 if seed % 2 else 1500
    round_ = stars(n, 10 + seed)
    assert find_spectra(*round_) is None
    elsewhere = streaks(stars(30, 50 + seed), 0.7, 0.0, seed)
    assert find_spectra(*np.hstack([round_, elsewhere])) is None
    trailed = round_.copy()
    trailed[2] *= 3.0
    trailed[4] = 20.0
    assert find_spectra(*trailed) is None


@pytest.mark.parametrize("middle", [0.0, 89.0, -88.0])
@pytest.mark.parametrize("n", [1, 7, 150])
def test_the_most_frequent_direction_is_that_of_all_pairs(middle, n):
    rng = np.random.default_rng(n)
    angle = rng.uniform(-90.0, 90.0, n)
    angle[: n // 3] = (rng.normal(middle, 2.0, n // 3) + 90.0) % 180.0 - 90.0
    alike = np.abs((angle[:, None] - angle + 90.0) % 180.0 - 90.0) < TURN
    expected = int(np.argmax(alike.sum(axis=1)))
    most, found = most_alike(angle)
    assert most == expected
    np.testing.assert_array_equal(found, alike[expected])
