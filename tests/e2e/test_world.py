"""Frames as the world has them (data/world), each with its right answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table


@dataclass
class Seen:
    """What one run gave: exit status, messages, steps of the first extension, rows by extension."""

    status: int
    told: str
    steps: dict[str, Any]
    tables: list[Any]
    truth: Table

    @property
    def rows(self) -> Any:
        return self.tables[0]

    def pairs(self, radius: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
        """Return for each true star the nearest row, and whether it is that close (pixels)."""
        distance = np.hypot(
            self.rows["X_IMAGE"] - self.truth["x"].data[:, None],
            self.rows["Y_IMAGE"] - self.truth["y"].data[:, None],
        )
        nearest = distance.argmin(axis=1)
        return nearest, distance.min(axis=1) < radius

    def false(self, radius: float = 2.0) -> int:
        """Return the number of rows far from every true star."""
        distance = np.hypot(
            self.rows["X_IMAGE"][:, None] - self.truth["x"].data,
            self.rows["Y_IMAGE"][:, None] - self.truth["y"].data,
        )
        return int((distance.min(axis=1) >= radius).sum())

    def sky_error(self) -> float:
        """Return the median distance from the true positions, arcsec."""
        nearest, good = self.pairs()
        rows = self.rows[nearest[good]]
        ra, dec = (self.truth[name].data[good] for name in ("ra", "dec"))
        east = (rows["ALPHAWIN_J2000"] - ra) * np.cos(np.radians(dec))
        return 3600.0 * float(np.median(np.hypot(east, rows["DELTAWIN_J2000"] - dec)))


@pytest.fixture
def see(skyextract, shared_data):
    """Return a function that runs a frame of data/world and reads what it wrote."""

    def run(name: str, *options: object) -> Seen:
        path = shared_data / "world" / name
        done = skyextract(path, "-CATALOG_TYPE", "FITS_1.0", *options)
        stem = path.name.partition(".")[0]
        with fits.open(done.folder / f"{stem}.cat") as hdus:
            tables = [hdu.data.copy() for hdu in hdus if hdu.is_image is False]
        truth = path.parent / "truth.csv"
        return Seen(
            done.status, done.stderr, done.summary(f"{stem}.json")[0]["steps"], tables,
            Table.read(truth) if truth.is_file() else Table({"x": [], "y": []}),
        )  # fmt: skip

    return run


@pytest.mark.parametrize(
    ("name", "share", "least"), [("zero64", 12, 98), ("rotated", 30, 85), ("nan64", 12, 98)]
)
def test_a_border_without_data(see, shared_data, name, share, least):
    seen = see(f"zeroborder/{name}.fits.gz")
    assert seen.pairs()[1].sum() >= least
    # The list of true stars ends 8 pixels from the narrow border.
    assert seen.false() <= 8
    assert f"{share} % of the frame are no data" in seen.told
    image = fits.getdata(shared_data / f"world/zeroborder/{name}.fits.gz")
    x, y = (np.rint(seen.rows[c]).astype(int) - 1 for c in ("X_IMAGE", "Y_IMAGE"))
    assert np.all(np.nan_to_num(image[y, x]) != 0.0)


@pytest.mark.parametrize(
    "name", ["rms044", "rms034", "rms018", "photons050", "photons010", "photons005"]
)
def test_quantised_noise_and_few_photons(see, name):
    seen = see(f"quant/{name}.fits.gz")
    assert seen.pairs(2.5)[1].sum() == 100
    assert seen.false(2.5) <= 2


def test_any_unit_of_the_pixels(see):
    seen = [see(f"scale/{name}.fits.gz") for name in ("flam", "flam10")]
    assert [s.pairs()[1].sum() for s in seen] == [120, 120]
    assert len(seen[0].rows) == len(seen[1].rows) <= 122


@pytest.mark.parametrize(
    "name", ["tnx/tnx", "wcs/stale_pc", "wcs/tan_pv2", "wcs/lower", "wcs/epoch"]
)
def test_positions_by_dialects_of_the_wcs(see, name):
    assert see(f"{name}.fits.gz").sky_error() < 0.02


@pytest.mark.parametrize("name", ["sci_err", "sci_bpm_err"])
def test_planes_of_an_image(see, shared_data, name):
    seen = see(f"scierr/{name}.fits.gz", "-PHOTREFCAT_NAME", shared_data / "world/scierr/ref.csv")
    assert seen.status == 0
    assert len(seen.tables) == 1
    assert (seen.pairs()[1].sum(), seen.false()) == (80, 0)
    assert seen.steps["photometry"]["zero_point"] == pytest.approx(30.0, abs=0.005)


@pytest.mark.parametrize(("plane", "zero_point"), [("GREEN", 30.0), ("SUPERPIXEL", 29.706)])
def test_a_colour_mosaic(see, shared_data, plane, zero_point):
    # A green pixel is in units of green light; the mean of the four has 0.763 of it.
    seen = see(
        "bayer/bay.fits.gz", "-PHOTREFCAT_NAME", shared_data / "world/bayer/ref.csv",
        "-BAYER", plane,
    )  # fmt: skip
    step = seen.steps["photometry"]
    assert step["status"] == "complete"
    assert step["zero_point"] == pytest.approx(zero_point, abs=0.005)
    assert step["scatter_mag"] < 0.02
    assert seen.pairs(2.5)[1].sum() >= 99
    assert "RGGB" in seen.told


@pytest.mark.parametrize("name", ["iso", "ddmmyy", "ddmmyyyy", "slash"])
def test_dates_as_people_write_them(see, shared_data, name):
    seen = see(f"date/{name}.fits.gz", "-ASTREFCAT_NAME", shared_data / "world/date/gaia.csv")
    assert seen.steps["astrometry"]["status"] == "complete"
    assert seen.sky_error() < 0.02


def test_the_date_of_a_clock_that_was_not_set(see, shared_data):
    seen = see("date/mjd0.fits.gz", "-ASTREFCAT_NAME", shared_data / "world/date/gaia.csv")
    assert "DATE-OBS = '1858-11-17T00:00:00' is no date" in seen.told
    assert "proper motions are not applied" in seen.told
    assert seen.sky_error() < 1.5


@pytest.mark.parametrize(("name", "offset"), [("days", -7.885), ("ms", -4.445)])
def test_exposure_times_in_other_units(see, shared_data, name, offset):
    seen = see(f"exptime/{name}.fits.gz", "-PHOTREFCAT_NAME", shared_data / "world/exptime/ref.csv")
    step = seen.steps["photometry"]
    assert step["zero_point_1s"] - step["zero_point"] == pytest.approx(offset, abs=2e-3)


@pytest.mark.parametrize("missing", [0, 20, 40, 70])
def test_reference_stars_without_proper_motions(see, shared_data, missing):
    reference = shared_data / f"world/missingpm/gaia{missing}.csv"
    seen = see("missingpm/r.fits.gz", "-ASTREFCAT_NAME", reference)
    assert seen.steps["astrometry"]["status"] == "complete"
    assert seen.sky_error() < 0.02


def test_a_clipped_camera(see, shared_data):
    seen = see(
        "saturated/clip4095.fits.gz",
        "-PHOTREFCAT_NAME", shared_data / "world/saturated/ref.csv",
    )  # fmt: skip
    image = fits.getdata(shared_data / "world/saturated/clip4095.fits.gz")
    nearest, found = seen.pairs()
    corner = [
        (int(y) - 2, int(x) - 2) for x, y in zip(seen.truth["x"], seen.truth["y"], strict=True)
    ]
    clipped = np.array([image[y : y + 4, x : x + 4].max() >= 4095 for y, x in corner])
    flagged = (seen.rows["FLAGS"][nearest] & 4) > 0
    np.testing.assert_array_equal(flagged[found], clipped[found])
    assert clipped.sum() >= 50
    assert seen.steps["photometry"]["zero_point"] == pytest.approx(30.0, abs=0.005)


def test_a_gain_that_is_a_setting(see):
    seen = see("gain/asi.fits.gz")
    nearest, found = seen.pairs()
    rows, truth = seen.rows[nearest[found]], seen.truth[found]
    pull = (rows["FLUX_PSF"] - truth["flux"]) / rows["FLUXERR_PSF"]
    width = 0.5 * np.subtract(*np.percentile(pull, [84.135, 15.865]))
    assert 0.8 < width < 1.2
    assert "GAIN 0.25" in seen.told


def test_a_frame_of_hot_pixels_is_measured_as_its_stars(see):
    # A thousand hot pixels, which a threshold in sigma of a pixel takes for sources.
    seen = see("real/saethlin.fits.gz")
    assert seen.steps["characterize"]["psf_star_share"] > 0.8
    assert 190 < len(seen.rows) < 250
    assert math.isfinite(seen.steps["characterize"]["fwhm_pix"])
    # Stars of the upper part, seen by eye, where dust and clouds raise the noise of the filter.
    for x, y in ((529, 998), (586, 963), (595, 1015), (832, 973), (853, 993), (866, 779)):
        distance = np.hypot(seen.rows["X_IMAGE"] - x, seen.rows["Y_IMAGE"] - y)
        assert distance.min() < 3.0, (x, y)


def test_errors_that_are_not_those_of_the_pixels(see, shared_data):
    """NICMOS, short of its two brightest stars and all within 6 arcsec of them, once."""
    seen = see("real/nicmos_cal.fits.gz")
    assert "23 times the errors of their plane" in seen.told
    image = fits.getdata(shared_data / "world/real/nicmos_cal.fits.gz", "SCI")
    for x, y in ((26, 88), (19, 41), (60, 104), (51, 40), (145, 231), (181, 155)):
        part = image[y - 3 : y + 4, x - 3 : x + 4]
        dy, dx = np.unravel_index(part.argmax(), part.shape)
        distance = np.hypot(
            seen.rows["XWIN_IMAGE"] - (x - 2 + dx), seen.rows["YWIN_IMAGE"] - (y - 2 + dy)
        )
        assert np.nanmin(distance) < 2.0, (x, y)
    assert np.nanmax(np.abs(seen.rows["FLUX_PSF"])) < 1e6
