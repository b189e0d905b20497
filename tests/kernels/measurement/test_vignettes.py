"""Cut-outs and the local sky."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.measurement.localsky import local_backgrounds
from skyextract.kernels.measurement.records import SourcePixels
from skyextract.kernels.measurement.vignettes import NO_DATA, shifted_vignettes, vignettes

N = 50


def test_vignettes_copy_pixels_and_mark_what_is_missing() -> None:
    rng = np.random.default_rng(2)
    image = rng.normal(size=(N, N)).astype(np.float32)
    labels = np.zeros((N, N), dtype=np.int32)
    labels[20, 21], labels[22, 22], labels[23, 23] = 1, 2, -2
    image[19, 18] = np.nan
    out = np.zeros((2, 7, 9), dtype=np.float32)
    vignettes(
        SourcePixels(image, labels, 2), np.array([20.2, 0.6]), np.array([20.7, 3.0]), 0, 2, out
    )
    expected = image[18:25, 16:25].copy()
    expected[1, 2] = expected[4, 6] = NO_DATA
    np.testing.assert_array_equal(out[0], expected)
    assert (out[1][:, :3] == np.float32(NO_DATA)).all()
    np.testing.assert_array_equal(out[1][:, 3:], image[0:7, 0:6])


def test_shifted_vignette_centres_a_well_sampled_source() -> None:
    y, x = np.mgrid[:N, :N].astype(float)
    cx, cy = 24.37, 25.81
    image = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 2.0**2)).astype(np.float32)
    out = np.zeros((1, 15, 15), dtype=np.float32)
    labels = np.zeros((N, N), dtype=np.int32)
    shifted_vignettes(SourcePixels(image, labels, 2), np.array([cx]), np.array([cy]), 0, 1, out)
    v, u = np.mgrid[-7:8, -7:8]
    np.testing.assert_allclose(out[0], np.exp(-(u**2 + v**2) / 8.0), atol=3e-3)


@pytest.mark.parametrize("level", [0.0, 7.5])
def test_local_sky_ignores_sources_and_outliers(level: float) -> None:
    rng = np.random.default_rng(8)
    image = rng.normal(level, 2.0, (160, 160)).astype(np.float32)
    image[60:90, 100:104] += 500.0
    image[30, 30:130] = np.nan
    labels = np.zeros((160, 160), dtype=np.int32)
    labels[60:90, 100:104] = 2
    box = [np.array([v, 5], dtype=np.int32) for v in (75, 85, 75, 85)]
    out = np.full(2, -1.0)
    local_backgrounds(SourcePixels(image, labels, 2), *box, 24, 0, 2, out)
    assert out[0] == pytest.approx(level, abs=0.15)
    assert out[1] == 0.0  # the annulus leaves the frame
