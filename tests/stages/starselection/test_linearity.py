"""Widths of stars by their brightness."""

import numpy as np
import pytest

from skyextract.stages.starselection.linearity import doubt_of_linearity, widening


def stars(seed, n=60, slope=0.0, scatter=0.02, outliers=0.0):
    rng = np.random.default_rng(seed)
    flux = 10.0 ** rng.uniform(3.0, 5.0, n)
    fwhm = 3.0 * (flux / 1e4) ** slope * np.exp(rng.normal(0.0, scatter, n))
    wrong = rng.random(n) < outliers
    fwhm[wrong] *= rng.uniform(1.05, 1.3, wrong.sum())
    return flux, fwhm


def test_the_widening_is_that_of_the_stars():
    found = [widening(*stars(seed, slope=0.04, outliers=0.1)) for seed in range(20)]
    # Nine tenths of two decades.
    assert np.median(found) == pytest.approx(10.0 ** (0.04 * 1.8) - 1.0, abs=0.015)


@pytest.mark.parametrize("n", [12, 30, 200])
@pytest.mark.parametrize("scatter", [0.005, 0.02, 0.1])
def test_stars_of_one_width_are_not_doubted(n, scatter):
    assert not any(
        doubt_of_linearity(*stars(seed, n, scatter=scatter, outliers=0.1)) for seed in range(100)
    )


def test_what_detectors_do_is_not_doubted():
    """Brighter-fatter: 2 % over two decades."""
    assert not any(widening(*stars(seed, slope=0.0043, scatter=0.005)) for seed in range(50))


def test_few_stars_tell_nothing():
    assert widening(*stars(1, n=11, slope=0.2)) == 0.0
    assert widening(np.full(20, 100.0), np.full(20, 3.0)) == 0.0
