"""Frames as cameras and pipelines write them, whole: what was silently wrong once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from skyextract.datamodel.wcs import SkyWcs


def matched(folder, found, limit=1.5):
    """Return the pairs of true stars and sources, nearest in the pixels of the frame."""
    truth = Table.read(folder / "truth.csv")
    distance = np.hypot(
        np.subtract.outer(np.array(truth["x"]), np.array(found["XWIN_IMAGE"])),
        np.subtract.outer(np.array(truth["y"]), np.array(found["YWIN_IMAGE"])),
    )
    nearest = distance.argmin(axis=1)
    near = distance.min(axis=1) < limit
    return truth[near], found[nearest[near]]


def spread(pull):
    """Half of the range of the middle 68 per cent, less noisy than the median deviation."""
    return 0.5 * np.subtract(*np.percentile(pull, [84.135, 15.865]))


@pytest.mark.parametrize(
    ("colour", "zero_point"), [("GREEN", 30.0), ("SUPERPIXEL", 29.706), ("R", 29.133)]
)
def test_mosaic(skyextract, shared_data, colour, zero_point):
    """Responses 0.45, 1.0 and 0.6 in a frame of zero point 30: 29.706 for their mean."""
    folder = shared_data / "world/bayer"
    columns = "XWIN_IMAGE YWIN_IMAGE MAG_PSF MAGERR_PSF"
    sizes = "A_IMAGE A_WORLD FWHM_IMAGE FWHM_WORLD"
    Path("my.param").write_text("\n".join(f"{columns} {sizes}".split()))
    done = skyextract(
        folder / "bay.fits.gz", "-ASTREFCAT_NAME", folder / "ref.csv", "-BAYER", colour,
        "-CATALOG_TYPE", "FITS_LDAC", "-HEAD_NAME", "bay.head", "-PARAMETERS_NAME", "my.param",
    )  # fmt: skip
    assert f"{colour} is measured" in done.stderr
    steps = done.summary("bay.json")[0]["steps"]
    photometry = steps["photometry"]
    assert steps["astrometry"]["pixel_scale"] == pytest.approx(0.6, rel=1e-3)
    seeing = steps["characterize"]
    assert seeing["fwhm_arcsec"] == pytest.approx(0.6 * seeing["fwhm_pix"], rel=1e-3)
    assert photometry["zero_point"] == pytest.approx(zero_point, abs=0.005)
    found = Table.read("bay.cat", hdu=2)
    truth, own = matched(folder, found)
    assert len(truth) >= 95
    assert abs(np.median(own["XWIN_IMAGE"] - truth["x"])) < 0.05
    assert abs(np.median(own["YWIN_IMAGE"] - truth["y"])) < 0.05
    pull = (own["MAG_PSF"] - truth["mag"]) / own["MAGERR_PSF"]
    assert 0.75 < spread(pull) < 1.3
    # Sizes and errors are in the pixels that positions are in.
    for size in ("A", "FWHM"):
        arcsec = 3600.0 * own[f"{size}_WORLD"] / own[f"{size}_IMAGE"]
        assert np.median(arcsec) == pytest.approx(0.6, rel=0.02)
    lines = np.ravel(fits.getdata("bay.cat", 1).field(0))
    for header in (
        fits.Header.fromstring("".join(line.ljust(80) for line in lines)),
        fits.Header.fromstring(Path("bay.head").read_text(), sep="\n"),
    ):
        ra, dec = SkyWcs.from_header(header).to_sky(truth["x"] - 1.0, truth["y"] - 1.0)
        error = np.hypot((ra - truth["ra"]) * np.cos(np.radians(dec)), dec - truth["dec"]) * 3600
        assert np.median(error) < 0.05


def test_pixel_scale_is_that_of_the_frame(skyextract, shared_data):
    """PIXEL_SCALE of a mosaic, of which a colour has pixels twice as large."""
    image, columns = shared_data / "world/bayer/bay.fits.gz", Path("my.param")
    columns.write_text("FWHM_IMAGE\nFWHM_WORLD\n")
    done = skyextract(image, "-PIXEL_SCALE", "0.6", "-PARAMETERS_NAME", columns,
                      "-CATALOG_TYPE", "FITS_1.0")  # fmt: skip
    assert "contradicts" not in done.stderr
    found = Table.read("bay.cat")
    ratio = np.median(3600.0 * found["FWHM_WORLD"] / found["FWHM_IMAGE"])
    assert ratio == pytest.approx(0.6, rel=1e-3)
    assert "contradicts" in skyextract(image, "-PIXEL_SCALE", "1.2").stderr


@pytest.mark.parametrize("name", ["sci_err", "sci_bpm_err"])
def test_errors_are_the_noise_of_their_image(skyextract, shared_data, name):
    folder = shared_data / "world/scierr"
    done = skyextract(folder / f"{name}.fits.gz", "-CATALOG_TYPE", "FITS_1.0")
    assert done.status == 0
    assert "ERR is its error" in done.stderr
    assert len(done.summary(f"{name}.json")) == 1
    truth, own = matched(folder, Table.read(f"{name}.cat", hdu=1))
    assert len(truth) >= 75
    pull = (own["FLUX_PSF"] - truth["flux"]) / own["FLUXERR_PSF"]
    assert 0.75 < spread(pull) < 1.3
    assert set(np.unique(own["FLAGS_SKY"] & 128)) == {0}


def test_sdss_frame_with_its_sky_table(skyextract, shared_data):
    done = skyextract(shared_data / "world/real/sdss_frame.fits.bz2")
    assert done.status == 0
    assert len(done.summary("sdss_frame.json")) == 1


@pytest.mark.parametrize(("name", "magnitudes"), [("days", 7.885), ("ms", 4.445)])
def test_zero_point_of_one_second(skyextract, shared_data, name, magnitudes):
    """EXPOSURE in days, EXPTIME in milliseconds."""
    folder = shared_data / "world/exptime"
    done = skyextract(folder / f"{name}.fits.gz", "-PHOTREFCAT_NAME", folder / "ref.csv")
    photometry = done.summary(f"{name}.json")[0]["steps"]["photometry"]
    difference = photometry["zero_point"] - photometry["zero_point_1s"]
    assert difference == pytest.approx(magnitudes, abs=0.001)


def test_a_setting_of_the_camera_is_no_gain(skyextract, shared_data):
    folder = shared_data / "world/gain"
    done = skyextract(folder / "asi.fits.gz", "-CATALOG_TYPE", "FITS_1.0")
    assert "the header is of ZWO ASI (GAIN 0.25)" in done.stderr
    assert done.summary("asi.json")[0]["frame"]["camera"] == "ZWO ASI"
    truth, own = matched(folder, Table.read("asi.cat", hdu=1))
    pull = (own["FLUX_PSF"] - truth["flux"]) / own["FLUXERR_PSF"]
    assert len(truth) >= 75
    assert 0.75 < spread(pull) < 1.25
