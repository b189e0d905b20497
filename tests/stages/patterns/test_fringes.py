"""Fringes, told from all else that has waves, and measured."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import Mask
from skyextract.run import Run
from skyextract.stages.patterns.fringes import measure_fringes, shows_fringes, without_fringes
from tests.simulate import lights

SHAPE = (391, 450)
V, U = np.mgrid[: SHAPE[0], : SHAPE[1]]


def waves(amplitude: float, period: float, angle: float = 0.5) -> np.ndarray:
    bend = 0.4 * np.sin(U / 80.0) + 0.5 * np.sin(V / 70.0)
    phase = 2.0 * np.pi * (U * np.cos(angle) + V * np.sin(angle)) / period + 2.0 * bend
    return amplitude * np.sin(phase)


def noisy(image: np.ndarray, seed: int = 1) -> np.ndarray:
    return (image + np.random.default_rng(seed).normal(size=image.shape)).astype(np.float32)


def clear(image: np.ndarray) -> np.ndarray:
    return np.zeros(image.shape, np.uint16)


@pytest.mark.parametrize("period", [5.0, 10.0, 16.0, 25.0, 36.0])
def test_waves_are_measured_to_a_tenth_of_the_noise(period):
    true = waves(1.0, period)
    image = noisy(true)
    stars = np.random.default_rng(2).integers(8, 380, (2, 60))
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            image[stars[0] + dy, stars[1] + dx] += 40.0 / (1 + dx * dx + dy * dy)
    assert shows_fringes(image, clear(image), Run(2))
    left = measure_fringes(image, np.ones(SHAPE, np.bool_), Run()) - true
    assert left[20:-20, 20:-20].std() < 0.12
    assert left.std() < 0.16
    # Beneath stars, too.
    assert abs(left[stars[0], stars[1]].mean()) < 0.05
    assert left[stars[0], stars[1]].std() < 0.2


def test_wings_of_stars_are_none_of_the_waves(monkeypatch):
    """What is taken for fringes within 12 pixels of bright stars has no part of their light."""

    def light(rng: np.random.Generator, size: int) -> np.ndarray:
        v, u = np.indices((size, size))
        bend = np.sin(u / 60.0 + rng.uniform(0.0, 6.0)) + np.sin(v / 70.0 + rng.uniform(0.0, 6.0))
        return 0.8 * np.cos(2.0 * np.pi * (u + 0.3 * v) / 30.0 + 1.5 * bend)

    def taken() -> float:
        parts = []
        for seed in (1, 2, 3):
            frame = lights.make(light, seed, size=384, n=120)
            left = measure_fringes(frame.image, np.ones((384, 384), np.bool_), Run(2)) - frame.light
            v, u = np.indices(left.shape)
            for x, y, flux in zip(
                *(part[frame.snr > 60.0] for part in (frame.x, frame.y, frame.flux)), strict=True
            ):
                parts.append(left[np.hypot(u - x, v - y) < 12.0].sum() / flux)
        return float(np.mean(parts))

    now = taken()
    monkeypatch.setattr(
        "skyextract.stages.patterns.fringes.light_of_stars",
        lambda rest, known, noise: np.zeros_like(rest),
    )
    before = taken()
    assert before > 0.006
    assert abs(now) < 0.3 * before


@pytest.mark.parametrize("slope", [0.0, 0.05])
def test_neither_galaxies_nor_a_slope_are_taken_for_waves(slope):
    true = waves(1.0, 18.0)
    radius = np.hypot(U - 220.0, 1.4 * (V - 200.0))
    galaxy = 20.0 * np.exp(-radius / 20.0)
    image = noisy(true + galaxy + slope * U)
    assert shows_fringes(image, clear(image), Run(2))
    left = measure_fringes(image, np.ones(SHAPE, np.bool_), Run()) - true
    assert abs(left[radius < 60.0].sum()) < 0.12 * galaxy.sum()
    assert left[radius > 100.0].std() < 0.16


@pytest.mark.parametrize(
    "light",
    [
        lights.dark, lights.nebula(300.0), lights.nebula(2000.0), lights.nebula(60.0, 10.0, 1.2),
        lights.galaxy(100.0, 60.0), lights.comet(50.0), lights.trail(20.0), lights.dust_rings(2.0),
    ],
)  # fmt: skip
def test_other_light_is_none(light):
    image = lights.make(light, 1).image
    assert not shows_fringes(image, clear(image), Run(2))


def test_rows_columns_and_slopes_are_none():
    rng = np.random.default_rng(3)
    steps = 2.0 * ((U + V) % 3 == 0)  # of 6 pixels in bins of 2
    row, column = rng.normal(size=(SHAPE[0], 1)), rng.normal(size=(1, SHAPE[1]))
    for pattern in (row, column, 0.1 * U, steps):
        image = noisy(pattern + np.zeros(SHAPE))
        assert not shows_fringes(image, clear(image), Run(2))


def test_pixels_without_sky_stay_as_they_are():
    image = noisy(waves(2.0, 20.0) + 100.0)
    mask = clear(image)
    mask[:40], image[:40] = int(Mask.NO_DATA), 0.0
    image[200:203, 200:203] = 5000.0
    exposure = Exposure(image, mask, detector=Detector(saturation=4000.0))
    run = Run()
    found = without_fringes(exposure, run)
    assert len(run.warnings) == 1
    assert (found.image[:40] == 0.0).all()
    assert (found.image[200:203, 200:203] == 5000.0).all()
    assert np.median(np.abs(found.image[60:] - 100.0)) < 0.72
    again = Run()
    assert without_fringes(found, again) is found


def test_the_number_of_threads_changes_nothing():
    image = noisy(waves(1.0, 20.0))
    known = np.ones(SHAPE, np.bool_)
    one, two = (measure_fringes(image, known, Run(n_threads=n)) for n in (1, 2))
    assert np.array_equal(one, two)
