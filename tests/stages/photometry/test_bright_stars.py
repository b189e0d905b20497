"""Bright stars that the fit of the zero point leaves out: saturated, or in another system."""

from __future__ import annotations

import re

import numpy as np
import pytest

from skyextract.stages.photometry.parts import compare_parts

N, N_BRIGHT, ERROR = 40, 12, 0.01


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("offsets", "contradicts"),
    [
        (np.full(N_BRIGHT, -0.2), True),  # the catalogue changes its system at some magnitude
        (-0.05 * 1.3 ** np.arange(N_BRIGHT), False),  # saturation takes more of brighter ones
        (np.zeros(N_BRIGHT), False),
    ],
)
def test_bright_stars_that_agree(seed: int, offsets: np.ndarray, contradicts: bool) -> None:
    rng = np.random.default_rng(seed)
    residuals, bright = rng.normal(0.0, ERROR, N), offsets + rng.normal(0.0, ERROR, N_BRIGHT)
    x, y = rng.uniform(0.0, 512.0, (2, N))
    errors, mag = np.full(N, ERROR), rng.uniform(19.5, 21.0, N)
    parts = compare_parts(
        (residuals, errors, mag), (residuals, errors, x, y),
        (bright, np.full(N_BRIGHT, ERROR), np.linspace(19.0, 16.0, N_BRIGHT)),
        0.0, (512, 512),
    )  # fmt: skip
    assert bool(parts.contradiction) is contradicts
    # Saturation that takes more of brighter stars is no step of the catalogue.
    assert parts.step[0] == (pytest.approx(0.2, abs=0.02) if contradicts else 0.0)
    if contradicts:
        assert parts.group.x == pytest.approx(-0.2, abs=0.02)


@pytest.mark.parametrize(
    ("part", "offset", "said"),
    [
        (slice(0, 10), 0.25, "0.2. mag brighter than in the reference: is that saturated there"),
        (slice(0, 10), -0.25, "0.2. mag fainter than in the reference: are they saturated"),
        (slice(30, 40), 0.25, r"of one brightness are off by .0\.(19|2.) mag: another"),
    ],
)
def test_the_cause_is_said_by_which_stars_are_off(part: slice, offset: float, said: str) -> None:
    """Clouds and flat fields know no brightness."""
    rng = np.random.default_rng(8)
    residuals, errors = rng.normal(0.0, ERROR, N), np.full(N, ERROR)
    residuals[part] += offset * rng.uniform(0.98, 1.02, 10)
    x, y = rng.uniform(0.0, 512.0, (2, N))
    none = np.zeros(0)
    parts = compare_parts(
        (residuals, errors, np.linspace(16.0, 20.0, N)), (residuals, errors, x, y),
        (none, none, none), 1.0, (512, 512),
    )  # fmt: skip
    assert re.search(said, parts.contradiction)
