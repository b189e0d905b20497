"""Derived columns against SExtractor's own, and where there is nothing to derive from."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skyextract.columns.derive import derive, ellipse_axes, ellipticities, moments_of
from skyextract.columns.families import DERIVE, MODEL
from skyextract.columns.request import COLUMNS, Requested, base_columns
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.photocal import PhotoCal
from skyextract.datamodel.wcs import SkyWcs
from skyextract.io.catalogs.formats import Extension

DERIVED = [
    name
    for name, column in COLUMNS.items()
    if column.stage == DERIVE
    and not column.own
    and name != "MU_THRESHOLD"
    and not any(COLUMNS[base].stage == MODEL for base in column.needs)
]
SIZES = {"MAG_APER": 3, "MAGERR_APER": 3, "MAG_GROWTH": 10, "FLUX_APER": 3, "FLUXERR_APER": 3,
         "FLUX_GROWTH": 10}  # fmt: skip
CXX_WORLD = re.compile(r"(ERR)?C(XX|YY|XY)(WIN|PSF)?_WORLD")


def requested(names: list[str]) -> list[Requested]:
    return [Requested(name, (SIZES[name],) if name in SIZES else ()) for name in names]


@pytest.fixture(scope="module")
def sextractor(
    sextractor_catalogs: Callable[..., Path], read_catalog: Callable[[Path], list[Extension]]
) -> Extension:
    names = [*DERIVED, *base_columns(requested(DERIVED)), "THRESHOLD", "MU_THRESHOLD"]
    sized = [f"{name}({SIZES[name]})" if name in SIZES else name for name in dict.fromkeys(names)]
    (extension,) = read_catalog(sextractor_catalogs("FITS_LDAC", sized))
    assert extension.catalog.n_rows > 300
    # X_IMAGE is stored in single precision, its twin is not
    double = {f"{axis}_IMAGE": extension.catalog[f"{axis}_IMAGE_DBL"] for axis in "XY"}
    return extension._replace(catalog=extension.catalog.with_columns(**double))


@pytest.fixture(scope="module")
def ours(sextractor: Extension) -> Catalog:
    wanted = requested(DERIVED)
    base = sextractor.catalog.select(sorted(base_columns(wanted)))
    wcs = SkyWcs.from_header(sextractor.header)
    return derive(base, wanted, wcs, PhotoCal(28.0))


@pytest.mark.parametrize("name", DERIVED)
def test_equal_to_sextractor(name: str, sextractor: Extension, ours: Catalog) -> None:
    theirs, mine = sextractor.catalog[name].astype(float), ours[name].astype(float)
    assert mine.shape == theirs.shape
    if CXX_WORLD.fullmatch(name):  # SExtractor divides by 1e-12 deg^4 instead; see below
        assert np.isfinite(mine).mean() > 0.9
        return
    if name.startswith(("MAG", "MU_")):
        np.testing.assert_array_equal(np.isnan(mine), theirs == 99.0)
        tolerance = 1e-5 + 3e-4 * theirs if name.startswith("MAGERR") else 1e-5
        assert np.nanmax(np.abs(mine - theirs) / tolerance) < 1.0
        return
    if re.fullmatch("ERRC..PSF_IMAGE", name):  # SExtractor has 0 where the PSF fit failed
        np.testing.assert_array_equal(np.isnan(mine), theirs == 0.0)
        mine = np.nan_to_num(mine)
    assert np.isfinite(mine).all()
    difference = np.abs(mine - theirs)
    if name.startswith(("ALPHA", "DELTA")) or re.fullmatch("[XY](WIN|PEAK|PSF)?_WORLD", name):
        assert difference.max() * 3600.0 < 1e-3
    elif "THETA" in name:
        measured = theirs != 0.0  # SExtractor's value where the PSF fit failed
        angle = np.abs((mine - theirs + 90.0) % 180.0 - 90.0)[measured]
        if name.endswith("B1950"):  # SExtractor turns by as much the other way
            native = sextractor.catalog[name.replace("B1950", "SKY")][measured]
            angle = np.abs((mine - 2 * native + theirs + 90.0) % 180.0 - 90.0)[measured]
        assert angle.max() < 0.01
    elif name.endswith(("XY_IMAGE", "XY_WORLD", "CXY_IMAGE")):
        assert difference.max() <= 1e-3 * np.abs(theirs).max()
    else:
        assert np.percentile(difference / np.maximum(np.abs(theirs), 1e-30), 99) < 1e-3


def test_the_surface_brightness_of_the_threshold(sextractor: Extension) -> None:
    level = sextractor.catalog["THRESHOLD"] / 2.0  # DETECT_THRESH 3, ANALYSIS_THRESH 1.5
    base = sextractor.catalog.select(["X_IMAGE", "Y_IMAGE"]).with_columns(THRESHOLD_ANALYSIS=level)
    wcs = SkyWcs.from_header(sextractor.header)
    mu = derive(base, [Requested("MU_THRESHOLD")], wcs, PhotoCal(28.0))["MU_THRESHOLD"]
    np.testing.assert_allclose(mu, sextractor.catalog["MU_THRESHOLD"], atol=2e-5)
    mu = derive(base, [Requested("MU_THRESHOLD")], None, PhotoCal(28.0), 0.4)["MU_THRESHOLD"]
    np.testing.assert_allclose(mu, 28.0 - 2.5 * np.log10(level / 0.16), atol=1e-6)


def test_world_ellipse_parameters_are_the_inverse_of_the_moments(ours: Catalog) -> None:
    for prefix, suffix in (("", ""), ("", "WIN"), ("ERR", "WIN")):
        x2, y2, xy, cxx, cyy, cxy = (
            ours[f"{prefix}{m}{suffix}_WORLD"] for m in ("X2", "Y2", "XY", "CXX", "CYY", "CXY")
        )
        np.testing.assert_allclose(cxx * x2 + 0.5 * cxy * xy, 1.0, rtol=1e-6)
        np.testing.assert_allclose(cyy * y2 + 0.5 * cxy * xy, 1.0, rtol=1e-6)


def test_position_angles_in_b1950_are_those_of_displaced_points(
    sextractor: Extension, ours: Catalog
) -> None:
    from astropy.coordinates import FK4, FK5, SkyCoord

    frame = FK4(equinox="B1950", obstime="J2000")
    here = SkyCoord(ours["ALPHA_J2000"], ours["DELTA_J2000"], unit="deg", frame=FK5())
    from astropy import units

    angle = ours["THETA_J2000"] * units.deg
    there = here.directional_offset_by(angle, 1e-3 * units.deg)
    turned = here.transform_to(frame).position_angle(there.transform_to(frame)).deg
    difference = (turned - ours["THETA_B1950"] + 90.0) % 180.0 - 90.0
    assert np.abs(difference).max() < 1e-4


def rotated(scale: float, angle: float, parity: int) -> SkyWcs:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    wcs = SkyWcs.from_header(
        {
            "NAXIS1": 100, "NAXIS2": 100, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN",
            "CRPIX1": 50.0, "CRPIX2": 50.0, "CRVAL1": 359.99999, "CRVAL2": 75.0,
            "CD1_1": parity * c, "CD1_2": -parity * s, "CD2_1": s, "CD2_2": c,
        }
    )  # fmt: skip
    assert wcs is not None
    return wcs


@pytest.mark.parametrize("parity", [-1, 1])
@pytest.mark.parametrize("angle", [0.0, 0.5, 2.5])
def test_world_ellipses_in_rotated_frames(angle: float, parity: int) -> None:
    """Where SExtractor is wrong: a rotation keeps axes and turns angles by itself."""
    rng = np.random.default_rng(3)
    x2, y2 = rng.uniform(1.0, 4.0, (2, 50))
    base = Catalog({"X_IMAGE": rng.uniform(40, 60, 50), "Y_IMAGE": rng.uniform(40, 60, 50),
                    "X2_IMAGE": x2, "Y2_IMAGE": y2,
                    "XY_IMAGE": rng.uniform(-0.9, 0.9, 50) * np.sqrt(x2 * y2)})  # fmt: skip
    scale = 1e-4
    wcs = rotated(scale, angle, parity)
    names = ["A_IMAGE", "B_IMAGE", "THETA_IMAGE", "A_WORLD", "B_WORLD", "THETA_WORLD",
             "THETA_J2000", "X_FOCAL", "POLAR_IMAGE", "POLAR_WORLD"]  # fmt: skip
    result = derive(base, requested(names), wcs, PhotoCal())
    np.testing.assert_allclose(result["A_WORLD"], scale * result["A_IMAGE"], rtol=1e-5)
    np.testing.assert_allclose(result["B_WORLD"], scale * result["B_IMAGE"], rtol=1e-5)
    np.testing.assert_allclose(result["POLAR_WORLD"], result["POLAR_IMAGE"], atol=1e-5)
    theta = np.radians(result["THETA_IMAGE"])
    step = 1e-2
    x, y = base["X_IMAGE"] - 1.0, base["Y_IMAGE"] - 1.0
    lon, lat = wcs.to_sky(x, y)
    lon2, lat2 = wcs.to_sky(x + step * np.cos(theta), y + step * np.sin(theta))
    east = ((lon2 - lon + 180.0) % 360.0 - 180.0) * np.cos(np.radians(lat))
    direction = np.degrees(np.arctan2(east, lat2 - lat))
    difference = (direction - result["THETA_J2000"] + 90.0) % 180.0 - 90.0
    assert np.abs(difference).max() < 0.02
    np.testing.assert_allclose((result["THETA_WORLD"] + result["THETA_J2000"]) % 180.0, 90.0)


def test_no_wcs_gives_nan_on_the_sky() -> None:
    base = Catalog({"X_IMAGE": np.ones(3), "Y_IMAGE": np.ones(3), "X2_IMAGE": np.ones(3),
                    "Y2_IMAGE": np.full(3, 0.5), "XY_IMAGE": np.zeros(3), "FLUX_MAX": np.ones(3),
                    "ISOAREA_IMAGE": np.ones(3, np.int32)})  # fmt: skip
    names = ["ALPHA_J2000", "DELTA_B1950", "X_FOCAL", "THETA_J2000", "A_WORLD", "ISOAREA_WORLD",
             "CXX_WORLD", "MU_MAX"]  # fmt: skip
    result = derive(base, [*requested(names), Requested("A_IMAGE")], None, PhotoCal(25.0))
    assert all(np.isnan(result[name]).all() for name in names)
    np.testing.assert_allclose(result["A_IMAGE"], 1.0)


def test_no_zero_point_gives_no_magnitudes() -> None:
    base = Catalog({"FLUX_AUTO": np.array([10.0, -1.0]), "FLUXERR_AUTO": np.ones(2)})
    wanted = requested(["FLUX_AUTO", "MAG_AUTO", "MAGERR_AUTO"])
    result = derive(base, wanted, None, PhotoCal(float("nan")))
    assert np.isnan(result["MAG_AUTO"]).all()
    assert np.isnan(result["MAGERR_AUTO"]).all()
    np.testing.assert_array_equal(result["FLUX_AUTO"], [10.0, -1.0])
    result = derive(base, wanted, None, PhotoCal(25.0))
    np.testing.assert_allclose(result["MAG_AUTO"], [22.5, np.nan])
    np.testing.assert_allclose(result["MAGERR_AUTO"], [0.1086, np.nan], rtol=1e-6)


def test_vectors_are_cut_and_filled() -> None:
    base = Catalog({"FLUX_APER": np.array([[1.0, 10.0]]), "IMAFLAGS_ISO": np.array([[3]])})
    wanted = [Requested("FLUX_APER", (3,)), Requested("MAG_APER", (1,)),
              Requested("IMAFLAGS_ISO", (2,))]  # fmt: skip
    result = derive(base, wanted, None, PhotoCal(25.0))
    np.testing.assert_array_equal(result["FLUX_APER"], [[1.0, 10.0, np.nan]])
    np.testing.assert_array_equal(result["MAG_APER"], [[25.0]])
    np.testing.assert_array_equal(result["IMAFLAGS_ISO"], [[3, 0]])
    assert list(result) == ["FLUX_APER", "MAG_APER", "IMAFLAGS_ISO"]


def test_no_sources(shared_data: Path, sextractor: Extension) -> None:
    base = sextractor.catalog.take(np.zeros(sextractor.catalog.n_rows, bool))
    result = derive(base, requested(DERIVED), SkyWcs.from_header(sextractor.header), PhotoCal(28.0))
    assert result.n_rows == 0
    assert list(result) == DERIVED


def test_ellipses_that_are_no_ellipses() -> None:
    x2 = np.array([1.0, 0.0, np.nan, 1.0, 4.0])
    y2 = np.array([1.0, 0.0, 1.0, 1.0, 1.0])
    xy = np.array([0.0, 0.0, 0.0, 1.0, 0.0])
    a, b, theta = ellipse_axes(x2, y2, xy)
    np.testing.assert_allclose(a, [1.0, 0.0, np.nan, np.sqrt(2.0), 2.0])
    np.testing.assert_allclose(b, [1.0, 0.0, np.nan, 0.0, 1.0], atol=1e-8)
    np.testing.assert_allclose(theta, [45.0, 45.0, np.nan, 45.0, 0.0])
    base = Catalog({"X2_IMAGE": x2, "Y2_IMAGE": y2, "XY_IMAGE": xy})
    cxx = derive(base, [Requested("CXX_IMAGE")], None, PhotoCal())["CXX_IMAGE"]
    np.testing.assert_allclose(cxx, [1.0, np.nan, np.nan, np.nan, 0.25])


def test_pixel_scale_is_the_size_of_a_pixel_as_in_sextractor(
    sextractor_catalogs: Callable[..., Path], read_catalog: Callable[[Path], list[Extension]]
) -> None:
    names = ["FWHM_WORLD", "ISOAREA_WORLD", "ISOAREAF_WORLD", "MU_MAX", "A_WORLD"]
    base_names = base_columns(requested(names))
    options = ("-DETECT_THRESH", "20", "-PIXEL_SCALE", "2.5")
    path = sextractor_catalogs("FITS_LDAC", [*names, *base_names], *options)
    (theirs,) = read_catalog(path)
    base = theirs.catalog.select(sorted(base_names))
    wcs = SkyWcs.from_header(theirs.header)
    for known in (wcs, None):
        mine = derive(base, requested(names), known, PhotoCal(28.0), 2.5)
        for name in names[:-1]:
            np.testing.assert_allclose(mine[name], theirs.catalog[name], rtol=1e-5)
    mine = derive(base, requested(names), wcs, PhotoCal(28.0), 2.5)
    np.testing.assert_allclose(np.median(mine["A_WORLD"] / theirs.catalog["A_WORLD"]), 1, rtol=1e-3)


def test_models_on_the_sky_are_ellipses_like_others() -> None:
    header = fits.Header({
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 30.0, "CRVAL2": 40.0, "CRPIX1": 50,
        "CRPIX2": 50, "CD1_1": -1e-4, "CD1_2": 4e-5, "CD2_1": 3e-5, "CD2_2": 1.2e-4,
    })  # fmt: skip
    wcs = SkyWcs.from_header(header)
    a, q, theta = np.array([4.0, 3.0]), np.array([0.5, 0.9]), np.radians([25.0, -70.0])
    x2 = a**2 * (np.cos(theta) ** 2 + q**2 * np.sin(theta) ** 2)
    y2 = a**2 * (np.sin(theta) ** 2 + q**2 * np.cos(theta) ** 2)
    xy = a**2 * (1 - q**2) * np.sin(theta) * np.cos(theta)
    ellip = (1 - q) / (1 + q)
    base = Catalog(
        {
            "XMODEL_IMAGE": np.array([20.0, 70.0]), "YMODEL_IMAGE": np.array([30.0, 60.0]),
            "X2MODEL_IMAGE": x2, "Y2MODEL_IMAGE": y2, "XYMODEL_IMAGE": xy,
            "SPHEROID_REFF_IMAGE": a, "SPHEROID_REFFERR_IMAGE": 0.1 * a,
            "SPHEROID_ASPECT_IMAGE": q, "SPHEROID_ASPECTERR_IMAGE": 0.1 * q,
            "SPHEROID_THETA_IMAGE": np.degrees(theta),
            "SPHEROID_THETAERR_IMAGE": np.array([5.0, 9.0]),
            "ELLIP1MODEL_IMAGE": ellip * np.cos(2 * theta),
            "ELLIP2MODEL_IMAGE": ellip * np.sin(2 * theta),
            "ELLIP1ERRMODEL_IMAGE": np.array([0.02, 0.03]),
            "ELLIP2ERRMODEL_IMAGE": np.array([0.03, 0.01]),
            "ELLIPCORRMODEL_IMAGE": np.array([0.3, -0.2]),
        }
    )  # fmt: skip
    names = [
        "AMODEL_WORLD", "BMODEL_WORLD", "THETAMODEL_WORLD", "THETAMODEL_J2000", "ELLIP1MODEL_WORLD",
        "ELLIP2MODEL_WORLD", "ELLIP1ERRMODEL_WORLD", "ELLIP2ERRMODEL_WORLD",
        "ELLIPCORRMODEL_WORLD", "SPHEROID_REFF_WORLD", "SPHEROID_REFFERR_WORLD",
        "SPHEROID_ASPECT_WORLD", "SPHEROID_ASPECTERR_WORLD", "SPHEROID_THETA_WORLD",
        "SPHEROID_THETAERR_WORLD", "SPHEROID_THETA_J2000",
    ]  # fmt: skip
    sky = derive(base, requested(names), wcs, PhotoCal(28.0))
    major, minor = sky["AMODEL_WORLD"], sky["BMODEL_WORLD"]
    np.testing.assert_allclose(sky["SPHEROID_REFF_WORLD"], major, rtol=1e-9)
    np.testing.assert_allclose(sky["SPHEROID_ASPECT_WORLD"], minor / major, rtol=1e-9)
    np.testing.assert_allclose(sky["SPHEROID_THETA_WORLD"], sky["THETAMODEL_WORLD"], atol=1e-6)
    np.testing.assert_allclose(sky["SPHEROID_THETA_J2000"], sky["THETAMODEL_J2000"], atol=1e-6)
    np.testing.assert_allclose(sky["SPHEROID_REFFERR_WORLD"], 0.1 * major)
    np.testing.assert_allclose(sky["SPHEROID_ASPECTERR_WORLD"], 0.1 * minor / major)
    size = np.hypot(sky["ELLIP1MODEL_WORLD"], sky["ELLIP2MODEL_WORLD"])
    np.testing.assert_allclose(size, (major - minor) / (major + minor), rtol=1e-9)
    # errors against many draws of the ellipticity
    rng = np.random.default_rng(2)
    for i in range(2):
        s1, s2, r = (float(base[n][i]) for n in base if (n.startswith("ELLIP") and "ERR" in n)
                     or "CORR" in n)  # fmt: skip
        draws = rng.multivariate_normal(
            [base["ELLIP1MODEL_IMAGE"][i], base["ELLIP2MODEL_IMAGE"][i]],
            [[s1**2, r * s1 * s2], [r * s1 * s2, s2**2]], 4000,
        )  # fmt: skip
        there = Catalog(
            {
                **{f"{c}MODEL_IMAGE": np.full(4000, base[f"{c}MODEL_IMAGE"][i]) for c in "XY"},
                **dict(zip(("X2MODEL_IMAGE", "Y2MODEL_IMAGE", "XYMODEL_IMAGE"),
                           moments_of("ELLIP", *draws.T), strict=True)),
            }
        )  # fmt: skip
        drawn = derive(there, requested(names[4:6]), wcs, PhotoCal(28.0))
        spread = np.cov(drawn["ELLIP1MODEL_WORLD"], drawn["ELLIP2MODEL_WORLD"])
        errors = [sky[f"ELLIP{k}ERRMODEL_WORLD"][i] for k in (1, 2)]
        np.testing.assert_allclose(np.sqrt(np.diag(spread)), errors, rtol=0.06)
        correlation = spread[0, 1] / np.sqrt(spread[0, 0] * spread[1, 1])
        assert correlation == pytest.approx(sky["ELLIPCORRMODEL_WORLD"][i], abs=0.06)


def test_components_of_ellipticity_and_moments_are_inverse() -> None:
    for kind in ("ELLIP", "POLAR"):
        first, second = ellipticities(kind, *moments_of(kind, np.array([0.3]), np.array([-0.2])))
        assert (first[0], second[0]) == pytest.approx((0.3, -0.2))
