"""Curves of growth against exact sums."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skyextract.kernels.measurement.growth import _overlap, growth_curves
from tests.entry import entry

overlap = entry(_overlap)


@pytest.mark.parametrize("radius", [0.3, 1.0, 2.5, 7.3])
def test_overlaps_add_up_to_the_area(radius):
    total = sum(overlap(i - 0.23, j + 0.41, radius) for i in range(-10, 11) for j in range(-10, 11))
    assert total == pytest.approx(math.pi * radius**2, rel=0.005 if radius < 1 else 0.001)


def growth(image, residual, mask, stamp, radii, variance=4.0, gain=0.0, bad=1):
    light, error, lost = np.empty((3, 1, len(radii)))
    planes = (image.astype(np.float32), residual.astype(np.float32))
    growth_curves(
        *planes, np.full(image.shape, variance, dtype=np.float32), mask, bad, gain,
        np.array([20.0]), np.array([20.0]), np.array([1000.0]),
        stamp[None].astype(np.float32), np.asarray([radii], dtype=float), light, error, lost,
    )  # fmt: skip
    return light[0], error[0], lost[0]


def test_light_is_model_plus_residual_and_bad_pixels_hold_the_model():
    yy, xx = np.indices((41, 41)) - 20
    stamp = np.exp(-0.5 * (xx**2 + yy**2) / 4) / (8 * np.pi)
    mask = np.zeros((41, 41), dtype=np.uint16)
    flat = np.full((41, 41), 0.5)
    radii = [4.0, 8.0]
    light, error, lost = growth(flat, flat, mask, stamp[5:-5, 5:-5], radii)
    inside = [np.array([[overlap(x, y, r) for x in xx[0]] for y in yy[:, 0]]) for r in radii]
    expected = [(part * (stamp + flat / 1000)).sum() for part in inside]
    assert light == pytest.approx(expected, rel=1e-6)
    assert error == pytest.approx([math.sqrt((part**2).sum() * 4.0) / 1000 for part in inside])
    assert lost == pytest.approx([0, 0], abs=1e-3)
    mask[18:21, 18:21] = 1
    residual = np.where(mask > 0, 1e6, 0.5)
    light, _, lost = growth(residual, residual, mask, stamp[5:-5, 5:-5], radii)
    assert light == pytest.approx(np.array(expected) - 9 * 0.5 / 1000, rel=1e-6)
    assert lost == pytest.approx([9 / inside[0].sum(), 9 / inside[1].sum()], abs=1e-3)


def test_photon_noise_is_that_of_the_models():
    image = np.full((41, 41), 100.0)
    mask = np.zeros((41, 41), dtype=np.uint16)
    _, error, _ = growth(image, 0 * image, mask, np.ones((3, 3)), [2.0], 4.0, 0.25)
    _, quiet, _ = growth(image, image, mask, np.ones((3, 3)), [2.0], 4.0, 0.25)
    assert error[0] / quiet[0] == pytest.approx(math.sqrt((4 + 25) / 4))


def test_an_aperture_beyond_the_image():
    image = np.zeros((41, 41))
    mask = np.zeros((41, 41), dtype=np.uint16)
    light, _, lost = growth(image, image, mask, np.full((61, 61), 1 / 61**2), [20.0, 29.0, 1e4])
    assert light == pytest.approx(
        np.minimum([np.pi * 400, np.pi * 841, 61**2], 61**2) / 61**2, rel=1e-3
    )
    assert lost == pytest.approx([0, 1 - 41**2 / (np.pi * 841), 1], abs=2e-2)
