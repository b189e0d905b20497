"""The whole program on the bundled example, against its truth."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from tests.simulate.starfield import simulate

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FIELD = EXAMPLES / "field.fits.fz"
REFCAT = EXAMPLES / "field_refcat.fits"


@pytest.fixture(scope="module")
def truth():
    with (EXAMPLES / "field_truth.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    table = {k: np.array([float(r[k]) for r in rows]) for k in ("x", "y", "r_mag")}
    table["is_star"] = np.array([r["is_star"] == "True" for r in rows])
    return table


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    """One full run, all products."""
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("run")
    done = subprocess.run(
        [
            sys.executable, "-m", "skyextract", FIELD, "-ASTREFCAT_NAME", REFCAT,
            "-CHECKIMAGE_TYPE", "BACKGROUND,SEGMENTATION,RESIDUALS,APERTURES",
            "-CHECKIMAGE_NAME", "b.fits,s.fits,r.fits,a.fits",
            "-EXPOSURE_NAME", "{stem}.exp.fits", "-PSFMODEL_NAME", "{stem}.psf",
            "-REGIONS_NAME", "{stem}.reg",
        ],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return folder


def test_catalogue_has_the_true_stars(products, truth):
    table = fits.getdata(products / "field.cat", "LDAC_OBJECTS")
    bright = truth["is_star"] & (truth["r_mag"] < 21)
    separation = np.hypot(
        truth["x"][bright][:, None] - table["XWIN_IMAGE"],
        truth["y"][bright][:, None] - table["YWIN_IMAGE"],
    )
    assert np.mean(separation.min(axis=1) < 1.0) > 0.97


def test_fitted_wcs_is_the_true_one(products):
    header = fits.getheader(FIELD, 1)
    table = fits.getdata(products / "field.cat", "LDAC_OBJECTS")
    ra, dec = WCS(header).all_pix2world(table["XWIN_IMAGE"], table["YWIN_IMAGE"], 1)
    offset_ra = (table["ALPHAWIN_J2000"] - ra) * np.cos(np.deg2rad(dec)) * 3600
    offset_dec = (table["DELTAWIN_J2000"] - dec) * 3600
    assert np.nanmax(np.abs(offset_ra)) < 0.03
    assert np.nanmax(np.abs(offset_dec)) < 0.03


def test_summary_has_all_fields_and_no_nan(products):
    text = (products / "field.json").read_text()
    (summary,) = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
    assert summary["status"] == "complete"
    assert summary["exit_status"] == 0
    assert list(summary)[:3] == ["image", "extension", "frame"]
    frame = summary["frame"]
    assert (frame["object"], frame["filter"]) == ("Simulated field", "r")
    assert (frame["date_obs"], frame["exposure_time"]) == ("2026-02-14T03:21:09.000", 120.0)
    assert (frame["airmass"], frame["camera"]) == (None, None)
    assert set(summary["steps"]) == {
        "isr", "characterize", "measure", "astrometry", "photometry",
    }  # fmt: skip
    assert summary["steps"]["isr"]["status"] == "skipped"
    character = summary["steps"]["characterize"]
    assert character["status"] == "complete"
    assert character["psf_source"] == "MEASURED"
    assert character["fwhm_arcsec"] == pytest.approx(1.39, rel=0.02)
    assert summary["steps"]["astrometry"]["rms_arcsec"] < 0.03
    sha = summary["provenance"]["inputs"][0]["sha256"]
    assert len(sha) == 64
    assert summary["provenance"]["config"]["ASTREFCAT_NAME"]["origin"] == "command line"


def test_every_fits_product_has_the_cards(products):
    for name in ("field.cat", "field.exp.fits", "b.fits"):
        header = fits.getheader(products / name)
        assert header["SKYMEAS"] == "COMPLETE", name
        assert header["SKYCHAR"] == "COMPLETE", name
        assert header["PSFSRC"] == "MEASURED", name
        assert header["ASTRSRC"] == "FITTED", name
        assert header["FWHMPIX"] == pytest.approx(3.47, rel=0.02), name
        assert "MAGZP" in header, name
    objects = fits.getheader(products / "field.cat", "LDAC_OBJECTS")
    assert objects["SKYASTR"] == "COMPLETE"


def test_check_images_and_residuals(products):
    segmentation = fits.getdata(products / "s.fits")
    rows = fits.getdata(products / "field.cat", "LDAC_OBJECTS")
    assert segmentation.max() == np.count_nonzero(rows["FLAGS_SKY"] & 256 == 0)
    residuals = fits.getdata(products / "r.fits")
    image = fits.getdata(FIELD, 1) - fits.getdata(products / "b.fits")
    stars = (rows["FLAGS"] == 0) & (np.abs(rows["SPREAD_MODEL"]) < 0.002) & (rows["SNR_WIN"] > 200)
    x, y = np.round(rows["X_IMAGE"][stars]).astype(int) - 1, np.round(rows["Y_IMAGE"][stars]) - 1
    y = y.astype(int)
    assert stars.sum() > 20
    left = np.abs(residuals[y, x]) / image[y, x]
    assert np.median(left) < 0.02


def test_steps_one_by_one_give_the_same_catalogue(skyextract, tmp_path):
    assert skyextract(FIELD, "-CATALOG_NAME", "one.cat").status == 0
    assert skyextract(FIELD, "--steps", "characterize").status == 0
    assert (tmp_path / "field.char.fits").exists()
    assert not (tmp_path / "field.cat").exists()
    done = skyextract("field.char.fits", "--steps", "measure", "-CATALOG_NAME", "two.cat")
    assert done.status == 0, done.stderr
    one = fits.getdata(tmp_path / "one.cat", "LDAC_OBJECTS")
    two = fits.getdata(tmp_path / "two.cat", "LDAC_OBJECTS")
    assert one.names == two.names
    for name in one.names:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_default_psf_is_announced(skyextract):
    done = skyextract(FIELD, "--steps", "measure", "-CATALOG_NAME", "x.cat")
    assert done.status == 0
    assert "NO MEASURED PSF" in done.stderr
    header = fits.getheader(done.folder / "x.cat")
    assert header["PSFSRC"] == "DEFAULT"
    assert header["SKYCHAR"] == "SKIPPED"
    assert np.all(fits.getdata(done.folder / "x.cat", "LDAC_OBJECTS")["FLAGS_SKY"] & 1)
    assert done.summary("field.json")[0]["steps"]["characterize"]["fwhm_pix"] is None
    assert skyextract(FIELD, "--steps", "measure", "--strict", "-CATALOG_NAME", "x.cat").status == 3


def test_a_measured_exposure_is_measured_again_alike(skyextract, tmp_path):
    """Detection begins with a background of its own, not with the last one of the run before."""
    scene = simulate(400, 60, 3.2, snr=(8.0, 300.0), separation=14.0, seed=4)
    fits.writeto(tmp_path / "f.fits", scene.image, fits.Header({"GAIN": scene.gain}))
    skyextract("f.fits", "-EXPOSURE_NAME", "e.fits", "-CR_REPAIR", "N")
    done = skyextract("e.fits", "-CR_REPAIR", "N")
    assert "was measured before" in done.stdout + done.stderr
    first, again = fits.getdata("f.cat", 2), fits.getdata("e.cat", 2)
    assert len(first) > 50
    assert first.tobytes() == again.tobytes()


def test_default_psf_is_never_saved(skyextract, tmp_path):
    done = skyextract(
        FIELD, "--steps", "measure", "-EXPOSURE_NAME", "e.fits", "-PSFMODEL_NAME", "m.psf"
    )
    assert done.status == 0
    assert not (tmp_path / "m.psf").exists()
    with fits.open(tmp_path / "e.fits") as hdul:
        assert "PSF_DATA" not in [h.name for h in hdul]


def test_default_conf_gives_the_same_bytes_as_no_file(skyextract, tmp_path):
    conf = EXAMPLES.parent / "default.conf"
    assert skyextract(FIELD, "--steps", "measure").status == 0
    first = (tmp_path / "field.cat").read_bytes()
    assert skyextract(FIELD, "--steps", "measure", "-c", conf).status == 0
    assert (tmp_path / "field.cat").read_bytes() == first


def test_catalogue_to_a_pipe(program):
    done = program(
        FIELD, "--steps", "measure", "-CATALOG_NAME", "STDOUT", "-CATALOG_TYPE", "ASCII_HEAD", "-q"
    )
    assert done.status == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("#   1 NUMBER")
    rows = [line for line in lines if not line.startswith("#")]
    assert len(rows) > 300
    assert done.folder.joinpath("field.cat").exists() is False


def test_failed_astrometry_keeps_the_catalogue(skyextract, tmp_path):
    from astropy.table import Table

    wrong = Table.read(REFCAT)
    wrong["RA"] += 3.0
    wrong.write(tmp_path / "wrong.fits")
    done = skyextract(FIELD, "-ASTREFCAT_NAME", "wrong.fits")
    assert done.status == 3
    assert "astrometry failed" in done.stderr
    header = fits.getheader(tmp_path / "field.cat")
    assert header["SKYASTR"] == "FAILED"
    assert header["ASTRSRC"] == "HEADER"
    summary = done.summary("field.json")[0]
    assert summary["status"] == "partial"
    assert summary["steps"]["astrometry"]["rms_arcsec"] is None
    table = fits.getdata(tmp_path / "field.cat", "LDAC_OBJECTS")
    assert np.all(np.isfinite(table["ALPHA_J2000"]))


def test_missing_files_that_are_needed_are_error_2(skyextract):
    for arguments in (
        ["-ASTREFCAT_NAME", "no.fits"],
        ["-PSF_NAME", "no.psf"],
        ["-PARAMETERS_NAME", "no.param"],
        ["-FILTER_NAME", "no.conv"],
        ["-WEIGHT_TYPE", "MAP_WEIGHT", "-WEIGHT_IMAGE", "no.fits"],
    ):
        done = skyextract(FIELD, *arguments)
        assert done.status == 2, (arguments, done.stderr)
        assert done.stderr.count("\n") == 1, done.stderr
        assert arguments[-1] in done.stderr
        assert not list(done.folder.iterdir())


def test_nan_row_and_block_change_no_other_source(skyextract, tmp_path):
    image = fits.getdata(FIELD, 1).astype(np.float32)
    header = fits.getheader(FIELD, 1)
    fits.PrimaryHDU(image, header).writeto(tmp_path / "clean.fits")
    image[500] = np.nan
    image[200:240, 700:760] = np.nan
    fits.PrimaryHDU(image, header).writeto(tmp_path / "holes.fits")

    def sources(name, *options):
        done = skyextract(
            name, "-BASE_DEFAULTS", "SEXTRACTOR", "-CATALOG_NAME", "x.cat",
            "-CATALOG_TYPE", "FITS_LDAC", *options,
        )  # fmt: skip
        assert done.status == 0, done.stderr
        return fits.getdata(tmp_path / "x.cat", "LDAC_OBJECTS")

    def reaches_hole(table):
        # SExtractor looks for the Kron radius in an ellipse of 6 semi-axes.
        reach = 3 + 6 * table["A_IMAGE"]
        row = np.abs(table["Y_IMAGE"] - 501) < reach
        dx = np.maximum(np.abs(table["X_IMAGE"] - 730.5) - 30, 0)
        dy = np.maximum(np.abs(table["Y_IMAGE"] - 220.5) - 20, 0)
        return row | (np.hypot(dx, dy) < reach)

    def compare(*options):
        """Return relative changes of the fluxes of sources that do not reach the holes."""
        clean, holes = sources("clean.fits", *options), sources("holes.fits", *options)
        separation = np.hypot(
            holes["X_IMAGE"][:, None] - clean["X_IMAGE"],
            holes["Y_IMAGE"][:, None] - clean["Y_IMAGE"],
        )
        partner = separation.argmin(axis=1)
        alone = separation.min(axis=1) > 1.0
        far = ~reaches_hole(holes) & ~reaches_hole(clean)[partner]
        assert not np.any(alone & ~reaches_hole(holes)), "phantom sources"
        far &= ~alone & (holes["SNR_WIN"] > 10)
        assert far.sum() > 180
        return [
            np.abs(holes[name][far].ravel() / clean[name][partner[far]].ravel() - 1)
            for name in ("FLUX_AUTO", "FLUX_APER")
        ]

    fixed = ("-BACK_TYPE", "MANUAL", "-BACK_VALUE", "422", "-THRESH_TYPE", "ABSOLUTE",
             "-DETECT_THRESH", "27", "-ANALYSIS_THRESH", "27")  # fmt: skip
    for change in compare(*fixed):
        assert change.max() < 1e-3
    # With a measured background the sky around the holes is another estimate of the same sky.
    for change in compare("-DETECT_THRESH", "2"):
        assert np.median(change) < 1e-3


def test_photometry_that_is_asked_for_and_impossible(skyextract, tmp_path):
    from astropy.table import Table

    table = Table.read(REFCAT)
    table["K_mag"] = table["r"]
    table["K_err"] = table["r_err"]
    table.remove_columns(["g", "g_err", "r", "r_err"])
    table.write(tmp_path / "infrared.fits")
    done = skyextract(FIELD, "-PHOTREFCAT_NAME", "infrared.fits")
    assert done.status == 3
    assert "photometry failed" in done.stderr
    assert "K_mag" in done.stderr
    rows = fits.getdata(tmp_path / "field.cat", "LDAC_OBJECTS")
    assert np.all(np.isnan(rows["MAG_AUTO"]))
    assert np.mean(np.isfinite(rows["FLUX_AUTO"])) == 1.0
    header = fits.getheader(tmp_path / "field.cat")
    assert (header["SKYPHOT"], header["PHOTSRC"], header["MAGZP"]) == ("FAILED", "NONE", None)

    configured = skyextract(
        FIELD, "-PHOTREFCAT_NAME", "infrared.fits", "-MAG_ZEROPOINT", "30.2",
        "-CATALOG_TYPE", "ASCII_HEAD", "-CATALOG_NAME", "STDOUT", "-q",
    )  # fmt: skip
    assert configured.status == 3
    photometry = configured.summary("field.json")[0]["steps"]["photometry"]
    assert (photometry["status"], photometry["source"]) == ("failed", "CONFIG")
    assert (photometry["zero_point"], photometry["zero_point_error"]) == (30.2, None)
    assert " 99.0000 " not in configured.stdout.splitlines()[-1]


def test_astrometry_alone_takes_the_zero_point_along_where_it_can(skyextract, tmp_path):
    from astropy.table import Table

    positions = Table.read(REFCAT)["RA", "DEC"]
    positions.write(tmp_path / "positions.fits")
    done = skyextract(FIELD, "-ASTREFCAT_NAME", "positions.fits")
    assert done.status == 0, done.stderr
    assert "no photometry" in done.stderr
    steps = done.summary("field.json")[0]["steps"]
    assert steps["astrometry"]["status"] == "complete"
    assert steps["photometry"]["status"] == "skipped"
    assert skyextract(FIELD, "-ASTREFCAT_NAME", REFCAT).status == 0
    steps = json.loads((tmp_path / "field.json").read_text())[0]["steps"]
    assert steps["photometry"]["zero_point"] == pytest.approx(30.2, abs=0.02)
    header = fits.getheader(tmp_path / "field.cat")
    assert header["PHOTBAND"] == "r"
    assert header["NJYUNIT"] == pytest.approx(10 ** (0.4 * (31.4 - header["MAGZP"])))


def test_a_configured_zero_point_is_in_header_and_summary(skyextract, tmp_path):
    done = skyextract(FIELD, "-MAG_ZEROPOINT", "30.2")
    assert done.status == 0, done.stderr
    photometry = done.summary("field.json")[0]["steps"]["photometry"]
    assert (photometry["status"], photometry["source"]) == ("skipped", "CONFIG")
    assert photometry["zero_point"] == 30.2
    header = fits.getheader(tmp_path / "field.cat", "LDAC_OBJECTS")
    assert (header["PHOTSRC"], header["MAGZP"], header["MAGZPERR"]) == ("CONFIG", 30.2, None)


@pytest.mark.parametrize(
    ("head", "options", "zero_point", "origin"),
    [
        ("BUNIT   = 'nanomaggy'", (), 22.5, "BUNIT nanomaggy"),
        ("MAGZERO =                 29.7", (), 29.7, "MAGZERO"),
        ("MAGZERO =                 29.7", ("-MAG_ZEROPOINT", "30.2"), 30.2, "MAG_ZEROPOINT"),
        ("MAGZERO =                 29.7", ("-MAGZP_KEY", "NONE"), None, None),
        ("MAGZERO =                 29.7", ("-BASE_DEFAULTS", "SEXTRACTOR"), None, None),
    ],
)
def test_a_zero_point_that_the_header_states(
    skyextract, tmp_path, head, options, zero_point, origin
):
    (tmp_path / "field.head").write_text(f"{head}\nEND\n")
    shutil.copy(FIELD, tmp_path / FIELD.name)
    done = skyextract(FIELD.name, "-CATALOG_NAME", "field.cat", *options)
    assert done.status == 0, done.stderr
    photometry = done.summary("field.json")[0]["steps"]["photometry"]
    assert photometry["zero_point"] == zero_point
    assert photometry.get("origin") == origin
    assert photometry["source"] == ("NONE" if zero_point is None else "CONFIG")
    stated = "of the header" in done.stderr
    assert stated == (zero_point is not None and not options)


def test_reference_stars_win_over_the_header_and_tell_that_they_differ(skyextract, tmp_path):
    shutil.copy(FIELD, tmp_path / FIELD.name)
    warnings = []
    for zero_point in (30.19, 29.7):
        (tmp_path / "field.head").write_text(f"MAGZERO =                {zero_point}\nEND\n")
        done = skyextract(FIELD.name, "-ASTREFCAT_NAME", REFCAT)
        assert done.status == 0, done.stderr
        summary = done.summary("field.json")[0]
        assert summary["steps"]["photometry"]["source"] == "FITTED"
        assert summary["steps"]["photometry"]["zero_point"] == pytest.approx(30.2, abs=0.02)
        warnings.append([w for w in summary["warnings"] if "MAGZERO" in w])
    assert warnings[0] == []
    told = re.search(r"zero point that is (\S+) mag off", warnings[1][0])
    assert told is not None
    assert float(told[1]) == pytest.approx(29.7 - 30.2, abs=0.02)


def test_separate_catalogues_for_astrometry_and_photometry(skyextract, tmp_path):
    from astropy.table import Table

    table = Table.read(REFCAT)
    table["RA", "DEC"].write(tmp_path / "positions.fits")
    table.rename_columns(["RA", "DEC"], ["ra", "dec"])
    table.write(tmp_path / "magnitudes.csv")
    done = skyextract(
        FIELD, "-ASTREFCAT_NAME", "positions.fits", "-PHOTREFCAT_NAME", "magnitudes.csv"
    )
    assert done.status == 0, done.stderr
    steps = done.summary("field.json")[0]["steps"]
    assert steps["astrometry"]["n_matched"] > 100
    assert steps["photometry"]["zero_point"] == pytest.approx(30.2, abs=0.02)


def test_without_sources_nothing_is_said_of_their_fluxes(skyextract):
    done = skyextract(FIELD, "-DETECT_MINAREA", "1000000")
    assert done.summary("field.json")[0]["steps"]["measure"]["n_sources"] == 0
    assert "fluxes" not in done.stderr


def test_pixels_as_they_were_read_do_not_outlive_their_repair(tmp_path, monkeypatch):
    """Once cosmic rays are repaired, nobody needs the image from before, a plane of memory."""
    import weakref

    from skyextract import pipeline
    from skyextract.cli import main

    read, alive = [], []
    with_maps, measure = pipeline.with_maps, pipeline.measure

    def note_read(frame, *arguments):
        read.append(weakref.ref(frame.image.image))
        return with_maps(frame, *arguments)

    def note_measured(exposure, *arguments, **more):
        alive.append(read[0]() is not None)
        return measure(exposure, *arguments, **more)

    monkeypatch.setattr(pipeline, "with_maps", note_read)
    monkeypatch.setattr(pipeline, "measure", note_measured)
    monkeypatch.chdir(tmp_path)
    assert main([str(FIELD)]) == 0
    steps = json.loads((tmp_path / "field.json").read_text())[0]["steps"]
    assert steps["characterize"]["n_cosmic_rays"] > 0
    assert alive == [False]
