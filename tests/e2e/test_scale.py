"""The result does not depend on the unit of the pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

FIELD = Path(__file__).resolve().parents[2] / "examples" / "field.fits.fz"
COLUMNS = "X_IMAGE Y_IMAGE FLUX_AUTO FLUXERR_AUTO FLUX_PSF FLUXERR_PSF BACKGROUND FLUX_RADIUS"


@pytest.fixture
def measured(skyextract, tmp_path):
    (tmp_path / "c.param").write_text("\n".join(COLUMNS.split()) + "\n")
    with fits.open(FIELD) as units:
        pixels = units[1].data[:400, :400].astype(np.float64) - 420.0
        header = units[1].header.copy()
    for name in ("BSCALE", "BZERO", "GAIN", "SATURATE"):
        header.remove(name, ignore_missing=True)

    def run(factor, *options):
        image = (pixels * factor).astype(np.float32)
        fits.PrimaryHDU(image, header).writeto(tmp_path / "image.fits", overwrite=True)
        done = skyextract(
            "image.fits", "-PARAMETERS_NAME", "c.param", "-CATALOG_TYPE", "FITS_1.0", *options
        )
        assert done.status == 0, done.stderr
        summary = json.loads((tmp_path / "image.json").read_text())[0]
        return fits.getdata(tmp_path / "image.cat", 1), summary["steps"]

    return run


@pytest.mark.parametrize("exponent", [-100, -70, -30, 20, 93])
def test_any_scale(measured, exponent):
    """A power of two changes no digit of the pixels; 2**-100 is 1e-30, 2**93 is 1e28."""
    factor = 2.0**exponent
    table, steps = measured(1.0)
    scaled, scaled_steps = measured(factor)
    assert len(scaled) == len(table)
    error = table["FLUXERR_AUTO"]
    for name in COLUMNS.split():
        is_flux = name.startswith(("FLUX_A", "FLUX_P", "FLUXERR", "BACK"))
        difference = scaled[name] / (factor if is_flux else 1.0) - table[name]
        limit = 0.01 * error if is_flux else np.full(len(table), 0.002)
        assert np.mean(np.abs(difference) < limit) > 0.95, name
        assert np.all(np.abs(difference) < 20 * limit), name
    noise = [s["characterize"]["background_rms"] for s in (steps, scaled_steps)]
    assert noise[1] / factor == pytest.approx(noise[0], rel=1e-4)


def test_products_and_zero_point_are_in_the_unit_of_the_image(measured, tmp_path):
    factor = 1e-21
    refcat = FIELD.with_name("field_refcat.fits")
    products = ("-EXPOSURE_NAME", "e.fits", "-CHECKIMAGE_TYPE", "BACKGROUND_RMS",
                "-CHECKIMAGE_NAME", "rms.fits", "-PHOTREFCAT_NAME", refcat)  # fmt: skip
    _, steps = measured(1.0, *products)
    _, scaled = measured(factor, *products)
    shift = scaled["photometry"]["zero_point"] - steps["photometry"]["zero_point"]
    assert shift == pytest.approx(2.5 * np.log10(factor), abs=0.002)
    noise = scaled["characterize"]["background_rms"]
    assert np.median(fits.getdata(tmp_path / "rms.fits")) == pytest.approx(noise, rel=0.1)
    pixels = fits.getdata(tmp_path / "e.fits", "IMAGE")
    equal = np.isclose(pixels, fits.getdata(tmp_path / "image.fits"), rtol=1e-6, atol=0.0)
    assert equal.mean() > 0.999  # but for cosmic rays
