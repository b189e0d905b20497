"""Sersic profiles as sums of Gaussians."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skyextract.kernels.galaxies.sersic import N_GAUSSIANS, sersic_mixture
from tests.entry import entry


def mixture(index: float) -> np.ndarray:
    out = np.empty((4, N_GAUSSIANS))
    entry(sersic_mixture)(math.log(index), out)
    return out


@pytest.mark.parametrize("index", [0.5, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0])
def test_half_of_the_light_is_within_the_half_light_radius(index: float) -> None:
    weights, variances = mixture(index)[:2]
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    inside = np.sum(weights * (1.0 - np.exp(-0.5 / variances)))
    assert inside == pytest.approx(0.5, abs=0.0025)


@pytest.mark.parametrize(("index", "worst"), [(0.5, 0.01), (1.0, 0.01), (4.0, 0.02)])
def test_light_in_rings_is_that_of_the_profile(index: float, worst: float) -> None:
    weights, variances = mixture(index)[:2]
    radius = np.exp(np.linspace(math.log(0.02), math.log(20.0), 300))[:, None]
    ours = np.sum(weights * radius**2 / variances * np.exp(-0.5 * radius**2 / variances), axis=1)
    b = {0.5: math.log(2.0), 1.0: 1.6783469900, 4.0: 7.6692494425}[index]
    scale = b ** (2 * index) / (index * math.gamma(2 * index))
    true = (scale * radius**2 * np.exp(-b * radius ** (1 / index)))[:, 0]
    assert np.abs(ours - true).max() < worst * true.max()


@pytest.mark.parametrize("index", [0.6, 1.7, 5.0])
def test_derivatives_are_those_of_differences(index: float) -> None:
    step = 1e-5
    low, high = (mixture(index * math.exp(s)) for s in (-step, step))
    for value, slope in ((0, 2), (1, 3)):
        numeric = (np.log(high[value]) - np.log(low[value])) / (2 * step)
        np.testing.assert_allclose(mixture(index)[slope], numeric, rtol=1e-6, atol=1e-8)
