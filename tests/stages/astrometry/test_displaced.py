"""A part of the frame that is out of place, too small to bend the plate: told of."""

import numpy as np
import pytest

from skyextract.stages.astrometry.displaced import find_displaced
from tests.stages.astrometry.test_corners import SCALE, Lens

BOX = (900.0, 1300.0, 200.0, 600.0)


def moved(lens, step):
    """Displace the sources in a box; returns how many these are."""
    x, y = lens.sources["XWIN_IMAGE"], lens.sources["YWIN_IMAGE"]
    there = (x > BOX[0]) & (x < BOX[1]) & (y > BOX[2]) & (y < BOX[3])
    x[there] += step[0]
    y[there] += step[1]
    return int(there.sum())


@pytest.mark.parametrize("step", [(0.8, -0.5), (-0.1, 2.0)])
def test_a_chip_whose_stars_are_all_clipped(step):
    for seed in (1, 2, 3):
        lens = Lens(0.0, n=200, seed=seed)
        number = moved(lens, step)
        result = lens.solve(distort_degrees=1)
        assert result.metrics["checks"]["n_displaced"] in {number - 1, number}
        assert result.status == "FALLBACK"
        offset = SCALE * np.hypot(*step)
        told = result.reason.split(" are displaced alike, by ")
        assert told[1].endswith("a chip out of place?")
        assert float(told[1].split()[0]) == pytest.approx(offset, rel=0.1)


def outliers(seed, n=80, share=0.2):
    """Pixels, offsets in arcsec, errors; a share of the stars is off by chance."""
    rng = np.random.default_rng(seed)
    errors = rng.uniform(0.005, 0.04, n)
    offset = rng.normal(0.0, errors, (2, n))
    wrong = rng.random(n) < share
    offset[:, wrong] += rng.normal(0.0, 0.5, (2, wrong.sum()))
    return rng.uniform(0.0, 1000.0, (2, n)), offset, errors


def found(place, offset, errors):
    apart = np.hypot(*offset) > 4.0 * errors
    return find_displaced(tuple(place), tuple(offset), errors, apart, 0.5).number


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_outliers_by_chance_are_no_part(share):
    assert not any(found(*outliers(seed, share=share)) for seed in range(200))


def test_outliers_that_agree_but_are_everywhere_are_no_part():
    place, offset, errors = outliers(1, share=0.05)
    rows = np.argsort(np.abs(place[0] - place[1]))[::12]
    offset[:, rows] += np.array([[0.7], [0.4]])
    assert not found(place, offset, errors)


@pytest.mark.parametrize("side", [0, 1])
def test_stars_that_the_border_cuts_are_no_part(side):
    """Of a frame of few rows they are many, and all are drawn inwards."""
    place, offset, errors = outliers(1, share=0.0)
    place[side] = np.random.default_rng(2).uniform(0.0, 50.0, len(errors))
    cut = place[side] < 5.0
    assert cut.sum() >= 4
    offset[side, cut] += 0.6
    assert not found(place, offset, errors)
