"""The sources that PSF stars are: found among the nearest, not among all."""

from __future__ import annotations

import time

import numpy as np

from skyextract.datamodel.catalog import Catalog
from skyextract.stages.pointsources.columns import _star_rows


def stars_at(x, y):
    return Catalog({"X_IMAGE": x + 1.0, "Y_IMAGE": y + 1.0})


def test_the_nearest_source_within_half_a_fwhm_is_taken():
    rng = np.random.default_rng(4)
    x, y = np.round(rng.uniform(0.0, 60.0, (2, 900)), 1)  # some at one place, or as far
    star_x, star_y = np.round(rng.uniform(-2.0, 62.0, (2, 200)), 1)
    distance = np.hypot(x - star_x[:, None], y - star_y[:, None])
    nearest = distance.argmin(axis=1)
    expected = np.unique(nearest[distance.min(axis=1) <= 1.5])
    assert 50 < expected.size < 200
    np.testing.assert_array_equal(_star_rows(stars_at(star_x, star_y), x, y, 3.0), expected)


def test_a_million_sources_take_no_time_for_each_star():
    rng = np.random.default_rng(5)
    x, y = rng.uniform(0.0, 12000.0, (2, 1_000_000))
    stars = stars_at(x[:2000], y[:2000])
    before = time.process_time()
    assert _star_rows(stars, x, y, 3.6).size == 2000
    assert time.process_time() - before < 3.0  # 0.3 s; 17 s where all are looked at
