"""Unsigned numbers whose BZERO was lost."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import Header
from skyextract.run import Run
from skyextract.stages.pixels.wrapped import without_wrapping

CARDS = {"BITPIX": 16}


def stars(sky: float, peak: float, seed: int = 1) -> np.ndarray:
    """Return whole numbers from 0 to 65535: a sky with its noise and 20 stars."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:200, 0:300]
    image = np.full((200, 300), sky)
    for a, b in zip(rng.uniform(0, 300, 20), rng.uniform(0, 200, 20), strict=True):
        image += peak * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 4.0)
    return np.clip(np.rint(rng.normal(image, np.sqrt(image + 9.0))), 0, 65535).astype(np.uint16)


def read(numbers: np.ndarray, cards: dict | None = None) -> tuple[Exposure, list[str]]:
    run = Run()
    exposure = Exposure(
        numbers.astype(np.float32), np.zeros(numbers.shape, np.uint16),
        detector=Detector(saturation=60_000.0), header=Header.of(CARDS if cards is None else cards),
    )  # fmt: skip
    return without_wrapping(exposure, run), run.warnings


@pytest.mark.parametrize(("sky", "peak"), [(200.0, 50_000.0), (32_700.0, 9_000.0), (900.0, 2e5)])
def test_numbers_that_wrapped_are_those_that_were_written(sky, peak):
    numbers = stars(sky, peak)
    found, warnings = read(numbers.view(np.int16))
    assert np.array_equal(found.image, numbers.astype(np.float32))
    assert np.array_equal(found.mask == Mask.SAT, numbers >= 60_000)
    assert len(warnings) == 1
    assert "FITS_UNSIGNED Y" in warnings[0]


def test_signed_numbers_stay():
    rng = np.random.default_rng(3)
    around_zero = np.rint(rng.normal(0.0, 9000.0, (200, 300))).clip(-32768, 32767)
    positive = stars(200.0, 20_000.0).astype(np.int16)
    blank = positive.copy()
    blank[50:60, 70:90] = -32768
    holes = positive.copy()
    holes[::40, ::40] = -30000
    for numbers in (around_zero.astype(np.int16), positive, blank, holes):
        found, warnings = read(numbers)
        assert np.array_equal(found.image, numbers.astype(np.float32))
        assert warnings == []


@pytest.mark.parametrize("cards", [{"BITPIX": -32}, {"BITPIX": 32}, {}])
def test_numbers_that_were_converted_since(cards):
    numbers = stars(200.0, 50_000.0)
    found, warnings = read(numbers.view(np.int16), cards)
    assert np.array_equal(found.image, numbers.astype(np.float32))
    assert len(warnings) == 1
    assert "before they were converted" in warnings[0]


def test_only_whole_numbers_without_bzero():
    wrapped = stars(200.0, 50_000.0).view(np.int16)
    marked = stars(200.0, 20_000.0).astype(np.int16)
    marked[::40, ::40] = -32767
    for numbers, cards in (
        (wrapped, {"BITPIX": 16, "BZERO": 32768}),
        (wrapped + 0.25, {"BITPIX": -32}),
        (3 * wrapped.astype(np.int32), {"BITPIX": 32}),
        (marked, {"BITPIX": -32}),
    ):
        found, warnings = read(numbers, cards)
        assert found.image.min() < 0.0
        assert warnings == []
