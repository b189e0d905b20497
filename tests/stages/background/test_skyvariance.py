"""The variance of the sky beneath sources."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.values import NO_INFORMATION
from skyextract.run import Run
from skyextract.stages.background.skyvariance import (
    ENOUGH,
    FLAT_ERROR,
    LIGHT,
    PHOTONS,
    SIDE,
    STEPS,
    WIDTH,
    sky_variance,
)

GAIN, RADIUS = 2.0, 3.0


def mean_weight(known: np.ndarray, variance: np.ndarray, y: float, x: float) -> float:
    """The mean inverse variance about the centre of a cell, of all pixels of cells as one."""
    n_y, n_x = (-(-size // SIDE) for size in variance.shape)
    sums = np.zeros((2, n_y, n_x))
    for j, i in np.ndindex(n_y, n_x):
        part = np.s_[j * SIDE : j * SIDE + SIDE, i * SIDE : i * SIDE + SIDE]
        sums[:, j, i] = known[part].sum(), (1.0 / variance[part].astype(float))[known[part]].sum()
    sigma = WIDTH * RADIUS / SIDE
    while sigma < max(n_y, n_x):
        reach = np.ceil(3.0 * sigma)
        tap_y, tap_x = (
            np.where(np.abs(d) <= reach, np.exp(-0.5 * (d / sigma) ** 2), 0.0)
            for d in (np.arange(n_y) - y, np.arange(n_x) - x)
        )
        number, total = (tap_y @ values @ tap_x for values in sums)
        if number >= ENOUGH:
            return total / number
        sigma *= 2.0
    return sums[1].sum() / sums[0].sum()


def reference(variance: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The same, pixel by pixel."""
    out = variance.copy()
    known = variance < NO_INFORMATION
    light = known & (image > LIGHT * np.sqrt(variance))
    n_y, n_x = (-(-size // SIDE) for size in variance.shape)
    weights = np.array([
        [mean_weight(known & ~light, variance, j, i) for i in range(n_x)] for j in range(n_y)
    ])  # fmt: skip
    for y, x in np.argwhere(light):
        # Linear between the centres of cells, constant beyond the outer ones.
        at = [np.clip((k + 0.5) / SIDE - 0.5, 0, n - 1) for k, n in ((y, n_y), (x, n_x))]
        along_x = [np.interp(at[1], np.arange(n_x), row) for row in weights]
        beside = 1.0 / np.interp(at[0], np.arange(n_y), along_x)
        signal = float(image[y, x])
        if variance[y, x] <= STEPS * beside + PHOTONS * signal / GAIN + (FLAT_ERROR * signal) ** 2:
            out[y, x] = beside
    return out


@pytest.mark.parametrize("shape", [(130, 203), (64, 64), (17, 9)])
def test_as_pixel_by_pixel(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[0])
    variance = rng.uniform(20.0, 30.0, shape).astype(np.float32)
    image = rng.normal(0.0, 5.0, shape).astype(np.float32)
    image[shape[0] // 4 : shape[0] // 2, 2 : shape[1] // 3] += 4000.0
    variance[::7, ::5] = 9000.0
    variance[-5:, :4] = NO_INFORMATION
    out = sky_variance(variance, image, GAIN, RADIUS, Run(1))
    np.testing.assert_allclose(out, reference(variance, image), rtol=2e-6)
    np.testing.assert_array_equal(out, sky_variance(variance, image, GAIN, RADIUS, Run(2)))
    assert (out[variance >= NO_INFORMATION] == NO_INFORMATION).all()


def test_where_all_is_light_it_stays() -> None:
    variance = np.full((40, 40), 9.0, np.float32)
    out = sky_variance(variance, np.full((40, 40), 100.0, np.float32), GAIN, RADIUS, Run(1))
    np.testing.assert_array_equal(out, variance)


def test_noisy_pixels_stay_noisy() -> None:
    """Ten times the noise: those that happen to be high tell no more than the others."""
    rng = np.random.default_rng(1)
    sigma = np.where(rng.random((300, 300)) < 0.01, 80.0, 8.0)
    image = rng.normal(0.0, sigma).astype(np.float32)
    variance = (sigma**2).astype(np.float32)
    out = sky_variance(variance, image, 1.0, RADIUS, Run(1))
    assert (out[sigma > 10.0] == 6400.0).all()
    np.testing.assert_allclose(out[sigma < 10.0], 64.0, rtol=0.05)
