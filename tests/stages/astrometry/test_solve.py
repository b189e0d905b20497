"""Astrometry end to end: simulated fields, awkward places, bad input."""

import dataclasses
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.datamodel.wcs import SkyWcs
from skyextract.run import Run
from skyextract.settings.keywords import Astrometry as Config
from skyextract.stages.astrometry import refine
from skyextract.stages.astrometry.solution import broken_limit
from skyextract.stages.astrometry.solve import solve_astrometry
from tests.simulate.astrometry import (
    NOISE,
    SCALE,
    SHAPE,
    check_failed,
    check_right,
    make_field,
)

# --- right --------------------------------------------------------------------------------


@pytest.mark.parametrize(("ra0", "dec0"), [
    (150.0, 20.0), (0.001, 0.0), (359.999, -45.0), (80.0, 89.95), (80.0, -90.0), (0.0, 90.0),
])  # fmt: skip
@pytest.mark.parametrize("parity", [1.0, -1.0])
def test_anywhere_on_the_sky(ra0, dec0, parity):
    field = make_field(ra0, dec0, parity=parity)
    result = field.solve()
    check_right(field, result)
    assert result.wcs.parity == -int(parity)
    assert result.metrics["rms_arcsec"] == pytest.approx(NOISE * SCALE, rel=0.15)
    assert result.metrics["n_matched"] >= 130
    assert 0 < result.metrics["n_used"] <= result.metrics["n_matched"]


def test_pairs_that_stay_are_fitted_once(monkeypatch):
    fitted = []
    robust = refine._robust

    def counted(*values):
        fitted.append(tuple(value.tobytes() for value in values[:4]))
        return robust(*values)

    monkeypatch.setattr(refine, "_robust", counted)
    field = make_field(n=400, bend=5.0, seed=2)
    check_right(field, field.solve())
    assert len(set(fitted)) == len(fitted) > 3


@pytest.mark.parametrize("bend", [5.0, 20.0])
def test_distortion_is_found(bend):
    field = make_field(n=400, bend=bend, seed=2)
    result = field.solve()
    check_right(field, result)
    assert result.plate.degree == 3
    assert str(result.wcs.to_header()["CTYPE1"]) == "RA---TAN-SIP"
    assert field.solve(distort_degrees=1).metrics["rms_arcsec"] > result.metrics["rms_arcsec"]


def test_projection_types():
    field = make_field(n=400, bend=5.0, seed=2)
    for kind in ("TAN", "TAN-SIP", "TPV"):
        result = field.solve(projection_type=kind)
        assert result.wcs.to_header()["CTYPE1"] == f"RA---{kind}"
    y, x = np.mgrid[0 : SHAPE[0] - 1 : 9j, 0 : SHAPE[1] - 1 : 9j]
    tpv, sip = (field.solve(projection_type=kind).wcs for kind in ("TPV", "TAN-SIP"))
    np.testing.assert_allclose(tpv.to_sky(x, y), sip.to_sky(x, y), atol=1e-10)
    wcs = WCS(fits.Header(sip.to_header()))
    ra, dec = wcs.all_pix2world(x.ravel(), y.ravel(), 0)
    np.testing.assert_allclose(sip.to_sky(x.ravel(), y.ravel()), (ra, dec), atol=1e-10)


