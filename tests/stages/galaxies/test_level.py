"""The level of the sky below sources, against numbers that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skyextract.datamodel.background import BackgroundMap
from skyextract.kernels.galaxies.level import IMAGE, RESIDUAL, mean_wings, sum_sky
from skyextract.kernels.galaxies.source import INDEX, N_PARAMETERS, RADIUS, SPHEROID
from skyextract.run import Run
from skyextract.stages.background.interpolate import subtract_background
from skyextract.stages.galaxies.fit import Profile, fit_models
from skyextract.stages.galaxies.level import BACKGROUND, Planes, levels_below, on_background
from skyextract.stages.galaxies.scaled import scale_models
from tests.stages.galaxies.test_fit import NOISE, frame, grid_of, sersic, sky_of

galsim = pytest.importorskip("galsim")

MESH = 64


def a_background(level: np.ndarray, shape: tuple[int, int]) -> BackgroundMap:
    level = level.astype(np.float32)
    return BackgroundMap(level, np.full_like(level, NOISE), MESH, MESH, shape, 0.0, NOISE)


def with_background(image: np.ndarray, background: BackgroundMap) -> np.ndarray:
    return subtract_background(image, None, background, Run())


def test_sums_are_those_of_the_sky_between_sources() -> None:
    rng = np.random.default_rng(21)
    shape = (150, 200)
    image = rng.normal(0.4, NOISE, shape).astype(np.float32)
    variance = rng.uniform(0.5, 1.5, shape).astype(np.float32) * np.float32(NOISE**2)
    variance[70, 80] = 1e30
    mask = np.zeros(shape, np.uint16)
    mask[90:100, 30:40] = 1
    boxes = np.array([[10, 20, 60, 50], [120, 60, 50, 40], [150, 80, 50, 60], [0, 0, 0, 0]])
    apart = np.array([1, 0, 0, 1], np.uint8)
    left, light = image.copy(), np.zeros_like(image)
    light[60:100, 120:170] = 0.1 * NOISE
    light[70:80, 130:140] = 9.0 * NOISE
    light[20:70, 10:70] = 3e4
    image += light
    expected = left.astype(np.float64)
    usable = (variance < 1e29) & (mask == 0) & (expected**2 < 16.0 * variance)
    usable &= light < 0.2 * np.sqrt(variance)
    outside = usable.copy()
    outside[20:70, 10:70] = False
    for elsewhere, good in ((IMAGE, outside), (RESIDUAL, usable)):
        residual = left.copy()
        if elsewhere == IMAGE:
            residual[:] = 1e9
            for x, y, width, height in boxes[1:3]:
                here = np.s_[y : y + height, x : x + width]
                residual[here] = left[here]
        pixels = sky_of(image, variance, mask).pixels(residual)
        sums = np.empty((3, 4))
        sum_sky(pixels, boxes, apart, elsewhere, 50, 114, 64, sums)
        weight = np.where(good, 1.0 / variance.astype(np.float64), 0.0)[50:114]
        for k, plane in enumerate((weight, weight * left[50:114], good[50:114])):
            by_cell = np.add.reduceat(plane.sum(axis=0), np.arange(0, 200, 64))
            np.testing.assert_allclose(sums[k], by_cell, rtol=1e-4, atol=1e-3)


def test_planes_through_meshes_are_those_of_least_squares() -> None:
    """Slopes are far steeper than their noise, and those in one place do not count."""
    rng = np.random.default_rng(3)
    weight, y, x = rng.uniform(1e6, 3e6, (6, 7)), *np.indices((6, 7))
    values = 0.3 * y - 0.2 * x + rng.normal(0.0, 1.0 / np.sqrt(weight))
    excess = np.zeros((6, 7))
    excess[2, 3] = 5.0
    j, i, up, across = np.array([2, 3]), np.array([2, 4]), np.array([0.3, 0.0]), np.array([-0.4, 0])
    value, variance = Planes(weight, values, excess, flat=False).at(j, i, up, across)
    mean, of_mean = Planes(weight, values, excess, flat=True).at(j, i, up, across)
    for k in range(2):
        near = (abs(y - j[k]) <= 1) & (abs(x - i[k]) <= 1) & (excess == 0.0)
        w = weight[near]
        terms = np.stack([np.ones(w.size), y[near] - j[k], x[near] - i[k]])
        inverse = np.linalg.inv(terms * w @ terms.T)
        place = np.array([1.0, up[k], across[k]])
        plane = place @ inverse @ (terms @ (w * values[near]))
        assert value[k] == pytest.approx(plane, abs=1e-5)
        assert variance[k] == pytest.approx(place @ inverse @ place, rel=1e-4)
        assert mean[k] == pytest.approx(np.average(values[near], weights=w))
        assert of_mean[k] == pytest.approx(1.0 / w.sum())


def test_the_light_of_a_galaxy_beyond_its_box() -> None:
    flux, radius, index = 15000.0, 4.0, 4.0
    parameters = np.zeros((2, N_PARAMETERS))
    parameters[:, SPHEROID] = flux
    parameters[:, SPHEROID + RADIUS] = math.log(radius)
    parameters[:, SPHEROID + INDEX] = math.log(index)
    boxes, around, light = np.array([[0, 0, 40, 30]] * 2), np.array([192.0**2, 900.0]), np.ones(2)
    mean_wings(parameters, boxes, around, light)
    galaxy = galsim.Sersic(n=index, half_light_radius=radius, flux=flux)
    inner, outer = (math.sqrt(a / math.pi) for a in (1200.0, 192.0**2))
    r = np.linspace(inner, outer, 4001)
    rings = 2.0 * math.pi * r * np.array([galaxy.xValue(float(at), 0.0) for at in r])
    own = float(np.trapezoid(rings, r)) / (192.0**2 - 1200.0)
    assert light[0] == pytest.approx(own, rel=0.03)
    assert light[1] == 0.0


@pytest.mark.parametrize("slope", [0.0, 0.05])
def test_the_sky_is_a_plane_where_the_background_has_noise_of_its_own(slope: float) -> None:
    """Levels and errors of a sky that rises from mesh to mesh, below meshes that are off."""
    shape, rng = (22 * MESH, 22 * MESH), np.random.default_rng(31)
    row, column = np.mgrid[: shape[0], : shape[1]]
    true = NOISE * slope * (column - 0.5 * row) / MESH
    image = (true + rng.normal(0.0, NOISE, shape)).astype(np.float32)
    middle = np.arange(22) + 0.5
    nodes = NOISE * (slope * (middle - 0.5 * middle[:, None]) + rng.normal(0.0, 0.02, (22, 22)))
    background = a_background(nodes, shape)
    n = 400
    corner = rng.integers(0, 21 * MESH, (n, 2))
    boxes = np.concatenate([corner, np.full((n, 2), 21)], axis=1)
    subtracted = with_background(image, background)
    sky = sky_of(subtracted, np.full(shape, NOISE**2, np.float32), background=background)
    parameters = np.zeros((n, N_PARAMETERS))
    every = np.zeros(n, np.bool_)
    below = levels_below(sky, subtracted, boxes, every, False, parameters, Run(n_threads=2))
    assert below is not None
    x, y = (corner + 10).T
    off = below.level - (true - (image - subtracted))[y, x]
    assert np.std(off) < 0.012 * NOISE
    assert abs(np.mean(off)) < 0.002 * NOISE
    assert 0.7 < np.std(off) / np.median(below.error) < 1.3


def test_a_sky_that_meshes_follow_is_left_to_them() -> None:
    """Waves of four meshes: a plane cannot have them; the error of what is left is small."""
    shape, rng = (20 * MESH, 20 * MESH), np.random.default_rng(41)
    node = np.arange(20) + 0.5
    waves = NOISE * np.sin(0.5 * math.pi * node) * np.sin(0.5 * math.pi * node[:, None] + 1.0)
    background = a_background(waves, shape)
    flat = rng.normal(0.0, NOISE, shape).astype(np.float32)
    image = flat - with_background(np.zeros(shape, np.float32), background)
    subtracted = with_background(image, background)
    sky = sky_of(subtracted, np.full(shape, NOISE**2, np.float32), background=background)
    boxes = np.concatenate([rng.integers(0, 19 * MESH, (100, 2)), np.full((100, 2), 15)], axis=1)
    parameters, apart = np.zeros((100, N_PARAMETERS)), np.ones(100, np.bool_)
    below = levels_below(sky, subtracted, boxes, apart, True, parameters, Run())
    assert below is not None
    assert np.abs(below.level).max() < 0.03 * NOISE
    assert below.error.max() < 0.02 * NOISE


def test_little_sky_has_no_level() -> None:
    shape = (40, 40)
    image, variance = np.zeros(shape, np.float32), np.full(shape, NOISE**2, np.float32)
    sky = sky_of(image, variance, background=a_background(np.zeros((1, 1)), shape))
    boxes, parameters = np.array([[10, 10, 20, 20]]), np.zeros((1, N_PARAMETERS))
    assert levels_below(sky, image, boxes, np.ones(1, bool), True, parameters, Run()) is None


def test_meshes_that_are_off_do_not_move_galaxies() -> None:
    """Steep profiles of S/N 60 to 150 above meshes that are .06 sigma off, each for itself."""
    n, flux = 64, 9000.0
    positions, shape = grid_of(n, 91)
    positions, shape = 2.0 * positions, (2 * shape[0], 2 * shape[1])
    rng = np.random.default_rng(95)
    galaxies = [sersic(flux, radius, 3.0) for radius in rng.uniform(2.0, 6.0, n)]
    image, variance, found = frame(galaxies, positions, shape, 92, 12)
    cells = -(-shape[0] // MESH)
    background = a_background(rng.normal(0.0, 0.06 * NOISE, (cells, cells)), shape)
    sky = sky_of(with_background(image, background), variance, background=background)
    known = fit_models(sky_of(image, variance), found, Profile(True, False), Run())
    fits = fit_models(sky, found, Profile(True, False), Run())
    ratio = fits.parameters[:, SPHEROID] / known.parameters[:, SPHEROID]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.01)
    low, high = np.percentile(ratio, (16, 84))
    assert 0.5 * (high - low) < 0.025
    pulls = (fits.parameters[:, SPHEROID] - flux) / np.sqrt(fits.covariance[:, SPHEROID, SPHEROID])
    low, high = np.percentile(pulls, (16, 84))
    assert 0.75 < 0.5 * (high - low) < 1.25


def test_meshes_that_are_off_do_not_move_colours() -> None:
    """Brightness of given shapes above meshes that are .15 sigma off, each for itself."""
    n, flux = 64, 9000.0
    positions, shape = grid_of(n, 93)
    positions, shape = 2.0 * positions, (2 * shape[0], 2 * shape[1])
    rng = np.random.default_rng(96)
    galaxies = [sersic(flux, radius, 1.0) for radius in rng.uniform(2.0, 6.0, n)]
    deep, variance, found = frame(galaxies, positions, shape, 94, 12)
    image, _, _ = frame([0.2 * galaxy for galaxy in galaxies], positions, shape, 95, 12)
    cells = -(-shape[0] // MESH)
    background = a_background(rng.normal(0.0, 0.15 * NOISE, (cells, cells)), shape)
    sky = sky_of(with_background(image, background), variance, background=background)
    shapes = fit_models(sky_of(deep, variance), found, Profile(True, False), Run())
    known = scale_models(sky_of(image, variance), shapes, Run())
    scaled = scale_models(sky, shapes, Run())
    # the level adds less than half the noise of the pixels, which both have (of meshes 1.3 times)
    low, high = np.percentile((scaled.scale - known.scale) / known.error, (16, 84))
    assert 0.5 * (high - low) < 0.5
    low, high = np.percentile((scaled.scale - 0.2) / scaled.error, (16, 84))
    assert 0.75 < 0.5 * (high - low) < 1.25
    assert np.median(scaled.error / known.error) < 1.5


def test_the_halo_of_a_star_is_not_the_sky_around_it() -> None:
    shape, rng = (16 * MESH, 16 * MESH), np.random.default_rng(51)
    image = rng.normal(0.0, NOISE, shape).astype(np.float32)
    image[5 * MESH : 6 * MESH, 5 * MESH : 6 * MESH] += np.float32(1.5 * NOISE)
    background = a_background(np.zeros((16, 16)), shape)
    sky = sky_of(image, np.full(shape, NOISE**2, np.float32), background=background)
    places = np.array([[5, 5], [5, 6], [4, 4], [9, 9]]) * MESH + 25
    boxes = np.concatenate([places, np.full((4, 2), 15)], axis=1)
    parameters, apart = np.zeros((4, N_PARAMETERS)), np.ones(4, np.bool_)
    below = levels_below(sky, image, boxes, apart, True, parameters, Run())
    assert below is not None
    assert np.all(np.abs(below.level) < 0.03 * NOISE)
    assert below.error[0] == pytest.approx(1.5 * NOISE, rel=0.1)
    assert np.all(below.error[1:] < 0.02 * NOISE)


@pytest.mark.parametrize(("step", "flag"), [(0.0, 0), (1.0, 0), (10.0, BACKGROUND)])
def test_the_background_that_followed_a_galaxy_is_told(step: float, flag: int) -> None:
    """A hundredth of its light is not, an eighth is."""
    shape = (6 * MESH, 6 * MESH)
    place = 3.0 * MESH
    image, variance, found = frame(
        [sersic(1e6, 0.5 * MESH, 1.0)], np.array([[place, place]]), shape, 32
    )
    found.xmin[:] = found.ymin[:] = place - 1.3 * MESH
    found.xmax[:] = found.ymax[:] = place + 1.3 * MESH
    found.x2[:], found.y2[:] = 900.0, 600.0
    level = np.zeros((6, 6))
    level[2:4, 2:4] = 1e5 / (4 * MESH**2) * step / 8.0
    background = a_background(level, shape)
    sky = sky_of(with_background(image, background), variance, background=background)
    fits = fit_models(sky, found, Profile(True, False), Run())
    assert fits.flags[0] & BACKGROUND == flag


def test_a_galaxy_that_fills_its_image_has_no_sky_beside_it() -> None:
    """A flat background is no proof: all of its meshes lie below the galaxy."""
    sky = sky_of(
        np.zeros((128, 128), np.float32), np.ones((128, 128), np.float32),
        background=a_background(np.zeros((2, 2)), (128, 128)),
    )  # fmt: skip
    boxes = np.array([[0, 0, 128, 126], [0, 0, 128, 110], [20, 20, 15, 15]])
    parameters = np.ones((3, N_PARAMETERS))
    assert on_background(sky, boxes, parameters).tolist() == [True, False, False]
