"""Dead pixels are found where they were put, and nowhere on frames that have none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.run import Run
from skyextract.settings.keywords import Detector as Config
from skyextract.stages.pixels.dead import dead_pixels
from skyextract.stages.pixels.nodata import check_data

SHAPE = (300, 280)
V, U = np.indices(SHAPE)


def exposure_of(image, mask=None):
    image = np.ascontiguousarray(image, np.float32)
    return Exposure(image, np.zeros(image.shape, np.uint16) if mask is None else mask)


def dead_of(image, mask=None):
    found = np.zeros(SHAPE, bool)
    found.ravel()[dead_pixels(exposure_of(image, mask), Run(2))] = True
    return found


def stars(seed, n=60, fwhm=3.5, peak=3e4):
    rng = np.random.default_rng(seed)
    image = np.zeros(SHAPE)
    for x, y, flux in zip(*rng.uniform(0, 290, (2, n)), peak * rng.random(n) ** 3, strict=True):
        along = (
            np.exp(-4.0 * np.log(2.0) * (np.arange(size) - at) ** 2 / fwhm**2)
            for size, at in zip(SHAPE, (y, x), strict=True)
        )
        image += flux * np.outer(*along)
    return image


def field(seed, level=300.0, **kind):
    """Return stars on a sky of photons, 2 electrons per unit, with 5 electrons of read noise."""
    rng = np.random.default_rng(seed)
    scene = 2.0 * (level + stars(seed, **kind))
    return (rng.poisson(scene) + rng.normal(0.0, 5.0, SHAPE)) / 2.0


def convolved(image, *taps):
    half = len(taps) // 2
    for axis in (0, 1):
        image = sum(w * np.roll(image, k - half, axis) for k, w in enumerate(taps))
    return image


def test_pixels_that_a_plane_calls_noisy_are_not_dead():
    """They are low as often as high; a dead one among them, and its small variance, stay known."""
    rng = np.random.default_rng(5)
    sigma = np.where(rng.random(SHAPE) < 0.01, 150.0, 15.0)
    image = 300.0 + rng.normal(0.0, sigma)
    image[100, 100] = -999.0
    plain = exposure_of(image)
    assert dead_pixels(plain, Run(1)).size > 100
    told = replace(plain, variance=(sigma**2).astype(np.float32))
    assert dead_pixels(told, Run(1)).tolist() == [100 * SHAPE[1] + 100]


@pytest.mark.parametrize(
    ("share", "value"),
    [(2e-3, -999.0), (5e-4, -32768.0), (2e-3, 0.0), (1e-3, -500.0), (1e-2, 0.0), (1e-4, 100.0)],
)
def test_dead_pixels_are_found(share, value):
    seed = 1
    truth = np.random.default_rng(seed + 50).random(SHAPE) < share
    found = dead_of(np.where(truth, value, field(seed)))
    assert np.array_equal(found, truth)


def test_values_need_not_be_the_same():
    rng = np.random.default_rng(5)
    truth = rng.random(SHAPE) < 1e-3
    truth &= stars(5) < 10.0  # beside a bright star it could be ringing
    found = dead_of(np.where(truth, rng.uniform(-2000.0, 50.0, SHAPE), field(5)))
    assert np.count_nonzero(found ^ truth) <= 2


def test_a_column_of_dead_pixels_and_a_pair():
    truth = (U == 100) | ((V == 50) & ((U == 30) | (U == 31)))
    assert np.array_equal(dead_of(np.where(truth, 0.0, field(1))), truth)


def uneven_noise():
    noise = np.where((U > 100) & (U < 106), 60.0, 5.0)
    return np.random.default_rng(1).normal(1000.0, noise)


def ringing():
    image = field(1, n=5, peak=10.0)
    lobes = np.sinc(np.arange(-5, 6) + 0.4)
    image[100:111, 90:101] += 2e4 * np.outer(lobes, lobes)
    image[200:211, 90:101] += 9e3 * np.outer(lobes, lobes)
    return image


def rotated():
    return np.where(np.abs(U - 140) + np.abs(V - 150) > 150, 0.0, field(2))


CLEAN = {
    "field": lambda: field(1),
    "crowded": lambda: field(2, n=3000, peak=3000.0),
    "large stars": lambda: field(3, n=20, fwhm=30.0, peak=5e4),
    "gradient": lambda: field(4) * (1.0 + U / 100.0),
    "correlated": lambda: convolved(field(5), 0.25, 0.5, 0.25),
    "sharpened": lambda: convolved(field(6, fwhm=6.0), -0.3, 1.6, -0.3),
    "negative stars": lambda: field(7) - stars(70, fwhm=2.2) + stars(71),
    "few photons": lambda: np.random.default_rng(8).poisson(0.05 + stars(8, peak=50.0)),
    "photons": lambda: np.random.default_rng(9).poisson(3.0 + stars(9, peak=500.0)),
    "whole numbers": lambda: np.rint(np.random.default_rng(1).normal(100.0, 0.25, SHAPE)),
    "coarse steps": lambda: 60.0 * np.rint(field(3) / 60.0),
    "heavy tails": lambda: 1000.0 + 5.0 * np.random.default_rng(1).standard_t(8, SHAPE),
    "hot pixels": lambda: np.where(np.random.default_rng(1).random(SHAPE) < 0.01, 5e4, field(1)),
    "uneven noise": uneven_noise,
    "ringing": ringing,
    "steps": lambda: field(1) + 500.0 * (U > 133) + 900.0 * (V > 71),
    "hole": lambda: field(1) - 250.0 * (np.hypot(U - 100, V - 100) < 7),
    "empty": lambda: np.zeros(SHAPE),
    "constant corner": lambda: np.where((U < 60) & (V < 60), 5000.0, field(1)),
}  # fmt: skip


@pytest.mark.parametrize("kind", CLEAN)
def test_nothing_is_found_where_nothing_is_dead(kind):
    assert not dead_of(CLEAN[kind]()).any()


def test_frames_without_dead_pixels_are_not_touched():
    given = exposure_of(field(1))
    run = Run(1)
    assert check_data(given, Config(), run) is given
    assert not run.warnings


def test_borders_of_padding_are_not_dead():
    checked = check_data(exposure_of(rotated()), Config(), Run(1))
    assert not (checked.mask & Mask.BAD).any()


def test_they_are_bad_pixels_and_told():
    truth = np.random.default_rng(1).random(SHAPE) < 1e-3
    given = exposure_of(np.where(truth, -999.0, field(1)))
    run = Run(1)
    marked = check_data(given, Config(), run)
    assert np.array_equal((marked.mask & Mask.BAD) != 0, truth)
    assert run.warnings == [
        f"dead pixels, far below the sky and what is beside, are masked (DATA_CHECK): {truth.sum()}"
    ]
    assert check_data(given, replace(Config(), data_check=False), Run(1)) is given


def test_masked_pixels_are_not_looked_at():
    truth = np.random.default_rng(1).random(SHAPE) < 1e-3
    image = np.where(truth, -999.0, field(1))
    mask = np.where(truth, np.uint16(Mask.BAD), np.uint16(0))
    assert not dead_of(image, mask).any()


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (40, 7), (64, 64)])
def test_small_frames(shape):
    image = np.random.default_rng(1).normal(100.0, 3.0, shape).astype(np.float32)
    assert dead_pixels(Exposure(image, np.zeros(shape, np.uint16)), Run(2)).size == 0
