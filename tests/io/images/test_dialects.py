"""Gains, exposure times, pedestals and scales of pixels as cameras write them."""

import math

import numpy as np
import pytest
from astropy.io import fits

from skyextract.datamodel.flags import Mask
from skyextract.io.images.detectorcards import read_detector
from skyextract.io.images.dialects import pedestal, translate
from skyextract.io.images.images import read_exposures
from skyextract.io.names import ImageSpec
from skyextract.run import Run
from skyextract.settings.resolve import command_line_settings, resolve

CONFIG = resolve(None).config.detector


def header_of(*cards, bitpix=16):
    header = fits.Header([("BITPIX", bitpix)])
    for card in cards:
        header.append(card)
    return header


@pytest.mark.parametrize(
    ("card", "more", "seconds"),
    [
        (("EXPTIME", 60.0), (), 60.0),
        (("EXPTIME", 60.0, "Exposure time in seconds"), (), 60.0),
        (("EXPTIME", 60000, "[ms] exposure time"), (), 60.0),
        (("EXPTIME", 60000, "exposure time (milliseconds)"), (), 60.0),
        (("EXPOSURE", 60000, "Exposure time in ms"), (), 60.0),
        (("EXPOSURE", 0.0165, "[d] time on source"), (), 1425.6),
        (("EXPOSURE", 40.0, "Exposure time minutes"), (), 2400.0),
        (("EXPTIME", 0.5, "[h]"), (), 1800.0),
        (("EXPTIME", 30.0, "[s] from days of trials"), (), 30.0),
        (("EXPOSURE", 0.5), (("TIMEUNIT", "d"),), 43200.0),
        (("EXPTIME", 30.0), (("TIMEUNIT", "d"),), 30.0),  # of BJDs: EXPTIME is reserved for s
        (("EXPTIME", "53.907456", "Exposure time (seconds)"), (), 53.907456),
        (("EXPTIME", "100ms"), (), 0.1),
        (("EXPTIME", "100 s", "[ms] the text itself counts more"), (), 100.0),
        (("EXPTIME", "2.5 min"), (), 150.0),
        (("EXPTIME", "1.5 [h]"), (), 5400.0),
        (("EXPOSURE", "0.5 days"), (), 43200.0),
    ],
)
def test_units_of_time(card, more, seconds):
    run = Run()
    found = read_detector(header_of(card, *more), CONFIG, run, "a.fits").exposure_time
    assert found == pytest.approx(seconds)
    assert run.warnings == []


@pytest.mark.parametrize(("value", "comment", "gain"), [
    (0.4, "[ADU/e-] gain", 2.5), (0.4, "DN per electron", 2.5), (0.4, "[e-/ADU] gain", 0.4),
    (0.4, "electrons per ADU", 0.4), (0.4, "counts/e-", 2.5), (12.5, "[dB] gain", 0.0),
    (2.0, "gain (ADU)", 2.0),
])  # fmt: skip
def test_units_of_gain(value, comment, gain):
    header = header_of(("GAIN", value, comment), bitpix=-32)
    assert read_detector(header, CONFIG, Run(), "a.fits").gain == pytest.approx(gain)


@pytest.mark.parametrize("value", ["1:40", "00:01:40", "1m40s", "3 x 100 s", "100 furlongs", "1,5"])
def test_text_that_is_no_exposure_time(value):
    run = Run()
    header = header_of(("EXPTIME", value))
    assert math.isnan(read_detector(header, CONFIG, run, "a").exposure_time)
    assert run.warnings == [f"a: header card EXPTIME = {value!r} is no number"]


def test_a_card_with_a_time_counts_after_one_without():
    header = header_of(("EXPTIME", "1:40"), ("EXPOSURE", "100 s"))
    assert read_detector(header, CONFIG, Run(), "a").exposure_time == 100.0


@pytest.mark.parametrize("value", [-30.0, 1e30])
def test_what_is_no_exposure_time(value):
    run = Run()
    assert math.isnan(read_detector(header_of(("EXPTIME", value)), CONFIG, run, "a").exposure_time)
    assert "not plausible: ignored" in run.warnings[0]


@pytest.mark.parametrize(
    ("cards", "bitpix", "gain", "told"),
    [
        ((("GAIN", 2.5),), 16, 2.5, False),
        ((("GAIN", 120, "Sensor gain"), ("EGAIN", 0.25)), 16, 0.25, True),
        ((("GAIN", 120),), 16, 0.0, True),
        ((("GAIN", 15), ("EGAIN", 0.25)), 16, 0.25, True),
        ((("GAIN", 2), ("EGAIN", 2.0)), 16, 2.0, False),
        ((("GAIN", 8), ("OFFSET", 30)), 16, 0.0, True),
        ((("GAIN", 8),), 16, 8.0, False),
        ((("GAIN", 120.0, "e-/ADU"),), 16, 120.0, False),
        ((("GAIN", 5000.0, "of a coadd"),), -32, 5000.0, False),
        ((("GAIN", 21.7),), 16, 21.7, False),
        ((("GAIN", -2.0),), 16, 0.0, True),
        ((("GAIN", 0),), 16, 0.0, True),
    ],
)
def test_gains_that_can_be_one(cards, bitpix, gain, told):
    run = Run()
    assert read_detector(header_of(*cards, bitpix=bitpix), CONFIG, run, "a").gain == gain
    assert bool(run.warnings) == told


