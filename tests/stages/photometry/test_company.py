"""Stars of a zero point in a cluster are told from those of the field."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.catalog import Catalog
from skyextract.stages.photometry.company import in_cluster

SHAPE, FWHM = (700, 1000), 3.0


def catalog_of(x, y):
    return Catalog({"X_IMAGE": x + 1.0, "Y_IMAGE": y + 1.0})


@pytest.mark.parametrize("n", [30, 300, 3000, 15000])
def test_none_where_stars_stand_at_random(n):
    rng = np.random.default_rng(n)
    x, y = rng.uniform(0, SHAPE[1], n), rng.uniform(0, SHAPE[0], n)
    assert in_cluster(catalog_of(x, y), np.arange(n), SHAPE, FWHM).mean() <= 0.005


def test_the_core_of_a_cluster_and_no_star_of_the_field():
    rng = np.random.default_rng(4)
    field = rng.uniform(0, SHAPE[1], 150), rng.uniform(0, SHAPE[0], 150)
    core = 300.0 + rng.normal(0.0, 30.0, 400), 300.0 + rng.normal(0.0, 30.0, 400)
    x, y = (np.append(a, b) for a, b in zip(field, core, strict=True))
    found = in_cluster(catalog_of(x, y), np.arange(x.size), SHAPE, FWHM)
    distance = np.hypot(x - 300.0, y - 300.0)
    assert found[distance < 45.0].all()
    assert not found[distance > 150.0].any()


def test_density_is_that_of_the_part_within_the_frame():
    """In a corner a quarter of the cells are there: as many stars stand as densely."""
    rng = np.random.default_rng(5)
    x, y = rng.uniform(0, SHAPE[1], 4000), rng.uniform(0, SHAPE[0], 4000)
    x[:30], y[:30] = rng.uniform(0, 11, 30), rng.uniform(0, 11, 30)
    found = in_cluster(catalog_of(x, y), np.arange(4000), SHAPE, FWHM)
    assert found[:30].all()
    assert found[x > 100.0].mean() < 0.01


def test_without_positions_or_a_psf_nothing_is_told():
    rows = np.arange(3)
    assert not in_cluster(Catalog({"FLUX_PSF": np.ones(3)}), rows, SHAPE, FWHM).any()
    assert not in_cluster(catalog_of(np.ones(3), np.ones(3)), rows, SHAPE, 0.0).any()
