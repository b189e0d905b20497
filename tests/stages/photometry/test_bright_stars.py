"""Bright stars that the fit of the zero point leaves out: saturated, or in another system."""

from __future__ import annotations

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
