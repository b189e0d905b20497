"""The picture of a frame: zscale, blocks, directions."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.visualization import ZScaleInterval
from astropy.wcs import WCS

from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.positions import kron_ellipses
from skyextract.datamodel.wcs import SkyWcs
from skyextract.outputs.html.picture import (
    block_bits,
    block_mean,
    directions,
    ellipses,
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


@pytest.mark.parametrize(
    ("theta", "start", "turn"), [(0.0, "-1.5 9.5", "-0"), (90.0, "0.5 11.5", "-90")]
)
def test_an_ellipse_is_about_the_middle_of_its_pixel(theta, start, turn):
    # FITS pixel (1, 1) of a frame of 10 rows is the square at the lower left.
    one = np.ones(1)
    path = ellipses(one, one, 2 * one, one, theta * one, 10)
    assert path.startswith(f"M{start}a2.0 1.0 {turn} 1 0")


def test_the_mark_of_a_galaxy_is_its_kron_aperture():
    """Also where that is a third of the frame; the image is seen within one outline."""
    shapes = Catalog(
        {
            "X_IMAGE": np.array([50.0, 10.0]), "Y_IMAGE": np.array([50.0, 10.0]),
            "A_IMAGE": np.array([12.0, 2.0]), "B_IMAGE": np.array([8.0, 2.0]),
            "THETA_IMAGE": np.array([30.0, 0.0]), "KRON_RADIUS": np.array([4.0, 0.0]),
        }
    )  # fmt: skip
    rng = np.random.default_rng(4)
    image, mask = rng.normal(0, 1, (100, 100)).astype(np.float32), np.zeros((100, 100), np.uint16)
    x, y = shapes["X_IMAGE"], shapes["Y_IMAGE"]
    drawn = make_picture(
        image, mask, None, x, y, -x, kron_ellipses(shapes), x < 20.0, (NONE, NONE)
    )  # fmt: skip
    assert "a48.0 32.0 -30 1 0" in drawn.sources
    assert "a6.0 6.0 -0 1 0" in drawn.psf_stars
    assert not drawn.is_crowded


@pytest.mark.parametrize(("n", "is_crowded"), [(50, False), (2000, True)])
def test_marks_that_would_hide_the_image_are_off_at_first(n, is_crowded):
    rng = np.random.default_rng(3)
    image, mask = rng.normal(0, 1, (300, 300)).astype(np.float32), np.zeros((300, 300), np.uint16)
    x, y = rng.uniform(1, 300, (2, n))
    stars = np.zeros(n, bool)
    axes = (np.full(n, 6.0), np.full(n, 6.0), np.zeros(n))
    picture = make_picture(image, mask, None, x, y, x, axes, stars, (NONE, NONE))
    assert picture.is_crowded is is_crowded


def test_first_row_is_below():
    from PIL import Image

    image = np.zeros((40, 30), np.float32)
    image[:20] = 100.0
    image += np.random.default_rng(2).normal(0, 1, image.shape).astype(np.float32)
    mask = np.zeros((40, 30), np.uint16)
    mask[0, 29] = Mask.SAT
    stars, axes = np.zeros(0, bool), (NONE, NONE, NONE)
    drawn = make_picture(image, mask, None, NONE, NONE, NONE, axes, stars, (NONE, NONE))

    def pixels(address: str) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))

    grey = pixels(drawn.image).astype(float)
    assert grey[30:].mean() > grey[:10].mean() + 100
    assert pixels(drawn.mask)[39, 29].tolist() == [213, 94, 0, 170]
    assert not pixels(drawn.mask)[:39].any()
