"""Galaxies that are wider than the meshes of the background, against their true light."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.flags import Mask
from skyextract.kernels.galaxies.source import SPHEROID
from skyextract.run import Run
from skyextract.stages.background.interpolate import background_image, subtract_background
from skyextract.stages.galaxies.fit import Profile, fit_models
from skyextract.stages.galaxies.level import BACKGROUND
from skyextract.stages.galaxies.wide import on_surfaces
from tests.stages.galaxies.test_fit import NOISE, frame, sersic, sky_of

MESH, SIDE = 32, 18
"""Pixels of a mesh, and meshes of an image."""
FLUX, RADIUS = 4e5, 0.8 * MESH
HALF = 54
"""Of the side of the footprint, pixels."""
MIDDLE = SIDE * MESH / 2 - 3.0


def a_galaxy(seed: int, followed: float, sky: np.ndarray) -> Any:
    """Return a galaxy less a background that has a part of its light, and detections.

    `sky` are the true levels of the meshes.
    """
    pytest.importorskip("galsim")
    shape = (SIDE * MESH, SIDE * MESH)
    image, variance, found = frame(
        [sersic(FLUX, RADIUS, 1.0)], np.array([[MIDDLE, MIDDLE]]), shape, seed, HALF
    )
    found.x2[:], found.y2[:] = 900.0, 600.0
    sky = sky.astype(np.float32)
    level = sky.copy()
    there = slice(SIDE // 2 - 3, SIDE // 2 + 2)
    level[there, there] += np.float32(followed * FLUX / (5 * MESH) ** 2)
    level += np.random.default_rng(seed).normal(0.0, NOISE / MESH, sky.shape).astype(np.float32)

    def mapped(values: np.ndarray) -> BackgroundMap:
        return BackgroundMap(values, np.full_like(values, NOISE), MESH, MESH, shape, 0.0, NOISE)

    image += background_image(mapped(sky), Run())
    left = subtract_background(image, None, mapped(level), Run())
    return sky_of(left, variance, background=mapped(level)), found


def skies() -> dict[str, np.ndarray]:
    y, x = np.indices((SIDE, SIDE)) / SIDE - 0.5
    return {"even": 0.0 * x, "steep": 4.0 * x - 3.0 * y, "bent": 5.0 * x * x + 3.0 * y * y}


@pytest.mark.parametrize("kind", ["even", "steep", "bent"])
def test_the_background_takes_no_light_of_a_wide_galaxy(kind: str) -> None:
    sky, found = a_galaxy(5, 0.15, skies()[kind])
    fits = fit_models(on_surfaces(sky, found, Run()), found, Profile(True, False), Run())
    flux, error = fits.parameters[0, SPHEROID], np.sqrt(fits.covariance[0, SPHEROID, SPHEROID])
    assert flux == pytest.approx(FLUX, abs=2.0 * error)
    assert error < 0.015 * FLUX
    assert fits.flags[0] & BACKGROUND == 0
    # above that of the meshes it has less
    taken = fit_models(sky, found, Profile(True, False), Run())
    assert taken.parameters[0, SPHEROID] < 0.96 * FLUX


def test_what_is_no_galaxy_keeps_its_background() -> None:
    """An uneven sky, the halo of a star, saturated or not, sources that are not wide."""
    rng = np.random.default_rng(3)
    sky, found = a_galaxy(6, 0.07, rng.normal(0.0, 0.3 * NOISE, (SIDE, SIDE)))
    assert on_surfaces(sky, found, Run()) is sky
    sky, found = a_galaxy(6, 0.07, skies()["even"])
    assert on_surfaces(sky, found, Run()) is not sky
    sky.mask[int(MIDDLE), int(MIDDLE)] = Mask.SAT
    assert on_surfaces(sky, found, Run()) is sky
    sky.mask[:] = 0
    sky.image[int(MIDDLE), int(MIDDLE)] += 0.01 * FLUX
    assert on_surfaces(sky, found, Run()) is sky
    sky.image[int(MIDDLE), int(MIDDLE)] -= 0.01 * FLUX
    found.xmin[:], found.xmax[:] = MIDDLE - 0.5 * MESH, MIDDLE + 0.5 * MESH
    assert on_surfaces(sky, found, Run()) is sky
