"""Stars that are seen twice are found, and those of ordinary fields are not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skyextract.stages.detection.ghosts import second_images
from skyextract.stages.detection.twins import find_twins

SIDE = 600.0


def field(n, seed, side=SIDE):
    rng = np.random.default_rng(seed)
    return *rng.uniform(0.0, side, (2, n)), 10.0 ** rng.exponential(0.4, n), rng


def seen_again(x, y, flux, rng, vectors, shares, noise=0.1):
    """Every star at its place and at others, with a share of its light."""
    parts = [
        (x + dx + rng.normal(0.0, noise, x.size), y + dy + rng.normal(0.0, noise, x.size), f * flux)
        for (dx, dy), f in zip(vectors, shares, strict=True)
    ]
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


@pytest.mark.parametrize("vector", [(9.0, 6.0), (-30.0, 22.0), (0.0, 14.0), (300.0, 0.0)])
@pytest.mark.parametrize("share", [0.5, 0.3, 0.1])
def test_double_exposures(vector, share):
    x, y, flux, rng = field(80, 1)
    columns = seen_again(x, y, flux, rng, [(0, 0), vector], [1.0 - share, share])
    found = find_twins(*columns)
    assert found is not None
    assert found.n_pairs >= 0.25 * found.n_sources
    sign = math.copysign(1.0, vector[1])
    if vector[1] == 0.0:  # either way
        sign = math.copysign(1.0, found.dx) * math.copysign(1.0, vector[0])
    assert (found.dx, found.dy) == pytest.approx((sign * vector[0], sign * vector[1]), abs=0.2)
    assert "seen a second time" in found.doubt
    rows = second_images(*columns, found, 3.0)
    if share == 0.5:
        assert not rows.any()  # which is the first one nobody can tell
    else:
        assert rows[x.size :].all()
        assert np.count_nonzero(rows[: x.size]) <= 2


def test_more_than_two_exposures():
    x, y, flux, rng = field(60, 2)
    chain = [(0.0, 14.0 * k) for k in range(5)]  # as for the focus
    assert find_twins(*seen_again(x, y, flux, rng, chain, [0.2] * 5)) is not None
    triangle = [(0.0, 0.0), (13.0, 4.0), (-7.0, 19.0)]
    assert find_twins(*seen_again(x, y, flux, rng, triangle, [1 / 3] * 3)) is not None
    angle = np.arange(6) * math.pi / 3.0  # segments of a mirror, a lattice of few
    hexagon = [(0.0, 0.0), *zip(14.0 * np.cos(angle), 14.0 * np.sin(angle), strict=True)]
    for n in (30, 60, 400):
        x, y, flux, rng = field(n, n)
        images = seen_again(x, y, flux, rng, hexagon, rng.uniform(0.1, 0.18, 7), 0.5)
        assert find_twins(*images) is not None


def test_pieces_of_a_wedge_are_no_exposures():
    """Sources that follow each other along its edges, in a part of the frame."""
    x, y, flux, rng = field(100, 6)
    along = np.concatenate([np.arange(start, start + 55.0, 5.0) for start in (20, 200, 300)])
    edge = along * 0.8 + rng.normal(0.0, 0.3, (2, along.size)), along * 0.6
    x, y = np.append(x, edge[0][0]), np.append(y, edge[1] + edge[0][1] - along * 0.8)
    assert find_twins(x, y, np.append(flux, np.full(along.size, 5.0))) is None


def test_ordinary_fields():
    for seed in range(40):
        for n in (15, 40, 150, 2000):
            x, y, flux, rng = field(n, seed)
            assert find_twins(x, y, flux) is None
            x += rng.normal(0.0, 25.0, n) - 0.9 * (x - 300.0)  # a cluster
            assert find_twins(x, y, flux) is None


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_stars_on_a_grid_are_seen_once(spread):
    rng = np.random.default_rng(4)
    x, y = (np.indices((14, 14)).reshape(2, -1) * 40.0) + rng.normal(0.0, 0.2, (2, 196))
    assert find_twins(x, y, 10.0 ** (spread * rng.uniform(0.0, 1.0, 196))) is None


def test_copies_of_a_frame_side_by_side_are_no_exposures():
    x, y, flux, rng = field(50, 3)
    corners = [(0.0, 0.0), (SIDE, 0.0), (0.0, SIDE), (SIDE, SIDE)]
    assert find_twins(*seen_again(x, y, flux, rng, corners, [1.0] * 4)) is None


def test_numbers_that_are_none():
    nothing = np.empty(0)
    assert find_twins(nothing, nothing, nothing) is None
    assert find_twins(*np.full((2, 50), 7.0), np.full(50, -1.0)) is None
    assert find_twins(*np.full((2, 50), 7.0), np.ones(50)) is None
