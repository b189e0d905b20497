"""Errors contain the light of sources that are one with others."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.crowded.errors import SELDOM, _blended_scatter
from skyextract.stages.crowded.search import MIN_SEPARATION, MIN_SHARE


def test_scatter_is_that_of_fainter_sources_thrown_at_random():
    """Put as many as there are around into the disc in which two are one, again and again."""
    rng = np.random.default_rng(1)
    n, size, fwhm = 4000, 1000.0, 3.5
    x, y = rng.uniform(0, size, (2, n))
    flux = rng.choice([50.0, 100.0, 1000.0, 10_000.0], n, p=[0.5, 0.3, 0.15, 0.05])
    scatter = _blended_scatter(x, y, flux, fwhm)
    inside = (np.minimum(x, y) > 30) & (np.maximum(x, y) < size - 30)
    for own in (100.0, 1000.0, 10_000.0):
        fainter = flux[flux < MIN_SHARE * own]
        mean = fainter.size / size**2 * np.pi * (MIN_SEPARATION * fwhm) ** 2
        light = [rng.choice(fainter, k).sum() if k else 0.0 for k in rng.poisson(mean, 100_000)]
        # Where hardly any source has company, most errors are not those of company.
        seldom = np.sqrt(mean / (mean + SELDOM))
        rms = np.sqrt(np.mean(scatter[inside & (flux == own)] ** 2))
        assert rms == pytest.approx(np.std(light) * seldom, rel=0.1, abs=1e-9)


def test_sources_that_are_alone_have_no_such_scatter():
    x = np.array([0.0, 100.0])
    assert np.all(_blended_scatter(x, x, np.array([1.0, 100.0]), 3.5) == 0.0)
    assert _blended_scatter(x[:0], x[:0], x[:0], 3.5).size == 0
