"""The planes of a mosaic: pixels, noise and places."""

import numpy as np
import pytest
from astropy.io import fits

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.mosaic import MosaicPlane
from skyextract.run import Run
from skyextract.stages.isr.mosaic import colour_plane

GAIN, READ_NOISE = 2.5, 4.0


def exposure_of(image, pattern="RGGB", **more):
    header = fits.Header({"NAXIS1": image.shape[1], "GAIN": GAIN, "BAYERPAT": pattern})
    detector = Detector(GAIN, READ_NOISE, 60000.0, 30.0)
    return Exposure(
        np.ascontiguousarray(image, np.float32), np.zeros(image.shape, np.uint16),
        detector=detector, header=header, **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("colour", "expected", "first"),
    [
        ("R", 4.0, (0.0, 0.0)), ("GREEN", 10.0, (0.5, 0.5)), ("B", 16.0, (1.0, 1.0)),
        ("SUPERPIXEL", 10.0, (0.5, 0.5)),
    ],
)  # fmt: skip
def test_pixels(colour, expected, first):
    image = np.tile(np.array([[1.0, 2.0], [3.0, 4.0]]), (5, 4))
    mosaic = exposure_of(np.pad(image, ((0, 1), (0, 1))))  # an odd row and column are left
    mosaic.mask[0, 0], mosaic.mask[1, 0], mosaic.mask[3, 3] = Mask.SAT, Mask.BAD, Mask.CR
    run = Run()
    plane = colour_plane(mosaic, colour, run)
    assert plane.shape == (5, 4)
    assert (plane.image == expected).all()
    assert plane.header["NAXIS1"] == 4
    assert MosaicPlane.from_header(plane.header) == MosaicPlane(colour, *first)
    assert "BAYERPAT" not in plane.header
    marked = {"R": [(0, 0)], "GREEN": [(0, 0)], "B": [(1, 1)], "SUPERPIXEL": [(0, 0), (1, 1)]}
    assert sorted(map(tuple, np.argwhere(plane.mask))) == marked[colour]
    assert colour_plane(plane, colour, run) is plane


@pytest.mark.parametrize(("colour", "n"), [("R", 1), ("GREEN", 2), ("SUPERPIXEL", 4)])
def test_gain_and_noise(colour, n):
    """The noise of the plane is what its gain and read noise say, and its variance plane."""
    rng = np.random.default_rng(1)
    level = 400.0
    electrons = rng.poisson(level * GAIN, (800, 800)) + rng.normal(0.0, READ_NOISE, (800, 800))
    image = electrons / GAIN
    variance = np.full(image.shape, (level * GAIN + READ_NOISE**2) / GAIN**2, np.float32)
    plane = colour_plane(exposure_of(image, variance=variance), colour, Run())
    gain, noise = plane.detector.gain, plane.detector.read_noise
    assert plane.image.mean() == pytest.approx(4.0 * level, rel=1e-3)
    predicted = (plane.image.mean() * gain + noise**2) / gain**2
    assert plane.image.var() == pytest.approx(predicted, rel=0.015)
    assert plane.variance.mean() == pytest.approx(predicted, rel=1e-3)
    assert gain == pytest.approx(GAIN * n / 4.0)
    assert plane.detector.saturation == 240000.0


@pytest.mark.parametrize("colour", ["NONE", "GREEN"])
def test_what_is_no_mosaic_stays(colour):
    mono = exposure_of(np.ones((6, 6)), pattern="")
    assert colour_plane(mono, colour, Run()) is mono
    debayered = exposure_of(np.ones((6, 6)), plane=2)
    assert colour_plane(debayered, colour, Run()) is debayered
    mosaic = exposure_of(np.ones((6, 6)))
    assert (colour_plane(mosaic, colour, Run()) is mosaic) == (colour == "NONE")


