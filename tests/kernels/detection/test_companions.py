"""Peaks and what is beside them, against Gaussians written down."""

import numpy as np
import pytest

from skyextract.kernels.detection.companions import (
    Footprints,
    Rules,
    Stars,
    brightest_beside,
    centre_peaks,
)

WIDTH, SIGMA, FINENESS = 41, 2.5, 3


def gaussian(x, y):
    return np.exp(-0.5 * (x**2 + y**2) / SIGMA**2)


def footprint(image):
    pixel = np.flatnonzero(image.ravel() > 0.01)
    return Footprints(
        np.array([0, pixel.size]), pixel, image.ravel()[pixel].astype(np.float32), WIDTH
    )


def image_of(*stars):
    y, x = np.mgrid[:WIDTH, :WIDTH]
    return sum(height * gaussian(x - a, y - b) for height, a, b in stars)


def test_vertex_of_a_peak():
    image = image_of((100.0, 20.3, 19.8))
    place = np.empty((1, 3))
    centre_peaks(footprint(image), np.array([image.argmax()]), place)
    assert np.abs(place[0, :2] - (20.3, 19.8)).max() < 0.02
    assert abs(place[0, 2] / 100.0 - 1.0) < 0.005


def beside(image, **rules):
    axis = np.arange(-60, 61) / FINENESS
    profile = gaussian(axis, axis[:, None])[None].astype(np.float32)
    some = np.zeros(1, np.int64)
    stars = Stars(
        np.array([20.0]), np.array([20.0]), np.array([100.0]), some, profile, FINENESS,
        np.zeros(2, np.int64), np.zeros(0, np.int64),
    )  # fmt: skip
    given = Rules(3.0, 14.0, 5.0, 0.0, 0.2, 2.0, 6.4, 0.5)._replace(**rules)
    place = np.empty((1, 2))
    brightest_beside(some, footprint(image), stars, given, place)
    return place[0]


def test_a_second_star_is_found():
    assert (beside(image_of((100.0, 20.0, 20.0), (30.0, 27.0, 24.0))) == (27.0, 24.0)).all()


def test_what_is_no_second_star():
    pair = image_of((100.0, 20.0, 20.0), (30.0, 27.0, 24.0))
    assert np.isnan(beside(image_of((100.0, 20.0, 20.0)))).all()
    assert np.isnan(beside(pair, threshold=40.0)).all()
    assert np.isnan(beside(pair, photons=100.0, threshold=20.0)).all()
    assert np.isnan(beside(pair, farthest=5.0, contrast=20.0)).all()
    y, x = np.mgrid[:WIDTH, :WIDTH]
    ring = 30.0 * np.exp(-0.5 * (np.hypot(x - 20, y - 20) - 8.0) ** 2)
    assert np.isnan(beside(image_of((100.0, 20.0, 20.0)) + ring)).all()


@pytest.mark.parametrize(("height", "is_star"), [(0.0, True), (8.0, True), (24.0, False)])
def test_light_on_both_sides_is_no_second_star(height, is_star):
    """Far from the centre; nearer two stars of one peak leave light on both sides."""
    image = image_of((100.0, 20.0, 20.0), (30.0, 27.0, 24.0), (height, 13.0, 16.0))
    assert (beside(image) == (27.0, 24.0)).all() == is_star
    assert (beside(image, apart=9.0) == (27.0, 24.0)).all()
