"""Share of clipped pixels, shift of their mean, and distributions without a black point."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.background.blackpoint import black_point
from skyextract.stages.background.coarse import value_step

N, SIGMA = 40_000, 14.5


def found_in(values):
    sample = np.asarray(values, dtype=np.float32)
    return black_point(sample, value_step(sample))


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("below", [-8.0, 0.0, 5.0, 10.0, 20.0])
def test_share_and_shift(below, integer):
    rng = np.random.default_rng(1)
    sky = rng.normal(300.0, SIGMA, N)
    sky = np.rint(sky) if integer else sky
    stars = np.where(rng.random(N) < 0.03, rng.exponential(300.0, N), 0.0)
    clipped = np.maximum(sky, 300.0 - below)
    share, shift = found_in(clipped + np.rint(stars))
    assert share == pytest.approx(np.mean(sky <= 300.0 - below), abs=0.03)
    assert shift == pytest.approx(clipped.mean() - sky.mean(), rel=0.15)


@pytest.mark.parametrize("level", [0.0, 1.0, 2.0, 3.0, 4.0])
def test_short_exposures_in_whole_numbers(level):
    """A sky of some ADU, with the read noise of 2 to 3: what is below 0 is written as 0."""
    rng = np.random.default_rng(4)
    sky = (rng.poisson(1.5 * level, N) + rng.normal(0.0, 4.0, N)) / 1.5
    stars = np.where(rng.random(N) < 0.03, rng.exponential(60.0, N), 0.0)
    written = np.maximum(np.rint(sky), 0.0)
    share, shift = found_in(np.maximum(np.rint(sky + stars), 0.0))
    assert share == pytest.approx(np.mean(written == 0.0), abs=0.03)
    assert shift == pytest.approx(written.mean() - sky.mean(), rel=0.06)


def test_without_a_black_point():
    rng = np.random.default_rng(2)
    for mean in (0.05, 0.3, 0.5, 0.7, 1.0, 2.0, 5.0, 50.0):  # photons one by one
        assert found_in(rng.poisson(mean, N)) == (0.0, 0.0)
    for sigma in (0.2, 0.5, 1.0, 3.0, SIGMA):
        assert found_in(np.rint(rng.normal(300.4, sigma, N))) == (0.0, 0.0)
        padded = np.where(rng.random(N) < 0.2, 0.0, rng.normal(0.0, sigma, N))
        assert found_in(padded) == (0.0, 0.0)
        assert found_in(np.where(rng.random(N) < 0.2, 0.0, padded + 20.0 * sigma)) == (0.0, 0.0)
    assert found_in(rng.gamma(2.0, 5.0, N)) == (0.0, 0.0)
    assert found_in(np.zeros(N)) == (0.0, 0.0)
    assert found_in(np.zeros(10)) == (0.0, 0.0)
