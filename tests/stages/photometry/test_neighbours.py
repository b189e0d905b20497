"""Residuals that neighbouring stars have in common, and such that only look like it."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.photometry.neighbours import shared_scatter

SIZE = 512.0


def field(rng, n):
    return (*rng.uniform(0.0, SIZE, (2, n)), 10.0 ** rng.uniform(-2.5, -1.5, n))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pattern", ["waves", "rings", "chips", "quadrants"])
def test_patterns_have_their_scatter(seed, pattern):
    rng = np.random.default_rng(seed)
    x, y, errors = field(rng, 250)
    off = {
        "waves": 0.08 * np.sin(2.0 * np.pi * (x + 0.4 * y) / 200.0),
        "rings": 0.08 * np.cos(2.0 * np.pi * np.hypot(x - 200.0, y - 300.0) / 250.0),
        "chips": 0.1 * (x > 256.0),
        "quadrants": 0.1 * ((x > 256.0) ^ (y > 256.0)),
    }[pattern]
    values = off + rng.normal(0.0, errors)
    assert shared_scatter(values, errors, x, y) == pytest.approx(off.std(), rel=0.25)
    # The same residuals at other places are scatter of the stars.
    assert shared_scatter(rng.permutation(values), np.full(250, errors.mean()), x, y) == 0.0


def test_scatter_of_single_stars_is_not_shared():
    rng = np.random.default_rng(5)
    alarms = 0
    for trial in range(300):
        x, y, errors = field(rng, (25, 60, 200)[trial % 3])
        values = rng.normal(0.0, np.hypot(errors, (0.0, 0.05)[trial % 2]))
        if trial % 5 == 0:
            values = errors * rng.standard_t(3.0, len(x))
        if trial % 4 == 0:
            values[::10] += rng.normal(0.0, 0.5, len(values[::10]))
        alarms += shared_scatter(values, errors, x, y) > 0.0
    assert alarms <= 1


def test_thousands_of_stars_and_too_few():
    rng = np.random.default_rng(6)
    x, y, errors = field(rng, 5000)
    off = 0.05 * np.sin(x / 40.0)
    found = shared_scatter(off + rng.normal(0.0, errors), errors, x, y)
    assert found == pytest.approx(off.std(), rel=0.1)
    few = slice(0, 15)
    assert shared_scatter(off[few], errors[few], x[few], y[few]) == 0.0
