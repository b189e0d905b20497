"""What an exposure tells of its pixels."""

import math
from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.photocal import PhotoCal


@pytest.mark.parametrize(("unit", "seconds"), [
    ("", 60.0), ("adu", 60.0), ("electrons", 60.0), ("counts/s", 1.0), ("e-/s", 1.0), ("cps", 1.0),
    ("nanomaggy", 1.0), ("MJy/sr", 1.0), ("mJy", 1.0), ("microJy", 1.0), ("JY/BEAM", 1.0),
    ("erg/s/cm2/Hz", 1.0), ("10*nanoJansky", 1.0), ("mJy/arcsec^2", 1.0), ("s-1", 1.0),
])  # fmt: skip
def test_the_zero_point_of_one_second(unit, seconds):
    """A pixel that is a rate has the light of one second, whatever the exposure time."""
    mask = np.zeros((4, 4), np.uint16)
    detector = Detector(exposure_time=60.0)
    given = Exposure(mask.astype(np.float32), mask, detector=detector, header={"BUNIT": unit})
    assert given.summed_time == seconds
    expected = 25.0 - 2.5 * math.log10(seconds)
    assert PhotoCal(zero_point=25.0).zero_point_1s(given.summed_time) == pytest.approx(expected)


def test_the_name_in_messages_is_what_picks_the_image():
    plane = np.zeros((2, 2), np.float32)
    image = Exposure(plane, plane.astype(np.uint16), path="f.fits", extension=1)
    assert image.name == "f.fits"
    assert replace(image, alone=False).name == "f.fits[1]"
    assert replace(image, alone=False, plane=2).name == "f.fits[1,2]"
