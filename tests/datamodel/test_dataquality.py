"""What the bits of data-quality planes mean, by observatory."""

import numpy as np
import pytest

from skyextract.datamodel.dataquality import ANY_NUMBER, quality_of
from skyextract.datamodel.flags import Mask

BAD, SAT, CR, SUSPECT = Mask.BAD, Mask.SAT, Mask.CR | Mask.BAD, Mask.SUSPECT
CASES = {
    "ACS": ({"TELESCOP": "HST", "INSTRUME": "ACS"},
            {4: BAD, 16: BAD, 64: SUSPECT, 256: SAT, 2048: SAT, 8192: CR, 16384: Mask(0),
             256 | 4096: SAT | CR}),
    "WFC3 UVIS": ({"TELESCOP": "HST", "INSTRUME": "WFC3", "DETECTOR": "UVIS"}, {8192: CR}),
    "WFC3 IR": ({"TELESCOP": "HST", "INSTRUME": "WFC3", "DETECTOR": "IR"},
                {8192: Mask(0), 256: SAT, 4: BAD, 512: SUSPECT}),
    "NICMOS": ({"TELESCOP": "HST", "INSTRUME": "NICMOS"},
               {64: SAT, 32: BAD, 512: Mask(0), 1024: Mask(0), 2: SUSPECT}),
    "JWST": ({"TELESCOP": "JWST", "INSTRUME": "NIRCAM"},
             {1: BAD, 3: BAD | SAT, 4: Mask(0), 1 << 24: Mask(0)}),
    "BANZAI": ({"ORIGIN": "LCOGT", "TELESCOP": "1m0-04"}, {1: BAD, 2: SAT, 8: CR}),
    "DES": ({"INSTRUME": "DECam", "DES_EXT": "MASK"},
            {1: BAD, 2: SAT, 4: Mask.INTRP, 16: CR, 32: Mask(0), 8192: Mask.EDGE}),
    "DECam CP": ({"INSTRUME": "DECam", "PLVER": "V4.8", "DES_EXT": "MASK"},
                 {1: BAD, 2: Mask.NO_DATA, 3: SAT, 4: SAT, 5: CR, 7: SUSPECT}),
    "DRAGONS": ({"TELESCOP": "Gemini-North", "INSTRUME": "GMOS-N"}, {1: BAD, 4: SAT, 8: CR}),
    "LSST": ({"MP_BAD": 0, "MP_SAT": 1, "MP_INTRP": 2, "MP_CR": 3, "MP_DETECTED": 5,
              "MP_NO_DATA": 8},
             {1: BAD, 2: SAT, 12: Mask.INTRP | Mask.CR, 32: Mask(0), 256: Mask.NO_DATA}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_conventions(name):
    header, meanings = CASES[name]
    numbers = np.zeros(100, np.int32)
    numbers[: len(meanings)] = list(meanings)
    mask = quality_of(header).translate(numbers)
    assert [Mask(int(m)) for m in mask[: len(meanings)]] == list(meanings.values())
    assert not mask[len(meanings) :].any()


def test_repaired_pixels_of_a_coadd_are_only_suspect():
    header = {"MP_INTRP": 2, "MP_BAD": 0}
    mask = quality_of(header).translate(np.full(100, 5, np.int64))
    assert (mask == int(Mask.SUSPECT | Mask.BAD)).all()


@pytest.mark.parametrize("header", [{}, {"TELESCOP": "HST", "INSTRUME": "new"}, {"MP_BAD": "x"}])
def test_unknown(header):
    assert quality_of(header) is ANY_NUMBER
