"""Strips that no light reached, and what only looks like one."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.pixels.strips import edge_strips

NY, NX = 300, 400


def sky_frame(seed, level=400.0):
    """Return a sky with noise and stars, which stand at the edges, too."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:NY, :NX]
    image = rng.normal(level, 14.0, (NY, NX))
    for x, y in zip(rng.uniform(0, NX, 60), rng.uniform(0, NY, 60), strict=True):
        image += 10 ** rng.uniform(2, 4) * np.exp(-0.5 * ((xx - x) ** 2 + (yy - y) ** 2) / 2.0)
    return image, rng, yy, xx


def strips_of(image):
    found = edge_strips(image.astype(np.float32), np.zeros(image.shape, bool))
    return [str(strip) for strip in found]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("width", [3, 8, 42, 70])
def test_an_overscan_at_each_edge(seed, width):
    image, rng, _, _ = sky_frame(seed)
    bias = rng.normal(100.0, 3.0, image.shape)
    most = min(width, 50)
    for part, name in (
        (np.s_[:, :width], f"columns 1 to {width}"),
        (np.s_[:, NX - width :], f"columns {NX - width + 1} to {NX}"),
        (np.s_[:most], f"rows 1 to {most}"),
        (np.s_[NY - most :], f"rows {NY - most + 1} to {NY}"),
    ):
        raw = image.copy()
        raw[part] = bias[part]
        assert strips_of(raw) == [name]


@pytest.mark.parametrize("seed", [1, 2])
def test_two_overscans(seed):
    image, rng, _, _ = sky_frame(seed)
    image[:, :16] = rng.normal(100.0, 3.0, (NY, 16))
    image[290:] = rng.normal(100.0, 3.0, (10, NX))
    assert strips_of(image) == ["columns 1 to 16", "rows 291 to 300"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_no_strip(seed):
    image, rng, yy, xx = sky_frame(seed)
    vignetted = image * (1.0 - 0.6 * ((xx / NX - 0.5) ** 2 + (yy / NY - 0.5) ** 2) / 0.5)
    glow = image + 3000.0 * np.exp(-xx / 30.0)
    gradient = image + 5.0 * xx
    amplifier = image + 300.0 * (xx >= NX // 4)
    roll_off = image * (1.0 - np.exp(-xx / 8.0))
    mask_edge = image - 300.0 * (xx + yy < 120)
    bright_edge = image + 300.0 * (xx < 20)
    for frame in (
        image, vignetted, glow, gradient, amplifier, roll_off, mask_edge, bright_edge,
        rng.normal(0.0, 1.0, image.shape), np.zeros(image.shape), image[:50, :50],
    ):  # fmt: skip
        assert strips_of(frame) == []


@pytest.mark.parametrize("radius", [0.38, 0.42, 0.46, 0.48, 0.55])
@pytest.mark.parametrize("shape", [(400, 400), (1024, 1024)])
def test_the_dark_about_a_round_image_is_no_overscan(shape, radius):
    """The image of an all-sky camera or an eyepiece: a round edge, and no strip is cut off."""
    rng = np.random.default_rng(4)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    r = np.hypot(xx - 0.503 * shape[1], yy - 0.497 * shape[0])
    image = rng.normal(300.0, 14.0, shape) * (1.0 - 0.3 * (r / (radius * shape[0])) ** 4)
    dark = r > radius * shape[0]
    image[dark] = rng.normal(20.0, 4.0, np.count_nonzero(dark))
    assert strips_of(image) == []
    if radius > 0.5:
        # an overscan beside a vignetted image is one, though corners are dark
        image[:, : shape[1] // 20] = rng.normal(20.0, 4.0, (shape[0], shape[1] // 20))
        assert strips_of(image) == [f"columns 1 to {shape[1] // 20}"]
