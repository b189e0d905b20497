"""The photometric calibration on simulated catalogues and a real one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import FlagsSky, Mask
from skyextract.datamodel.photocal import PhotoCal, PhotSource
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.datamodel.wcs import SkyWcs
from skyextract.run import Run
from skyextract.settings.keywords import Photometry as Config
from skyextract.stages.photometry.calibrate import METRICS, calibrate_photometry
from skyextract.stages.photometry.depth import Sky, aperture_flux, empty_positions

SIZE = 1000
ZERO_POINT = 27.0
SCALE = 0.5


def make_exposure(filter_name="r", **changes):
    cards = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0,
        "CRPIX1": 500.0, "CRPIX2": 500.0, "CD1_1": -SCALE / 3600, "CD1_2": 0.0, "CD2_1": 0.0,
        "CD2_2": SCALE / 3600, "NAXIS": 2, "NAXIS1": SIZE, "NAXIS2": SIZE,
        "FILTER": filter_name, "EXPTIME": 100.0,
    }  # fmt: skip
    header = fits.Header(cards)
    one = np.full((1, 1), 400.0, np.float32)
    exposure = Exposure(
        image=np.zeros((SIZE, SIZE), np.float32),
        mask=np.zeros((SIZE, SIZE), np.uint16),
        detector=Detector(exposure_time=100.0),
        psf=Psf.gaussian(3.0, PsfSource.MEASURED),
        wcs=SkyWcs.from_header(header),
        background=BackgroundMap(one, one, SIZE, SIZE, (SIZE, SIZE), 400.0, 20.0),
        header=header,
    )
    return replace(exposure, **changes)


def make_pair(n=80, seed=1, exposure=None, color_term=0.0, outliers=0):
    """Return a catalogue of sources and a reference catalogue of the same stars."""
    rng = np.random.default_rng(seed)
    exposure = exposure or make_exposure()
    x, y = rng.uniform(20, SIZE - 20, (2, n))
    mag = rng.uniform(15, 20, n)
    color = rng.uniform(0.2, 1.5, n)
    flux = 10 ** (-0.4 * (mag - ZERO_POINT + color_term * (0.7 - color)))
    error = np.hypot(0.005 * flux, 40.0)
    flux = flux + rng.normal(0, error)
    reference_error = np.full(n, 0.01)
    reference_mag = mag + rng.normal(0, 0.01, n)
    reference_mag[:outliers] += rng.normal(0, 1.0, outliers)
    ra, dec = exposure.wcs.to_j2000(x, y)
    catalog = Catalog(
        {
            "X_IMAGE": x + 1, "Y_IMAGE": y + 1, "FLUX_AUTO": flux, "FLUXERR_AUTO": error,
            "FLUX_PSF": flux, "FLUXERR_PSF": error, "FLAGS": np.zeros(n, np.int16),
            "FLAGS_SKY": np.zeros(n, np.int16),
        }
    )  # fmt: skip
    reference = replace(
        RefCatalog.from_arrays(ra, dec, reference_mag, mag_key="r", name="stars.csv"),
        magnitudes={
            "g": reference_mag + color, "r": reference_mag,
            "i": reference_mag - 0.4 * color + rng.normal(0, 0.1, n),
        },
        magnitude_errors={"r": reference_error},
    )  # fmt: skip
    return catalog, reference


def calibrate(catalog, reference, exposure=None, config=None, **more):
    return calibrate_photometry(
        catalog, exposure or make_exposure(), reference, config or Config(), Run(), **more
    )


def assert_failed(result, *words):
    assert result.status == "FAILED"
    for word in words:
        assert word in result.reason
    assert "\n" not in result.reason
    assert math.isnan(result.photocal.zero_point)
    assert result.photocal.source is PhotSource.NONE
    assert not result.used.any()
    assert set(METRICS) <= set(result.metrics)
    assert result.metrics["zero_point"] is None


def make_galaxies(catalog, rows, lost=0.8):
    """Let sources be galaxies: the PSF finds a part of their light, and SPREAD_MODEL tells."""
    n = catalog.n_rows
    columns = {name: catalog[name].copy() for name in catalog}
    columns["FLUX_PSF"][rows] *= 10 ** (-0.4 * lost)
    spread = np.random.default_rng(5).normal(0.0, 0.001, n)
    spread[rows] += 0.03
    return Catalog(columns | {"SPREAD_MODEL": spread, "SPREADERR_MODEL": np.full(n, 0.001)})


def test_galaxies_of_the_reference_catalogue_are_no_stars_of_the_zero_point():
    catalog, reference = make_pair()
    clean = calibrate(catalog, reference).metrics
    result = calibrate(make_galaxies(catalog, slice(0, 50)), reference)
    error = result.metrics["zero_point_error"]
    assert result.status == "COMPLETE"
    assert result.metrics["zero_point"] == pytest.approx(ZERO_POINT, abs=4 * error)
    assert result.metrics["n_stars"] <= 30
    assert result.metrics["checks"]["n_extended"] > 20
    assert clean["checks"]["n_extended"] == 0
    # the Kron flux has all of their light
    of_kron = calibrate(
        make_galaxies(catalog, slice(0, 50)), reference, config=Config(phot_flux_key="FLUX_AUTO")
    )
    assert of_kron.metrics["n_stars"] == clean["n_stars"]


@pytest.mark.parametrize("seed", range(3))
def test_galaxies_that_are_hardly_larger_than_stars(seed):
    """As small or faint galaxies: SPREAD_MODEL of 0.0165, errors of 0.0012 to 0.007."""
    rng = np.random.default_rng(seed)
    catalog, reference = make_pair()
    columns = {name: catalog[name].copy() for name in catalog}
    n = catalog.n_rows
    error = rng.uniform(0.0012, 0.007, n)
    spread = rng.normal(0.0012, np.hypot(error, 0.0012))
    galaxies = rng.permutation(n)[: int(0.35 * n)]
    spread[galaxies] += 0.0165
    columns["FLUX_PSF"][galaxies] *= 10 ** (-0.4 * 0.4)
    columns["FLAGS_SKY"][(error < 0.0035) & (spread < 0.0047)] |= int(FlagsSky.PSF_STAR)
    catalog = Catalog(columns | {"SPREAD_MODEL": spread, "SPREADERR_MODEL": error})
    result = calibrate(catalog, reference)
    assert result.status == "COMPLETE", result.reason
    error = result.metrics["zero_point_error"]
    assert result.metrics["zero_point"] == pytest.approx(ZERO_POINT, abs=4 * error)
    assert result.metrics["n_rejected"] <= 2


def test_a_reference_catalogue_of_galaxies_gives_no_zero_point():
    catalog, reference = make_pair()
    assert_failed(
        calibrate(make_galaxies(catalog, slice(0, 77)), reference), "stars by SPREAD_MODEL"
    )
    # Of some it cannot be told that they are extended.
    faint = make_galaxies(catalog, slice(0, 80))
    faint["SPREADERR_MODEL"][:30] = 0.02
    assert_failed(calibrate(faint, reference), "galaxies in the reference")


def test_an_aperture_that_the_frame_cuts_takes_no_star_from_the_zero_point_of_the_psf():
    catalog, reference = make_pair()
    clean = calibrate(catalog, reference).metrics["n_stars"]
    columns = {name: catalog[name].copy() for name in catalog}
    columns["FLAGS"][10:] |= 16
    catalog = Catalog(columns)
    assert calibrate(catalog, reference).metrics["n_stars"] == clean
    of_kron = calibrate(catalog, reference, config=Config(phot_flux_key="FLUX_AUTO"))
    assert (of_kron.metrics["n_stars"] or 0) <= 10


def test_a_clean_calibration():
    catalog, reference = make_pair()
    result = calibrate(catalog, reference)
    metrics = result.metrics
    assert result.status == "COMPLETE"
    assert metrics["zero_point"] == pytest.approx(ZERO_POINT, abs=5 * metrics["zero_point_error"])
    assert 0.0005 < metrics["zero_point_error"] < 0.005
    assert metrics["zero_point_1s"] == pytest.approx(metrics["zero_point"] - 5.0)
    assert metrics["flux_key"] == "FLUX_PSF"
    assert metrics["sky_brightness"] == pytest.approx(
        metrics["zero_point"] - 2.5 * math.log10(400 / SCALE**2), abs=1e-3
    )
    assert result.photocal.band == "r"
    assert result.photocal.system == "AB"
    assert result.photocal.nanojansky == pytest.approx(3631e9 * 10 ** (-0.4 * ZERO_POINT), rel=0.02)
    assert result.used.sum() == metrics["n_stars"]
    assert result.matches.n_rows == metrics["n_stars"] + metrics["n_rejected"]
    rows = result.matches["NUMBER"] - 1
    assert result.used[rows[result.matches["USED"]]].all()
    assert result.matches["X_IMAGE"] == pytest.approx(catalog["X_IMAGE"][rows])


def test_outliers_are_rejected():
    catalog, reference = make_pair(100, outliers=30)
    result = calibrate(catalog, reference)
    assert result.status == "COMPLETE"
    assert abs(result.metrics["zero_point"] - ZERO_POINT) < 5 * result.metrics["zero_point_error"]
    assert result.metrics["n_rejected"] > 5


def test_saturated_stars_without_a_flag_are_left_out():
    catalog, reference = make_pair(150)
    flux = np.minimum(catalog["FLUX_PSF"], 10 ** (-0.4 * (16.2 - ZERO_POINT)))
    result = calibrate(catalog.with_columns(FLUX_PSF=flux), reference)
    assert result.status == "COMPLETE"
    assert abs(result.metrics["zero_point"] - ZERO_POINT) < 0.005


def test_colour_term_and_field_polynomial():
    catalog, reference = make_pair(200, color_term=0.08)
    plain = calibrate(catalog, reference)
    fitted = calibrate(catalog, reference, config=Config(color_term="FIT"))
    assert fitted.metrics["color_term"] == pytest.approx(0.08, abs=0.01)
    assert fitted.metrics["scatter_mag"] < 0.7 * plain.metrics["scatter_mag"]
    assert fitted.metrics["checks"]["scatter_without_color"] > fitted.metrics["scatter_mag"]
    given = calibrate(catalog, reference, config=Config(color_term="0.08"))
    assert given.metrics["color_term"] == 0.08
    assert given.metrics["scatter_mag"] < 0.7 * plain.metrics["scatter_mag"]

    catalog, reference = make_pair(200)
    u = (catalog["X_IMAGE"] - 500) / 500
    tilted = catalog.with_columns(FLUX_PSF=catalog["FLUX_PSF"] * 10 ** (0.4 * 0.04 * u))
    result = calibrate(tilted, reference, config=Config(phot_degrees=1))
    offset = result.photocal.offset(np.array([0.0, 999.0]), np.array([500.0, 500.0]), (1000, 1000))
    assert offset[1] - offset[0] == pytest.approx(0.08, abs=0.01)
    assert len(result.photocal.polynomial) == 3


@pytest.mark.parametrize(("height", "status"), [(0.1, "FALLBACK"), (0.06, "COMPLETE")])
def test_light_that_waves_over_the_frame_is_told(height, status):
    # Clouds: smaller than the cells that are compared, and than any surface follows.
    catalog, reference = make_pair(300)
    wave = height * np.sin(2.0 * np.pi * (catalog["X_IMAGE"] + 0.4 * catalog["Y_IMAGE"]) / 320.0)
    catalog = catalog.with_columns(FLUX_PSF=catalog["FLUX_PSF"] * 10 ** (-0.4 * wave))
    run = Run()
    result = calibrate_photometry(catalog, make_exposure(), reference, Config(), run)
    assert result.status == status
    checks = result.metrics["checks"]
    assert checks["shared_scatter"] == pytest.approx(wave.std(), rel=0.2)
    assert checks["error_of_field"] >= checks["shared_scatter"]
    assert result.metrics["zero_point_error"] > checks["shared_scatter"]
    assert any("from place to place" in str(warning) for warning in run.warnings)


@pytest.mark.parametrize("faint", [0.0, 0.6])
def test_scatter_that_is_not_in_the_errors_is_told(faint):
    """Be it that most of the stars are faint, whose errors would hide it."""
    catalog, reference = make_pair(70)
    rng = np.random.default_rng(3)
    noise = 0.04 * catalog["FLUX_PSF"] * (np.arange(70) < 70 * faint)
    catalog = catalog.with_columns(
        FLUX_PSF=catalog["FLUX_PSF"] + noise * rng.normal(0.0, 1.0, 70),
        FLUXERR_PSF=np.hypot(catalog["FLUXERR_PSF"], noise),
    )
    clean = Run()
    calibrate_photometry(catalog, make_exposure(), reference, Config(), clean)
    flux = catalog["FLUX_PSF"] * 10 ** (0.4 * rng.normal(0.0, 0.07, 70))
    run = Run()
    result = calibrate_photometry(
        catalog.with_columns(FLUX_PSF=flux), make_exposure(), reference, Config(), run
    )
    assert result.status == "COMPLETE"
    assert result.metrics["checks"]["intrinsic_scatter"] == pytest.approx(0.07, abs=0.012)
    assert any("beyond their errors of 0.0" in str(warning) for warning in run.warnings)
    assert not clean.warnings


@pytest.mark.parametrize("lost", ["half", "third", "side"])
def test_bright_stars_that_the_reference_has_not(lost):
    """Of two fields in one frame it has half of the stars; it may also end within the frame."""
    catalog, reference = make_pair(300)
    order = np.arange(300)
    lacks = {"half": order % 2 == 0, "third": order % 3 == 0, "side": catalog["X_IMAGE"] > SIZE / 2}
    run = Run()
    result = calibrate_photometry(
        catalog, make_exposure(), reference.take(np.flatnonzero(~lacks[lost])), Config(), run
    )
    told = any("all over the frame, are not in the reference" in str(one) for one in run.warnings)
    assert result.status == "COMPLETE"
    assert told == (lost == "half")
    assert result.metrics["checks"]["n_alone"] > 50
    assert calibrate(catalog, reference).metrics["checks"]["n_alone"] == 0


def test_flux_column(caplog):
    catalog, reference = make_pair()
    default = make_exposure(psf=Psf.gaussian(3.5))
    assert calibrate(catalog, reference, default).metrics["flux_key"] == "FLUX_AUTO"
    apertures = catalog.with_columns(
        FLUX_APER=np.stack([0.5 * catalog["FLUX_AUTO"], catalog["FLUX_AUTO"]], axis=1),
        FLUXERR_APER=np.stack([catalog["FLUXERR_AUTO"]] * 2, axis=1),
    )
    one = calibrate(apertures, reference, config=Config(phot_flux_key="APER"))
    two = calibrate(apertures, reference, config=Config(phot_flux_key="FLUX_APER(2)"))
    # what was asked for is no fallback, and words say what it means
    assert one.status == "COMPLETE"
    assert caplog.text.count("MAG_AUTO and MAG_PSF, are 0.75 mag too bright by it") == 1
    assert two.metrics["zero_point"] - one.metrics["zero_point"] == pytest.approx(0.7526, abs=2e-3)
    assert_failed(calibrate(catalog, reference, config=Config(phot_flux_key="PETRO")), "FLUX_PETRO")
    assert_failed(
        calibrate(apertures, reference, config=Config(phot_flux_key="APER(3)")), "2 elements"
    )


def test_failures_are_clear():
    catalog, reference = make_pair()
    mags = reference.magnitudes
    nan = np.full(80, np.nan)
    assert_failed(calibrate(catalog, reference, make_exposure("Halpha")), "Halpha", "g r i")
    assert_failed(calibrate(catalog, reference, make_exposure("g")), "r", "wrong filter")
    elsewhere = replace(reference, dec=reference.dec + 5.0)
    assert_failed(calibrate(catalog, elsewhere), "no overlap")
    shifted = replace(reference, dec=reference.dec + 0.01)
    assert calibrate(catalog, shifted).status == "FAILED"
    saturated = catalog.with_columns(FLAGS=np.full(80, 4, np.int16))
    assert_failed(calibrate(saturated, reference), "0 of 80 stars are not saturated")
    assert_failed(calibrate(catalog, reference.take(np.arange(2))), "2 of 2", "too few")
    assert_failed(calibrate(catalog, reference.take(np.arange(0))), "empty")
    assert_failed(calibrate(catalog, replace(reference, magnitudes={**mags, "r": nan})), "0 of 80")
    assert_failed(calibrate(catalog.take(np.arange(0)), reference), "no overlap")
    assert_failed(
        calibrate(catalog, reference, config=Config(photref_mag_limits=(5.0, 10.0))), "LIMITS"
    )
    assert_failed(calibrate(catalog, reference, make_exposure(wcs=None)), "no WCS")


@pytest.mark.parametrize("of_field", [True, False])
def test_vignetting_without_a_flat_is_named_where_stars_do_not_agree(of_field):
    catalog, reference = make_pair(300)
    u, v = ((catalog[name] - 500) / 500 for name in ("X_IMAGE", "Y_IMAGE"))
    dark = 0.5 * (u**2 + v**2)
    dark = dark if of_field else np.random.default_rng(4).permutation(dark)
    fluxes = {n: catalog[n] * 10 ** (-0.4 * dark) for n in ("FLUX_PSF", "FLUX_AUTO")}
    catalog = catalog.with_columns(**fluxes)
    result = calibrate(catalog, reference)
    assert result.status == "FAILED"
    assert ("(PHOT_DEGREES 2)" in result.reason) is of_field
    if of_field:
        assert calibrate(catalog, reference, config=Config(phot_degrees=2)).status == "COMPLETE"


def test_another_system_is_noticed():
    catalog, reference = make_pair()
    flux_like = replace(
        reference, magnitudes={"r": 10 ** (-0.4 * (reference.magnitudes["r"] - 20))}
    )
    assert calibrate(catalog, flux_like).status == "FAILED"
    halved = replace(reference, magnitudes={"r": 0.9 * reference.magnitudes["r"]})
    assert_failed(calibrate(catalog, halved), "with magnitude")


def test_a_configured_zero_point_survives_a_failure():
    catalog, reference = make_pair()
    configured = PhotoCal(25.0, source=PhotSource.CONFIG)
    result = calibrate(catalog, reference, make_exposure("Halpha", photocal=configured))
    assert result.status == "FAILED"
    assert result.photocal is configured
    assert result.metrics["source"] == "CONFIG"


def test_limiting_magnitude_is_that_of_injected_sources():
    rng = np.random.default_rng(5)
    noise = 20.0
    image = rng.normal(0, noise, (SIZE, SIZE)).astype(np.float32)
    catalog, reference = make_pair()
    exposure = make_exposure()
    occupied = np.zeros(image.shape, np.bool_)
    occupied[:, :200] = True
    sky = Sky(image, np.full(image.shape, noise**2, np.float32), occupied, (10.0,))
    result = calibrate(catalog, reference, exposure, sky=sky)
    flux = 10 ** (-0.4 * (result.metrics["limiting_mag_5sigma"] - result.metrics["zero_point"]))
    stamp = exposure.psf.stamp(500.0, 500.0, size=15).astype(float)
    expected = 5 * noise / math.sqrt((stamp**2).sum())
    assert flux == pytest.approx(expected, rel=0.1)
    aper = catalog.with_columns(
        FLUX_APER=catalog["FLUX_AUTO"][:, None], FLUXERR_APER=catalog["FLUXERR_AUTO"][:, None]
    )
    result = calibrate(aper, reference, exposure, Config(phot_flux_key="APER"), sky=sky)
    flux = 10 ** (-0.4 * (result.metrics["limiting_mag_5sigma"] - result.metrics["zero_point"]))
    assert flux == pytest.approx(5 * noise * math.sqrt(math.pi * 25), rel=0.1)
    auto = calibrate(catalog, reference, exposure, Config(phot_flux_key="FLUX_AUTO"), sky=sky)
    # its aperture follows the source
    assert auto.metrics["flux_key"] == "FLUX_AUTO"
    assert auto.metrics["limiting_mag_5sigma"] is None
    full = replace(sky, occupied=np.ones(image.shape, np.bool_))
    assert calibrate(catalog, reference, sky=full).metrics["limiting_mag_5sigma"] is None


@pytest.mark.parametrize("seed", [5, 6, 7])
@pytest.mark.parametrize("ratio", [1.0, 1.2, 10.0])
def test_the_depth_of_the_worst_and_the_best_tenth(seed, ratio):
    """A third of the frame each has noise of sqrt(ratio) less, and more, than the middle."""
    rng = np.random.default_rng(seed)
    noise = 20.0 * np.repeat([ratio**-0.5, 1.0, ratio**0.5], [330, 340, 330]) * np.ones((SIZE, 1))
    sky = Sky(
        rng.normal(0.0, noise).astype(np.float32), (noise**2).astype(np.float32),
        np.zeros((SIZE, SIZE), np.bool_), (10.0,),
    )  # fmt: skip
    catalog, reference = make_pair(seed=seed)
    run = Run()
    result = calibrate_photometry(catalog, make_exposure(), reference, Config(), run, sky=sky)
    stamp = make_exposure().psf.stamp(500.0, 500.0, size=15).astype(float)
    for name, factor in (("worst", ratio**0.5), ("best", ratio**-0.5)):
        limit = result.metrics["zero_point"] - 2.5 * math.log10(
            5 * 20.0 * factor / math.sqrt((stamp**2).sum())
        )
        # The middle is measured in places of all three noises.
        assert result.metrics["checks"][f"limiting_mag_{name}_tenth"] == pytest.approx(
            limit, abs=0.1 if ratio < 2.0 else 0.4
        )
    assert any("the depth varies over the frame" in text for text in run.warnings) == (ratio > 2.0)


@pytest.mark.parametrize("number", [100, 1000])  # squares looked at, or the whole frame
def test_empty_places_are_empty(number):
    occupied = np.random.default_rng(1).random((300, 400)) < 0.002
    x, y = empty_positions(occupied, 6.0, number)
    assert len(x) == number
    yy, xx = np.nonzero(occupied)
    assert min(np.hypot(xx - a, yy - b).min() for a, b in zip(x, y, strict=True)) > 5.5
    assert x.min() > 6
    assert y.max() < 293
    assert len(empty_positions(np.ones((50, 50), bool), 3.0)[0]) == 0
    assert len(empty_positions(np.zeros((5, 5), bool), 3.0)[0]) == 0
    flat = aperture_flux(np.ones((50, 50), np.float32), np.array([20.3]), np.array([25.1]), 5.0)
    assert flat[0] == pytest.approx(math.pi * 25, rel=0.01)


@pytest.mark.parametrize("share", [0.0, 1e-3, 0.02, 0.3])
@pytest.mark.parametrize("radius", [2.5, 9.0])
def test_all_places_that_are_empty_are_taken(share, radius):
    occupied = np.random.default_rng(2).random((500, 700)) < share
    half = math.ceil(radius)
    sums = np.pad(occupied, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    few, many = empty_positions(occupied, radius, 50), empty_positions(occupied, radius, 20_000)
    for x, y, most in ((*few, 50), (*many, 20_000)):
        # the draws of so many places, and which of their squares hold no pixel
        rng = np.random.default_rng(20090)
        all_x, all_y = (rng.uniform(half + 0.5, n - half - 1.5, 40 * most) for n in (700, 500))
        i, j = np.rint(all_x).astype(int), np.rint(all_y).astype(int)
        inside = sums[j + half + 1, i + half + 1] - sums[j - half, i + half + 1]
        inside += sums[j - half, i - half] - sums[j + half + 1, i - half]
        np.testing.assert_array_equal(x, all_x[inside == 0][:most])
        np.testing.assert_array_equal(y, all_y[inside == 0][:most])


def test_sdss_frame_with_the_catalogue_of_sextractor(shared_data):
    folder = shared_data / "sdss_stripe82"
    with fits.open(folder / "reference_outputs" / "sex225_004192-r4-0300.ldac") as hdus:
        table = hdus["LDAC_OBJECTS"].data
        columns = {
            name: np.ascontiguousarray(table[name]).astype(float)
            for name in ("X_IMAGE", "Y_IMAGE", "FLUX_AUTO", "FLUXERR_AUTO")
        }
        columns["FLAGS"] = np.asarray(table["FLAGS"]).astype(np.int16)
    with fits.open(folder / "fpC-004192-r4-0300.fit.gz") as hdus:
        header = fits.Header(
            {
                card.keyword: card.value
                for card in hdus[0].header.cards
                if card.keyword not in {"", "COMMENT", "HISTORY"}
            }
        )
    stars = np.genfromtxt(
        folder / "refcat" / "sdss_stars_field.csv", delimiter=",", names=True, encoding=None
    )
    reference = replace(
        RefCatalog.from_arrays(stars["ra"], stars["dec"], name="sdss"),
        magnitudes={band: stars[band].astype(float) for band in "ugriz"},
        magnitude_errors={band: stars[f"{band}_err"].astype(float) for band in "ugriz"},
    )
    exposure = replace(
        make_exposure(), header=header, wcs=SkyWcs.from_header(header), psf=None,
        image=np.zeros((1489, 2048), np.float32), detector=Detector(exposure_time=53.907456),
    )  # fmt: skip
    result = calibrate(Catalog(columns), reference, exposure)
    assert result.status == "COMPLETE", result.reason
    assert result.metrics["zero_point"] == pytest.approx(28.216, abs=0.02)
    assert result.metrics["zero_point_error"] < 0.01
    wrong = calibrate(Catalog(columns), reference, exposure, Config(photref_mag_key="g"))
    assert_failed(wrong, "wrong filter")


def with_correction(error: float):
    """Return an exposure with an aperture correction of this error."""
    corrections = Catalog(
        {
            "DIAMETER": np.array([20.0]), "COEFFICIENTS": np.array([[1.0]]),
            "ERROR": np.array([error]), "SCATTER": np.array([error]),
            "N_STARS": np.array([5], np.int32), "DEGREE": np.array([0], np.int32),
            "X_ZERO": np.array([500.0]), "X_SCALE": np.array([500.0]),
            "Y_ZERO": np.array([500.0]), "Y_SCALE": np.array([500.0]),
        }
    )  # fmt: skip
    return make_exposure(aperture_corrections=corrections)


def test_the_error_has_that_of_the_aperture_correction():
    catalog, reference = make_pair()
    fit_error = calibrate(catalog, reference).metrics["zero_point_error"]
    result = calibrate(catalog, reference, with_correction(0.03))
    added = math.hypot(fit_error, 0.03 * 2.5 / math.log(10.0))
    assert result.metrics["zero_point_error"] == pytest.approx(added)
    assert result.photocal.zero_point_error == result.metrics["zero_point_error"]
    unknown = calibrate(catalog, reference, with_correction(math.nan))
    assert unknown.metrics["zero_point_error"] == pytest.approx(math.hypot(fit_error, 0.02))
    # An aperture's own flux needs no correction.
    own = Config(phot_flux_key="FLUX_AUTO")
    alone = calibrate(catalog, reference, make_exposure(), own).metrics["zero_point_error"]
    aperture = calibrate(catalog, reference, with_correction(0.03), own)
    assert aperture.metrics["zero_point_error"] == alone == pytest.approx(fit_error, rel=1e-3)
    # The calibrated flux has the correction, right or wrong; other fluxes are off by it.
    unsure = calibrate(catalog, reference, with_correction(0.12))
    assert unsure.status == "FALLBACK"
    assert "other magnitudes" in unsure.reason
    assert unsure.metrics["zero_point"] == pytest.approx(ZERO_POINT, abs=0.01)
    assert unsure.metrics["zero_point_error"] == pytest.approx(0.12 * 1.0857, rel=0.02)


def test_fitted_positions_that_find_the_peaks_of_the_noise_make_no_zero_point():
    """The flux at the best of all positions is too large by the variance over itself."""
    catalog, reference = make_pair()
    catalog = catalog.with_columns(
        FLUXERR_PSF=0.05 * catalog["FLUX_PSF"], FLUX_AUTO=catalog["FLUX_PSF"],
        FLUXERR_AUTO=0.05 * catalog["FLUX_PSF"],
    )  # fmt: skip
    # Without a PSF nothing is known of sources that hide in the stars.
    alone = make_exposure(psf=None)
    fitted, aperture = (
        calibrate(catalog, reference, alone, Config(phot_flux_key=key))
        for key in ("FLUX_PSF", "FLUX_AUTO")
    )
    lower = aperture.metrics["zero_point"] - fitted.metrics["zero_point"]
    assert lower == pytest.approx(2.5 * math.log10(1.0 + 0.05**2), rel=0.01)


def test_stars_at_the_limit_do_not_make_the_zero_point_too_bright():
    """The reference is deeper than the frame: there those are found that noise makes brighter."""
    pulls = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        catalog, reference = make_pair(300, seed=seed)
        mag = 22.5 - rng.exponential(0.9, 300)  # S/N 10 at 20.2
        error = np.full(300, 50.0)
        flux = 10 ** (-0.4 * (mag - ZERO_POINT)) + rng.normal(0.0, error)
        columns = {"FLUX_PSF": flux, "FLUXERR_PSF": error, "FLUX_AUTO": flux}
        catalog = catalog.with_columns(**columns).take(flux > 5.0 * error)
        reference = replace(reference, magnitudes={"r": mag + rng.normal(0.0, 0.01, 300)})
        result = calibrate(catalog, reference)
        assert result.status == "COMPLETE", result.reason
        metrics = result.metrics
        pulls.append((metrics["zero_point"] - ZERO_POINT) / metrics["zero_point_error"])
    assert abs(np.mean(pulls)) < 3.0 / math.sqrt(30)
    assert 0.6 < np.std(pulls) < 1.3


def test_light_of_the_model_is_unsure_only_where_no_star_shows_the_correction():
    """What a model lacks in its wings the curve of growth of the same stars makes up for."""
    catalog, reference = make_pair()
    doubtful = make_exposure(psf=replace(Psf.gaussian(3.0, PsfSource.MEASURED), light_error=0.03))
    known = with_correction(0.01)
    shown = calibrate(catalog, reference, replace(known, psf=doubtful.psf))
    sure = calibrate(catalog, reference, known)
    assert shown.metrics["zero_point_error"] == sure.metrics["zero_point_error"]
    unknown = calibrate(catalog, reference, replace(with_correction(math.nan), psf=doubtful.psf))
    fit_error = sure.metrics["checks"]["error_of_fit"]
    assert unknown.metrics["zero_point_error"] == pytest.approx(
        math.hypot(fit_error, 0.02, 0.03 * 2.5 / math.log(10.0)), rel=0.01
    )


def test_flux_that_stars_should_not_have_counts_as_error():
    catalog, reference = make_pair()
    for excess, error in ((0.04, 0.0), (0.14, 0.08)):
        small = catalog.with_columns(FLUX_AUTO=catalog["FLUX_PSF"] * 10 ** (-0.4 * excess))
        run = Run()
        result = calibrate_photometry(small, make_exposure(), reference, Config(), run)
        checks = result.metrics["checks"]
        assert checks["error_of_flux_scale"] == pytest.approx(error, abs=1e-9)
        assert result.metrics["zero_point_error"] >= error
        assert any("Kron flux" in warning for warning in run.warnings) == (error > 0.0)


def test_a_single_reference_star_is_too_few_whatever_the_wcs():
    catalog, reference = make_pair()
    result = calibrate(catalog, reference.take(np.array([3])))
    assert_failed(result, "1 stars of", "within the frame: too few for a zero point")


@pytest.mark.parametrize(("lack", "status"), [(0.06, "COMPLETE"), (0.2, "FALLBACK")])
def test_noise_of_kron_fluxes_is_no_doubt(lack, status):
    """Kron fluxes with a scatter of 0.1 mag: their median over 30 stars is known to 0.023."""
    for seed in range(8):
        catalog, reference = make_pair(n=30)
        noise = np.random.default_rng(seed).normal(0.0, 0.1, 30)
        kron = catalog["FLUX_PSF"] * 10 ** (0.4 * (lack + noise - np.median(noise)))
        noisy = catalog.with_columns(FLUX_AUTO=kron)
        result = calibrate(noisy, reference, make_exposure())
        assert result.status == status
        assert ("Kron" in result.reason) == (status == "FALLBACK")


def test_a_zero_point_of_few_of_the_stars_is_a_fallback():
    catalog, reference = make_pair(n=400)
    flags = np.full(400, 4, np.int16)
    flags[:12] = 0
    run = Run()
    few = calibrate_photometry(
        catalog.with_columns(FLAGS=flags), make_exposure(), reference, Config(), run
    )
    assert few.status == "FALLBACK"
    assert few.photocal.source == PhotSource.FITTED
    assert "of 400 stars" in few.reason
    assert any("rests on" in warning for warning in run.warnings)
    flags[:60] = 0
    enough = calibrate(catalog.with_columns(FLAGS=flags), reference)
    assert enough.status == "COMPLETE"


def in_a_corner(catalog, reference, offset):
    """Change the reference magnitudes of the stars in a ninth of the frame."""
    ny, nx = make_exposure().shape
    corner = (catalog["X_IMAGE"] > 2 * nx / 3) & (catalog["Y_IMAGE"] > 2 * ny / 3)
    magnitudes = {k: v + offset * corner for k, v in reference.magnitudes.items()}
    return replace(reference, magnitudes=magnitudes)


@pytest.mark.parametrize(
    ("offset", "status"), [(0.0, "COMPLETE"), (0.06, "COMPLETE"), (0.4, "FAILED")]
)
def test_a_part_of_the_frame_that_is_off(offset, status):
    catalog, reference = make_pair(n=200)
    result = calibrate(catalog, in_a_corner(catalog, reference, offset))
    assert result.status == status
    if status == "FAILED":
        assert "stars in cell 4, 4 of 4 x 4 are off by +0." in result.reason
        # What shows where light is missing is kept, and no source counts as used.
        off = np.asarray(result.matches["RESIDUAL"])
        assert off.max() - off.min() > 0.9 * offset
        assert not result.used.any()
        return
    error = result.metrics["checks"]["error_of_field"]
    # A ninth of the frame by an offset: an rms of 0.31 of it.
    assert error == 0.0 if offset == 0.0 else 0.2 * offset < error < 0.5 * offset
    assert result.metrics["zero_point_error"] >= error


def test_a_second_group_fails():
    catalog, reference = make_pair(n=200)
    second = np.arange(200) % 4 == 0
    other = {k: v + 0.3 * second for k, v in reference.magnitudes.items()}
    assert_failed(
        calibrate(catalog, replace(reference, magnitudes=other)), "50 stars agree", "+0.30"
    )


def test_large_scatter_is_a_fallback():
    catalog, reference = make_pair(n=60)
    scatter = np.random.default_rng(2).normal(0.0, 0.12, 60)
    other = {k: v + scatter for k, v in reference.magnitudes.items()}
    result = calibrate(catalog, replace(reference, magnitudes=other))
    assert result.status == "FALLBACK", result.reason
    assert "scatter" in result.reason


def with_masked(exposure, x, y, flagged, core):
    """Mask one pixel beside each of the flagged stars, or all within two of their centres."""
    mask = exposure.mask.copy()
    for cx, cy in zip(x[flagged], y[flagged], strict=True):
        j, i = round(float(cy)), round(float(cx))
        if core:
            mask[j - 2 : j + 3, i - 2 : i + 3] = int(Mask.INTRP)
        else:
            mask[j + 2, i + 1] = int(Mask.INTRP)
    return replace(exposure, mask=mask)


@pytest.mark.parametrize(("n", "key", "core", "status"), [
    (24, "AUTO", False, "COMPLETE"), (24, "AUTO", True, "FAILED"),
    (24, "FLUX_AUTO", False, "FAILED"), (80, "AUTO", False, "COMPLETE"),
])  # fmt: skip
def test_stars_with_few_masked_pixels_serve_where_others_are_too_few(n, key, core, status):
    catalog, reference = make_pair(n)
    flagged = np.arange(n) >= min(n // 2, 3) if n < 60 else np.arange(n) % 2 == 0
    sky = np.where(flagged, int(FlagsSky.BAD_PIXEL), 0).astype(np.int16)
    exposure = with_masked(
        make_exposure(), catalog["X_IMAGE"] - 1.0, catalog["Y_IMAGE"] - 1.0, flagged, core
    )
    result = calibrate(
        catalog.with_columns(FLAGS_SKY=sky), reference, exposure, Config(phot_flux_key=key)
    )
    assert result.status == status, result.reason
    if status == "FAILED":
        assert "3 stars are free of bad pixels" in result.reason
    elif n < 60:
        assert result.metrics["n_stars"] > 15
    else:  # enough others: none of them serves
        assert not result.used[flagged].any()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step", [0.0, 0.08, -0.08])
def test_a_step_in_the_reference_magnitudes_is_part_of_the_error(seed, step):
    """Whatever side of it is right: both are within a few of the claimed errors."""
    catalog, reference = make_pair(60, seed=seed)
    mag = reference.magnitudes["r"]
    edge = np.sort(mag)[6]
    other = {**reference.magnitudes, "r": mag + step * (mag > edge)}
    result = calibrate(catalog, replace(reference, magnitudes=other))
    error = result.metrics["zero_point_error"]
    assert result.status == "COMPLETE", result.reason
    assert abs(result.metrics["zero_point"] - ZERO_POINT) < 3.5 * error
    assert abs(result.metrics["zero_point"] - ZERO_POINT - step) < 3.5 * error
    assert error < 0.06 if step else error < 0.006


@pytest.mark.parametrize("hidden", [0.0, 60.0])
def test_rounding_that_hides_the_sky_is_part_of_the_error(hidden):
    catalog, reference = make_pair()
    background = replace(make_exposure().background, hidden_step=hidden)
    result = calibrate(catalog, reference, make_exposure(background=background))
    found = result.metrics["checks"]["error_of_rounding"]
    if not hidden:
        assert found == 0.0
        return
    # 0.3 steps in each pixel, as a uniform distribution: the fit sees the sum over PSF / PSF^2.
    stamp = make_exposure().psf.stamp(500.0, 500.0).astype(float)
    bias = 0.3 / math.sqrt(3.0) * hidden * stamp.sum() / (stamp**2).sum()
    flux = np.median(catalog["FLUX_PSF"][result.used])
    assert found == pytest.approx(1.0857 * bias / flux, rel=0.02)
    assert result.metrics["zero_point_error"] > found


def test_scatter_of_faint_stars_is_not_laid_upon_the_reference():
    catalog, reference = make_pair()
    noise = np.random.default_rng(2).normal(0.0, 0.5, catalog.n_rows)
    flux = catalog["FLUX_PSF"]
    noisy = catalog.with_columns(FLUX_PSF=flux * 10 ** (0.4 * noise), FLUXERR_PSF=flux * 0.15)
    result = calibrate(noisy, reference)
    assert_failed(result, "beyond their errors", "too faint")
    assert "magnitude system" not in result.reason
