"""Skies of parts of a frame between which lines have no data."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import Mask
from skyextract.run import Run
from skyextract.stages.pixels.chips import without_steps_at_gaps

NY, NX = 400, 420
V, U = np.mgrid[:NY, :NX].astype(float)
NOISE = 14.0


def frame(seed: int, sky: np.ndarray | float) -> np.ndarray:
    """Return a sky with noise and stars."""
    rng = np.random.default_rng(seed)
    image = rng.normal(sky, NOISE, (NY, NX))
    for x, y in zip(rng.integers(6, NX - 6, 150), rng.integers(6, NY - 6, 150), strict=True):
        part = np.s_[y - 5 : y + 6, x - 5 : x + 6]
        square = (U[part] - x) ** 2 + (V[part] - y) ** 2
        image[part] += 10 ** rng.uniform(2, 4) * np.exp(-square / 4.0)
    return image


def taken(image: np.ndarray, gap: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return what is subtracted, NaN in the gap, and what is said."""
    mask = np.where(gap, np.uint16(Mask.NO_DATA), np.uint16(0))
    blank = np.where(gap, 0.0, image).astype(np.float32)
    run = Run()
    exposure = Exposure(blank, mask, detector=Detector(saturation=60000.0))
    level = without_steps_at_gaps(exposure, run)
    assert level.matched == bool(run.warnings)
    away = blank - level.image
    return np.where(gap, np.nan, away), run.warnings


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_strips_of_light_with_skies_by_turns(seed: int) -> None:
    """Those of a polarimeter: to 0.3 of the noise of a pixel, over a slope that stays."""
    dark = V % 50 < 4
    sky = np.where(V // 50 % 2 == 0, 400.0, 388.0)
    away, said = taken(frame(seed, sky + 0.02 * V), dark)
    assert len(said) == 1
    assert "between parts of the frame with lines without data between them" in said[0]
    difference = away - sky
    levels = [np.nanmean(difference[50 * k : 50 * k + 50]) for k in range(8)]
    assert np.ptp(levels) < 0.3 * NOISE


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_four_chips(seed: int) -> None:
    skies = np.array([[300.0, 480.0], [430.0, 370.0]])
    sky = skies[(V > 200).astype(int), (U > 210).astype(int)]
    gap = (np.abs(V - 200) < 12) | (np.abs(U - 210) < 12)
    gap |= np.random.default_rng(seed).random((NY, NX)) < 0.002  # dead pixels everywhere
    away, said = taken(frame(seed, sky), gap)
    assert len(said) == 1
    assert np.nanmax(away - sky) - np.nanmin(away - sky) < 0.3 * NOISE


@pytest.mark.parametrize("what", ["level", "slope", "vignetted", "galaxy", "nebula", "bad columns"])
def test_one_sky_stays_as_it_is(what: str) -> None:
    sky = {
        "slope": 400.0 + 0.3 * V + 0.2 * U,
        "vignetted": 400.0 * (1.0 - 0.3 * ((U - 210) ** 2 + (V - 200) ** 2) / 300.0**2),
        "galaxy": 400.0 + 400.0 * np.exp(-np.hypot(U - 170.0, V - 240.0) / 40.0),
        "nebula": 520.0 + 120.0 * np.sin(V / 30.0 + 0.5) * (0.5 + np.sin(U / 15.0 + 2.0)),
    }.get(what, 400.0)
    gap = (np.abs(V - 200) < 12) | (np.abs(U - 210) < 12)
    if what == "nebula":
        gap = np.abs(U - 210) < 30
    if what == "bad columns":
        gap = (U % 61 == 30) | (U == 91)
    for seed in range(8):
        away, said = taken(frame(seed, sky), gap)
        assert said == []
        assert np.nanmax(np.abs(away)) == 0.0
