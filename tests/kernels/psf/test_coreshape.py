"""Adaptive moments of a PSF's images against plain numpy, and of what has none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skyextract.kernels.psf.coreshape import match_gaussians

AXIS = np.arange(21.0) - 10.0


def skewed_moffat(x: float, y: float) -> np.ndarray:
    """Return an elongated profile with wings that is brighter to one side."""
    dx, dy = AXIS - x, AXIS[:, None] - y
    square = dx**2 / 4.0 + dy**2 / 3.0 + 0.2 * dx * dy
    return (1.0 + square) ** -2.5 * (1.0 + 0.05 * np.tanh(dx))


def reference(image: np.ndarray) -> np.ndarray:
    """Return the shape that a Gaussian keeps when it is matched to the image a thousand times."""
    x = y = xy = 0.0
    xx = yy = 4.0
    for _ in range(1000):
        inverse = np.linalg.inv([[xx, xy], [xy, yy]])
        dx, dy = np.meshgrid(AXIS - x, AXIS - y)
        form = inverse[0, 0] * dx**2 + inverse[1, 1] * dy**2 + 2.0 * inverse[0, 1] * dx * dy
        weight = image * np.exp(-0.5 * form) / np.sum(image * np.exp(-0.5 * form))
        mx, my = np.sum(weight * dx), np.sum(weight * dy)
        x, y = x + 2.0 * mx, y + 2.0 * my
        xx = 2.0 * (np.sum(weight * dx * dx) - mx * mx)
        yy = 2.0 * (np.sum(weight * dy * dy) - my * my)
        xy = 2.0 * (np.sum(weight * dx * dy) - mx * my)
    return np.array([x, y, xx, yy, xy])


def test_shapes_are_those_of_plain_numpy():
    images = np.array([skewed_moffat(0.0, 0.0), skewed_moffat(0.7, -0.4)])
    shapes = np.empty((2, 5))
    match_gaussians(images, shapes)
    for image, shape in zip(images, shapes, strict=True):
        assert shape == pytest.approx(reference(image), abs=1e-5)


def test_an_image_without_a_core_has_no_shape():
    shapes = np.zeros((3, 5))
    edge = np.zeros((21, 21))
    edge[:, -1] = 1.0
    match_gaussians(np.array([-skewed_moffat(0.0, 0.0), skewed_moffat(0.0, 0.0), edge]), shapes)
    assert [math.isnan(shape[0]) for shape in shapes] == [True, False, True]
