"""Astrometry end to end: simulated fields, awkward places, bad input, real frames."""

import dataclasses
import math

import numpy as np
import pytest
import sep
from astropy.io import fits
from astropy.wcs import WCS

from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.datamodel.wcs import SkyWcs
from skyextract.io.fits.headfile import head_text, write_head
from skyextract.io.images.images import read_head_file
from skyextract.io.references.reference import read_reference
from skyextract.run import Run
from skyextract.settings.keywords import Astrometry as Config
from skyextract.sky.plate import Plate, gnomonic
from skyextract.stages.astrometry.pointing import search_region
from skyextract.stages.astrometry.solve import solve_astrometry

SHAPE = (1500, 2000)
SCALE = 0.5
NOISE = 0.1


@dataclasses.dataclass
class Field:
    """A simulated frame and what is true about it."""

    sources: Catalog
    header: dict
    reference: RefCatalog
    truth: Plate

    def solve(self, header=None, **settings):
        header = self.header if header is None else header
        wcs = SkyWcs.from_header(header)
        return solve_astrometry(
            self.sources, header, SHAPE, wcs, self.reference, Config(**settings), Run()
        )

    def error(self, wcs) -> float:
        """Largest error of a WCS over the frame, pixels."""
        y, x = np.mgrid[0 : SHAPE[0] - 1 : 9j, 0 : SHAPE[1] - 1 : 9j]
        true = gnomonic(*self.truth.to_sky(x, y), self.truth.ra0, self.truth.dec0)
        own = gnomonic(*wcs.to_sky(x, y), self.truth.ra0, self.truth.dec0)
        return float(np.hypot(own[0] - true[0], own[1] - true[1]).max() * 3600.0 / SCALE)


def make_field(
    ra0=150.0, dec0=20.0, n=200, missing=0.3, false=0.3, turn=0.4, parity=1.0, bend=0.0, seed=0,
    off=(20.0, -15.0),
) -> Field:  # fmt: skip
    """Simulate; the header is `off` arcsec from the truth, 1 deg turned and 1 % too large."""
    rng = np.random.default_rng(seed)
    c, s = math.cos(turn), math.sin(turn)
    step = 1000.0 * SCALE / 3600.0
    linear = step * np.array([[-c * parity, s], [s * parity, c]])
    coefficients = np.zeros((2, 10 if bend else 3))
    coefficients[:, 1:3] = linear
    if bend:
        coefficients[:, 3:] = rng.normal(0.0, bend * step / 1000.0, (2, 7))
    truth = Plate(ra0, dec0, 999.5, 749.5, 1000.0, coefficients)
    x, y = rng.uniform(0.0, SHAPE[1] - 1.0, n), rng.uniform(0.0, SHAPE[0] - 1.0, n)
    mag = 20.0 + 2.0 * np.log10(rng.uniform(1e-3, 1.0, n))
    ra, dec = truth.to_sky(x, y)
    keep = rng.random(n) >= missing
    m = int(false * n)
    fx, fy = rng.uniform(-300.0, 2300.0, m), rng.uniform(-300.0, 1800.0, m)
    flat = dataclasses.replace(truth, coefficients=coefficients[:, :3])
    false_ra, false_dec = flat.to_sky(fx, fy)
    reference = RefCatalog.from_arrays(
        np.concatenate([ra[keep], false_ra]), np.concatenate([dec[keep], false_dec]),
        np.concatenate([mag[keep], 20.0 + 2.0 * np.log10(rng.uniform(1e-3, 1.0, m))]),
    )  # fmt: skip
    flux = 10.0 ** (0.4 * (25.0 - mag))
    sources = Catalog({
        "NUMBER": np.arange(n) + 1,
        "XWIN_IMAGE": x + rng.normal(0.0, NOISE, n) + 1.0,
        "YWIN_IMAGE": y + rng.normal(0.0, NOISE, n) + 1.0,
        "ERRAWIN_IMAGE": np.full(n, NOISE), "ERRBWIN_IMAGE": np.full(n, NOISE),
        "FLUX_AUTO": flux, "FLUXERR_AUTO": flux / 50.0, "FLAGS": np.zeros(n, np.int16),
    })  # fmt: skip
    c, s = 1.01 * math.cos(0.0175), 1.01 * math.sin(0.0175)
    header = dataclasses.replace(
        flat, coefficients=np.array([[c, -s], [s, c]]) @ flat.coefficients
    ).cards("TAN", SHAPE)
    header["CRPIX1"] += off[0] / SCALE
    header["CRPIX2"] += off[1] / SCALE
    return Field(sources, header | {"NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0]}, reference, truth)


def check_right(field: Field, result) -> None:
    assert result.status == "COMPLETE", result.reason
    assert field.error(result.wcs) < 6.0 * NOISE
    assert result.source == result.metrics["source"] == "FITTED"
    assert result.metrics["false_match_probability"] <= 1e-6


def check_failed(result) -> None:
    assert result.status == "FAILED"
    assert result.reason
    assert result.source in {"HEADER", "NONE"}
    assert not result.used.any()
    assert result.matches.n_rows == 0
    assert result.metrics["rms_arcsec"] is None
    assert result.metrics["n_matched"] is None


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


# --- few stars: right, or a clear failure -------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4])
def test_a_handful_of_stars(n):
    field = make_field(n=n, missing=0.0, false=0.0, seed=13)
    result = field.solve()
    if result.status == "COMPLETE":
        assert field.error(result.wcs) < 10.0 * NOISE
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


# --- failures -----------------------------------------------------------------------------------


def test_nothing_known_about_the_pointing():
    field = make_field()
    result = field.solve({"OBJECT": "M 31"})
    check_failed(result)
    assert result.wcs is None
    assert "pointing" in result.reason


def test_empty_catalogues():
    field = make_field()
    none = field.reference.take(np.zeros(field.reference.n_stars, bool))
    check_failed(dataclasses.replace(field, reference=none).solve())
    check_failed(field.solve(astrefmag_limits=(0.0, 5.0)))
    nothing = field.sources.take(np.zeros(200, bool))
    check_failed(dataclasses.replace(field, sources=nothing).solve())
    nans = field.sources.with_columns(XWIN_IMAGE=np.full(200, np.nan))
    check_failed(dataclasses.replace(field, sources=nans).solve())


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
    assert run.warnings == ["no date in the header: proper motions are not applied"]
    assert dated.metrics["rms_arcsec"] == pytest.approx(NOISE * SCALE, rel=0.15)
    assert undated.metrics["rms_arcsec"] > 4.0 * dated.metrics["rms_arcsec"]


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


# --- .head files --------------------------------------------------------------------------------


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


# --- real frames --------------------------------------------------------------------------------


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
