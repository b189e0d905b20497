"""The picture of a frame: zscale, blocks, directions."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.visualization import ZScaleInterval
from astropy.wcs import WCS

from skyextract.datamodel.flags import Mask
from skyextract.datamodel.wcs import SkyWcs
from skyextract.outputs.html.picture import (
    block_bits,
    block_mean,
    circles,
    directions,
    make_picture,
    scale_bar,
    zscale,
)

NONE = np.zeros(0)


def header(matrix: list[list[float]]) -> fits.Header:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = (150.0, 20.0), (50.5, 40.5)
    wcs.wcs.cd = np.array(matrix) / 3600.0
    return wcs.to_header()


def test_zscale_as_astropy():
    rng = np.random.default_rng(1)
    sky = rng.normal(1000.0, 12.0, 4000)
    sky[:200] += rng.exponential(5000.0, 200)
    low, high = zscale(sky)
    expected = ZScaleInterval(n_samples=4000).get_limits(sky)
    assert (low, high) == pytest.approx(expected, abs=3.0)


@pytest.mark.parametrize("values", [np.zeros(0), np.full(50, 7.0), np.arange(5.0)])
def test_zscale_always_gives_a_range(values):
    low, high = zscale(values)
    assert low < high


def test_blocks():
    image = np.arange(35, dtype=np.float32).reshape(5, 7)
    assert block_mean(image, 2)[1, 2] == pytest.approx(image[2:4, 4:6].mean())
    mask = np.zeros((5, 7), np.uint16)
    mask[3, 1], mask[2, 0] = 1, 8
    assert block_bits(mask, 2).tolist() == [[0, 0, 0], [9, 0, 0]]


def test_north_up_and_east_left():
    north, east = directions(SkyWcs.from_header(header([[-0.5, 0.0], [0.0, 0.5]])))
    assert north == pytest.approx((0.0, -1.0), abs=1e-6)  # y down
    assert east == pytest.approx((-1.0, 0.0), abs=1e-6)


def test_north_to_the_right_in_a_turned_frame():
    north, east = directions(SkyWcs.from_header(header([[0.0, 0.5], [0.5, 0.0]])))
    assert north == pytest.approx((1.0, 0.0), abs=1e-6)
    assert east == pytest.approx((0.0, -1.0), abs=1e-6)


def test_scale_bar_is_round_and_right():
    length, text = scale_bar(SkyWcs.from_header(header([[-0.5, 0.0], [0.0, 0.5]])), 1000)
    assert text == "2′"
    assert length == pytest.approx(240.0, rel=1e-3)
    assert scale_bar(None, 1000) is None


def test_a_circle_is_about_the_middle_of_its_pixel():
    # FITS pixel (1, 1) of a frame of 10 rows is the square at the lower left.
    path = circles(np.array([1.0]), np.array([1.0]), np.array([2.0]), 10)
    assert path.startswith("M-1.5 9.5a2.0 2.0")


@pytest.mark.parametrize(("n", "is_crowded"), [(50, False), (2000, True)])
def test_marks_that_would_hide_the_image_are_off_at_first(n, is_crowded):
    rng = np.random.default_rng(3)
    image, mask = rng.normal(0, 1, (300, 300)).astype(np.float32), np.zeros((300, 300), np.uint16)
    x, y = rng.uniform(1, 300, (2, n))
    stars = np.zeros(n, bool)
    picture = make_picture(image, mask, None, x, y, x, np.full(n, 6.0), stars, (NONE, NONE))
    assert picture.is_crowded is is_crowded


def test_first_row_is_below():
    from PIL import Image

    image = np.zeros((40, 30), np.float32)
    image[:20] = 100.0
    image += np.random.default_rng(2).normal(0, 1, image.shape).astype(np.float32)
    mask = np.zeros((40, 30), np.uint16)
    mask[0, 29] = Mask.SAT
    drawn = make_picture(image, mask, None, NONE, NONE, NONE, NONE, np.zeros(0, bool), (NONE, NONE))

    def pixels(address: str) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))

    grey = pixels(drawn.image).astype(float)
    assert grey[30:].mean() > grey[:10].mean() + 100
    assert pixels(drawn.mask)[39, 29].tolist() == [213, 94, 0, 170]
    assert not pixels(drawn.mask)[:39].any()
