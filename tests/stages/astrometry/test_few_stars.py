"""Astrometry with a handful of stars, and of plates with few reference stars."""

import dataclasses

import numpy as np
import pytest

from skyextract.datamodel.catalog import Catalog
from tests.simulate.astrometry import (
    NOISE,
    SCALE,
    SHAPE,
    Field,
    check_failed,
    check_right,
    make_field,
)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4])
def test_a_handful_of_stars(n):
    field = make_field(n=n, missing=0.0, false=0.0, seed=13)
    result = field.solve()
    if result.status == "FALLBACK":
        assert field.error(result.wcs) < 10.0 * NOISE
        assert "too few to tell a distortion" in result.reason
    else:
        check_failed(result)


@pytest.mark.parametrize("seed", range(5))
def test_five_stars(seed):
    field = make_field(n=5, missing=0.0, false=0.0, seed=20 + seed)
    result = field.solve()
    if result.status == "COMPLETE":
        assert field.error(result.wcs) < 10.0 * NOISE
        assert result.metrics["n_matched"] == 5
    else:
        check_failed(result)


def test_five_stars_with_a_good_header_are_solved():
    field = make_field(n=5, missing=0.0, false=0.0, seed=30)
    header = field.truth.cards("TAN", SHAPE) | {"NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0]}
    result = field.solve(header)
    check_right(field, result)
    assert result.metrics["n_matched"] == 5


def test_a_distorted_header_survives_few_stars():
    field = make_field(n=8, missing=0.0, false=0.0, bend=20.0, seed=31)
    header = field.truth.cards("TPV", SHAPE) | {"NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0]}
    header["CRVAL2"] += 10.0 / 3600.0
    result = field.solve(header)
    check_right(field, result)
    assert result.wcs.to_header()["CTYPE1"] == "RA---TPV"


def plate(seed: int, n_reference: int = 20) -> Field:
    """A photographic survey plate: 2000 stars, of which the reference has the 20 brightest.

    They are saturated: their order by flux is loose, and their centres are off by a pixel.
    """
    field = make_field(seed=seed, n=2000, missing=0.0, false=0.0, off=(4.0, -3.0))
    rng = np.random.default_rng(seed)
    bright = np.argsort(field.reference.mag)[:n_reference]
    columns = {name: field.sources[name].copy() for name in field.sources}
    columns["FLAGS"][bright] = 4
    columns["FLUX_AUTO"][bright] = columns["FLUX_AUTO"][bright].min() * rng.uniform(
        1, 3, len(bright)
    )
    for axis in "XY":
        columns[f"{axis}WIN_IMAGE"][bright] += rng.normal(0.0, 1.0, len(bright))
    reference = field.reference.take(bright)
    unknown = rng.random(len(bright)) < 0.2
    epoch = np.full(len(bright), 2000.0)
    pmra, pmdec = (np.where(unknown, np.nan, rng.normal(0, 15.0, len(bright))) for _ in range(2))
    moving = dataclasses.replace(reference, pmra=pmra, pmdec=pmdec, epoch=np.full_like(epoch, 1954))
    reference = dataclasses.replace(moving.at_epoch(2000.0), ra_error=reference.ra_error)
    header = field.header | {"DATE-OBS": "12/04/54"}
    return dataclasses.replace(
        field, sources=Catalog(columns), reference=reference, header=header
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_a_plate_with_few_and_saturated_reference_stars_is_solved(seed):
    field = plate(seed)
    result = field.solve()
    assert result.status == "COMPLETE", result.reason
    assert result.metrics["n_matched"] >= 18
    assert field.error(result.wcs) < 2.5


def few_of_many(seed, n, off, *, right=True):
    """Return a field of 300 sources whose reference has `n` stars: of any brightness, or false."""
    rng = np.random.default_rng(seed)
    field = make_field(n=300, missing=0.0, false=0.0, turn=0.0, seed=seed)
    rows = rng.choice(300, n, replace=False)
    reference = field.reference.take(rows)
    if not right:
        x, y = rng.uniform(0.0, SHAPE[1] - 1.0, n), rng.uniform(0.0, SHAPE[0] - 1.0, n)
        ra, dec = field.truth.to_sky(x, y)
        reference = dataclasses.replace(reference, ra=ra, dec=dec)
    header = field.truth.cards("TAN", SHAPE) | {"NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0]}
    header["CRPIX1"] += off / SCALE
    return dataclasses.replace(field, reference=reference, header=header)


@pytest.mark.parametrize("n", [5, 8, 15])
@pytest.mark.parametrize("off", [0.0, 25.0])
def test_few_reference_stars_among_many_sources(n, off):
    """The header's place is right, or shifted: no pattern of bright stars is needed."""
    for seed in range(10):
        field = few_of_many(seed, n, off)
        result = field.solve()
        assert result.status == "COMPLETE", result.reason
        assert result.metrics["n_matched"] == n
        assert field.error(result.wcs) < 10.0 * NOISE


def test_few_false_reference_stars_match_nothing():
    for seed in range(36):
        check_failed(few_of_many(seed, 4 + seed % 12, 0.0, right=False).solve())


def test_where_few_stars_are_bright_faint_ones_serve_too():
    """Four of S/N 20 among 150 of S/N 8: the plate is as good as all of them make it."""
    for seed in range(4):
        field = make_field(n=150, seed=seed)
        bright = field.solve()
        flux = field.sources["FLUX_AUTO"]
        error = flux / np.where(np.arange(150) < 4, 20.0, 8.0)
        field = dataclasses.replace(field, sources=field.sources.with_columns(FLUXERR_AUTO=error))
        result = field.solve()
        assert result.status == "COMPLETE"
        assert result.metrics["n_used"] == bright.metrics["n_used"] > 80
        assert field.error(result.wcs) == field.error(bright.wcs)
