"""Heights above the other side are those of the light that was put there."""

import numpy as np
import pytest

from skyextract.kernels.detection.companions import Footprints, Stars
from skyextract.kernels.detection.overlooked import Blends, Sides, lights_off_centre

SIZE, SIGMA = 41, 2.0
STAR = 100.0


def gaussian(x, y, sigma):
    yy, xx = np.mgrid[:SIZE, :SIZE]
    return np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * sigma**2))


def lights(image, centre=(20.3, 19.8), frame=SIZE):
    """Return the places that are found in one isophote that fills the image."""
    filtered = image.astype(np.float32).ravel()
    first = np.array([0, filtered.size])
    footprints = Footprints(first, np.arange(filtered.size), filtered, SIZE)
    x, y = (np.array([v]) for v in centre)
    cell, none = np.zeros(1, np.int64), np.zeros(0, np.int64)
    profile = gaussian(20, 20, SIGMA)[None].astype(np.float32)
    stars = Stars(
        x, y, np.array([image.max()]), cell, profile, 1, np.zeros(2, np.int64), none
    )  # fmt: skip
    box = np.array([[0, SIZE - 1, 0, SIZE - 1]])
    blends = Blends(np.zeros(1, np.int64), np.array([0, 1]), box, np.ones(1, np.int64))
    fwhm = 2.3548 * SIGMA
    sides = Sides(
        0.7 * fwhm, 5.0, 8.0, 250.0, 0.0, 0.2, 1.6 * fwhm, 0.6, 0.45, fwhm, frame, frame
    )  # fmt: skip
    place = np.empty((50, 4))
    return place[: lights_off_centre(0, 1, blends, footprints, stars, sides, place)]


@pytest.mark.parametrize("at", [(30, 20), (14, 27), (20, 9)])
def test_a_star_upon_a_galaxy(at):
    galaxy = 400.0 * gaussian(20.3, 19.8, 5.0)
    assert len(lights(galaxy)) == 0
    (found,) = lights(galaxy + STAR * gaussian(*at, SIGMA))
    assert tuple(found[1:3]) == at
    assert abs(found[3] / STAR - 1.0) < 0.03


def test_what_is_no_star():
    galaxy = 400.0 * gaussian(20.3, 19.8, 5.0)
    line = sum(gaussian(30, y, SIGMA) for y in range(5, 36))
    for light in (60.0 * line, STAR * gaussian(30, 20, 9.0), 4.0 * STAR * gaussian(30, 20, SIGMA)):
        assert len(lights(galaxy + light)) == 0


def test_the_other_side_is_in_the_frame():
    galaxy = 400.0 * gaussian(12.3, 19.8, 5.0)
    star = STAR * gaussian(24, 20, SIGMA)  # whose other side is at x = 0.6
    assert len(lights(galaxy + star, (12.3, 19.8))) == 0
