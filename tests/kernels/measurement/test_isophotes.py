"""Isophotal sums against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.measurement import isophotes as k
from skyextract.kernels.measurement.records import Footprints, Noise, Shapes

N = 40
SATURATION = 700.0


@pytest.fixture(scope="module")
def star() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:N, :N].astype(float)
    image = 800.0 * np.exp(-((x - 19.4) ** 2 + (y - 21.7) ** 2) / (2 * 2.5**2))
    image = (image + rng.normal(0.0, 2.0, (N, N))).astype(np.float32)
    index = np.flatnonzero(image > 10.0)
    return {"image": image, "index": index.astype(np.int64), "x": x, "y": y}


def measure(star, *, variance=None, gain=0.0, weight_gain=False, ceiling=1e9, n_own=None):
    image, index = star["image"], star["index"]
    out = np.zeros((1, k.N_COLUMNS))
    one = np.ones(1)
    plane = np.zeros((1, 1), dtype=np.float32) if variance is None else variance
    own = np.array([index.size if n_own is None else n_own], dtype=np.int32)
    k.isophotal(
        image, np.packbits(image >= SATURATION, axis=1),
        Noise(plane, variance is not None, 4.0, gain, weight_gain), 6.0,
        Footprints(np.array([0, index.size]), own, index, image.ravel()[index]), 9.0,
        Shapes(one * 19.4, one * 21.7, *[one * 2.5] * 5, np.zeros(1, dtype=np.uint8)),
        np.zeros(1), one * ceiling, False, 0, 1, out,
    )  # fmt: skip
    return out[0]


def test_sums_equal_numpy(star) -> None:
    values = star["image"].ravel()[star["index"]].astype(float)
    out = measure(star, gain=2.0)
    assert out[k.FLUX] == pytest.approx(values.sum())
    assert out[k.VARIANCE] == pytest.approx(4.0 * values.size + values.sum() / 2.0)
    assert out[k.AREA] == (values > 6.0).sum()
    assert out[k.PEAK] == pytest.approx(values.max())
    assert out[k.N_SATURATED] == (values >= SATURATION).sum() > 0
    assert out[k.THRESHOLD] == 6.0
    dx = (star["x"].ravel()[star["index"]]) - 19.4
    noise = 9.0 + values / 2.0
    assert out[k.ERRX2] == pytest.approx((noise * dx**2).sum() / values.sum() ** 2)
    levels = 6.0 * (values.max() / 6.0) ** (np.arange(8) / 8)
    assert out[k.ISO :].tolist() == [(values > level).sum() for level in levels]


def test_fwhm_of_a_gaussian(star) -> None:
    fwhm = 2.5 * np.sqrt(8 * np.log(2))
    assert measure(star)[k.FWHM] == pytest.approx(fwhm - 0.25 / fwhm, rel=0.01)
    # The saturated core is left out of the fit.
    assert measure(star, ceiling=500.0)[k.FWHM] == pytest.approx(fwhm - 0.25 / fwhm, rel=0.02)


def test_weights_scale_threshold_and_gain(star) -> None:
    variance = np.full((N, N), 16.0, dtype=np.float32)
    out = measure(star, variance=variance, gain=2.0, weight_gain=True)
    values = star["image"].ravel()[star["index"]].astype(float)
    assert out[k.THRESHOLD] == pytest.approx(12.0)
    expected = 16.0 * values.size + values.sum() / 2.0 * 16.0 / 4.0
    assert out[k.VARIANCE] == pytest.approx(expected)


def test_merged_pixels_count_in_the_flux_only(star) -> None:
    whole, part = measure(star), measure(star, n_own=star["index"].size - 5)
    assert part[k.FLUX] == whole[k.FLUX]
    assert part[k.AREA] == whole[k.AREA] - 5


def test_bad_pixels_are_left_out_and_counted(star) -> None:
    broken = dict(star, image=star["image"].copy())
    broken["image"].ravel()[star["index"][:3]] = np.nan
    out = measure(broken)
    assert out[k.N_BAD] == 3
    assert np.isfinite(out[k.FLUX])
    broken["image"][:] = np.nan
    out = measure(broken)
    assert out[k.FLUX] == 0.0
    assert np.isnan(out[k.PEAK])
