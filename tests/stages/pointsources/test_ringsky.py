"""The sky in rings about stars, against planes that are known."""

import numpy as np
import pytest

from skyextract.stages.pointsources.ringsky import mean_within, sky_in_rings

SIZE, RADIUS = 120, 10.0
X, Y = np.array([60.3, 40.0, 3.0]), np.array([59.6, 70.2, 4.0])


def rings(rest, variance=None):
    variance = np.ones((SIZE, SIZE), np.float32) if variance is None else variance
    return sky_in_rings(
        rest.astype(np.float32), variance, np.zeros((SIZE, SIZE), np.uint16), X, Y, RADIUS
    )


def test_a_slope_has_the_level_of_the_star_and_the_scatter_of_its_parts():
    x = np.arange(SIZE) * np.ones((SIZE, 1))
    level, scatter = rings(5.0 + 0.2 * x)
    assert level[:2] == pytest.approx(5.0 + 0.2 * X[:2], abs=0.03)
    # Sectors are 12.5 pixels away: the rms of 0.2 * 12.5 * cos(angle), nearly.
    assert scatter[:2] == pytest.approx(0.2 * 12.5 / np.sqrt(2.0), rel=0.15)
    assert np.isnan(level[2])  # in a corner


def test_the_scatter_is_the_error_of_what_is_within():
    rng = np.random.default_rng(3)
    k = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None])
    k[0, 0] = 1.0
    pulls = []
    for _ in range(100):
        waves = np.fft.rfft2(rng.normal(size=(SIZE, SIZE))) * k**-1.6
        sky = np.fft.irfft2(waves, s=(SIZE, SIZE))
        level, scatter = rings(sky)
        true = mean_within(sky.astype(np.float32), X, Y, np.full(3, RADIUS))
        pulls.extend(((true - level) / scatter)[:2])
    assert 0.4 < np.std(pulls) < 1.3


def test_defects_are_left_out():
    rest, variance = np.full((SIZE, SIZE), 2.0), np.ones((SIZE, SIZE), np.float32)
    rest[:, 72:74], variance[:, 72:74] = 1e6, 1e30
    level, scatter = rings(rest, variance)
    assert level[:2] == pytest.approx(2.0)
    assert scatter[:2] == pytest.approx(0.0, abs=1e-6)
