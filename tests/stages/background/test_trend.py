"""A sky that is steep within its meshes."""

import numpy as np
import pytest

from skyextract.kernels.background.mesh import BAD
from skyextract.run import Run
from skyextract.settings.resolve import resolve
from skyextract.stages.background.estimate import estimate_background
from skyextract.stages.background.interpolate import background_image
from skyextract.stages.background.trend import steep_trend

SIDE, NOISE = 512, 12.0
V, U = np.mgrid[-1.0 : 1.0 : SIDE * 1j, -1.0 : 1.0 : SIDE * 1j]
SKIES = {
    "slope": 300.0 + 225.0 * U,
    "steep slope": 3000.0 + 2250.0 * V,
    "vignetting": 300.0 * (1.0 - 0.4 * (U**2 + V**2)),
    "moon": 300.0 + 450.0 * np.exp(-np.hypot(U + 1.2, V + 1.3)),
}


def measured(sky, seed, **options):
    rng = np.random.default_rng(seed)
    image = (sky + rng.normal(0.0, NOISE, sky.shape)).astype(np.float32)
    for y, x in rng.integers(10, SIDE - 10, (60, 2)):
        image[y - 3 : y + 4, x - 3 : x + 4] += rng.uniform(20.0, 2000.0)
    return estimate_background(image, None, None, resolve(None).config.background, Run(), **options)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", SKIES)
def test_level_and_noise_of_a_steep_sky(kind, seed):
    found = measured(SKIES[kind], seed, measured=True)
    assert found.sigma == pytest.approx(NOISE, rel=0.06)
    off = background_image(found, Run()) - SKIES[kind]
    assert abs(np.median(off)) < 0.1 * NOISE
    assert np.percentile(np.abs(off), 95) < 0.4 * NOISE


def test_a_flat_sky_and_the_estimate_of_sextractor_are_as_before(monkeypatch):
    flat, steep = (SKIES["slope"] * 0.0 + 300.0), SKIES["slope"]
    as_now = [measured(flat, 3, measured=True), measured(steep, 3)]
    monkeypatch.setattr(
        "skyextract.stages.background.estimate.steep_trend", lambda level, rms: None
    )
    before = [measured(flat, 3, measured=True), measured(steep, 3)]
    for one, other in zip(as_now, before, strict=True):
        assert np.array_equal(one.level, other.level)
        assert np.array_equal(one.rms, other.rms)


@pytest.mark.parametrize("seed", range(20))
def test_large_sources_are_no_sky(seed):
    """Galaxies and halos in a few meshes, which a surface would follow in part."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:6, 0:6]
    level = rng.normal(100.0, 0.2, (6, 6))
    for cy, cx, height in rng.uniform((0, 0, 20), (6, 6, 200), (3, 3)):
        level += height * np.exp(-np.hypot(y - cy, x - cx))
    assert steep_trend(level.astype(np.float32), np.full((6, 6), 5.0, np.float32)) is None


def test_meshes_that_are_not_known_do_not_bend_it():
    level = np.add.outer(np.zeros(8), np.linspace(0.0, 700.0, 8)).astype(np.float32)
    rms = np.full_like(level, 10.0)
    level[2:4, 3], rms[2:4, 3] = BAD, BAD
    level[6, 6] = 5000.0
    trend = steep_trend(level, rms).level
    np.testing.assert_allclose(trend, np.broadcast_to(np.linspace(0.0, 700.0, 8), (8, 8)), atol=15)
    assert steep_trend(np.full_like(level, BAD), rms) is None
    assert steep_trend(level[:1, :3], rms[:1, :3]) is None


@pytest.mark.parametrize(("size", "limit"), [((512, 512), 0.25), ((300, 700), 0.5)])
def test_a_sky_that_bends_has_its_level_at_the_edges_of_the_frame(size, limit):
    v, u = np.ix_(*(np.linspace(-1.0, 1.0, n) for n in size))
    sky = 15_000.0 * (1.0 + 0.6 * u + 0.25 * v * v - 0.15 * u * v)
    noise = np.sqrt(0.5 * sky)
    image = np.random.default_rng(1).normal(sky, noise).astype(np.float32)
    config = resolve(None).config.background
    found = estimate_background(image, None, None, config, Run(), measured=True)
    off = (background_image(found, Run()) - sky) / noise
    # A spline through the middles of the meshes is off by 1.3 and 4.8 there.
    for edge in (off[:8], off[-8:], off[:, :8].T, off[:, -8:].T):
        assert np.abs(edge.mean(axis=1)).max() < limit
    assert off.std() < 0.4 * limit
    assert found.sigma == pytest.approx(np.median(noise), rel=0.05)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_light_that_is_steep_in_a_part_of_the_frame(seed):
    """As the Moon's, beside the frame: meshes there scattered by up to six times the noise."""
    light = 500.0 * np.exp(-3.0 * ((U if seed < 3 else V) + 1.0))
    sources = np.zeros(light.shape, np.uint8)
    sources[200:230, 300:340] = 1
    found = measured(300.0 + light, seed, measured=True, sources=sources)
    assert np.percentile(found.rms, 90) < 2.2 * NOISE
    assert np.median(found.rms) == pytest.approx(NOISE, rel=0.1)
