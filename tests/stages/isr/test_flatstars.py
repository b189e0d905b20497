"""Points of light in a flat, and what is none."""

import numpy as np

from skyextract.datamodel.psf import Psf
from skyextract.inputs.fitness import check_flat
from skyextract.run import Run
from skyextract.stages.isr.flatstars import count_points
from tests.stages.pointsources.test_fit import add_stars

SHAPE = (300, 400)


def noisy(light: np.ndarray) -> np.ndarray:
    level = 20_000.0 * (1.0 - 0.2 * np.linspace(-1.0, 1.0, SHAPE[1]) ** 2) + light
    return np.random.default_rng(1).normal(level, np.sqrt(level)).astype(np.float32)


def test_stars_are_counted_and_neither_defects_nor_dust_nor_lines_are():
    rng = np.random.default_rng(2)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    stars = np.zeros(SHAPE)
    place = rng.uniform(20.0, 280.0, (2, 12))
    add_stars(stars, Psf.gaussian(3.0), *place, np.full(12, 1e5))
    others = 3000.0 * np.exp(-0.5 * ((y - 60.0 - 0.3 * x) / 1.5) ** 2)  # a trace
    others[rng.integers(0, 300, 40), rng.integers(0, 400, 40)] += 50_000.0  # hot pixels
    others[160:, 200:202] += 5000.0
    dust = np.hypot(y - 220.0, x - 100.0) < 9.0
    others[dust] -= 3000.0
    flat = noisy(others)
    flat[100:110, 50:60] = np.nan
    assert count_points(flat)[0] == 0
    light, dark = count_points(noisy(stars))
    assert 10 <= light <= 12
    assert count_points(noisy(-stars)) == (dark, light) == (0, light)
    assert count_points(flat[:20]) == (0, 0)
    for image, is_told in ((stars, True), (others, False)):
        run = Run()
        check_flat(noisy(image), None, 1, run)
        assert len(run.warnings) == is_told
        assert all("points of light" in text for text in run.warnings)