def test_plain_tan_of_a_distorted_header_is_linear():
    field = make_field(n=400, bend=3.0, seed=2)
    header = field.truth.cards("TAN-SIP", SHAPE) | {"NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0]}
    result = field.solve(header, projection_type="TAN")
    assert result.plate.degree == 1
    assert result.wcs.to_header()["CTYPE1"] == "RA---TAN"
    assert field.error(result.wcs) < 15.0
    # What the WCS says is what the residuals were measured with.
    table = result.matches
    _, dec = result.wcs.to_sky(table["X_IMAGE"] - 1.0, table["Y_IMAGE"] - 1.0)
    north = (dec - table["DELTA_REFERENCE"]) * 3600.0
    np.testing.assert_allclose(north, table["DETA"], atol=5e-3)


@pytest.mark.parametrize("parity", [1.0, -1.0])
@pytest.mark.parametrize("turn", [0.0, 1.6, 3.1, -2.2])
def test_pointing_and_scale_only(parity, turn):
    field = make_field(turn=turn, parity=parity, seed=3)
    result = field.solve({"RA": 150.2, "DEC": 19.9, "PIXSCALE": 0.52})
    check_right(field, result)
    assert result.metrics["parity"] == -int(parity)
    assert result.metrics["shift_arcsec"] == pytest.approx(
        3600.0 * math.hypot(0.2 * math.cos(math.radians(20.0)), 0.1), rel=0.01
    )


def test_pointing_only():
    field = make_field(seed=4, turn=2.0)
    check_right(field, field.solve({"OBJCTRA": "10 00 10", "OBJCTDEC": "+20 02 00"}))


def test_without_magnitudes_or_fluxes():
    field = make_field(seed=5, n=150, missing=0.2, false=0.2)
    bare = RefCatalog.from_arrays(field.reference.ra, field.reference.dec)
    check_right(field, dataclasses.replace(field, reference=bare).solve())
    positions = field.sources.select(["XWIN_IMAGE", "YWIN_IMAGE"])
    check_right(field, dataclasses.replace(field, reference=bare, sources=positions).solve())


def test_the_result_does_not_depend_on_the_order():
    field = make_field(seed=6)
    shuffled = np.random.default_rng(1).permutation(200)
    other = dataclasses.replace(field, sources=field.sources.take(shuffled))
    first, second = field.solve(), other.solve()
    checks = [result.metrics.pop("checks") for result in (first, second)]
    assert checks[0] == pytest.approx(checks[1])
    assert first.metrics == pytest.approx(second.metrics)
    np.testing.assert_array_equal(first.used[shuffled], second.used)


def test_match_table_and_flags():
    field = make_field(seed=7)
    result = field.solve()
    table = result.matches
    assert table.n_rows == result.metrics["n_matched"]
    assert len(set(table["NUMBER"].tolist())) == len(set(table["REFERENCE_ROW"].tolist()))
    assert np.all(result.used[table["NUMBER"] - 1] == table["USED"])
    assert result.used.sum() == result.metrics["n_used"]
    ra, dec = result.wcs.to_sky(table["X_IMAGE"] - 1.0, table["Y_IMAGE"] - 1.0)
    east = (ra - table["ALPHA_REFERENCE"]) * np.cos(np.deg2rad(dec)) * 3600.0
    np.testing.assert_allclose(east, table["DXI"], atol=1e-3)
    np.testing.assert_allclose((dec - table["DELTA_REFERENCE"]) * 3600.0, table["DETA"], atol=1e-3)
    np.testing.assert_array_equal(
        field.reference.ra[table["REFERENCE_ROW"]], table["ALPHA_REFERENCE"]
    )
    assert np.all(table["DISTANCE"] <= 2.0)


def test_bad_rows_do_no_harm():
    field = make_field(seed=8)
    x, flux = field.sources["XWIN_IMAGE"].copy(), field.sources["FLUX_AUTO"].copy()
    flags = field.sources["FLAGS"].copy()
    x[:10] = np.nan
    x[10] = np.inf
    flux[11:20] = np.nan
    flags[20:30] = 4
    sources = field.sources.with_columns(XWIN_IMAGE=x, FLUX_AUTO=flux, FLAGS=flags)
    reference = field.reference
    ra, mag = reference.ra.copy(), reference.mag.copy()
    ra[:5], mag[5:10] = np.nan, np.nan
    reference = dataclasses.replace(reference, ra=ra, magnitudes={"mag": mag})
    result = dataclasses.replace(field, sources=sources, reference=reference).solve()
    check_right(field, result)
    assert not result.used[:11].any()
    assert not result.used[20:30].any()


def test_duplicates():
    field = make_field(seed=9)
    twice = field.reference.take(np.repeat(np.arange(field.reference.n_stars), 2))
    check_right(field, dataclasses.replace(field, reference=twice).solve())
    sources = field.sources.take(np.repeat(np.arange(200), 2))
    result = dataclasses.replace(field, sources=sources, reference=twice).solve()
    check_right(field, result)
    assert result.metrics["n_matched"] <= 200


def test_saturated_stars_serve_if_there_are_no_others():
    field = make_field(seed=10)
    sources = field.sources.with_columns(FLAGS=np.full(200, 4, np.int16))
    result = dataclasses.replace(field, sources=sources).solve()
    check_right(field, result)
    assert result.used.sum() > 50


def test_a_fit_to_few_of_the_matches_is_a_fallback():
    field = make_field(seed=10, missing=0.0)
    error = np.where(np.arange(200) < 12, 0.01, 1.0) * field.sources["FLUX_AUTO"]
    sources = field.sources.with_columns(FLUXERR_AUTO=error, FLAGS=np.zeros(200, np.int16))
    run = Run()
    result = solve_astrometry(
        sources,
        field.header,
        SHAPE,
        SkyWcs.from_header(field.header),
        field.reference,
        Config(),
        run,
    )
    assert result.status == "FALLBACK"
    assert result.source == "FITTED"
    assert "of 200 matched stars" in result.reason
    assert run.warnings == [f"astrometry: {result.reason}"]


def displaced(field, where, by):
    """Move the sources of a part of the frame by pixels in x."""
    columns = {
        name: field.sources[name] + np.where(where, by, 0.0)
        for name in ("X_IMAGE", "XWIN_IMAGE")
        if name in field.sources
    }
    return dataclasses.replace(field, sources=field.sources.with_columns(**columns))


@pytest.mark.parametrize("by", [0.0, 0.6, 6.0])
def test_a_part_of_the_frame_that_is_displaced(by):
    field = make_field(seed=12, missing=0.0)
    where = field.sources["XWIN_IMAGE"] > 0.6 * SHAPE[1]
    result = displaced(field, where, by).solve()
    if by > 1.0:
        assert result.status in {"FALLBACK", "FAILED"}
        assert result.reason
        return
    assert result.status == "COMPLETE"
    # A polynomial takes some of it.
    added = result.metrics["checks"]["error_of_field"]
    assert added == 0.0 if by == 0.0 else 0.1 * by * SCALE < added < by * SCALE
    assert result.floor >= added


@pytest.mark.parametrize("seed", range(8))
def test_stars_that_the_edge_cuts_make_no_seam(seed):
    """Their light is missing on one side, which displaces them away from the edge."""
    field = make_field(seed=seed, missing=0.0, false=0.1)
    x = field.sources["XWIN_IMAGE"]
    edge = x < np.sort(x)[12]
    result = displaced(field, edge, 1.2).solve()
    assert result.metrics["checks"]["seam_arcsec"] == pytest.approx(1.2 * SCALE, abs=0.1)
    flags = np.where(edge, 24, 0).astype(np.int16)
    sources = displaced(field, edge, 1.2).sources.with_columns(FLAGS=flags)
    result = dataclasses.replace(field, sources=sources).solve()
    check_right(field, result)
    assert result.metrics["checks"]["seam_arcsec"] == 0.0


@pytest.mark.parametrize(("share", "by", "status"), [
    (0.5, 0.0, "COMPLETE"), (0.5, 4.0, "FAILED"), (0.35, 3.0, "FAILED"),
])  # fmt: skip
def test_a_reference_of_two_systems(share, by, status):
    """Half of the reference stars are elsewhere: the fit is between them, and nowhere right."""
    field = make_field(seed=12, missing=0.0, false=0.1)
    reference = field.reference
    second = np.random.default_rng(4).random(reference.n_stars) < share
    moved = dataclasses.replace(
        reference,
        dec=reference.dec + by * SCALE / 3600.0 * second,
    )
    result = dataclasses.replace(field, reference=moved).solve()
    assert result.status == status
    if status == "FAILED":
        found = re.search(r"\((\d+)%\) are displaced alike, by ([\d.]+) arcsec", result.reason)
        assert float(found[2]) == pytest.approx(by * SCALE, abs=0.05)
        assert int(found[1]) / 100 == pytest.approx(share, abs=0.1)


def test_vertical_strip_and_small_frame():
    field = make_field(seed=11, n=400)
    x = field.sources["XWIN_IMAGE"]
    strip = field.sources.take((x > 900.0) & (x < 1100.0))
    assert dataclasses.replace(field, sources=strip).solve().status == "COMPLETE"


def test_inputs_are_not_changed():
    field = make_field(seed=12)
    before = {k: v.copy() for k, v in field.sources.items()}
    ra, header = field.reference.ra.copy(), dict(field.header)
    field.solve()
    for key, values in before.items():
        np.testing.assert_array_equal(field.sources[key], values)
    np.testing.assert_array_equal(field.reference.ra, ra)
    assert field.header == header


def test_nothing_known_about_the_pointing():
    field = make_field()
    result = field.solve({"OBJECT": "M 31"})
    check_failed(result)
    assert result.wcs is None
    assert "pointing" in result.reason


def test_empty_catalogues():
    field = make_field()
    none = field.reference.take(np.zeros(field.reference.n_stars, bool))
    empty = dataclasses.replace(field, reference=none).solve()
    check_failed(empty)
    assert empty.reason == "the reference catalogue has no star"
    outside = field.solve(astrefmag_limits=(0.0, 5.0))
    check_failed(outside)
    assert outside.reason.endswith("has no star with a position within ASTREFMAG_LIMITS")
    nothing = field.sources.take(np.zeros(200, bool))
    check_failed(dataclasses.replace(field, sources=nothing).solve())
    nans = field.sources.with_columns(XWIN_IMAGE=np.full(200, np.nan))
    check_failed(dataclasses.replace(field, sources=nans).solve())


def test_a_field_that_no_tangent_plane_holds():
    """Stars of its middle match, and a plate of these would be far off elsewhere."""
    field = make_field()
    for scale, is_refused in ((1000.0, True), (60.0, False)):
        header = {"CTYPE1": "RA---ARC", "CTYPE2": "DEC--ARC", "CRVAL1": 150.0, "CRVAL2": 20.0,
                  "CRPIX1": 500.0, "CRPIX2": 500.0, "CDELT1": -scale / 3600.0,
                  "CDELT2": scale / 3600.0}  # fmt: skip
        result = field.solve(fits.Header(header))
        check_failed(result)
        told = "more than 120 degrees from corner to corner, which one tangent plane does not hold"
        assert (told in result.reason) == is_refused
        assert result.source == "HEADER"


def test_catalogue_of_another_place():
    field, other = make_field(seed=14), make_field(ra0=10.0, seed=15)
    result = dataclasses.replace(field, reference=other.reference).solve()
    check_failed(result)
    assert result.source == "HEADER"
    assert result.wcs is not None
    # The same place, other stars.
    random = make_field(seed=16).reference
    check_failed(dataclasses.replace(field, reference=random).solve())


def test_limits_are_hard():
    field = make_field(seed=17, off=(90.0, 0.0))
    for settings in ({}, {"position_maxerr": 1.2}):
        check_failed(field.solve(**settings))
    check_right(field, field.solve(position_maxerr=1.6))
    check_failed(make_field(seed=17).solve(pixscale_maxerr=1.005))
    check_failed(make_field(seed=17).solve(posangle_maxerr=0.5))


def test_mirrored_frames_need_leave():
    field = make_field(seed=18)
    x = 2001.0 - field.sources["XWIN_IMAGE"]
    mirrored = dataclasses.replace(field, sources=field.sources.with_columns(XWIN_IMAGE=x))
    check_failed(mirrored.solve(posangle_maxerr=180.0))
    result = mirrored.solve(posangle_maxerr=180.0, match_flipped=True)
    assert result.status == "COMPLETE"
    assert result.metrics["parity"] == 1
    pointing = {"RA": 150.0, "DEC": 20.0, "PIXSCALE": 0.5}
    assert mirrored.solve(pointing).status == "COMPLETE"
    check_failed(mirrored.solve(pointing, match_flipped=False))


def test_a_failure_is_told():
    field, other = make_field(seed=14), make_field(ra0=10.0, seed=15)
    run = Run()
    wcs = SkyWcs.from_header(field.header)
    solve_astrometry(field.sources, field.header, SHAPE, wcs, other.reference, Config(), run)
    assert run.warnings[0].startswith("astrometry failed: ")


def test_a_catalogue_without_positions_is_an_error():
    field = make_field()
    with pytest.raises(KeyError, match="XWIN_IMAGE"):
        dataclasses.replace(field, sources=field.sources.select(["FLUX_AUTO"])).solve()


# --- proper motion ------------------------------------------------------------------------------


def test_proper_motions_are_applied_at_the_date_of_the_frame():
    field = make_field(seed=19, missing=0.0, false=0.0)
    rng = np.random.default_rng(1)
    n = field.reference.n_stars
    # The catalogue is of 2016, and the frame shows 2036.
    old = dataclasses.replace(
        field.reference, pmra=rng.normal(0.0, 30.0, n), pmdec=rng.normal(0.0, 30.0, n),
        epoch=np.full(n, 2036.0),
    ).at_epoch(2016.0)  # fmt: skip
    field = dataclasses.replace(field, reference=old)
    dated = field.solve(field.header | {"DATE-OBS": "2036-01-01T12:00:00"})
    undated = field.solve()
    run = Run()
    wcs = SkyWcs.from_header(field.header)
    solve_astrometry(field.sources, field.header, SHAPE, wcs, old, Config(), run)
    assert run.warnings[0] == "no date in the header: proper motions are not applied"
    assert "coarse or old positions in the reference catalogue" in run.warnings[1]
    assert dated.metrics["rms_arcsec"] == pytest.approx(NOISE * SCALE, rel=0.15)
    assert undated.metrics["rms_arcsec"] > 4.0 * dated.metrics["rms_arcsec"]


@pytest.mark.parametrize("year", [2000, 2026])
def test_a_catalogue_without_proper_motions_has_the_error_of_its_age(year):
    """Stars move by 7 mas/yr each and 3 mas/yr together; the catalogue is of 2000."""
    pulls, told = [], []
    for seed in range(8):
        field = make_field(seed=seed, missing=0.0, false=0.0)
        reference, n = field.reference, field.reference.n_stars
        rng = np.random.default_rng(seed)
        years, cos = year - 2000.0, math.cos(math.radians(20.0))
        common = 0.003 * years * rng.normal(0.0, 1.0, 2)[:, None]
        east, north = common + rng.normal(0.0, 0.007 * years + 1e-9, (2, n))
        old = dataclasses.replace(
            reference, ra=reference.ra - east / cos / 3600.0, dec=reference.dec - north / 3600.0,
            epoch=np.full(n, 2000.0),
        )  # fmt: skip
        run, header = Run(), field.header | {"DATE-OBS": f"{year}-01-01T12:00:00"}
        result = solve_astrometry(
            field.sources, header, SHAPE, SkyWcs.from_header(header), old, Config(), run
        )
        told.append(any("26 years from the frame's" in text for text in run.warnings))
        assert result.status == "COMPLETE"
        true = field.truth.to_sky(np.array([999.5]), np.array([749.5]))
        own = result.wcs.to_sky(np.array([999.5]), np.array([749.5]))
        offsets = (own[0] - true[0]) * cos * 3600.0, (own[1] - true[1]) * 3600.0
        error = math.hypot(result.floor, NOISE * SCALE / math.sqrt(n))
        pulls += [float(offset[0]) / error for offset in offsets]
    assert told == [year == 2026] * 8
    assert np.sqrt(np.mean(np.square(pulls))) < (1.3 if year == 2026 else 3.0)


@pytest.mark.parametrize(("years", "status"), [(26, "COMPLETE"), (60, "FALLBACK")])
def test_old_positions_without_proper_motions_are_a_fallback(years, status):
    """What all stars share moves by 3 mas/yr, and nothing in the frame shows it."""
    field = make_field(missing=0.0, false=0.0)
    old = dataclasses.replace(
        field.reference, epoch=np.full(field.reference.n_stars, 2026.0 - years)
    )
    run, header = Run(), field.header | {"DATE-OBS": "2026-01-01T12:00:00"}
    result = solve_astrometry(
        field.sources, header, SHAPE, SkyWcs.from_header(header), old, Config(), run
    )
    assert result.status == status
    assert ("may have moved by 0.18 arcsec" in result.reason) is (status == "FALLBACK")
    assert result.floor > 0.9e-3 * 3.0 * years


@pytest.mark.parametrize("missing", [0.2, 0.5, 0.8, 0.9])
def test_stars_without_a_proper_motion_do_not_carry_the_fit(missing):
    # All stars move together, so that those that stay behind agree on a wrong place.
    field = make_field(seed=20, missing=0.0, false=0.0)
    rng = np.random.default_rng(2)
    n = field.reference.n_stars
    pmra, pmdec = rng.normal(100.0, 10.0, n), rng.normal(-50.0, 10.0, n)
    old = dataclasses.replace(
        field.reference, pmra=pmra, pmdec=pmdec, epoch=np.full(n, 2026.0)
    ).at_epoch(2016.0)  # fmt: skip
    unknown = rng.random(n) < missing
    old = dataclasses.replace(
        old, pmra=np.where(unknown, np.nan, pmra), pmdec=np.where(unknown, np.nan, pmdec)
    )
    field = dataclasses.replace(field, reference=old)
    result = field.solve(field.header | {"DATE-OBS": "2026-01-01T12:00:00"}, distort_degrees=1)
    assert result.status == "COMPLETE"
    # The stars left behind are 2.2 pixels off.
    assert field.error(result.wcs) < (0.5 if missing < 0.9 else 1.0)


@pytest.mark.parametrize(
    ("date", "words"),
    [
        ("1858-11-17", "DATE-OBS = '1858-11-17' is no date"),
        ("soon", "DATE-OBS = 'soon' is no date"),
    ],
)
def test_a_date_that_is_none_is_quoted(date, words):
    field = make_field(seed=19)
    n = field.reference.n_stars
    moving = dataclasses.replace(
        field.reference, pmra=np.ones(n), pmdec=np.ones(n), epoch=np.full(n, 2016.0)
    )
    wcs, run = SkyWcs.from_header(field.header), Run()
    for more, end in (({}, "not applied"), ({"JD": 2459000.5}, "applied to JD")):
        header = field.header | {"DATE-OBS": date} | more
        solve_astrometry(field.sources, header, SHAPE, wcs, moving, Config(), run)
        assert words in run.warnings[-1]
        assert run.warnings[-1].endswith(end)


@pytest.mark.parametrize(
    ("scale", "limits", "told"),
    [
        (0.4000012, (0.4, 0.4), "0.400001 arcsec/pixel, not between 0.4 and 0.4"),
        (0.40004, (0.3, 0.4), "0.40004 arcsec/pixel, not between 0.3 and 0.4"),
        (0.6, (0.3, 0.4), "0.6 arcsec/pixel, not between 0.3 and 0.4"),
    ],
)
def test_a_limit_and_what_breaks_it_have_other_digits(scale, limits, told):
    solution = SimpleNamespace(
        offset=SimpleNamespace(position=0.0, angle=0.0),
        fit=SimpleNamespace(plate=SimpleNamespace(pixel_scale=scale)),
    )
    start = SimpleNamespace(position=1.0, angle=1.0, hard_scales=limits)
    assert broken_limit(solution, start) == f"{told} (PIXSCALE_MAXERR)"
