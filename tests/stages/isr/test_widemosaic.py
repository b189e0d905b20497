"""Mosaics whose colours repeat after 4 or 6 pixels: which are green, and what a plane holds."""

import numpy as np
import pytest
from astropy.io import fits

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.mosaic import MosaicPlane, shifted
from skyextract.run import Run
from skyextract.stages.isr.mosaic import colour_flags, colour_plane
from skyextract.stages.isr.widemosaic import period_of_colours

X_TRANS = "GGRGGBGGBGGRBRGRBGGGBGGRGGRGGBRBGBRG"
"""As libraw and Siril write it."""
QUAD = "RRGGRRGGGGBBGGBB"
LEVELS = {"R": 550.0, "G": 1000.0, "B": 700.0}


def colours_of(pattern, shape):
    n = int(len(pattern) ** 0.5)
    rows, columns = np.indices(shape)
    return np.array(list(pattern))[n * (rows % n) + columns % n]


def frame(pattern, shape=(300, 364), seed=1, card="", levels=LEVELS, gain=2.0, read_noise=5.0):
    rng = np.random.default_rng(seed)
    sky = np.vectorize(levels.get)(colours_of(pattern, shape))
    image = (rng.poisson(sky * gain) + rng.normal(0.0, read_noise, shape)) / gain
    header = fits.Header({"GAIN": gain, **({"BAYERPAT": card} if card else {})})
    return Exposure(
        image.astype(np.float32), np.zeros(shape, np.uint16),
        detector=Detector(gain, read_noise, 60000.0, 0.0), header=header,
    )  # fmt: skip


def greens(pattern):
    return [letter == "G" for letter in pattern]


@pytest.mark.parametrize("pattern", [X_TRANS, QUAD])
def test_pixels_tell_where_the_layout_begins(pattern):
    n = int(len(pattern) ** 0.5)
    for first in range(n * n):
        at = shifted(pattern, *divmod(first, n))
        assert greens(period_of_colours(frame(at, seed=first))) == greens(at)


@pytest.mark.parametrize("levels", [
    {"R": 700.0, "G": 1000.0, "B": 700.0}, {"R": 1300.0, "G": 1000.0, "B": 1600.0},
    {"R": 995.0, "G": 1000.0, "B": 970.0},
])  # fmt: skip
def test_under_other_lights(levels):
    for pattern in (X_TRANS, QUAD):
        shown = period_of_colours(frame(pattern, (900, 900), levels=levels))
        assert greens(shown) == greens(pattern)


