"""Errors contain the light of sources that are one with others."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.crowded.errors import blended_errors
from skyextract.stages.crowded.search import MIN_SEPARATION, MIN_SHARE

FWHM = 3.5


@pytest.mark.parametrize("density", [2.0, 5.0, 20.0])  # per 100 FWHM^2
def test_errors_are_the_width_with_company_thrown_at_random(density: float) -> None:
    """Put as many as there are around into the disc in which two are one, again and again."""
    rng = np.random.default_rng(1)
    size = 1000.0
    n = int(density * (size / FWHM) ** 2 / 100.0)
    x, y = rng.uniform(0, size, (2, n))
    flux = 10.0 ** rng.uniform(1.5, 4.0, n)
    noise = 20.0 + 0.002 * flux
    error = blended_errors(x, y, flux, noise, FWHM)
    inside = (np.minimum(x, y) > 30) & (np.maximum(x, y) < size - 30)
    for own in (300.0, 1000.0, 5000.0):
        like = inside & (np.abs(np.log(flux / own)) < 0.1)
        fainter = flux[flux < MIN_SHARE * own]
        mean = fainter.size / size**2 * np.pi * (MIN_SEPARATION * FWHM) ** 2
        off = rng.normal(0.0, 20.0 + 0.002 * own, 40_000)
        off += [rng.choice(fainter, k).sum() if k else 0.0 for k in rng.poisson(mean, off.size)]
        low, high = np.percentile(off, [15.865, 84.135])
        assert np.median(error[like]) == pytest.approx((high - low) / 2.0, rel=0.12), own


def test_rare_company_leaves_the_errors_of_most() -> None:
    """Stars of S/N 500, seven in 100 FWHM^2: one in twenty has company, and is far off."""
    rng = np.random.default_rng(2)
    n, size = 5000, FWHM * np.sqrt(5000 / 0.07)
    x, y = rng.uniform(0, size, (2, n))
    flux = 10.0 ** rng.uniform(2.0, 4.0, n)
    bright = flux > 5000.0
    error = blended_errors(x, y, flux, np.full(n, 10.0), FWHM)
    assert np.median(error[bright]) < 12.0


def test_sources_that_are_alone_keep_their_errors() -> None:
    x, error = np.array([0.0, 100.0]), np.array([1.0, 2.0])
    assert blended_errors(x, x, np.array([1.0, 100.0]), error, FWHM) == pytest.approx(error)
    assert blended_errors(x[:0], x[:0], x[:0], x[:0], FWHM).size == 0
