"""What is piled up about the saturation that a card gives, and what is not."""

from __future__ import annotations

import numpy as np
import pytest

import skyextract as sky
from skyextract.run import Run
from skyextract.stages.pixels.piledup import foot_of_pile
from tests.simulate.zeropointfields import GAIN, draw_sources, simulate_field

LEVEL, SIZE = 60000.0, 512


def bled(seed, noise=20.0, card=LEVEL):
    """Return a field with four stars whose charge ran along columns, places of these, and it."""
    field = simulate_field(seed, n_stars=120)
    rng = np.random.default_rng(seed)
    light = draw_sources(field.sources, field.fwhm, SIZE) + 400.0
    yy, xx = np.mgrid[:SIZE, :SIZE]
    places = [(100, 150), (250, 90), (400, 300), (180, 420)]
    for x, y in places:
        light += 2e6 * np.exp(-0.5 * ((xx - x) ** 2 + (yy - y) ** 2) / (field.fwhm / 2.355) ** 2)
    image = np.minimum(rng.poisson(light * GAIN) / GAIN, LEVEL)
    for x, y in places:
        image[y - 60 : y + 60, x - 1 : x + 2] = rng.normal(LEVEL, noise, (120, 3))
    header = {"SATURATE": card, "GAIN": GAIN}
    return sky.exposure(image.astype(np.float32), header=header), places


def test_stars_whose_charge_ran_over_at_the_level_of_the_card_are_one_source_each(caplog):
    frame, places = bled(1)
    sources = sky.measure(sky.characterize(frame)).table
    assert "are piled up just below the saturation of 60000" in caplog.text
    for x, y in places:
        near = np.hypot(sources["X_IMAGE"] - 1 - x, sources["Y_IMAGE"] - 1 - y) < 3.0
        assert np.count_nonzero(near) == 1
        along = np.abs(sources["X_IMAGE"] - 1 - x) < 2.0
        along &= np.abs(sources["Y_IMAGE"] - 1 - y) < 65.0
        assert np.count_nonzero(along) == 1
        assert sources["FLAGS"][near] & 4


@pytest.mark.parametrize("noise", [5.0, 20.0, 200.0])
def test_the_foot_is_below_all_of_them_and_above_other_light(noise):
    frame, _ = bled(2, noise)
    foot = foot_of_pile(frame.image, LEVEL, 400.0, Run())
    assert LEVEL - 8.0 * noise - 150.0 < foot < LEVEL - 2.5 * noise


def test_stars_with_peaks_up_to_the_level_are_no_pile():
    rng = np.random.default_rng(3)
    values = rng.uniform(400.0, 1.2 * LEVEL, 40_000)  # as many at any height
    image = np.minimum(values, LEVEL).reshape(200, 200).astype(np.float32)
    assert foot_of_pile(image, LEVEL, 400.0, Run()) == LEVEL
    assert foot_of_pile(image, 2.0 * LEVEL, 400.0, Run()) == 2.0 * LEVEL
    assert foot_of_pile(image, 100.0, 400.0, Run()) == 100.0
