"""A configuration that SExtractor reads, with keywords that it has forgotten, works as it is."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import maximum_filter

OLD = """
CATALOG_NAME     {name}.cat
CATALOG_TYPE     ASCII
PARAMETERS_NAME  default.param
DETECT_MINAREA   5
FILTER           N
SCAN_ISOAPRATIO  0.6            # maximum isoph. to apert ratio allowed
BLANK            Y              # Blank detected objects (Y or N)?
MAMA_CORFLEX     3.3e-5
VERBOSE_TYPE     EXTRA_WARNINGS
NTHREADS         1
PSF_NMAX         9
PSFDISPLAY_TYPE  SPLIT          # Catalog type for PSF-fitting: SPLIT or VECTOR
PSF_RECENTER     Y
CHECKIMAGE_TYPE  IDENTICAL,PC_PROTOS,-BACKGROUND
CHECKIMAGE_NAME  same_{name}.fits,none_{name}.fits,sub_{name}.fits
"""


@pytest.fixture
def frame(tmp_path):
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:120, :130]
    image = rng.normal(100.0, 3.0, x.shape)
    for x0, y0, peak in rng.uniform((8, 8, 100), (120, 110, 3000), (25, 3)):
        image += peak * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 5.0)
    fits.writeto(tmp_path / "a.fits", image.astype(np.float32))
    (tmp_path / "default.param").write_text("NUMBER\nX_IMAGE\nY_IMAGE\nFLUX_AUTO\n")
    for name in ("ours", "theirs"):
        (tmp_path / f"{name}.sex").write_text(OLD.format(name=name))
    return tmp_path


def test_the_rows_are_those_of_sextractor(skyextract, frame, source_extractor):
    done = skyextract("a.fits", "-c", "ours.sex", "-BLANK", "N")
    assert done.status == 0, done.stderr
    assert "ignored: SCAN_ISOAPRATIO, BLANK, MAMA_CORFLEX, PSFDISPLAY_TYPE" in done.stderr
    assert "no meaning here, not written: PC_PROTOS" in done.stderr
    subprocess.run(
        [source_extractor, "a.fits", "-c", "theirs.sex", "-VERBOSE_TYPE", "QUIET"],
        cwd=frame, check=True, capture_output=True,
    )  # fmt: skip
    ours, theirs = (np.loadtxt(frame / f"{name}.cat") for name in ("ours", "theirs"))
    assert len(theirs) > 20
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    for kind, limit in (("same", 0.0), ("sub", 1e-3)):
        left = fits.getdata(frame / f"{kind}_ours.fits") - fits.getdata(
            frame / f"{kind}_theirs.fits"
        )
        assert np.abs(left).max() <= limit
    assert not (frame / "none_ours.fits").exists()


def test_check_images_of_psfs_are_the_image(skyextract, frame):
    kinds = ("PSFS", "-PSFS", "-BACKGROUND", "RESIDUALS")
    names = [f"{k}.fits" for k in range(4)]
    done = skyextract(
        "a.fits", "-CHECKIMAGE_TYPE", ",".join(kinds), "-CHECKIMAGE_NAME", ",".join(names)
    )
    assert done.status == 0, done.stderr
    psfs, rest, subtracted, residuals = (fits.getdata(frame / name) for name in names)
    np.testing.assert_allclose(psfs + rest, subtracted, atol=1e-3)
    np.testing.assert_array_equal(rest, residuals)
    assert psfs.sum() > 0.9 * subtracted.sum()
    assert rest.std() < 0.05 * subtracted.std()


@pytest.mark.parametrize("column", ["FLUX_ISO", "MAG_AUTO", "MAGERR_APER(1)", "PETRO_RADIUS"])
def test_apertures_are_drawn_that_are_measured(skyextract, frame, source_extractor, column):
    (frame / "default.param").write_text(f"NUMBER\nX_IMAGE\nY_IMAGE\n{column}\n")
    common = ["-FILTER", "N", "-DETECT_MINAREA", "5", "-PHOT_APERTURES", "12"]
    common += ["-PARAMETERS_NAME", "default.param", "-CHECKIMAGE_TYPE", "APERTURES,-BACKGROUND"]
    common += ["-c", "ascii.sex", "-CHECKIMAGE_NAME"]
    (frame / "ascii.sex").write_text("CATALOG_TYPE ASCII\n")
    done = skyextract("a.fits", *common, "ours.fits,sub_ours.fits")
    assert done.status == 0, done.stderr
    command = [source_extractor, "a.fits", *common, "theirs.fits,sub_theirs.fits"]
    subprocess.run(command, cwd=frame, check=True, capture_output=True)
    ours, theirs = (
        fits.getdata(frame / f"{name}.fits") - fits.getdata(frame / f"sub_{name}.fits") > 1.0
        for name in ("ours", "theirs")
    )
    assert theirs.any() == (column != "FLUX_ISO")
    # the same outlines, of other pixels by rounding
    for one, other in ((ours, theirs), (theirs, ours)):
        assert (one & ~maximum_filter(other, 3)).sum() <= 0.01 * one.sum()
