"""From raw frames to products on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

from skyextract.cli import main

NIGHT = Path(__file__).resolve().parents[2] / "examples" / "night"

CALIBRATION = (
    "-CAMERA", NIGHT / "camera.conf", "-ISR_BIAS", NIGHT / "bias*.fits.fz",
    "-ISR_DARK", NIGHT / "dark*.fits.fz", "-ISR_FLAT", NIGHT / "flat*.fits.fz",
)  # fmt: skip


@pytest.fixture
def skyextract(tmp_path, monkeypatch, capfd):
    """Run the program in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> SimpleNamespace:
        status = main([str(argument) for argument in arguments])
        stdout, stderr = capfd.readouterr()
        return SimpleNamespace(
            status=status,
            stdout=stdout,
            stderr=stderr,
            folder=tmp_path,
            summary=lambda name: json.loads((tmp_path / name).read_text()),
        )

    return run


def test_raw_night_to_calibrated_catalogue(skyextract):
    done = skyextract(
        NIGHT / "science.fits.fz", *CALIBRATION, "-ASTREFCAT_NAME", NIGHT / "refcat.fits"
    )
    assert done.status == 0, done.stderr
    (summary,) = done.summary("science.json")
    steps = summary["steps"]
    assert {name: step["status"] for name, step in steps.items()} == dict.fromkeys(
        ("isr", "characterize", "measure", "astrometry", "photometry"), "complete"
    )
    assert steps["isr"]["unit"] == "ELECTRON"
    (border,) = steps["isr"]["sky_steps"]
    assert border["before"] == pytest.approx(-0.092, abs=0.005)
    assert abs(border["after"]) < 0.005
    assert steps["astrometry"]["rms_arcsec"] < 0.05
    # mag of 1 e- in the sky, less the median of the flat
    assert steps["photometry"]["zero_point"] == pytest.approx(29.757, abs=0.015)
    names = [Path(item["path"]).name for item in summary["provenance"]["inputs"]]
    assert {"science.fits.fz", "bias1.fits.fz", "flat4.fits.fz"} <= set(names)
    for kind in ("bias", "dark", "flat_r"):
        assert (done.folder / f"master_{kind}.fits").exists()


def test_isr_alone_and_taken_up_later(skyextract, tmp_path):
    done = skyextract(NIGHT / "science.fits.fz", *CALIBRATION, "--steps", "isr")
    assert done.status == 0, done.stderr
    assert done.stderr == ""
    product = tmp_path / "science.isr.fits"
    with fits.open(product) as units:
        header = units["IMAGE"].header
        assert header["SKYISR"] == units[0].header["SKYISR"] == "COMPLETE"
        assert header["SKYCHAR"] == header["SKYMEAS"] == "SKIPPED"
        assert header["PSFSRC"] == "NONE"
        assert header["GAIN"] == 1.0
        assert header["BUNIT"] == "electron"
        assert units["IMAGE"].data.shape == units["VARIANCE"].data.shape == (512, 512)
        assert units["IMAGE"].data.dtype == np.dtype(">f4")
        assert "PSF_DATA" not in units
        before = units["IMAGE"].data.copy()
    assert not (tmp_path / "science.cat").exists()
    # The same keywords in AUTO: isr is done, the rest runs.
    done = skyextract(product, *CALIBRATION, "-EXPOSURE_NAME", "again.fits", "-CR_REPAIR", "N")
    assert done.status == 0, done.stderr
    (summary,) = done.summary("science.json")
    assert summary["steps"]["isr"]["status"] == "complete"
    assert summary["steps"]["characterize"]["status"] == "complete"
    assert summary["steps"]["isr"]["seconds"] is None
    np.testing.assert_array_equal(fits.getdata(tmp_path / "again.fits", "IMAGE"), before)
    assert fits.getheader(tmp_path / "again.fits", "IMAGE")["SKYISR"] == "COMPLETE"


def test_isr_twice_is_refused_unless_forced(skyextract, tmp_path):
    options = ("-CAMERA", NIGHT / "camera.conf")
    assert skyextract(NIGHT / "science.fits.fz", *options, "--steps", "isr").status == 0
    (tmp_path / "twice.conf").write_text("STEPS ISR\nEXPOSURE_NAME twice.fits\nISR_TRIMSEC NONE\n")
    product = tmp_path / "science.isr.fits"
    refused = skyextract(product, "-c", "twice.conf")
    assert refused.status == 1
    assert "isr has already run on it (SKYISR COMPLETE)" in refused.stderr
    assert not (tmp_path / "twice.fits").exists()
    forced = skyextract(product, "-c", "twice.conf", "--steps", "isr")
    assert forced.status == 0, forced.stderr
    assert (tmp_path / "twice.fits").exists()


