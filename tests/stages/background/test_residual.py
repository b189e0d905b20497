"""A background that lies above the sky is seen, sources and their light are not taken for one."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.background.residual import about_residual, share_below

SHAPE = (300, 400)


def left_over(seed=1):
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = rng.normal(0.0, 10.0, SHAPE)
    for x, y in zip(rng.uniform(0, SHAPE[1], 60), rng.uniform(0, SHAPE[0], 60), strict=True):
        image += 10 ** rng.uniform(2, 4) * np.exp(-0.5 * ((xx - x) ** 2 + (yy - y) ** 2) / 9.0)
    return image.astype(np.float32)


@pytest.mark.parametrize("width", [0, 32, 80])
def test_share(width):
    image = left_over()
    image[:, :width] -= np.float32(20.0)
    bad = np.zeros(SHAPE, bool)
    share = share_below(image, 10.0, bad)
    assert share == pytest.approx(width / SHAPE[1], abs=0.04)  # stars lie upon some blocks
    assert bool(about_residual(share)) == (width > 0)
    bad[:, :width] = True
    assert share_below(image, 10.0, bad) == 0.0


def test_light_is_no_hole():
    image = left_over()
    for light in (0.0, 30.0 * (np.arange(SHAPE[1]) < 50), 500.0 * (np.arange(SHAPE[1]) < 100)):
        assert share_below((image + light).astype(np.float32), 10.0, np.zeros(SHAPE, bool)) == 0.0
    small = np.full((10, 400), -100.0, np.float32)
    assert share_below(small, 10.0, np.zeros(small.shape, bool)) == 0.0
    assert share_below(image, 0.0, np.zeros(SHAPE, bool)) == 0.0


@pytest.mark.parametrize(("level", "noise"), [(100.6, 0.44), (0.42, 0.5), (100.45, 0.34)])
def test_rounding_is_no_hole(level, noise):
    """The median of integers is one, whatever lies between them."""
    pixels = np.rint(np.random.default_rng(1).normal(level, noise, (512, 512)))
    left = (pixels - pixels.mean()).astype(np.float32)
    assert share_below(left, float(left.std()), np.zeros(left.shape, bool)) == 0.0
