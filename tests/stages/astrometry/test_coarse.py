"""Reference positions that are coarse, or of another epoch than the catalogue says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.wcs import SkyWcs
from skyextract.run import Run
from skyextract.settings.keywords import Astrometry
from skyextract.sky.plate import gnomonic
from skyextract.stages.astrometry.solve import solve_astrometry
from tests.simulate.astrometry import SCALE, SHAPE, Field, check_right, make_field

CENTRE = np.array([0.5 * SHAPE[1]]), np.array([0.5 * SHAPE[0]])


def coarse_field(seed: int, n: int = 90) -> Field:
    """Return a field whose header is right: clipping starts at any place."""
    field = make_field(seed=seed, n=n, dec0=2.0 + 0.3 * seed, missing=0.05, false=0.1, turn=0.35)
    cards = field.truth.cards("TAN", SHAPE) | {"NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0]}
    return replace(field, header=cards)


def solve(field: Field, reference, date: str = ""):
    run = Run()
    header = field.header | ({"DATE-OBS": date} if date else {})
    wcs = SkyWcs.from_header(field.header)
    result = solve_astrometry(field.sources, header, SHAPE, wcs, reference, Astrometry(), run)
    return result, run.warnings


def offset(field: Field, wcs: SkyWcs) -> np.ndarray:
    """Return how far the centre of the frame is off, arcsec east and north."""
    true = field.truth.to_sky(*CENTRE)
    x, y = gnomonic(*wcs.to_j2000(*CENTRE), float(true[0][0]), float(true[1][0]))
    return 3600.0 * np.array([x[0], y[0]])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("digits", [(4, 3), (6, 3), (3, 3)])
def test_rounded_positions_are_told_and_their_middle_is_found(seed, digits):
    """Steps of 3.6 arcsec hide as many stars as the matching radius does."""
    field = coarse_field(seed)
    ra, dec = field.reference.ra.round(digits[0]), field.reference.dec.round(digits[1])
    result, warnings = solve(field, replace(field.reference, ra=ra, dec=dec))
    assert result.status == "FALLBACK"
    assert len(warnings) == 1
    assert "beyond their errors: coarse or old positions in the reference" in warnings[0]
    # Uniform in 3.6 arcsec; the middle of 85 stars is known to a ninth of that.
    steps = np.array([3.6 * (digit == 3) for digit in digits])
    sigma = steps / np.sqrt(12.0)
    assert result.metrics["rms_arcsec"] > 0.75 * np.sqrt(np.mean(sigma**2))
    assert result.floor > 0.75 * np.sqrt(np.mean(sigma**2))
    assert np.all(np.abs(offset(field, result.wcs)) < 0.05 + 4.0 * sigma / np.sqrt(85.0))


@pytest.mark.parametrize("seed", range(5))
def test_steps_below_a_pixel_are_no_reason_for_a_warning(seed):
    field = coarse_field(seed)
    ra, dec = field.reference.ra.round(4), field.reference.dec.round(4)
    result, warnings = solve(field, replace(field.reference, ra=ra, dec=dec))
    assert result.status == "COMPLETE"
    assert warnings == []
    # Their scatter is the reference's; the errors of sky positions have that of the fit to 85.
    assert 0.07 < result.metrics["checks"]["reference_scatter"] < 0.15
    assert 0.01 < result.floor < 0.03
    assert np.all(np.abs(offset(field, result.wcs)) < 0.06)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("years", [0.0, 16.0, -8.0])
def test_a_wrong_epoch_shows_in_the_proper_motions(seed, years):
    """Stars share a part of their motion: the plate is off, and the residuals tell by how much."""
    rng = np.random.default_rng(seed + 100)
    field = coarse_field(seed)
    n = field.reference.n_stars
    pmra, pmdec = rng.normal(-20.0, 60.0, n), rng.normal(-30.0, 60.0, n)
    true = replace(field.reference, pmra=pmra, pmdec=pmdec, epoch=np.full(n, 2024.0))
    reference = true.at_epoch(2016.0)
    result, warnings = solve(
        field, replace(reference, epoch=reference.epoch - years), "2024-01-01T00:00:00"
    )
    if not years:
        check_right(field, result)
        assert warnings == []
        assert result.floor < 0.03
        return
    assert result.status == "FALLBACK"
    assert len(warnings) == 1
    assert "stars are displaced along their proper motions by" in warnings[0]
    assert result.metrics["checks"]["years_off"] == pytest.approx(-years, abs=2.5)
    off = np.hypot(*offset(field, result.wcs))
    assert off > 0.1
    assert result.floor * np.sqrt(2.0) > 0.8 * off


@pytest.mark.parametrize("seed", range(5))
def test_few_stars_that_are_far_off_are_clipped_as_ever(seed):
    rng = np.random.default_rng(seed + 100)
    field = coarse_field(seed)
    far = rng.random(field.reference.n_stars) < 0.1
    dec = field.reference.dec + far * rng.uniform(-1.8, 1.8, len(far)) / 3600.0
    result, warnings = solve(field, replace(field.reference, dec=dec))
    check_right(field, result)
    assert warnings == []
    assert result.metrics["rms_arcsec"] < 0.15 * SCALE
