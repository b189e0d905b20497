"""Sets of sources that are measured on one image, and models that stand in it for a while."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.psf import Psf
from skyextract.stages.crowded.rows import _groups, drawn
from skyextract.stages.pointsources.sweeps import FittedSources, add_models


@pytest.mark.parametrize("n", [0, 1, 3000])
def test_sources_of_a_set_are_apart_and_sets_are_few(n):
    rng = np.random.default_rng(4)
    x, y = rng.uniform(-20.0, 1000.0, (2, n))
    distance = 25.0
    groups = list(_groups(x, y, distance))
    assert np.array_equal(np.sort(np.concatenate([*groups, np.zeros(0, int)])), np.arange(n))
    for group in groups:
        apart = np.hypot(x[group, None] - x[group], y[group, None] - y[group])
        assert np.all(apart[~np.eye(group.size, dtype=bool)] >= distance)
    # The most crowded place needs as many as there are sources within the distance, at least.
    near = (np.hypot(x[:, None] - x, y[:, None] - y) < distance).sum(axis=0)
    assert len(groups) <= near.max(initial=0)


@pytest.mark.parametrize("n", [0, 1, 5, 400])
def test_an_image_without_models_is_what_it_was(n):
    rng = np.random.default_rng(n)
    image = rng.normal(0.0, 3.0, (150, 200)).astype(np.float32)
    psf = Psf.gaussian(3.0)
    x, y = rng.uniform(-5.0, 205.0, n), rng.uniform(-5.0, 155.0, n)
    sources = FittedSources.at(x, y)
    sources.parameters[:, 0] = rng.uniform(100.0, 1e5, n)
    sources.reach[:] = rng.integers(3, psf.radius + 1, n)
    sources.reach[: n // 5] = -1  # without a fit
    before, whole = image.copy(), image.copy()
    add_models(whole, psf, sources, -1.0)
    with drawn(image, psf, sources, -1.0) as without:
        assert np.array_equal(without, whole)
        assert n < 2 or not np.array_equal(without, before)
    assert np.array_equal(image, before)
