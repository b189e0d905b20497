"""Which source is which star, where CROSSID_RADIUS is many pixels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from astropy.wcs import WCS

from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.datamodel.wcs import SkyWcs
from skyextract.errors import StepError
from skyextract.stages.photometry.pairs import pair_stars

SIZE, SCALE = 1000, 0.05
RADIUS = 2.0
"""CROSSID_RADIUS, arcsec: 40 pixels."""


def make_exposure():
    cards = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0,
        "CRPIX1": 500.0, "CRPIX2": 500.0, "CD1_1": -SCALE / 3600, "CD1_2": 0.0, "CD2_1": 0.0,
        "CD2_2": SCALE / 3600, "NAXIS1": SIZE, "NAXIS2": SIZE,
    }  # fmt: skip
    zero = np.zeros((SIZE, SIZE), np.float32)
    return Exposure(zero, zero.astype(np.uint16), wcs=SkyWcs.from_header(cards))


def pair(n_sources, n_stars, n_alone, scatter, shift=0.0, seed=3, faint=0.0):
    """Pair sources with stars: so many of these, and others that are seen nowhere (px)."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(10, SIZE - 10, (2, n_sources))
    rx = np.append(x[:n_stars], rng.uniform(10, SIZE - 10, n_alone)) + shift
    ry = np.append(y[:n_stars], rng.uniform(10, SIZE - 10, n_alone))
    rx = rx + rng.normal(0.0, scatter, len(rx))
    ry = ry + rng.normal(0.0, scatter, len(ry))
    exposure, report = make_exposure(), {}
    ra, dec = exposure.wcs.to_j2000(rx, ry)
    magnitude = 18.0 + faint * (np.arange(len(ra)) >= n_stars)
    reference = RefCatalog.from_arrays(ra, dec, magnitude, mag_key="r", name="stars")
    sources = Catalog({"X_IMAGE": x + 1.0, "Y_IMAGE": y + 1.0})
    return pair_stars(sources, exposure, reference, RADIUS, report), report


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("scatter", "shift"), [(0.1, 0.0), (0.5, 0.0), (0.5, 2.0)])
def test_the_radius_is_that_of_the_pairs_beyond_chance(scatter, shift, seed):
    """A third of the stars are seen; nearly all have a source within 40 px."""
    pairs, report = pair(400, 30, 60, scatter, shift, seed)
    true = pairs.row == pairs.star
    assert true.sum() >= 27  # of 30: with a shift some have a nearer neighbour
    assert report["match_radius"] < RADIUS / 3
    expected = pairs.chance * len(true)
    assert (~true).sum() == pytest.approx(expected, abs=3.0 * np.sqrt(expected) + 1.0)


def test_of_a_catalogue_that_is_far_too_deep_the_brightest_are_taken():
    """With a faint star every few pixels nearly all of the pairs would be chance."""
    pairs, report = pair(200, 180, 60_000, 1.5, faint=4.0)
    assert report["n_brightest"] == 400
    assert pairs.chance < 0.1
    assert np.mean(pairs.row == pairs.star) > 0.9
    assert len(pairs.row) >= 170
    assert pair(200, 180, 60_000, 1.5, faint=-4.0)[0].chance > 0.5


def test_chance_alone_keeps_the_radius():
    pairs, report = pair(400, 0, 90, 0.0)
    assert report["match_radius"] == RADIUS
    assert pairs.chance > 0.8


def test_few_sources_take_the_radius_as_it_is():
    pairs, report = pair(10, 8, 0, 0.3)
    assert report["match_radius"] == RADIUS
    assert len(pairs.row) == 8


def test_no_star_near_a_source():
    with pytest.raises(StepError, match="wrong WCS or no overlap"):
        pair(6, 0, 6, 0.0)


@pytest.mark.parametrize("centre", [(60.0, 30.0), (350.0, -80.0)])
def test_all_sky(centre):
    """Corners of an all-sky frame have no place on a tangent plane, some no sky at all."""
    size, step = 700, 0.3  # 105 degrees from the middle to an edge
    cards = {
        "CTYPE1": "RA---ARC", "CTYPE2": "DEC--ARC", "CRVAL1": centre[0], "CRVAL2": centre[1],
        "CRPIX1": 350.0, "CRPIX2": 350.0, "CD1_1": -step, "CD1_2": 0.0, "CD2_1": 0.0,
        "CD2_2": step, "NAXIS1": size, "NAXIS2": size,
    }  # fmt: skip
    zero = np.zeros((size, size), np.float32)
    exposure = Exposure(zero, zero.astype(np.uint16), wcs=SkyWcs.from_header(cards))
    rng = np.random.default_rng(1)
    x, y = rng.uniform(20, size - 20, (2, 400))
    kept = np.hypot(x - 349.0, y - 349.0) < 85.0 / step
    x, y = x[kept], y[kept]
    wcs = WCS({key: value for key, value in cards.items() if not key.startswith("NAXIS")})
    ra, dec = wcs.all_pix2world(x, y, 0)
    reference = RefCatalog.from_arrays(ra, dec, np.full(len(x), 8.0), mag_key="V", name="stars")
    report = {}
    sources = Catalog({"X_IMAGE": x + 1.0 + rng.normal(0, 0.05, len(x)), "Y_IMAGE": y + 1.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pairs = pair_stars(sources, exposure, reference, RADIUS, report)
    assert report["n_reference"] == len(x)
    assert len(pairs.row) > 0.98 * len(x)
    assert (pairs.row == pairs.star).all()
