"""Sources at equal steps on a line, and fields that have none."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.detection import flashes
from skyextract.stages.detection.flashes import _followed, find_flashes
from tests.stages.detection.test_tracks import scattered

SIZE = 500.0


def fluxes(rng, n):
    return 10.0 ** rng.uniform(2.0, 5.0, n)


@pytest.mark.parametrize("kind", ["random", "clusters", "one centre"])
def test_nothing_is_found_where_there_is_none(kind):
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n, size = int(10.0 ** rng.uniform(0.0, 3.3)), 10.0 ** rng.uniform(2.3, 3.6)
        x, y = scattered(seed, n, size, kind)[:2]
        assert find_flashes(x, y, fluxes(rng, n)) is None
    assert find_flashes(*[np.zeros(0)] * 3) is None


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("n", [7, 14])
def test_an_aircraft(n, gap):
    """Among 150 stars; one of its flashes may be missing."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x, y = rng.uniform(0.0, SIZE, (2, 150))
        angle, step = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(15.0, 400.0 / n)
        k = np.delete(np.arange(n + 1), n // 2) if gap else np.arange(n)
        along = (k - 0.5 * n) * step
        px = 250.0 + along * np.cos(angle) + rng.normal(0.0, 0.3, n)
        py = 250.0 + along * np.sin(angle) + rng.normal(0.0, 0.3, n)
        flux = np.append(fluxes(rng, 150), 3000.0 * 10.0 ** rng.normal(0.0, 0.1, n))
        found = find_flashes(np.append(x, px), np.append(y, py), flux)
        assert found is not None
        assert found.rows[150:].sum() >= n - 1
        assert np.count_nonzero(found.rows[:150]) <= 1
        assert "equal steps on a line" in found.doubt
        assert found.are_many == (np.count_nonzero(found.rows) > 0.1 * found.rows.size)


def test_grids_and_unequal_steps_are_none():
    rng = np.random.default_rng(2)
    x, y = (axis.ravel() * 40.0 for axis in np.mgrid[:12, :12])
    assert find_flashes(x, y, fluxes(rng, x.size)) is None
    assert find_flashes(x, y, np.full(x.size, 1e3) * rng.uniform(0.9, 1.1, x.size)) is None
    x, y = rng.uniform(0.0, SIZE, (2, 150))
    line = np.cumsum(rng.uniform(15.0, 60.0, 10))
    both = np.append(x, line), np.append(y, 0.7 * line + 50.0)
    assert find_flashes(*both, np.append(fluxes(rng, 150), np.full(10, 3e3))) is None


def test_the_ends_of_a_line_are_not_followed_again(monkeypatch):
    """Of n sources at equal steps each three in a row begin what ends as the same line."""
    starts = []

    def followed(places, mag, members):
        starts.append(tuple(members))
        return _followed(places, mag, members)

    monkeypatch.setattr(flashes, "_followed", followed)
    n, rng = 40, np.random.default_rng(3)
    x, y = 20.0 + 13.0 * np.arange(n), 200.0 + rng.normal(0.0, 0.3, n)
    found = find_flashes(x, y, 3000.0 * 10.0 ** rng.normal(0.0, 0.1, n))
    assert found is not None
    assert found.rows.all()
    assert len(starts) < 4 * n
