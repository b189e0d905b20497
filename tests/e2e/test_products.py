"""Products that other programs read, and headers that are not usable."""

from pathlib import Path

import pytest
from astropy.io import fits
from astropy.io.votable import parse

FIELD = Path(__file__).resolve().parents[2] / "examples" / "field.fits.fz"


def test_xml_summary_and_pixel_scale(skyextract, tmp_path):
    done = skyextract(FIELD, "--steps", "measure", "-WRITE_XML", "Y", "-XML_NAME", "o.xml")
    assert done.status == 0, done.stderr
    table = next(parse(tmp_path / "o.xml").iter_tables())
    objects = fits.getheader(tmp_path / "field.cat", "LDAC_OBJECTS")
    assert table.array["SEXNFIN"][0] == objects["SEXNFIN"] == objects["NAXIS2"]
    assert objects["SEXPXSCL"] == pytest.approx(0.4, rel=1e-6)


@pytest.mark.parametrize("options", [(), ("-PIXEL_SCALE", "0.4", "-PARAMETERS_NAME", "x.param")])
def test_a_wcs_that_wcslib_refuses_costs_the_sky_only(skyextract, tmp_path, options):
    header = fits.getheader(FIELD, 1)
    header["CUNIT1"] = header["CUNIT2"] = "furlong"
    fits.PrimaryHDU(fits.getdata(FIELD, 1), header).writeto(tmp_path / "odd.fits")
    (tmp_path / "x.param").write_text("X_IMAGE\nY_IMAGE\nFWHM_IMAGE\n")
    done = skyextract("odd.fits", "--steps", "measure", *options)
    assert done.status == 0, done.stderr
    assert ("no sky coordinates" in done.stderr) == (not options)
    assert len(fits.getdata(tmp_path / "odd.cat", "LDAC_OBJECTS")) > 300