def test_what_is_none():
    """Bayer's filters, one colour, amplifiers of columns and rows, blocks, a dark sky."""
    y, x = np.indices((300, 364))
    mono = frame("G" * 4)
    images = [
        mono.image, frame("RGGB").image, mono.image + 40.0 * (x % 4 == 1) + 30.0 * (y % 6 > 3),
        mono.image + 20.0 * ((x // 8 + y // 8) % 2), mono.image + 1e-3 * x * y,
        mono.image + 50.0 * ((x % 4 == 1) & (y % 4 == 2)), mono.image + 50.0 * ((x + y) % 3 == 0),
    ]  # fmt: skip
    for image in images:
        assert period_of_colours(Exposure(np.float32(image), mono.mask)) == ""


@pytest.mark.parametrize("pattern", [X_TRANS, QUAD])
def test_the_usual_card_of_another_sensor_is_not_believed(pattern):
    """A program that writes RGGB for any colour camera; a mosaic of 2 x 2 keeps it."""
    said = Run()
    plane = colour_plane(frame(pattern, card="RGGB"), "GREEN", said)
    step = 3 if pattern == X_TRANS else 2
    assert MosaicPlane.from_header(plane.header).step == step
    assert "against its card BAYERPAT" in said.warnings[0]
    assert plane.image.mean() == pytest.approx(step**2 * LEVELS["G"], rel=1e-3)
    said = Run()
    colour_plane(frame("RGGB", card="RGGB"), "GREEN", said)
    assert not said.warnings


@pytest.mark.parametrize(("pattern", "colour", "n", "step"), [
    (X_TRANS, "GREEN", 5, 3), (X_TRANS, "R", 2, 3), (X_TRANS, "SUPERPIXEL", 9, 3),
    (QUAD, "GREEN", 2, 2), (QUAD, "B", 4, 4), (QUAD, "SUPERPIXEL", 4, 2),
])  # fmt: skip
def test_level_and_noise(pattern, colour, n, step):
    """Pixels of a plane are the colour's mean times those of a cell; their noise is independent."""
    mosaic = frame(pattern, (900, 912), card=pattern)
    plane = colour_plane(mosaic, colour, Run())
    level = LEVELS[colour[0]] if colour != "SUPERPIXEL" else np.mean(
        [LEVELS[letter] for letter in pattern]
    )  # fmt: skip
    assert plane.image.mean() == pytest.approx(step**2 * level, rel=1e-3)
    gain, noise = plane.detector.gain, plane.detector.read_noise
    assert gain == pytest.approx(2.0 * n / step**2)
    assert plane.image.var() == pytest.approx(
        plane.image.mean() / gain + (noise / gain) ** 2, rel=0.03
    )
    flags = np.zeros(mosaic.shape, np.int16)
    flags[400, 500] = 4
    on_plane = colour_flags(flags, plane)
    place = MosaicPlane.from_header(plane.header)
    assert on_plane.shape == plane.shape
    assert np.argwhere(on_plane).tolist() == [
        [(400 - place.row) // step, (500 - place.column) // step]
    ]


@pytest.mark.parametrize("pattern", [X_TRANS, shifted(X_TRANS, 2, 1), QUAD, shifted(QUAD, 3, 0)])
@pytest.mark.parametrize("colour", ["GREEN", "SUPERPIXEL", "R"])
def test_light_keeps_its_place_and_amount(pattern, colour):
    """Centroid and flux of a star, white as the filters are, back in the full frame."""
    shape, x0, y0, flux = (120, 126), 57.3, 61.8, 1e5
    y, x = np.indices(shape)
    star = np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / 5.0**2) / (2.0 * np.pi * 5.0**2) * flux
    exposure = Exposure(
        np.float32(star), np.zeros(shape, np.uint16), detector=Detector(1.0, 1.0, 1e9, 0.0),
        header=fits.Header({"BAYERPAT": pattern}),
    )  # fmt: skip
    plane = colour_plane(exposure, colour, Run())
    place = MosaicPlane.from_header(plane.header)
    py, px = np.indices(plane.shape)
    light = plane.image.astype(float)
    assert light.sum() == pytest.approx(flux, rel=1e-3)
    centre = (place.step * (px * light).sum() / light.sum() + place.x0,
              place.step * (py * light).sum() / light.sum() + place.y0)  # fmt: skip
    assert centre == pytest.approx((x0, y0), abs=0.01)


def test_cards_and_pixels():
    def of(card, colour="GREEN", pattern=X_TRANS):
        run = Run()
        mosaic = frame(pattern, card=card)
        plane = colour_plane(mosaic, colour, run)
        return plane if plane is not mosaic else None, run.warnings

    known, warnings = of(X_TRANS)
    assert not warnings
    for card, word in (("", "without its card"), ("XTRANS", "without its card"),
                       (shifted(X_TRANS, 1, 0), "against its card")):  # fmt: skip
        found, warnings = of(card)
        assert any(word in text for text in warnings)
        np.testing.assert_array_equal(found.image, known.image)
    assert of("", "SUPERPIXEL")[0].shape == (100, 121)
    none, warnings = of("", "R")
    assert none is None
    assert any("no card tells which are R" in text for text in warnings)
    none, warnings = of("X-Trans", pattern="GGGG")
    assert none is None
    assert any("the header says X-Trans" in text for text in warnings)
