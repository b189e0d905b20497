"""Sources on lines, and fields that have none."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.detection.tracks import find_tracks


def scattered(seed: int, n: int, size: float, kind: str) -> np.ndarray:
    """Return x, y, a, b, theta of sources without lines."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.0, size, (2, n))
    theta, ratio = rng.uniform(-90.0, 90.0, n), 1.0 + np.abs(rng.normal(0.0, 0.3, n))
    if kind == "clusters":
        centre = rng.uniform(0.0, size, (2, n // 10 + 1))[:, rng.integers(0, n // 10 + 1, n)]
        x, y = centre + rng.normal(0.0, size / 60.0, (2, n))
    if kind == "one centre":
        away, angle = 0.5 * size * rng.random(n), rng.uniform(0.0, 6.28, n)
        x, y = 0.5 * size + away * np.cos(angle), 0.5 * size + away * np.sin(angle)
    if kind == "trailed":
        theta, ratio = rng.uniform(-90.0, 90.0) + rng.normal(0.0, 8.0, n), ratio + 1.0
    return np.array([x, y, 2.0 * ratio, np.full(n, 2.0), theta])


def empty(size: float) -> np.ndarray:
    """Return a frame whose pixels all have data."""
    return np.zeros((int(size), int(size)), np.bool_)


@pytest.mark.parametrize("kind", ["random", "clusters", "one centre", "trailed"])
def test_no_line_is_found_where_there_is_none(kind):
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n, size = int(10.0 ** rng.uniform(1.0, 3.3)), 10.0 ** rng.uniform(2.3, 3.6)
        assert find_tracks(*scattered(seed, n, size, kind), empty(size)) is None


@pytest.mark.parametrize("angle", [0.0, 24.0, 90.0, -61.0])
@pytest.mark.parametrize("n", [12, 20])
def test_pieces_of_a_line(angle, n):
    """Among 150 sources; stars beside it, and round ones upon it, are none."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        sources = scattered(seed, 150, 500.0, "random")
        along = np.linspace(-200.0, 200.0, n) + rng.uniform(-6.0, 6.0, n)
        across = rng.normal(0.0, 0.5, n)
        cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        x, y = 250.0 + along * cos - across * sin, 250.0 + along * sin + across * cos
        theta = angle + rng.normal(0.0, 6.0, n)
        pieces = np.array([x, y, np.full(n, 5.0), np.full(n, 2.5), (theta + 90.0) % 180.0 - 90.0])
        found = find_tracks(*np.concatenate([sources, pieces], axis=1), empty(500.0))
        assert found is not None
        assert found.n_lines == 1
        assert found.rows[150:].mean() > 0.9
        assert np.count_nonzero(found.rows[:150]) <= 2
        assert found.are_many == (np.count_nonzero(found.rows) > 0.1 * found.rows.size)
        assert f"{np.count_nonzero(found.rows)} of {150 + n} sources are pieces of a line" in (
            found.doubt
        )


@pytest.mark.parametrize("gap", [0, 300])
def test_sources_that_an_edge_cuts_are_elongated_along_it(gap):
    n = 20
    y = np.linspace(20.0, 480.0, n)
    sources = np.full(n, gap + 3.0), y, np.full(n, 3.0), np.full(n, 2.0), np.full(n, 89.0)
    bad = empty(500.0)
    assert (find_tracks(*sources, bad) is None) == (gap == 0)
    bad[:, :gap] = True
    assert find_tracks(*sources, bad) is None


def test_too_few_and_too_short():
    line = np.linspace(0.0, 400.0, 4)
    few = line, 2.0 * line, np.full(4, 4.0), np.full(4, 2.0), np.full(4, 63.4)
    assert find_tracks(*few, empty(900.0)) is None
    short = np.linspace(0.0, 60.0, 5)
    assert (
        find_tracks(
            short, 0.0 * short, few[2][:1].repeat(5), np.full(5, 2.0), np.zeros(5), empty(900.0)
        )
        is None
    )
    nothing = np.zeros(0)
    assert find_tracks(*[nothing] * 5, empty(9.0)) is None


@pytest.mark.parametrize("angle", [0.0, 24.0, 90.0, -61.0])
def test_a_source_that_is_a_line_by_itself(angle):
    """A bright satellite is one source, or a few long ones; what lies beside it is none of it."""
    rng = np.random.default_rng(3)
    sources = scattered(3, 150, 500.0, "random")
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    along, a = np.array([-120.0, 90.0, 200.0]), np.array([40.0, 60.0, 9.0])
    x, y = 250.0 + along * cos, 250.0 + along * sin
    theta = np.full(3, (angle + 90.0) % 180.0 - 90.0) + rng.normal(0.0, 0.2, 3)
    line = np.array([x, y, a, np.full(3, 2.5), theta])
    found = find_tracks(*np.concatenate([sources, line], axis=1), empty(500.0))
    assert found is not None
    assert found.n_lines == 1
    assert found.rows[150:].all()
    assert np.count_nonzero(found.rows[:150]) <= 5
    assert not found.are_many
    # a galaxy seen edge-on is wider, and what all sources are is no satellite
    for a, b in ((45.0, 5.0), (100.0, 7.0), (25.0, 2.0)):
        galaxy = np.array([[250.0], [250.0], [a], [b], [angle]])
        assert find_tracks(*np.concatenate([sources, galaxy], axis=1), empty(500.0)) is None
    sources[2], sources[4] = 30.0, angle + rng.normal(0.0, 1.0, 150)
    assert find_tracks(*sources, empty(500.0)) is None
