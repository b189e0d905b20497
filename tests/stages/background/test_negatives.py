"""Sources below the sky, and what is dark but no source."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.run import Run
from skyextract.stages.background.negatives import EVERY, has_negatives

SIZE, SIGMA = 512, 5.0


def sky(seed=1):
    return np.random.default_rng(seed).normal(0.0, SIGMA, (SIZE, SIZE)).astype(np.float32)


@pytest.mark.parametrize("fwhm", [2.5, 5.0, 12.0])
def test_stars_below_the_sky(fwhm):
    image, rng = sky(), np.random.default_rng(2)
    y, x = np.mgrid[:SIZE, :SIZE]
    for at_x, at_y in rng.uniform(10, SIZE - 10, (80, 2)):
        square = (x - at_x) ** 2 + (y - at_y) ** 2
        image -= 40.0 * SIGMA * np.exp(-4.0 * np.log(2.0) * square / fwhm**2)
    assert has_negatives(image, SIGMA, Run(2))
    assert not has_negatives(-image, SIGMA, Run(2))


@pytest.mark.parametrize("height", [1, 2, 3])
def test_dark_rows_are_no_sources(height):
    image = sky()
    image[:height] -= 30.0 * SIGMA
    image[EVERY * 20 : EVERY * 20 + height] -= 30.0 * SIGMA
    assert not has_negatives(image, SIGMA, Run(2))


def test_a_dark_corner_is_no_source():
    image = sky()
    y, x = np.mgrid[:SIZE, :SIZE]
    image[x + y < 150] -= 30.0 * SIGMA
    assert not has_negatives(image, SIGMA, Run(2))
    assert not has_negatives(sky(), SIGMA, Run(2))