def levels(shape, colours, seed=1, noise=20.0):
    """Return pixels whose 2 x 2 have these levels."""
    image = np.random.default_rng(seed).normal(1000.0, noise, shape)
    for k, level in enumerate(colours):
        image[k // 2 :: 2, k % 2 :: 2] += level
    return image


@pytest.mark.parametrize(("colours", "green"), [
    ((0.0, 0.0, 0.0, 0.0), ""),
    ((0.0, 30.0, 0.0, 30.0), ""),  # amplifiers of every second column
    ((0.0, 0.0, 30.0, 30.0), ""),  # and of rows
    ((0.0, 30.0, 30.0, 60.0), ""),
    ((0.0, 30.0, 30.0, 0.0), "-GG-"),  # as with one light for red and blue
    ((93.0, 40.0, 0.0, 94.0), "G--G"),
    ((0.0, 440.0, 440.0, 120.0), "-GG-"),
    ((-20.0, 0.0, 1.0, -400.0), "-GG-"),  # red light alone is low, and green is not quite even
    ((93.0, 0.0, 0.0, 4.0), "-GG-"),  # a filter of red light
    ((0.0, 93.0, 95.0, 0.0), "-GG-"),  # two greens
    ((0.0, 50.0, 0.0, 100.0), "?"),  # no colours are alike
])  # fmt: skip
@pytest.mark.parametrize("shape", [(64, 70), (301, 500)])
def test_a_mosaic_without_its_card(colours, green, shape):
    y, x = np.indices(shape)
    image = levels(shape, colours) + 1e-3 * (x - 30.0) * (y - 20.0)
    run = Run()
    mono = exposure_of(image, "")
    plane = colour_plane(mono, "GREEN", run)
    if "G" not in green:
        assert plane is mono
        assert any("measured as one colour" in text for text in run.warnings) == bool(green)
    else:
        assert any("its pixels tell which are green" in text for text in run.warnings)
        expected = colour_plane(exposure_of(image, "GRBG" if green == "G--G" else "RGGB"), "GREEN",
                                Run())  # fmt: skip
        np.testing.assert_array_equal(plane.image, expected.image)
    run = Run()
    assert colour_plane(mono, "NONE", run) is mono
    assert not run.warnings
    assert colour_plane(mono, "R", run) is mono
    assert bool(run.warnings) == bool(green)


@pytest.mark.parametrize(("pattern", "turned"), [("RGGB", "GBRG"), ("BGGR", "GRBG")])
def test_rows_of_the_card_from_the_other_end(pattern, turned):
    """Green pixels that differ, where those of the other diagonal are alike, are none."""
    image = levels((300, 400), (93.0, 0.0, -60.0, 93.0))
    run = Run()
    plane = colour_plane(exposure_of(image, pattern), "GREEN", run)
    assert any(f"{turned} is taken for {pattern}" in text for text in run.warnings)
    assert plane.image.mean() == pytest.approx(4.0 * 1093.0, abs=0.5)
    for colours in ((0.0, 93.0, 93.0, -60.0), (0.0, 93.0, 95.0, 0.0), (0.0, 0.0, 0.0, 0.0)):
        run = Run()
        colour_plane(exposure_of(levels((300, 400), colours), pattern), "GREEN", run)
        assert not run.warnings


@pytest.mark.parametrize("cards", [{"XBINNING": 2, "YBINNING": 2}, {"CCDSUM": "2 2"}])
def test_binning_that_adds_colours_up_leaves_the_card(cards):
    alike, mosaic = (levels((300, 400), (0.0, green, green, 0.0)) for green in (0.0, 90.0))
    for image, is_measured_whole in ((alike, True), (mosaic, False)):
        exposure, run = exposure_of(image), Run()
        for keyword, value in cards.items():
            exposure.header[keyword] = value
        assert (colour_plane(exposure, "GREEN", run) is exposure) == is_measured_whole
        assert any("sums of 2 x 2" in text for text in run.warnings) == is_measured_whole
    unbinned = exposure_of(alike)
    assert colour_plane(unbinned, "GREEN", Run()).shape == (150, 200)


def test_a_smooth_image_is_no_mosaic():
    y, x = np.indices((200, 300))
    for image in (
        1e-4 * x * y**2,
        np.ones((3, 3)),
        np.full((200, 300), np.nan),
        np.zeros((200, 1)),
    ):
        run = Run()
        colour_plane(exposure_of(image, ""), "GREEN", run)
        assert not run.warnings
