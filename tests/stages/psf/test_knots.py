"""Knots of a nebula and faint stars, told apart by how broad they are."""

import numpy as np
import pytest

from skyextract.stages.psf.knots import _falling, knots_among


def drawn(rng, n_stars, n_knots):
    """SPREAD_MODEL, errors and heights of stars and knots, and which are knots."""
    height = rng.uniform(6.0, 20.0, n_stars + n_knots)
    error = 0.025 / height
    is_knot = np.arange(height.size) >= n_stars
    spread = rng.normal(0.0, error) + is_knot * rng.normal(0.011, 0.003, height.size)
    return spread, error, height, is_knot


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_knots_are_told_from_stars(seed):
    spread, error, height, is_knot = drawn(np.random.default_rng(seed), 150, 300)
    found = knots_among(spread, error, height)
    faint = height < 16.0
    assert found[is_knot & faint].mean() > 0.85
    assert found[~is_knot & faint].mean() < 0.15
    assert not found[~faint].any()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_stars_alone_are_no_knots(seed):
    spread, error, height, _ = drawn(np.random.default_rng(seed), 300, 0)
    assert knots_among(spread, error, height).mean() < 0.02


def test_where_nearly_all_are_knots_none_passes_for_a_star():
    """Narrow knots, which are as stars each for itself."""
    rng = np.random.default_rng(1)
    spread, error, height, is_knot = drawn(rng, 60, 600)
    height[is_knot] = rng.uniform(4.0, 8.0, 600)
    spread[np.flatnonzero(is_knot)[::20]] = 0.0
    found = knots_among(spread, error, height)
    assert found[is_knot].all()
    assert found[~is_knot & (height > 8.0)].mean() < 0.1


def test_few_sources_tell_nothing():
    spread, error, height, _ = drawn(np.random.default_rng(1), 5, 10)
    assert not knots_among(spread, error, height).any()


def test_shares_rise_by_chance_alone():
    number = np.array([10.0, 1000.0, 10.0])
    shares = _falling(np.array([0.5, 0.9, 0.2]), number)
    assert shares == pytest.approx([0.9, 0.9, 0.2], abs=0.02)
    shares = _falling(np.array([0.5, 0.6, 0.2]), np.full(3, 10.0))
    assert shares == pytest.approx([0.5, 0.6, 0.2])
