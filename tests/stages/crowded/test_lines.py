"""Peaks upon lines of light are told from stars."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.crowded.lines import on_lines

FWHM = 3.0
SHAPE = (160, 170)


def stars(x, y, flux):
    v, u = np.indices(SHAPE)
    squares = (u[..., None] - x) ** 2 + (v[..., None] - y) ** 2
    return (np.exp(-squares * 4.0 * np.log(2.0) / (2.0 * FWHM**2)) @ flux).astype(np.float32)


def line(angle, width=0.9 * FWHM):
    v, u = np.indices(SHAPE)
    across = (u - 85.0) * np.sin(angle) - (v - 80.0) * np.cos(angle)
    return np.exp(-0.5 * (across / width) ** 2).astype(np.float32)


@pytest.mark.parametrize("angle", [0.0, 0.3, 0.8, np.pi / 2, 2.5])
def test_a_trail_and_a_star_upon_it(angle):
    rng = np.random.default_rng(1)
    light = 100.0 * line(angle) * rng.normal(1.0, 0.05, SHAPE).astype(np.float32)
    along = np.array([-40.0, -20.0, 0.0, 30.0])
    x = np.rint(85.0 + along * np.cos(angle)).astype(int)
    y = np.rint(80.0 + along * np.sin(angle)).astype(int)
    assert on_lines(light, x, y, FWHM).tolist() == [True] * 4
    light += stars(x[2:3], y[2:3], np.array([300.0]))
    assert on_lines(light, x, y, FWHM).tolist() == [True, True, False, True]


@pytest.mark.parametrize("n", [5, 200, 1500])
def test_stars_and_the_light_of_many(n):
    rng = np.random.default_rng(n)
    x, y = rng.uniform(0, SHAPE[1], n), rng.uniform(0, SHAPE[0], n)
    light = stars(x, y, 10.0 ** rng.uniform(1.0, 3.0, n)) + rng.normal(0, 1.0, SHAPE)
    x, y = (
        np.rint(x).astype(int).clip(0, SHAPE[1] - 1),
        np.rint(y).astype(int).clip(0, SHAPE[0] - 1),
    )
    assert on_lines(light.astype(np.float32), x, y, FWHM).mean() < 0.005


def test_level_light_and_no_light():
    x, y = np.array([0, 80, 169]), np.array([0, 80, 159])
    assert not on_lines(np.full(SHAPE, 100.0, np.float32), x, y, FWHM).any()
    assert not on_lines(np.full(SHAPE, np.nan, np.float32), x, y, FWHM).any()
    assert on_lines(np.ones(SHAPE, np.float32), x[:0], y[:0], FWHM).size == 0


@pytest.mark.parametrize("angle", [0.3, 2.5])
def test_stars_in_a_row_among_others(angle):
    """Where stars are dense some line is as bright all along by chance: beside it light is, too."""
    along = FWHM * np.arange(-4.0, 5.0)
    x, y = 85.0 + along * np.cos(angle), 80.0 + along * np.sin(angle)
    flux = np.full(9, 100.0)
    alone = stars(x, y, flux)
    middle = np.array([85]), np.array([80])
    assert on_lines(alone, *middle, FWHM).all()
    beside = [
        np.stack([x - side * np.sin(angle), y + side * np.cos(angle)]) for side in (4.5, -4.5)
    ]
    for number, expected in ((2, True), (4, False)):
        others = np.concatenate([places[:, -number:] for places in beside], axis=1)
        light = alone + stars(*others, np.full(2 * number, 100.0))
        assert on_lines(light, *middle, FWHM).tolist() == [expected]
