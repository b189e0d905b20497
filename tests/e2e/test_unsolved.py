"""What is said where the astrometry finds nothing."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.coordinates import FK4, FK5, SkyCoord
from astropy.io import fits

from tests.simulate.badframes import good_frame


def test_a_mirrored_frame(skyextract, tmp_path):
    """The keywords that hold the search back are named, and whose WCS photometry goes by."""
    frame = good_frame(1)
    files = replace(frame, image=np.ascontiguousarray(frame.image[:, ::-1])).write(tmp_path)
    done = skyextract(*files)
    assert done.status == 3
    reason = done.summary("f.json")[0]["steps"]["astrometry"]["reason"]
    for keyword in ("POSITION_MAXERR", "POSANGLE_MAXERR", "PIXSCALE_MAXERR", "MATCH_FLIPPED N"):
        assert keyword in reason
    assert "f.fits: with the WCS of the header: photometry failed" in done.stderr
    found = skyextract(*files, "-MATCH_FLIPPED", "Y").summary("f.json")[0]["steps"]
    assert found["astrometry"]["status"] == "complete"


def b1950(ra, dec):
    place = SkyCoord(ra, dec, unit="deg", frame=FK5).transform_to(FK4(equinox="B1950"))
    return place.ra.deg, place.dec.deg


def spoilt(kind, seed):
    """Return a frame with a mistake in its header or its catalogue."""
    frame = good_frame(seed, n=80)
    image, header, reference = frame.image, frame.header.copy(), dict(frame.reference)
    if kind == "hours of the catalogue":
        reference["ra"] = reference["ra"] / 15.0
    elif kind == "radians":
        reference["ra"], reference["dec"] = (np.deg2rad(reference[k]) for k in ("ra", "dec"))
    elif kind == "hours of the header":
        header["CRVAL1"] /= 15.0
    elif kind == "sign":
        reference["dec"] = -reference["dec"]
    elif kind == "sign of the header":
        header["CRVAL2"] *= -1.0
    elif kind in ("swapped pointing", "unread pointing"):
        pointing = {"RA": "+02:00:00", "DEC": "10:00:00"}
        if kind == "unread pointing":
            pointing = {"RA": "10;00;00", "DEC": "+02;00;00"}
        pointing["PIXSCALE"] = 3600.0 * abs(header["PC2_2"] * header["CDELT2"])
        for key in [key for key in header if key[:2] in ("CT", "CR", "CD", "CU")]:
            del header[key]
        header.update(pointing)
    elif kind == "swapped":
        reference["ra"], reference["dec"] = reference["dec"], reference["ra"]
    elif kind == "mirrored":
        image = image[:, ::-1]
    elif kind == "turned":
        image = image[::-1, ::-1]
    elif kind == "mirrored and turned":
        image = image.T
    elif kind == "binned 2 x 1":
        image = image[:, ::2] + image[:, 1::2]
    elif kind == "binned 2 x 2":
        image = image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]
    elif kind.startswith("scale"):
        for key in ("CDELT1", "CDELT2"):
            header[key] *= float(kind.split()[1])
    elif kind == "PIXSCALE 3":
        pointing = {"RA": header["CRVAL1"], "DEC": header["CRVAL2"]}
        pointing["PIXSCALE"] = 3.0 * 3600.0 * abs(header["PC2_2"] * header["CDELT2"])
        for key in [key for key in header if key[:2] in ("CT", "CR", "CD", "CU")]:
            del header[key]
        header.update(pointing)
    elif kind == "shifted":
        header["CRVAL2"] += 4.0 / 60.0
    elif kind == "catalogue of B1950":
        reference["ra"], reference["dec"] = b1950(reference["ra"], reference["dec"])
    elif kind == "header of B1950":
        header["CRVAL1"], header["CRVAL2"] = b1950(header["CRVAL1"], header["CRVAL2"])
    elif kind == "CRVAL 0":
        header["RA"], header["DEC"] = header["CRVAL1"], header["CRVAL2"]
        header["CRVAL1"] = header["CRVAL2"] = header["CRPIX1"] = header["CRPIX2"] = 0.0
    elif kind == "another field":
        reference["ra"] = reference["ra"] + 40.0
    image = np.ascontiguousarray(image)
    return replace(frame, image=image, header=header, reference=reference)


HINTS = {
    "hours of the catalogue": "the RA of the catalogue is in hours",
    "radians": "RA and Dec of the catalogue are in radians",
    "hours of the header": "the RA of the header is in hours",
    "sign": "the Dec of the catalogue has the wrong sign",
    "sign of the header": "the Dec of the header has the wrong sign",
    "swapped": "are they swapped? (ASTREFCENT_KEYS)",
    "swapped pointing": "stars match if RA and Dec of the header are swapped",
    "unread pointing": "RA = '10;00;00', DEC = '+02;00;00' cannot be read",
    "mirrored": "stars match if it is mirrored (MATCH_FLIPPED Y)",
    "turned": "stars match if it is turned by 180.0 deg (POSANGLE_MAXERR)",
    "mirrored and turned": "stars match if it is mirrored (MATCH_FLIPPED Y), turned by 90.0",
    "binned 2 x 1": "if a pixel of the frame is 2 x 1 pixels of the WCS",
    "binned 2 x 2": "if a pixel of the frame is 2 x 2 pixels of the WCS",
    "scale 2": "0.5 times the header's: binned, or not?",
    "scale 0.5": "2 times the header's: binned, or not?",
    "PIXSCALE 3": "0.333 times the header's: binned, or not?",
    "shifted": "stars match if it is shifted by 4.0",
    "catalogue of B1950": "stars match if the positions of the catalogue are of B1950, not J2000",
    "header of B1950": "stars match if the header is of B1950 (EQUINOX 1950)",
    "CRVAL 0": "stars match about RA 150.000, Dec +2.000 of the card RA",
    "another field": "the frame is expected at RA 150.000, Dec +2.000, and the nearest star is at",
}


@pytest.mark.parametrize("kind", HINTS)
def test_what_would_have_matched(skyextract, tmp_path, kind):
    """A common mistake is named, and is no solution."""
    done = skyextract(*spoilt(kind, 1).write(tmp_path))
    step = done.summary("f.json")[0]["steps"]["astrometry"]
    assert step["status"] == "failed"
    assert HINTS[kind] in step["reason"]
    for other, hint in HINTS.items():
        assert hint not in step["reason"] or hint in HINTS[kind] or other == kind


def test_stars_of_no_field_match_nothing(skyextract, tmp_path):
    frame = good_frame(1, n=80)
    rng = np.random.default_rng(1)
    reference = dict(frame.reference)
    reference["ra"] = rng.uniform(reference["ra"].min(), reference["ra"].max(), 80)
    reference["dec"] = rng.uniform(reference["dec"].min(), reference["dec"].max(), 80)
    done = skyextract(*replace(frame, reference=reference).write(tmp_path))
    reason = done.summary("f.json")[0]["steps"]["astrometry"]["reason"]
    assert "stars match if" not in reason


@pytest.mark.parametrize("text", ["| ra | dec |\n| 150.0 | 2.0 |\n", "<html></html>", ""])
def test_a_catalogue_that_is_no_table_leaves_no_magnitudes(skyextract, tmp_path, text):
    """As one of another field: instrumental magnitudes are not taken for calibrated ones."""
    files = good_frame(1).write(tmp_path)
    (tmp_path / "ref.csv").write_text(text)
    done = skyextract(*files)
    assert done.status == 3
    step = done.summary("f.json")[0]["steps"]["photometry"]
    assert step["status"] == "failed"
    magnitudes = fits.getdata(tmp_path / "f.cat", "LDAC_OBJECTS")["MAG_AUTO"]
    assert len(magnitudes) > 0
    assert np.all(np.isnan(magnitudes))
