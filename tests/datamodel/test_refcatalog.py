"""The reference catalogue value type; proper motion against astropy."""

import dataclasses

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import Distance, SkyCoord
from astropy.time import Time

from skyextract.datamodel.refcatalog import RefCatalog


def moving(n: int = 200) -> RefCatalog:
    rng = np.random.default_rng(4)
    ra, dec = rng.uniform(0.0, 360.0, n), np.rad2deg(np.arcsin(rng.uniform(-1.0, 1.0, n)))
    dec[:4] = [89.9999, -89.9999, 89.0, 0.0]
    return dataclasses.replace(
        RefCatalog.from_arrays(ra, dec, rng.uniform(10.0, 20.0, n)),
        pmra=rng.normal(0.0, 500.0, n), pmdec=rng.normal(0.0, 500.0, n), epoch=np.full(n, 2016.0),
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:ERFA function")
def test_proper_motion_against_astropy():
    catalog = moving()
    for year in (1996.0, 2017.9, 2046.0):
        then = catalog.at_epoch(year)
        sky = SkyCoord(
            catalog.ra * u.deg, catalog.dec * u.deg, pm_ra_cosdec=catalog.pmra * u.mas / u.yr,
            pm_dec=catalog.pmdec * u.mas / u.yr, distance=Distance(parallax=1e-3 * u.mas),
            obstime=Time(2016.0, format="jyear", scale="tdb"),
        )  # fmt: skip
        moved = sky.apply_space_motion(new_obstime=Time(year, format="jyear", scale="tdb"))
        own = SkyCoord(then.ra * u.deg, then.dec * u.deg)
        assert own.separation(SkyCoord(moved.ra, moved.dec)).to_value(u.mas).max() < 0.1
        np.testing.assert_array_equal(then.epoch, year)


def test_unknown_motion_epoch_or_date_leave_the_position():
    catalog = dataclasses.replace(
        moving().take(np.arange(5, 8)), epoch=np.array([np.nan, 2000.0, 2000.0])
    )
    pm = catalog.pmra.copy()
    pm[1] = np.nan
    then = dataclasses.replace(catalog, pmra=pm).at_epoch(2020.0)
    np.testing.assert_array_equal(then.ra[:2], catalog.ra[:2])
    assert then.dec[2] != catalog.dec[2]
    assert catalog.at_epoch(np.nan) is catalog


def test_take_and_empty():
    catalog = moving()
    some = catalog.take(catalog.mag < 15.0)
    assert some.n_stars == len(some.mag) == len(some.row) == int(np.sum(catalog.mag < 15.0))
    none = catalog.take(np.zeros(catalog.n_stars, bool))
    assert none.n_stars == 0
    assert none.at_epoch(2000.0).n_stars == 0
    assert RefCatalog.from_arrays([-10.0], [5.0]).ra[0] == 350.0
    assert np.isnan(RefCatalog.from_arrays([10.0], [5.0]).mag[0])


def test_a_star_without_a_motion_has_the_error_that_its_absence_means():
    rng = np.random.default_rng(3)
    n = 4000
    catalog = dataclasses.replace(
        RefCatalog.from_arrays(rng.uniform(0.0, 10.0, n), np.zeros(n)),
        pmra=rng.normal(0.0, 20.0, n), pmdec=rng.normal(0.0, 20.0, n), epoch=np.full(n, 2000.0),
    )  # fmt: skip
    pmra, epoch, error = catalog.pmra.copy(), catalog.epoch.copy(), catalog.ra_error.copy()
    pmra[:3], epoch[1], error[2] = np.nan, np.nan, 0.3
    then = dataclasses.replace(catalog, pmra=pmra, epoch=epoch, ra_error=error).at_epoch(2010.0)
    np.testing.assert_allclose(then.ra_error[:3], [0.2, 0.2, np.hypot(0.2, 0.3)], rtol=0.06)
    np.testing.assert_allclose(then.dec_error[:3], 0.2, rtol=0.06)
    assert np.isnan(then.ra_error[3:]).all()
