"""Arrays and objects of other packages, and results that travel."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDData,
    StdDevUncertainty,
    VarianceUncertainty,
)
from astropy.utils.masked import Masked
from astropy.wcs import WCS, DistortionLookupTable

import skyextract as sky

CARDS = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 80.5,
    "CRPIX2": 60.5, "CD1_1": -1e-3, "CD2_2": 1e-3,
}  # fmt: skip


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:120, :160]
    image = rng.normal(100.0, 5.0, x.shape)
    for a in range(20, 160, 30):
        for b in range(20, 120, 30):
            image += 900.0 * np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / 1.6**2)
    return image.astype(np.float32)


def test_what_hides_pixels(image):
    mask = np.zeros(image.shape, bool)
    mask[:, :80] = True
    expected = sky.exposure(np.ma.array(image, mask=mask)).mask
    for given in (CCDData(image, unit="adu", mask=mask), Masked(image, mask=mask)):
        np.testing.assert_array_equal(sky.exposure(given).mask, expected)
    assert np.all(expected[:, :80] != 0)
    assert not np.any(expected[:, 80:])


@pytest.mark.parametrize(
    "uncertainty",
    [StdDevUncertainty(5.0), VarianceUncertainty(25.0), InverseVariance(0.04)],
)
def test_what_a_ccddata_brings_along(image, uncertainty):
    plane = type(uncertainty)(np.full(image.shape, float(uncertainty.array)))
    ccd = CCDData(image, unit="adu", uncertainty=plane, header=fits.Header({"FILTER": "r"}))
    exposure = sky.exposure(ccd)
    np.testing.assert_allclose(exposure.variance, 25.0, rtol=1e-6)
    assert exposure.header["FILTER"] == "r"
    assert sky.exposure(ccd, variance=np.full(image.shape, 4.0)).variance[0, 0] == 4.0


def test_the_wcs_that_a_ccddata_keeps_beside_its_header(image, tmp_path):
    """CCDData.read takes the cards of the WCS out of the header."""
    cards = fits.Header({**CARDS, "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP",
                         "A_ORDER": 2, "A_2_0": 1e-4, "B_ORDER": 2, "B_0_2": 1e-4})  # fmt: skip
    fits.PrimaryHDU(image, cards).writeto(tmp_path / "a.fits")
    ccd = CCDData.read(tmp_path / "a.fits", unit="adu")
    assert "CRVAL1" not in ccd.header
    x, y = np.array([3.0, 150.0]), np.array([4.0, 100.0])
    expected = WCS(cards).all_pix2world(x, y, 0)
    for given in (ccd, NDData(image, wcs=ccd.wcs, meta={"FILTER": "r"}, unit="adu")):
        exposure = sky.exposure(given)
        np.testing.assert_array_equal(exposure.image, image)
        np.testing.assert_allclose(exposure.wcs.to_sky(x, y), expected, atol=1e-10)
    assert exposure.header["FILTER"] == "r"
    np.testing.assert_allclose(sky.exposure(ccd, CARDS).wcs.to_sky(79.5, 59.5), (150.0, 2.0))
    table = ccd.wcs.deepcopy()
    table.cpdis1 = DistortionLookupTable(np.ones((2, 2), np.float32), (1, 1), (1, 1), (99, 99))
    assert sky.exposure(NDData(image, wcs=table)).wcs is None


def test_quantities_have_values(image):
    np.testing.assert_array_equal(sky.exposure(image * units.adu).image, image)


def test_units_of_arrays_are_those_of_the_pixels(image):
    """Electrons have a gain of 1, by whatever says that they are."""
    given = (image * units.electron, CCDData(image, unit="electron"),
             CCDData(image, unit="electron", header=fits.Header({"BUNIT": "adu"})))  # fmt: skip
    expected = sky.measure(sky.exposure(image, {"BUNIT": "electron"})).table
    for array in given:
        exposure = sky.exposure(array)
        assert exposure.header["BUNIT"] == "electron"
        found = sky.measure(exposure).table
        np.testing.assert_array_equal(found["FLUXERR_AUTO"], expected["FLUXERR_AUTO"])


def test_a_table_is_no_name(image):
    table = sky.measure(sky.exposure(image)).table
    with pytest.raises(TypeError, match="not Table"):
        sky.measure(sky.exposure(image), ASSOC_NAME=table)


def test_pixels_of_unknown_variance_hold_no_sources(image):
    variance = np.full(image.shape, 25.0, np.float32)
    variance[:, :80] = 0.0
    table = sky.measure(sky.exposure(image, variance=variance)).table
    assert len(table) > 5
    assert np.all(table["X_IMAGE"] > 80.0)


def test_what_is_no_image():
    with pytest.raises(ValueError, match="no pixels"):
        sky.exposure(np.zeros((0, 0)))
    with pytest.raises(TypeError, match=r"pass the \.data of the PrimaryHDU"):
        sky.exposure(fits.PrimaryHDU(np.zeros((9, 9))))


def test_results_travel(image):
    sources = sky.measure(sky.exposure(image))
    for other in (pickle.loads(pickle.dumps(sources)), copy.deepcopy(sources)):
        assert len(other) == len(sources)
        assert np.array_equal(other.table["X_IMAGE"], sources.table["X_IMAGE"])
        assert repr(other) == repr(sources)


def test_results_are_told_apart_by_identity(image):
    sources, other = (sky.measure(sky.exposure(image)) for _ in range(2))
    assert sources in [other, sources]
    assert sources not in [other]
    assert len({sources, other, sources.exposure, other.exposure}) == 4
