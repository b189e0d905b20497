"""Groups of lines that no light reached between lit ones, and what only looks like some."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.run import Run
from skyextract.stages.pixels.darklines import dark_lines, tell_of_dark_lines

NY, NX = 320, 400


def sky_frame(seed, level=400.0):
    """Return a sky with its photons' noise at GAIN 2 and stars, the generator, and coordinates."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:NY, :NX]
    light = np.full((NY, NX), level)
    for x, y in zip(rng.uniform(0, NX, 80), rng.uniform(0, NY, 80), strict=True):
        light += 10 ** rng.uniform(2, 4) * np.exp(-0.5 * ((xx - x) ** 2 + (yy - y) ** 2) / 2.0)
    return light, rng, yy, xx


def exposed(light, rng, bias=100.0):
    return bias + rng.poisson(2.0 * light) / 2.0 + rng.normal(0.0, 2.5, light.shape)


def groups_of(image):
    found = dark_lines(image.astype(np.float32), np.zeros(image.shape, bool), Run())
    return [(group.axis, group.first, group.last) for group in found]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("height", "dark"), [(60, 4), (34, 6), (14, 10)])
def test_strips_of_light(seed, height, dark):
    light, rng, yy, xx = sky_frame(seed)
    for axis, at, size in ((0, yy, NY), (1, xx, NX)):
        masked = at % (height + dark) >= height
        image = exposed(np.where(masked, 0.0, light), rng)
        begin = range(height, size - dark, height + dark)
        assert groups_of(image) == [(axis, first, first + dark - 1) for first in begin]


@pytest.mark.parametrize("seed", [1, 2])
def test_soft_edges_are_dark_too(seed):
    """Lines that have less than nine tenths of the light."""
    light, rng, yy, _ = sky_frame(seed)
    share = np.clip(np.abs(yy - 150.0) / 2.0 - 2.75, 0.0, 1.0)
    (found,) = groups_of(exposed(light * share, rng))
    assert found == (0, 143, 157)


def test_one_gap_of_bias_and_its_message():
    light, rng, _, xx = sky_frame(4)
    image = exposed(np.where((xx >= 200) & (xx < 212), 0.0, light), rng)
    found = dark_lines(image.astype(np.float32), np.zeros(image.shape, bool), Run())
    run = Run()
    tell_of_dark_lines(found, image.shape, run)
    (message,) = run.warnings
    assert str(message).startswith("3 % of the columns (columns 201 to 212) are 40")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_none(seed):
    light, rng, yy, xx = sky_frame(seed)
    image = exposed(light, rng)
    radius = np.hypot(xx / NX - 0.5, yy / NY - 0.5)
    for frame in (
        image,
        image - 300.0 * (yy % 66 >= 60),  # banding, with the noise of the sky
        image - 300.0 * ((xx + yy) % 66 >= 60),
        exposed(np.where(yy % 66 >= 63, 0.0, light), rng),  # bad rows
        exposed(light * (1.0 + 0.9 * np.sin(yy / 8.0)), rng),
        exposed(light * (1.0 - 0.9 * np.exp(-0.5 * ((yy - 150.0) / 12.0) ** 2)), rng),
        exposed(np.where(yy < 40, 0.0, light), rng),  # at the edge: an overscan
        exposed(np.where(radius > 0.45, 0.0, light), rng),  # round
        exposed(np.where((yy > 100) & (yy < 120) & (xx < 300), 0.0, light), rng),  # not all along
        exposed(np.where(np.abs(yy - 150 - xx / 8.0) < 10.0, 0.0, light), rng),
        exposed(0.05 * light + 3000.0 * (xx % 100 > 92), rng),  # lines of a lamp
        rng.normal(0.0, 1.0, image.shape), np.zeros(image.shape), image[:50, :50],
    ):  # fmt: skip
        assert groups_of(frame) == []
