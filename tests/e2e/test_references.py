"""Reference catalogues as the world has them, on whole frames."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table


def median_error(folder, catalog: str) -> float:
    """Return the median distance (arcsec) of the true stars from the catalogue's."""
    truth = Table.read(folder / "truth.csv")
    found = Table.read(catalog, hdu=1)
    true = SkyCoord(truth["ra"], truth["dec"], unit="deg")
    own = SkyCoord(found["ALPHAWIN_J2000"], found["DELTAWIN_J2000"], unit="deg")
    return float(np.median(true.match_to_catalog_sky(own)[1].arcsec))


def run(skyextract, image, reference):
    return skyextract(image, "-ASTREFCAT_NAME", reference, "-CATALOG_TYPE", "FITS_1.0")


@pytest.mark.parametrize("missing", [0, 20, 40, 70])
def test_missing_proper_motions(skyextract, shared_data, missing):
    folder = shared_data / "world/missingpm"
    run(skyextract, folder / "r.fits.gz", folder / f"gaia{missing}.csv")
    assert median_error(folder, "r.cat") < 0.02


@pytest.mark.parametrize("name", ["iso", "ddmmyy", "ddmmyyyy", "slash"])
def test_dates_that_are_read(skyextract, shared_data, name):
    folder = shared_data / "world/date"
    done = run(skyextract, folder / f"{name}.fits.gz", folder / "gaia.csv")
    assert "proper motions" not in done.stderr
    assert median_error(folder, f"{name}.cat") < 0.05


def test_a_date_of_an_unset_clock_is_quoted(skyextract, shared_data):
    folder = shared_data / "world/date"
    done = run(skyextract, folder / "mjd0.fits.gz", folder / "gaia.csv")
    assert "DATE-OBS = '1858-11-17" in done.stderr
    assert "proper motions are not applied" in done.stderr


@pytest.mark.parametrize("name", ["apass", "other"])
def test_names_of_magnitudes(skyextract, shared_data, name):
    folder = shared_data / "world/apass"
    run(skyextract, folder / "r.fits.gz", folder / f"{name}.csv")
    truth = Table.read(folder / "truth.csv")
    found = Table.read("r.cat", hdu=1)
    true = SkyCoord(truth["ra"], truth["dec"], unit="deg")
    nearest, distance, _ = true.match_to_catalog_sky(
        SkyCoord(found["ALPHAWIN_J2000"], found["DELTAWIN_J2000"], unit="deg")
    )
    bright = (truth["mag"] < 19.0) & (distance.arcsec < 1.0)
    assert bright.sum() > 20
    assert abs(np.median(found["MAG_PSF"][nearest][bright] - truth["mag"][bright])) < 0.005
