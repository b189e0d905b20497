"""Instruments are recognised by the headers that they write."""

import pytest

from skyextract.datamodel.instruments import recognise

CASES = [
    ("MaxIm", {"SWCREATE": "MaxIm DL Version 6.08", "INSTRUME": "SBIG STF-8300",
                    "EGAIN": 0.37}, {"GAIN": 0.37}),
    ("MaxIm", {"SWCREATE": "CCDOPS Version 5.60"}, {}),
    ("ESO", {"ESO DET OUT1 CONAD": 1.1, "ESO DET OUT1 RON": 9.4, "ESO DET OUT1 GAIN": 0.9},
     {"GAIN": 1.1, "RDNOISE": 9.4}),
    ("ESO", {"ESO DET OUT1 CONAD": 1.1, "GAIN": 2.2}, {}),
    ("Calar Alto", {"CCDSENS": 2.3, "CCDRON": 5.0}, {"GAIN": 2.3, "RDNOISE": 5.0}),
    ("ASCOM", {"INSTRUME": "FLI ProLine", "EGAIN": 1.5}, {"GAIN": 1.5}),
    ("ASCOM", {"INSTRUME": "G4-16000", "EGAIN": 1.5, "GAIN": 0}, {"GAIN": 1.5}),
    ("ASCOM", {"EGAIN": 1.5, "GAIN": 1.3}, {}),
    ("ZWO ASI", {"INSTRUME": "ZWO ASI1600MM Pro", "GAIN": 139, "EGAIN": 1.0}, {"GAIN": 1.0}),
    ("ZWO ASI", {"INSTRUME": "ASI294MC", "SWCREATE": "N.I.N.A. 3.0", "GAIN": 120}, {"GAIN": None}),
    ("QHY", {"INSTRUME": "QHY600M", "GAIN": 26, "EGAIN": 0.8}, {"GAIN": 0.8}),
    ("Seestar", {"INSTRUME": "Seestar S50", "CREATOR": "ZWO Seestar S50", "GAIN": 80},
     {"GAIN": None}),
    ("ASIAIR", {"CREATOR": "ZWO ASIAIR Plus", "INSTRUME": "Imaging Camera", "EGAIN": 0.25},
     {"GAIN": 0.25}),
    ("DSLR", {"INSTRUME": "Canon EOS 6D", "PROGRAM": "Siril 1.2.0", "GAIN": 800}, {"GAIN": None}),
    ("LCO", {"ORIGIN": "LCOGT", "INSTRUME": "fa15", "GAIN": 1.0, "MAXLIN": 120000.0},
     {"SATURATE": 120000.0}),
    ("DECam", {"INSTRUME": "DECam", "ARAWGAIN": 4.1, "RDNOISEA": 6.7, "SATURATA": 150000.0},
     {"GAIN": 4.1, "RDNOISE": 6.7, "SATURATE": 150000.0}),
    ("DECam", {"INSTRUME": "DECam", "PLVER": "V4.8.2a", "DES_EXT": "IMAGE", "GAINA": 3.87,
               "GAINB": 3.89, "ARAWGAIN": 4.47, "RDNOISEA": 6.0, "RDNOISEB": 6.2,
               "SATURATE": 45845.4},
     {"GAIN": 3.88, "RDNOISE": 6.1, "SATURATE": 45845.4}),
    ("NOIRLab", {"OBSERVAT": "KPNO", "INSTRUME": "mosaic3"}, {}),
    ("ZTF", {"INSTRUME": "ZTF/MOSAIC", "GAIN": 6.2, "READNOI": 10.3}, {"RDNOISE": 10.3}),
    ("Pan-STARRS", {"TELESCOP": "PS1", "INSTRUME": "gpc1", "CELL.GAIN": 1.0,
                    "FPA.FILTERID": "r.00000"}, {"GAIN": 1.0, "FILTER": "r"}),
    ("SDSS", {"ORIGIN": "SDSS", "SOFTBIAS": 1000}, {}),
    ("DES", {"INSTRUME": "DECam", "DES_EXT": "IMAGE", "GAIN": 21.1}, {}),
    ("HST", {"TELESCOP": "HST", "INSTRUME": "ACS", "BUNIT": "ELECTRONS", "FILTER1": "CLEAR1L",
             "FILTER2": "F814W"}, {"GAIN": 1.0, "FILTER": "F814W"}),
    ("HST", {"TELESCOP": "HST", "BUNIT": "ELECTRONS/S", "EXPTIME": 500.0, "FILTER": "F160W"},
     {"GAIN": 500.0}),
    ("HST", {"TELESCOP": "HST", "BUNIT": "COUNTS/S", "EXPTIME": 100.0, "ADCGAIN": 5.4,
             "FILTER": "F110W"}, {"GAIN": 540.0}),
    ("HST", {"TELESCOP": "HST", "BUNIT": "COUNTS", "CCDGAIN": 7.0}, {"GAIN": 7.0}),
    ("JWST", {"TELESCOP": "JWST", "BUNIT": "MJy/sr", "EFFEXPTM": 837.0},
     {"GAIN": None, "EXPTIME": 837.0}),
    ("TESS", {"TELESCOP": "TESS", "EXPOSURE": 0.01649, "BUNIT": "electrons/s"},
     {"EXPTIME": 0.01649 * 86400, "GAIN": 0.01649 * 86400}),
    ("2MASS", {"ORIGIN": "2MASS   ", "UT_DATE": "990502  ", "UT": "09:22:50.09"},
     {"EXPTIME": 7.8, "DATE-OBS": "1999-05-02T09:22:50.09"}),
    ("DSS", {"PLTLABEL": "OR14137", "EXPOSURE": 40.0}, {"GAIN": None, "EXPTIME": 2400.0}),
    ("PANOPTES", {"ORIGIN": "Project PANOPTES", "INSTRUME": "ee04d1"}, {"GAIN": None}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "header", "cards"), CASES)
def test_known_instruments(name, header, cards):
    instrument = recognise(header)
    assert instrument.name == name
    assert instrument.translate(header) == pytest.approx(cards)


@pytest.mark.parametrize(
    "header", [{}, {"INSTRUME": "EMMI"}, {"TELESCOP": "my own", "GAIN": 120}, {"INSTRUME": 3}]
)
def test_unknown_instruments(header):
    assert recognise(header) is None
