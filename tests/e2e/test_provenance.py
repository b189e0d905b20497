"""The provenance lists the files that were opened: all of them, and no others."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def frame(tmp_path):
    """Two stars."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:96, :96]
    image = rng.normal(100.0, 5.0, x.shape)
    for a, b in ((30, 30), (60, 65)):
        image += 2000.0 * np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / 1.6**2)
    fits.PrimaryHDU(image.astype("f4")).writeto(tmp_path / "a.fits")
    return image


def inputs(done, name="a.json"):
    """Return the paths of the provenance; their checksums are checked."""
    (summary,) = done.summary(name)
    for item in summary["provenance"]["inputs"]:
        content = (done.folder / item["path"]).read_bytes()
        assert item["sha256"] == hashlib.sha256(content).hexdigest()
    return {Path(item["path"]).name for item in summary["provenance"]["inputs"]}


def test_what_nobody_opens_is_not_listed(skyextract, frame, tmp_path):
    for name in ("default.conv", "default.nnw", "default.psf", "a.list", "f.fits"):
        (tmp_path / name).write_text("nothing\n")
    (tmp_path / "my.sex").write_text("FILTER N\nPSF_NAME default.psf\nSTARNNW_NAME default.nnw\n")
    (tmp_path / "my.param").write_text("NUMBER\nX_IMAGE\n")
    done = skyextract(
        "a.fits", "-c", "my.sex", "-PARAMETERS_NAME", "my.param", "-FILTER_NAME", "default.conv",
        "-ASSOC_NAME", "a.list", "-FLAG_IMAGE", "f.fits", "-WEIGHT_IMAGE", "f.fits",
    )  # fmt: skip
    assert done.status == 0, done.stderr
    assert inputs(done) == {"a.fits", "my.sex", "my.param"}


def test_what_is_opened_is_listed(skyextract, frame, tmp_path):
    (tmp_path / "a.head").write_text("GAIN    = 2.0\nEND\n")
    (tmp_path / "f.conv").write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n")
    (tmp_path / "my.sex").write_text("FILTER Y\n")
    (tmp_path / "my.param").write_text("NUMBER\nIMAFLAGS_ISO(1)\nVECTOR_ASSOC(1)\n")
    (tmp_path / "a.list").write_text("1 31 31 0\n")
    fits.PrimaryHDU(np.ones_like(frame)).writeto(tmp_path / "w.fits")
    fits.PrimaryHDU(np.zeros(frame.shape, "i2")).writeto(tmp_path / "f.fits")
    done = skyextract(
        "a.fits", "-c", "my.sex", "-PARAMETERS_NAME", "my.param", "-FILTER_NAME", "f.conv",
        "-ASSOC_NAME", "a.list", "-FLAG_IMAGE", "f.fits", "-WEIGHT_IMAGE", "w.fits",
        "-WEIGHT_TYPE", "MAP_WEIGHT",
    )  # fmt: skip
    assert done.status == 0, done.stderr
    named = {"my.sex", "my.param", "f.conv", "a.list", "f.fits", "w.fits"}
    assert inputs(done) == {"a.fits", "a.head", *named}


def test_calibration_frames_of_the_cache_are_listed(skyextract):
    night = EXAMPLES / "night"
    wanted = {"science.fits.fz", "camera.conf"} | {p.name for p in night.glob("bias*.fz")}
    for _ in range(2):  # the second time the masters come from the cache of this process
        done = skyextract(
            night / "science.fits.fz", "-CAMERA", night / "camera.conf",
            "-ISR_BIAS", night / "bias*.fz", "--steps", "isr",
        )  # fmt: skip
        assert done.status == 0, done.stderr
        assert inputs(done, "science.json") == wanted


def test_messages_name_the_extension(skyextract, frame, tmp_path):
    units = [fits.PrimaryHDU(), *(fits.ImageHDU(frame.astype("f4")) for _ in range(2))]
    fits.HDUList(units).writeto(tmp_path / "two.fits")
    done = skyextract("two.fits", "-WEIGHT_TYPE", "MAP_WEIGHT", "-WEIGHT_IMAGE", "small.fits")
    assert done.status == 2  # there is no such map
    fits.PrimaryHDU(np.ones((3, 3))).writeto(tmp_path / "small.fits")
    done = skyextract("two.fits", "-WEIGHT_TYPE", "MAP_WEIGHT", "-WEIGHT_IMAGE", "small.fits")
    assert done.status == 1
    assert "two.fits[1]: small.fits" in done.stderr
    assert "two.fits[2]: small.fits" in done.stderr
    done = skyextract("two.fits")
    lines = [line for line in done.stderr.splitlines() if "instrumental" in line]
    assert ["two.fits[1]" in lines[0], "two.fits[2]" in lines[1]] == [True, True]


def test_a_header_that_claims_hours_of_reading(skyextract, tmp_path):
    header = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 2)])
    header["NAXIS1"] = header["NAXIS2"] = 300_000
    blocks = header.tostring().encode()
    with (tmp_path / "claims.fits").open("wb") as file:
        file.write(blocks)
        file.truncate(len(blocks) + 2880 * -(-4 * 300_000**2 // 2880))
    done = skyextract("claims.fits")
    assert done.status == 1
    assert "not enough memory" in done.stderr
    (summary,) = done.summary("claims.json")
    assert summary["status"] == "failed"
    assert [item["sha256"] for item in summary["provenance"]["inputs"]] == [None]
