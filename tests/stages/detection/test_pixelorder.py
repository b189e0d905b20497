"""Rows and columns that amplifiers of other gain read by turns."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.stages.detection.pixelorder import find_interleaved
from tests.simulate.zeropointfields import simulate_field

SKY = 300.0
Y, X = np.indices((512, 512))
NOTHING = np.zeros(Y.shape, bool)
IMAGE = simulate_field(2, n_stars=150, sky=SKY).image
SIGMA = 1.4826 * float(np.median(np.abs(IMAGE - np.median(IMAGE))))


def found_in(image):
    away = (image - np.median(image)).astype(np.float32)
    sigma = 1.4826 * float(np.median(np.abs(away)))
    return find_interleaved(away, sigma, NOTHING)


@pytest.mark.parametrize("factor", [1.03, 1.2])
@pytest.mark.parametrize(
    ("which", "name", "period"),
    [(Y % 2, "rows", 2), (X % 2, "columns", 2), (X % 4 == 3, "columns", 4)],
)
def test_amplifiers_of_another_gain(factor, which, name, period):
    found = found_in(np.where(which, IMAGE * factor, IMAGE))
    assert (found.name, found.period) == (name, period)
    assert found.step == pytest.approx((factor - 1.0) * SKY, rel=0.08)
    assert found.sigmas == pytest.approx(found.step / SIGMA, rel=0.1)
    assert found.noise == pytest.approx(factor, abs=0.02)
    assert found.are_many
    assert f"every {'second' if period == 2 else 'fourth'} of the {name}" in found.doubt


def test_a_small_offset_changes_no_flux():
    found = found_in(IMAGE + 0.25 * SIGMA * (Y % 2))
    assert found.sigmas == pytest.approx(0.25, abs=0.03)
    assert not found.are_many


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [(512, 512), (300, 700), (130, 90), (64, 64), (20, 20)])
def test_noise_is_no_order(size, seed):
    random = np.random.default_rng(seed)
    noise = random.normal(0.0, 5.0, size) + 0.3 * random.normal(0.0, 5.0, size[:1])[:, None]
    bad = random.random(size) < 0.02
    assert find_interleaved(noise.astype(np.float32), 5.0, bad) is None
    assert find_interleaved(np.rint(noise / 6.0).astype(np.float32), 1.0, bad) is None


def test_other_frames_have_no_order():
    assert found_in(IMAGE) is None
    assert found_in(np.rint(IMAGE / 20.0)) is None
    assert found_in(IMAGE + 0.1 * X) is None
    assert find_interleaved(np.zeros((64, 64), np.float32), 0.0, NOTHING[:64, :64]) is None
