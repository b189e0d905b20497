"""Numbers as a file stores them, beside numpy's casts."""

import numpy as np
import pytest

from skyextract.kernels.stored import pixels_of_shorts, pixels_of_singles


@pytest.mark.parametrize("limit", [32767.0 + 32768.0, np.inf])
def test_shorts(limit):
    stored = np.array([[-32768, -1, 0], [1, 255, 32767]], ">i2")
    image = np.empty(stored.shape, np.float32)
    reached = pixels_of_shorts(
        stored.view(np.uint16), np.float32(32768.0), np.float32(limit), image
    )
    np.testing.assert_array_equal(image, stored.astype(np.float32) + 32768.0)
    assert bool(reached) is bool(np.isfinite(limit))


@pytest.mark.parametrize(
    ("last", "reached", "odd"),
    [(2.0, False, False), (-1e36, False, True), (np.nan, False, True), (1e30, True, False)],
)
def test_singles(last, reached, odd):
    stored = np.array([[0.0, -1.5e-30, 3.25e20], [-7.0, 1e-44, last]], ">f4")
    image = np.empty(stored.shape, np.float32)
    limits = np.float32(1e35), np.float32(1e30)
    found = pixels_of_singles(stored.view(np.uint32), *limits, image)
    assert found == (reached, odd)
    np.testing.assert_array_equal(image, stored.astype(np.float32))
