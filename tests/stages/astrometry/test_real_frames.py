"""Astrometry written as .head files, and of real frames."""

import math
import re

import numpy as np
import pytest
import sep
from astropy.io import fits
from astropy.wcs import WCS

from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.wcs import SkyWcs
from skyextract.io.fits.headfile import head_text, write_head
from skyextract.io.images.images import read_head_file
from skyextract.io.references.reference import read_reference
from skyextract.run import Run
from skyextract.settings.keywords import Astrometry as Config
from skyextract.stages.astrometry.pointing import search_region
from skyextract.stages.astrometry.solve import solve_astrometry
from tests.simulate.astrometry import NOISE, SCALE, make_field


@pytest.mark.parametrize(("bend", "degrees"), [(0.0, 1), (5.0, 3)])
def test_head_file_reads_back(tmp_path, bend, degrees):
    field = make_field(n=300, bend=bend, seed=2)
    result = field.solve(distort_degrees=degrees)
    path = tmp_path / "image.head"
    write_head(path, [result.head_cards(), result.head_cards()])
    lines = path.read_text().splitlines()
    assert all(len(line) == 80 for line in lines)
    assert sum(line.rstrip() == "END" for line in lines) == 2
    heads = read_head_file(str(tmp_path / "image.fits"), ".head", Run())
    assert len(heads) == 2
    assert heads[0]["CTYPE1"] == ("RA---TAN" if result.plate.degree == 1 else "RA---TPV")
    x, y = np.array([0.0, 1999.0, 700.0]), np.array([0.0, 1499.0, 300.0])
    np.testing.assert_allclose(
        SkyWcs.from_header(heads[0]).to_sky(x, y), result.wcs.to_sky(x, y), atol=1e-10
    )
    text = fits.Header.fromstring(head_text(result.head_cards()), sep="\n")
    assert 0.0 < text["ASTRRMS1"] * 3600.0 < 2.0 * NOISE * SCALE
    np.testing.assert_allclose(
        WCS(text).all_pix2world(x, y, 0), result.wcs.to_sky(x, y), atol=1e-10
    )


def test_no_head_after_a_failure():
    result = make_field().solve({})
    with pytest.raises(ValueError, match="no fitted WCS"):
        result.head_cards()


def detect(image: np.ndarray) -> Catalog:
    image = np.ascontiguousarray(image, np.float32)
    background = sep.Background(image)
    image = image - background
    found = sep.extract(image, 3.0, err=background.globalrms, minarea=5)
    flux, error, _ = sep.sum_circle(image, found["x"], found["y"], 5.0, err=background.globalrms)
    x, y, _ = sep.winpos(image, found["x"], found["y"], 1.3)
    return Catalog({"XWIN_IMAGE": x + 1.0, "YWIN_IMAGE": y + 1.0,
                    "FLUX_AUTO": flux, "FLUXERR_AUTO": error})  # fmt: skip


def solve_file(path, reference, extension=0, turn=None, **settings):
    image, header = fits.getdata(path, extension, header=True)
    sources = detect(image)
    if turn is not None:
        sources = turn(sources)
    result = solve_astrometry(
        sources,
        header,
        image.shape,
        SkyWcs.from_header(header),
        reference,
        Config(**settings),
        Run(),
    )
    return result, image.shape


@pytest.mark.parametrize("band", ["g", "r", "i"])
def test_sdss(shared_data, band):
    folder = shared_data / "sdss_stripe82"
    reference = read_reference([str(folder / "refcat/sdss_stars_field.fits")], Run(), mag_key=band)
    result, _ = solve_file(folder / f"fpC-004192-{band}4-0300.fit.gz", reference)
    assert result.status == "COMPLETE"
    assert 90 <= result.metrics["n_matched"] <= 104
    assert result.metrics["rms_arcsec"] < 0.025
    assert result.metrics["rms_holdout_arcsec"] < 0.03


def test_sdss_without_wcs(shared_data):
    folder = shared_data / "sdss_stripe82"
    reference = read_reference([str(folder / "refcat/sdss_stars_field.fits")], Run(), mag_key="r")
    blind, shape = solve_file(shared_data / "no_wcs/sdss_r4192_nowcs.fits.gz", reference)
    started, _ = solve_file(folder / "fpC-004192-r4-0300.fit.gz", reference)
    assert blind.status == "COMPLETE"
    y, x = np.mgrid[0 : shape[0] - 1 : 9j, 0 : shape[1] - 1 : 9j]
    difference = np.subtract(blind.wcs.to_sky(x, y), started.wcs.to_sky(x, y)) * 3600.0
    assert np.hypot(*difference).max() < 0.05


@pytest.mark.parametrize("angle", [0.0, 137.0])
@pytest.mark.parametrize("flip", [False, True])
def test_wide_field_with_a_large_pointing_error(shared_data, angle, flip):
    reference = read_reference([str(shared_data / "panoptes/tycho2_panoptes.fits")], Run())

    def turn(sources):
        x, y = sources["XWIN_IMAGE"] - 350.5, sources["YWIN_IMAGE"] - 350.5
        x = -x if flip else x
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        return sources.with_columns(
            XWIN_IMAGE=c * x - s * y + 350.5, YWIN_IMAGE=s * x + c * y + 350.5
        )

    path = shared_data / "panoptes/unsolved.fits"
    result, _ = solve_file(path, reference, turn=turn, position_maxerr=120.0)
    assert result.status == "COMPLETE"
    assert result.metrics["n_matched"] >= 150
    assert result.metrics["rms_arcsec"] < 0.35 * result.metrics["pixel_scale"]
    assert result.metrics["pixel_scale"] == pytest.approx(10.32, abs=0.05)
    assert result.metrics["parity"] == (1 if flip else -1)


def test_a_pointing_beyond_the_limit_is_told(shared_data):
    reference = read_reference([str(shared_data / "panoptes/tycho2_panoptes.fits")], Run())
    result, _ = solve_file(shared_data / "panoptes/unsolved.fits", reference)
    assert result.status == "FAILED"
    shift = re.search(r"match if it is shifted by ([\d.]+) arcmin .POSITION_MAXERR", result.reason)
    assert shift is not None
    assert float(shift[1]) == pytest.approx(94.5, abs=0.5)


def test_decam_with_eight_stars(shared_data):
    folder = shared_data / "decam_tpv"
    path = next((folder / "images").rglob("*ooi*.fits"))
    header = fits.getheader(path, 1)
    shape = header["NAXIS2"], header["NAXIS1"]
    wcs = SkyWcs.from_header(header)
    region = search_region(fits.Header(), shape, wcs, Config())
    reference = read_reference([str(folder / "gaia")], Run(), region=region)
    result, _ = solve_file(path, reference, extension=1)
    # The header is known to be good to a fraction of a pixel: so is what is accepted.
    assert result.status == "COMPLETE"
    assert result.metrics["n_reference"] == 8
    assert result.metrics["shift_arcsec"] < 0.2
    assert result.wcs.to_header()["CTYPE1"] == "RA---TPV"
