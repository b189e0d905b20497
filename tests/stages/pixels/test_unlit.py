"""Parts of any form that no light reached, and what only looks like one."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.pixels.deadparts import look_at
from skyextract.stages.pixels.unlit import unlit
from tests.simulate import crowds

N = 400
SKY, READ_NOISE = 400.0, 5.0
YY, XX = np.mgrid[:N, :N].astype(np.float64)
RADIUS = np.hypot(XX - 200.0, YY - 200.0)


def falling(inward, width):
    """Return light that comes back over `width` pixels; `inward` is the way into the light."""
    return 1.0 / (1.0 + np.exp(-np.clip(inward / width, -50.0, 50.0)))


def light(seed, n_stars=120):
    """Return electrons of a sky with stars."""
    rng = np.random.default_rng(seed)
    image = np.full((N, N), SKY)
    for x, y in zip(*rng.uniform(0, N, (2, n_stars)), strict=True):
        flux = 10 ** rng.uniform(2.5, 4.5)
        along = (np.exp(-0.25 * (np.arange(N) - at) ** 2) for at in (y, x))
        image += flux / (2 * np.pi * 2.0) * np.outer(*along)
    return image, rng


def found(electrons, rng, gain=1.0):
    image = rng.poisson(np.clip(electrons, 0.0, None)) + rng.normal(0.0, READ_NOISE, (N, N))
    image = (gain * image + 1000.0).astype(np.float32)
    without = np.zeros(image.shape, bool)
    return unlit(image, without, look_at(image, without))


TREES = YY - 100.0 - 20.0 * np.sin(XX / 13.0) - 8.0 * np.sin(XX / 3.0)
SHADOWS = {
    "round": falling(190.0 - RADIUS, 0.1),
    "round, soft": falling(185.0 - RADIUS, 4.0),
    "round, softer": falling(170.0 - RADIUS, 8.0),
    "corner": 0.02 + 0.98 * falling(550.0 - XX - YY, 8.0),
    "trees": np.where(TREES > 0.0, 1.0, 0.04),
    "dome": falling(0.8 * XX + YY - 200.0, 1.0),
}


@pytest.mark.parametrize("name", SHADOWS)
def test_no_light(name):
    image, rng = light(1)
    passes = SHADOWS[name]
    shadow = found(image * passes, rng)
    assert shadow is not None
    assert shadow.step == pytest.approx(SKY * np.ptp(passes), rel=0.05)
    assert shadow.dark[passes < 0.45].mean() > 0.98
    # What is dimmed, and some pixels beside, take no part; nothing else is lost.
    assert shadow.dark[passes > 0.995].mean() < 0.12
    assert np.percentile(passes[~shadow.dark], 0.1) > 0.85


def test_a_nebula_on_half_of_the_frame():
    image = crowds.simulate("nebula", 448, 2).image
    without = np.zeros(image.shape, bool)
    assert unlit(image, without, look_at(image, without)) is None


def test_a_bank_of_cloud_with_an_edge():
    """Some patches of the sky beside it have little noise by chance; it has its stars."""
    image, rng = light(25)
    front = YY - 160.0 - 30.0 * np.sin(XX / 50.0)
    assert found(image + 400.0 * falling(front, 3.0), rng) is None


def test_a_crowd():
    image, rng = light(3, 1500)
    assert found(image * SHADOWS["round, soft"], rng) is not None


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_lit(seed):
    image, rng = light(seed)
    stars = image - SKY
    for frame in (
        image,
        image * (1.0 - 0.7 * (RADIUS / 283.0) ** 2),  # vignetting
        image * falling(180.0 - RADIUS, 30.0),
        image + 4000.0 * np.exp(-RADIUS / 60.0),  # a galaxy
        image + 4000.0 * np.exp(-0.5 * (RADIUS / 80.0) ** 4),  # a nebula without a sharp edge
        stars + 20.0 + np.where(XX + YY < 400.0, 400.0, 0.0),  # light upon stars
    ):
        assert found(frame, rng) is None


def test_another_gain():
    image, rng = light(1)
    half = np.where(XX + 0.3 * YY < 250.0, 0.35, 1.0)
    assert found(image, rng, gain=half) is None
