"""Levels that rows or columns have of their own."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import Mask
from skyextract.run import Run
from skyextract.stages.patterns.lineoffsets import measure_offsets, without_line_offsets
from tests.simulate import lights

SHAPE = (400, 600)
V, U = np.mgrid[: SHAPE[0], : SHAPE[1]]
GALAXY = 20.0 * np.exp(-np.hypot((U - 300.0) / 40.0, (V - 200.0) / 12.0))
STAR = 3000.0 * np.exp(-np.hypot(U - 100.0, V - 100.0) / 3.0)
"""Both in the noise of a pixel, as all that follows."""


def frame(seed: int, levels: np.ndarray) -> np.ndarray:
    """Return noise, a slope, stars, and a galaxy along the rows, with levels of rows."""
    rng = np.random.default_rng(seed)
    image = rng.normal(500.0, 1.0, SHAPE) + 0.02 * V + GALAXY + STAR + levels
    for x, y in zip(rng.integers(3, 590, 100), rng.integers(3, 390, 100), strict=True):
        image[y - 2 : y + 3, x - 2 : x + 3] += 10 ** rng.uniform(0, 3)
    return image.astype(np.float32)


def exposure(image: np.ndarray, mask: np.ndarray | None = None) -> Exposure:
    blank = np.zeros(image.shape, np.uint16)
    return Exposure(image, blank if mask is None else mask, detector=Detector(saturation=2000.0))


def without_mean(levels: np.ndarray) -> np.ndarray:
    """Return levels without their mean over 65 rows: what all of these share is the sky's."""
    wide = np.pad(levels, ((32, 32), (0, 0)), mode="symmetric")
    return levels - sum(wide[k : k + len(levels)] for k in range(65)) / 65.0


def taken(image: np.ndarray) -> tuple[np.ndarray, str]:
    """Return what is subtracted, and what is said."""
    run = Run()
    corrected = without_line_offsets(exposure(image), run)
    return image - corrected.image, " ".join(run.warnings)


@pytest.mark.parametrize("size", [0.3, 1.0, 2.0])
def test_rows_have_their_levels_back(size: float) -> None:
    """To the noise of the mean of their pixels of sky; sources keep their light."""
    levels = np.random.default_rng(3).normal(0.0, size, (SHAPE[0], 1))
    image = frame(4, levels)
    offsets, said = taken(image)
    fine = offsets[:, 300] - without_mean(levels)[:, 0]
    assert fine.std() < 1.6 / np.sqrt(SHAPE[1])
    assert abs(fine[190:211].mean()) < 0.02  # the galaxy's rows
    assert abs(fine[95:106].mean()) < 0.04
    assert abs(float(re.match(r"rows differ by (\S+), ", said)[1]) / size - 1.0) < 0.15
    turned, said = taken(image.T.copy())
    assert said.startswith("columns differ by")
    np.testing.assert_allclose(turned.T, offsets, atol=1e-3)


def test_saturated_pixels_and_those_without_data_stay() -> None:
    levels = np.random.default_rng(3).normal(0.0, 1.5, (SHAPE[0], 1))
    image, mask = frame(4, levels), np.zeros(SHAPE, np.uint16)
    mask[:, :50] = Mask.NO_DATA
    image[:, :50] = 0.0
    after = without_line_offsets(exposure(image, mask), Run()).image
    assert (after[:, :50] == 0.0).all()
    assert (image >= 2000.0).any()
    np.testing.assert_array_equal(after[image >= 2000.0], image[image >= 2000.0])
    assert (after[200:, 60:90] != image[200:, 60:90]).all()


@pytest.mark.parametrize("n", [2, 4])
def test_amplifiers_have_levels_of_their_own(n: int) -> None:
    """Parts of rows side by side, each with its own noise of levels."""
    levels = np.random.default_rng(5).normal(0.0, 2.0, (SHAPE[0], n)).repeat(SHAPE[1] // n, axis=1)
    offsets = measure_offsets(frame(6, levels), np.ones(SHAPE, np.bool_))
    fine = (offsets - without_mean(levels))[:, :: SHAPE[1] // n]
    assert np.median(np.abs(fine)) < 1.6 * 0.6745 / np.sqrt(SHAPE[1] / n)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_no_banding(seed: int) -> None:
    """Noise, noise that neighbours share, the sky's structure, bad rows, a spectrum."""
    rng = np.random.default_rng(seed)
    plain = frame(seed, np.zeros((SHAPE[0], 1)))
    shared = gaussian_filter(rng.normal(0.0, 3.0, SHAPE), 1.0).astype(np.float32)
    structure = gaussian_filter(rng.normal(0.0, 30.0, SHAPE), 10.0).astype(np.float32)
    bad = plain.copy()
    bad[::40] += 50.0
    two = plain.copy()
    two[::2] += 2.0
    spectrum = frame(seed, rng.normal(0.0, 30.0, (SHAPE[0], 1)))
    waves = plain + np.sin(V / 2.0).astype(np.float32)
    for image in (plain, waves, plain + shared, plain + structure, bad, two, spectrum, plain[:200]):
        offsets, said = taken(image)
        assert said == ""
        assert not offsets.any()


@pytest.mark.parametrize(
    "light",
    [
        lights.nebula(2000.0), lights.nebula(60.0, 10.0, 1.2), lights.galaxy(100.0, 60.0),
        lights.comet(50.0), lights.trail(20.0), lights.dust_rings(2.0),
    ],
)  # fmt: skip
def test_other_light_is_none(light: lights.Light) -> None:
    assert taken(lights.make(light, 1).image)[1] == ""


@pytest.mark.parametrize(("lines", "size"), [(2, 0.5), (4, 0.3), (8, 0.6), (13, 1.0)])
def test_groups_of_rows_have_their_levels_back(lines: int, size: float) -> None:
    """Each of the rows that were read in turn has the level of all; the rest is a smooth sky."""
    n = SHAPE[0] // lines + 2
    levels = np.random.default_rng(lines).normal(0.0, size, n).repeat(lines)[3 : 3 + SHAPE[0], None]
    image = frame(9, levels)
    offsets, said = taken(image)
    kind = f"rows in groups of {lines}"
    assert float(re.match(rf"{kind} differ by (\S+), ", said)[1]) == pytest.approx(size, rel=0.4)
    left = levels[:, 0] - np.median(offsets, axis=1)
    steps = np.diff(left)
    assert steps.std() < 2.0 * np.sqrt(2.0 / SHAPE[1])
    assert left.std() < 0.25 * size
    turned, said = taken(image.T.copy())
    assert said.startswith(kind.replace("rows", "columns"))
    np.testing.assert_allclose(turned.T, offsets, atol=1e-3)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_are_no_groups(seed: int) -> None:
    """Steps anywhere, one step, waves, and pixels that were repeated."""
    rng = np.random.default_rng(seed)
    plain = frame(seed, np.zeros((SHAPE[0], 1)))
    anywhere = np.cumsum(rng.normal(0.0, 1.0, SHAPE[0]) * (rng.random(SHAPE[0]) < 0.1))
    anywhere -= anywhere.mean()
    repeated = plain[::4].repeat(4, axis=0)
    for image in (
        plain + anywhere[:, None].astype(np.float32),
        plain + (V > 211) * np.float32(2.0), repeated,
        *(plain + np.sin(V / wave).astype(np.float32) for wave in (2.0, 3.0, 5.0)),
    ):  # fmt: skip
        assert taken(image)[1] == ""
