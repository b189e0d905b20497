"""Windows of another exposure: rectangles with less noise of the sky."""

import numpy as np
import pytest

from skyextract.stages.detection.noisewindow import find_noise_window

SIZE, SKY = 512, 400.0
"""Electrons."""
EVERYWHERE = np.ones((SIZE, SIZE))


def window_of(level, seed=1, header=None):
    """Sky is subtracted; it is `level` times as bright where the noise is measured."""
    image = np.random.default_rng(seed).poisson(SKY * level) - SKY * level
    return find_noise_window(image.astype(np.float32), np.zeros(image.shape, np.bool_), header)


def inset(part, y=slice(200, 330), x=slice(300, 430)):
    level = EVERYWHERE.copy()
    level[y, x] = part
    return level


@pytest.mark.parametrize("part", [0.1, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_a_window_that_was_exposed_less_long(part, seed):
    window = window_of(inset(part), seed)
    edges = window.y0, window.y1, window.x0, window.x1
    assert edges == pytest.approx((200, 330, 300, 430), abs=8)
    assert window.ratio == pytest.approx(part**0.5, rel=0.1)
    assert window.are_many
    assert window.covers(np.array([310.0, 280.0]), np.array([250.0, 250.0])).tolist() == [True, 0]


@pytest.mark.parametrize("header", [None, {"NCOMBINE": 8}])
def test_more_exposures_may_cover_a_part_of_a_sum_or_one_at_an_edge(header):
    y = slice(200, 330) if header else slice(300, SIZE)
    window = window_of(inset(0.25, y), header=header)
    assert not window.are_many
    assert "more of the exposures cover it" in window.doubt


@pytest.mark.parametrize("seed", range(3))
def test_what_has_no_straight_sharp_edges_is_no_window(seed):
    y, x = np.indices((SIZE, SIZE))
    radius = np.hypot(x - 250, y - 280)
    hollow = np.clip((radius - 60) / 100, 0.2, 1.0)
    shade = np.where(radius < 80, 0.3, 1.0)
    half = np.where(x < 200, 0.5, 1.0)  # is a step of the noise
    turned = np.where(np.abs(x - 250) + np.abs(y - 280) < 110, 0.3, 1.0)
    for level in (EVERYWHERE, hollow, shade, half, turned):
        assert window_of(level, seed) is None