@pytest.mark.parametrize(
    ("cards", "level"),
    [
        ({}, 0.0), ({"PEDESTAL": -100}, 100.0), ({"PEDESTAL": 100}, 100.0),
        ({"SOFTBIAS": 1000}, 1000.0), ({"SOFTBIAS": 1000, "NMGY": 0.0047}, 0.0),
        ({"PEDESTAL": "x"}, 0.0),
    ],
)  # fmt: skip
def test_pedestals(cards, level):
    assert pedestal(fits.Header(cards)) == level
    assert read_detector(fits.Header(cards), CONFIG, Run(), "a").pedestal == level


@pytest.fixture
def read(tmp_path):
    """Return a function from pixels and cards to the exposure and the run."""

    def make(image, cards, *settings):
        fits.PrimaryHDU(image, fits.Header(cards)).writeto(tmp_path / "a.fits")
        run = Run()
        config = resolve(None, command_line_settings(list(settings))).config
        (exposure,) = read_exposures(ImageSpec(str(tmp_path / "a.fits")), config, run)
        return exposure, run

    return make


@pytest.mark.parametrize("camera", ["AUTO", "NONE", "none"])
def test_camera(read, camera):
    cards = {"INSTRUME": "ZWO ASI533MM", "GAIN": 1.5, "EGAIN": 0.8}
    exposure, _ = read(np.ones((4, 4), np.uint16), cards, ("CAMERA", camera))
    known = camera == "AUTO"
    assert exposure.camera == ("ZWO ASI" if known else "")
    assert exposure.detector.gain == (0.8 if known else 1.5)
    assert exposure.header["GAIN"] == (0.8 if known else 1.5)
    assert ("HISTORY" in exposure.header) == known


@pytest.mark.parametrize(("more", "time"), [({}, 60.0), ({"PREPARE": "2020-01-01T00:00:00"}, 15.0)])
def test_coadds_that_are_summed(read, more, time):
    cards = {"INSTRUME": "NIRI", "EXPTIME": 15.0, "COADDS": 4} | more
    exposure, _ = read(np.ones((4, 4), np.float32), cards)
    assert exposure.camera == "Gemini"
    assert exposure.summed_time == exposure.detector.exposure_time == time
    # A product that is read again.
    translate(exposure.header, "AUTO", Run(), "a")
    assert exposure.header["EXPTIME"] == time


def test_asinh_of_pan_starrs(read):
    flux = np.random.default_rng(1).normal(10.0, 100.0, (6, 7))
    flux[2, 2] = 60000.0
    a, soft, offset = 2.5 / math.log(10.0), 4.5, -20.0
    stored = a * np.arcsinh((flux - offset) / (2.0 * soft))
    exposure, _ = read(
        stored.astype(np.float32),
        {"TELESCOP": "PS1", "BSOFTEN": soft, "BOFFSET": offset, "SATURATE": 50000.0},
    )
    np.testing.assert_allclose(exposure.image, flux, rtol=1e-5, atol=1e-3)
    assert np.argwhere(exposure.mask).tolist() == [[2, 2]]
    assert exposure.mask[2, 2] == Mask.SAT
    assert "BSOFTEN" not in exposure.header


def test_an_exposure_time_of_zero_is_told(read):
    exposure, run = read(np.ones((4, 4), np.float32), {"EXPTIME": 0.0})
    assert exposure.detector.exposure_time == 0.0
    assert "exposure time of 0 s is not plausible" in run.warnings[0]


@pytest.mark.parametrize(
    ("file", "camera", "gain", "time"),
    [
        ("gain/asi.fits.gz", "ZWO ASI", 0.25, 60.0),
        ("exptime/days.fits.gz", "", 1.0, 1425.6),
        ("exptime/ms.fits.gz", "", 1.0, 60.0),
        ("real/seestar_m94.fit.gz", "Seestar", 0.0, 10.0),
        ("real/nicmos_cal.fits.gz", "HST", 5.4 * 1407.892, 1407.892),
        ("real/twomass_m17.fits.gz", "2MASS", 0.0, 7.8),
        ("real/rcw49.fits.gz", "DSS", 0.0, 2400.0),
        ("real/saethlin.fits.gz", "MaxIm", 0.0, 300.0),
        ("real/sdss_frame.fits.bz2", "SDSS", 0.0, 53.907456),
        ("real/des_r.fits.gz", "DES", 21.13913415192, 450.0),
    ],
)
def test_frames_of_the_world(shared_data, file, camera, gain, time):
    spec = ImageSpec(str(shared_data / "world" / file))
    (exposure,) = read_exposures(spec, resolve(None).config, Run())
    assert exposure.camera == camera
    assert exposure.detector.gain == pytest.approx(gain)
    assert exposure.detector.exposure_time == pytest.approx(time)
