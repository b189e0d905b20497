"""Reference catalogues that have stars twice, and differently: two surveys in one table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.datamodel.wcs import SkyWcs
from skyextract.run import Run
from skyextract.settings.keywords import Astrometry, Photometry
from skyextract.stages.astrometry.solve import solve_astrometry
from skyextract.stages.photometry.calibrate import calibrate_photometry
from tests.simulate.astrometry import SCALE, SHAPE, Field, check_right, make_field
from tests.stages.photometry.test_calibrate import ZERO_POINT, make_exposure, make_pair

ARCSEC = 1.0 / 3600.0


def joined(*parts: RefCatalog) -> RefCatalog:
    """Return catalogues one below the other."""
    arrays = ("ra", "dec", "ra_error", "dec_error", "pmra", "pmdec", "epoch")
    tables = ("magnitudes", "magnitude_errors")
    n = sum(part.n_stars for part in parts)
    return replace(
        parts[0], row=np.arange(n),
        **{key: np.concatenate([getattr(part, key) for part in parts]) for key in arrays},
        **{table: {
            key: np.concatenate([getattr(part, table)[key] for part in parts])
            for key in getattr(parts[0], table)
        } for table in tables},
    )  # fmt: skip


def moved(catalog: RefCatalog, arcsec: float = 0.0, mag: float = 0.0) -> RefCatalog:
    """Return a catalogue with other right ascensions and magnitudes."""
    east = arcsec * ARCSEC / np.cos(np.deg2rad(catalog.dec))
    magnitudes = {key: values + mag for key, values in catalog.magnitudes.items()}
    return replace(catalog, ra=catalog.ra + east, magnitudes=magnitudes)


def solve(field: Field, reference: RefCatalog):
    run = Run()
    result = solve_astrometry(
        field.sources,
        field.header,
        SHAPE,
        SkyWcs.from_header(field.header),
        reference,
        Astrometry(),
        run,
    )
    return result, run.warnings


def calibrate(catalog, reference):
    run = Run()
    return calibrate_photometry(
        catalog, make_exposure(), reference, Photometry(), run
    ), run.warnings


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("arcsec", [0.3, 0.6])
def test_two_positions_are_an_error_whatever_the_order_of_rows(seed, arcsec):
    field = make_field(seed=seed)
    both = joined(field.reference, moved(field.reference, arcsec))
    rows = np.random.default_rng(seed).permutation(both.n_stars)
    results = [solve(field, one) for one in (both, both.take(rows))]
    for result, warnings in results:
        assert result.status == "FALLBACK"
        assert len(warnings) == 1
        assert f"stand twice in {field.reference.name}, {arcsec:.2f} arcsec apart" in warnings[0]
        # Either catalogue may be right; this one is, and the plate is in the middle.
        off = field.error(result.wcs) * SCALE
        assert off == pytest.approx(0.5 * arcsec, abs=0.06)
        assert result.floor * np.sqrt(2.0) == pytest.approx(0.5 * arcsec, rel=0.3)
    wcs = [result.wcs.to_header() for result, _ in results]
    assert wcs[0]["CRVAL1"] == pytest.approx(wcs[1]["CRVAL1"], abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_where_others_suffice_stars_with_two_positions_are_left_out(seed):
    field = make_field(seed=seed, missing=0.0)
    rng = np.random.default_rng(seed)
    some = rng.random(field.reference.n_stars) < 0.35
    both = joined(moved(field.reference.take(some), 0.5), field.reference)
    result, warnings = solve(field, both)
    check_right(field, result)
    assert len(warnings) == 1
    assert "stars with one entry are used" in warnings[0]


@pytest.mark.parametrize("seed", range(5))
def test_close_pairs_and_copies_are_nothing_to_tell(seed):
    field = make_field(seed=seed, missing=0.0)
    rng = np.random.default_rng(seed)
    some = rng.random(field.reference.n_stars) < 0.06
    pairs = joined(field.reference, moved(field.reference.take(some), 0.7, 1.0))
    for reference in (pairs, joined(field.reference, moved(field.reference, 0.02))):
        result, warnings = solve(field, reference)
        check_right(field, result)
        assert warnings == []


@pytest.mark.parametrize("seed", range(3))
def test_a_crowded_catalogue_is_not_doubled(seed):
    """Half of the 40 000 stars have another one within the radius, and few are detected."""
    field = make_field(seed=seed, n=40_000, missing=0.0, false=0.0)
    order = np.argsort(-field.sources["FLUX_AUTO"])[:1500]
    result, warnings = solve(replace(field, sources=field.sources.take(order)), field.reference)
    assert result.status == "COMPLETE"
    assert warnings == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("mag", "status"), [(0.1, "FALLBACK"), (0.15, "FALLBACK"), (0.3, "FAILED")]
)
def test_two_magnitudes_are_an_error_whatever_the_order_of_rows(seed, mag, status):
    catalog, reference = make_pair(seed=seed)
    both = joined(reference, moved(reference, 0.1, mag))
    rows = np.random.default_rng(seed).permutation(both.n_stars)
    values = []
    for one in (both, both.take(rows)):
        result, warnings = calibrate(catalog, one)
        assert result.status == status
        assert f"stand twice in stars.csv, {mag:.2f} mag apart" in result.reason
        assert len(warnings) == 1
        if status != "FAILED":
            off = result.photocal.zero_point - ZERO_POINT
            assert off == pytest.approx(0.5 * mag, abs=0.01)
            assert abs(off) < 1.2 * result.photocal.zero_point_error < 0.8 * mag
            values.append(off)
    assert values[1:] == pytest.approx(values[:1], abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_where_others_suffice_stars_with_two_magnitudes_are_left_out(seed):
    catalog, reference = make_pair(n=120, seed=seed)
    some = np.random.default_rng(seed).random(120) < 0.35
    both = joined(moved(reference.take(some), 0.1, 0.5), reference)
    result, warnings = calibrate(catalog, both)
    assert result.status == "COMPLETE"
    assert len(warnings) == 1
    assert "stars with one entry are used" in warnings[0]
    error = result.photocal.zero_point_error
    assert abs(result.photocal.zero_point - ZERO_POINT) < 4.0 * error < 0.02


@pytest.mark.parametrize("seed", range(5))
def test_two_entries_that_agree_are_one_star(seed):
    catalog, reference = make_pair(seed=seed)
    noise = np.random.default_rng(seed).normal(0.0, 0.014, reference.n_stars)
    other = moved(reference, 0.1)
    other = replace(other, magnitudes={key: mag + noise for key, mag in other.magnitudes.items()})
    result, warnings = calibrate(catalog, joined(reference, other))
    assert result.status == "COMPLETE"
    assert warnings == []
    error = result.photocal.zero_point_error
    assert abs(result.photocal.zero_point - ZERO_POINT) < 4.0 * error < 0.02


def test_right_ascensions_on_both_sides_of_0():
    field = make_field(ra0=0.0, seed=1)
    both = joined(field.reference, moved(field.reference, 0.3))
    result, _ = solve(field, replace(both, ra=both.ra % 360.0))
    assert field.error(result.wcs) * SCALE == pytest.approx(0.15, abs=0.06)
