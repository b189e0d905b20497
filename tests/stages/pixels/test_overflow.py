"""Cores of stars beyond 16 bits."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.run import Run
from skyextract.stages.pixels.overflow import without_overflow


def stars(peak: float, sigma: float = 2.0, seed: int = 1) -> np.ndarray:
    """Return a sky of 900 with its noise and 20 stars, whole numbers of any size."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:200, 0:300]
    image = np.full((200, 300), 900.0)
    for a, b in zip(rng.uniform(0, 300, 20), rng.uniform(0, 200, 20), strict=True):
        image += peak * np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / sigma**2)
    return np.rint(rng.normal(image, np.sqrt(image + 9.0))).astype(np.int64)


def read(numbers: np.ndarray) -> tuple[Exposure, list[str]]:
    run = Run()
    exposure = Exposure(numbers.astype(np.float32), np.zeros(numbers.shape, np.uint16))
    return without_overflow(exposure, run), run.warnings


@pytest.mark.parametrize(
    ("peak", "sigma", "least"), [(80_000.0, 1.3, 1.0), (90_000.0, 2.0, 1.0), (110_000.0, 6.0, 1.0),
                                 (180_000.0, 3.0, 0.65)]
)  # fmt: skip
def test_cores_that_ran_over_are_saturated(peak, sigma, least):
    numbers = stars(peak, sigma)
    found, warnings = read(numbers & 0xFFFF)
    over = numbers >= 65536
    saturated = found.mask == Mask.SAT
    # A hole that is open at the edge of the frame cannot be told from the sky.
    inside = np.s_[20:-20, 20:-20]
    assert np.mean(saturated[inside][over[inside]]) >= least
    assert not (saturated & (numbers < 60_000)).any()
    assert np.all(found.image[saturated] == 65536)
    assert np.array_equal(found.image[~saturated], (numbers & 0xFFFF)[~saturated])
    assert len(warnings) == 1
    assert "ran over the highest number of 16 bits" in warnings[0]


@pytest.mark.parametrize("value", [0.0, 900.0])
@pytest.mark.parametrize("fwhm", [3.3, 4.7, 9.4])
def test_cores_that_were_replaced_are_saturated(value, fwhm):
    numbers = stars(90_000.0, fwhm / 2.35)
    found, warnings = read(np.where(numbers > 8000, value, numbers))
    inside = np.s_[20:-20, 20:-20]
    saturated = found.mask == Mask.SAT
    assert saturated.any()
    assert np.array_equal(saturated[inside], (numbers > 8000)[inside])
    assert np.all(found.image[saturated] == numbers[numbers <= 8000].max())
    assert len(warnings) == 1
    assert f"in the cores of bright stars are {value:g}, in a rim of up to" in warnings[0]


def test_what_is_no_overflow_stays():
    rng = np.random.default_rng(2)
    clipped = stars(90_000.0).clip(0, 65535)
    sharp = stars(60_000.0, 0.4)
    sharp[rng.integers(0, 200, 900), rng.integers(0, 300, 900)] = 65535
    y, x = np.mgrid[0:200, 0:300]
    radius = np.hypot(x - 150, y - 100)
    donut = stars(0.0) + np.rint(60_000.0 / (1.0 + np.exp(-(radius - 8.0) / 0.8)) * (radius < 14))
    dead = stars(60_000.0)
    dead[dead > 55_000] *= rng.random(np.count_nonzero(dead > 55_000)) < 0.7
    bleeding = stars(40_000.0)
    bleeding[:, [40, 41, 44, 45, 200, 202]] = 65535
    crowded = 3 * (stars(90_000.0) & 0xFFFF)
    for numbers in (clipped, sharp, donut, dead, bleeding, crowded):
        found, warnings = read(numbers)
        assert np.array_equal(found.image, numbers.astype(np.float32))
        assert warnings == []
