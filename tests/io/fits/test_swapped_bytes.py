"""Bytes in the wrong order are seen, whatever the type; right ones never are."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.io.fits.pixels import has_swapped_bytes
from tests.simulate.badframes import good_frame

FRAME = good_frame(1).image.astype(np.float64)


@pytest.mark.parametrize("kind", [">i2", ">u2", ">f4", ">f8", "<i2", "<f4"])
@pytest.mark.parametrize(("factor", "offset"), [(1.0, 0.0), (1.0, 900.0), (0.3, 0.0)])
def test_a_star_field(kind, factor, offset):
    numbers = (FRAME * factor + offset).clip(0, 32000).astype(kind)
    assert not has_swapped_bytes(numbers)
    assert has_swapped_bytes(numbers.byteswap())


def test_unsigned_numbers_as_fits_stores_them():
    numbers = (FRAME.clip(0, 65535) - 32768.0).astype(">i2")
    assert not has_swapped_bytes(numbers)
    assert has_swapped_bytes(numbers.byteswap())


def test_numbers_that_are_right():
    rng = np.random.default_rng(2)
    sky = rng.normal(0.0, 1.0, (200, 200))
    for numbers in (
        *((sky * s + m).astype(">i2") for s in (0.3, 1.0, 15.0, 300.0, 4000.0) for m in (0, 300)),
        *((np.rint(sky * s + 40.0).clip(0, 127) * 256).astype(">i2") for s in (0.3, 3.0, 15.0)),
        *((np.rint(sky * s + 400.0) * 16).astype(">i2") for s in (0.3, 3.0, 30.0)),
        *((sky * s).astype(">f4") for s in (1e-30, 1e-7, 1.0, 1e20)),
        np.exp(5.0 * sky).astype(">f4"), np.zeros((50, 50), ">i2"), np.zeros((50, 50), ">f4"),
        np.full((50, 50), np.nan, ">f4"), rng.integers(0, 65536, (50, 50)).astype(">u2"),
        sky[:1, :3].astype(">i2"), (sky > 1.0).astype("u1"), sky.astype(">i4"),
    ):  # fmt: skip
        assert not has_swapped_bytes(numbers)