def test_a_given_psf_travels_with_the_product(skyextract, tmp_path):
    frame = (NIGHT / "science.fits.fz", "-CAMERA", NIGHT / "camera.conf")
    skyextract(*frame, "-PSFMODEL_NAME", "model.psf", "-CATALOG_TYPE", "NONE")
    done = skyextract(*frame, "--steps", "isr", "-PSF_NAME", "model.psf")
    assert done.status == 0, done.stderr
    with fits.open(tmp_path / "science.isr.fits") as units:
        assert units["IMAGE"].header["PSFSRC"] == "FILE"
        assert "PSF_DATA" in units


def test_the_same_bytes_from_kept_masters_and_any_number_of_threads(skyextract, tmp_path):
    arguments = (NIGHT / "science.fits.fz", *CALIBRATION, "--steps", "isr")
    planes = []
    for threads in (1, 2):
        assert skyextract(*arguments, "-NTHREADS", threads).status == 0
        with fits.open(tmp_path / "science.isr.fits") as units:
            planes.append([units[name].data.tobytes() for name in ("IMAGE", "VARIANCE", "MASK")])
    assert planes[0] == planes[1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bias", "put {kind} into the name"),
        ("{kind}.fits", "bias.fits is an input"),  # the image
        ("{kind}", "no master of flat frames"),  # flat_r is somebody's
        ("{kind}.cat", "both CATALOG_NAME and ISR_MASTER_NAME"),
    ],
)
def test_masters_overwrite_nothing(skyextract, tmp_path, name, message):
    science = (NIGHT / "science.fits.fz").read_bytes()
    (tmp_path / "bias.fits").write_bytes(science)
    (tmp_path / "flat_r").write_text("my notes")
    done = skyextract(
        "bias.fits", *CALIBRATION, "--steps", "isr,measure", "-ISR_MASTER_NAME", name,
        "-CATALOG_NAME", "dark.cat",
    )  # fmt: skip
    assert done.status == 2, done.stderr
    assert message in done.stderr
    assert (tmp_path / "bias.fits").read_bytes() == science
    assert (tmp_path / "flat_r").read_text() == "my notes"


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("-ISR_TRIMSEC", "[1:900,1:512]"), 1, "TRIMSEC [1:900,1:512] does not fit the frame"),
        (("-ISR_BIAS", "absent.fits"), 2, "ISR_BIAS absent.fits: no such file"),
        (("-ISR_DARK_STATE", "MASTER"), 2, "no frame is given"),
        (("-ISR_BIAS", NIGHT / "refcat.fits"), 1, "refcat.fits"),
        (("-ISR_GAIN", "NOSUCH"), 1, "NOSUCH is neither a number nor a header card"),
        (("-SATUR_LEVEL", "900", "-ISR_GAIN", "2"), 1, "all pixels are saturated"),
        ((), 1, "isr has nothing to correct with"),
    ],
)
def test_failures_are_one_line_and_leave_nothing(skyextract, tmp_path, options, status, message):
    done = skyextract(NIGHT / "science.fits.fz", "--steps", "isr", *options)
    assert done.status == status
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("*.fits"))
    assert not list(tmp_path.glob(".*"))


def test_missing_exposure_time(skyextract, tmp_path):
    with fits.open(NIGHT / "science.fits.fz") as units:
        header = units[1].header.copy()
        del header["EXPTIME"]
        fits.PrimaryHDU(units[1].data, header).writeto(tmp_path / "raw.fits")
    done = skyextract("raw.fits", *CALIBRATION, "--steps", "isr")
    assert done.status == 1
    assert "no exposure time (EXPOTIME_KEY) to scale the dark with" in done.stderr
    assert not (tmp_path / "raw.isr.fits").exists()


def test_parallel_images_share_the_masters(skyextract, tmp_path):
    for name in ("a.fits.fz", "b.fits.fz"):
        (tmp_path / name).write_bytes((NIGHT / "science.fits.fz").read_bytes())
    done = skyextract("a.fits.fz", "b.fits.fz", *CALIBRATION, "--steps", "isr", "-j", "2")
    assert done.status == 0, done.stderr
    a, b = (fits.getdata(tmp_path / f"{name}.isr.fits", "IMAGE") for name in "ab")
    np.testing.assert_array_equal(a, b)
