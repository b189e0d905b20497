"""Absurd values end in one line, or do no harm: never an internal error, a hang or no memory."""

from __future__ import annotations

import gzip
import json
import resource
from pathlib import Path

import pytest
from astropy.io import fits

from skyextract.cli import main
from tests.faults.fuzz import WORLD
from tests.faults.harness import write_frame

MEMORY = 2 << 30
"""Bytes that a run on a frame of 64 x 64 pixels may take more than the suite had before."""
CPU = 30.0
"""Seconds of processor time; all of these need less than one."""


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    """A frame with a WCS, and the PSF model of it."""
    path = write_frame(tmp_path_factory.mktemp("absurd") / "f.fits", 1, 64)
    with fits.open(path, mode="update") as hdus:
        hdus[0].header.update(WORLD)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path.parent)
        assert main(["f.fits", "-PSFMODEL_NAME", "f.psf", "-q"]) == 0
    return path


@pytest.fixture
def run(frame, skyextract):
    """Run the program on a copy of the frame, within limits; returns status and messages."""
    Path("f.fits").write_bytes(frame.read_bytes())

    def run(*arguments):
        before, limits = _usage(), resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEMORY, limits[1]))
        try:
            outcome = skyextract("f.fits", "-NTHREADS", "1", *arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)
        assert "internal error" not in outcome.stderr, outcome.stderr
        assert "not enough memory" not in outcome.stderr, outcome.stderr
        assert _usage() - before < CPU
        lines = [line for line in outcome.stderr.splitlines() if "error:" in line]
        assert len(lines) == (outcome.status in (1, 2)), outcome.stderr
        return outcome.status, "".join(lines)

    return run


def _usage():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _address_space():
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def edit_card(content, name, value):
    """Return FITS bytes in which a card has another value, or is added to the last header."""
    card = f"{name:<8}= {value:>20}".ljust(80).encode()
    start = content.find(f"{name:<8}=".encode())
    if start >= 0:
        return content[:start] + card + content[start + 80 :]
    end = content.rindex(b"END".ljust(160))
    return content[:end] + card + b"END".ljust(80) + content[end + 160 :]


@pytest.mark.parametrize("region", ["box(1)", "box(nan)", "box(nan,1,2,3)", "point(5)", "box()"])
def test_regions_of_a_defect_list(run, region):
    Path("d.reg").write_text(f"image\n{region}\n")
    status, line = run("-ISR_DEFECTS", "d.reg")
    assert status == 2
    assert region in line


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("PSF_SAMP", "1e9", "PSF_SAMP"), ("PSF_SAMP", "100.0", "pixels wide"),
     ("POLDEG1", "-5", "POLDEG1 = -5"),
     ("PSF_FWHM", "1e9", "FWHM of 1e+09")],
)  # fmt: skip
def test_cards_of_a_psf_model(run, frame, name, value, message):
    content = frame.with_suffix(".psf").read_bytes()
    if name == "POLDEG1":
        for card in (("POLNAXIS", "2"), ("POLNGRP", "1"), ("POLNAME1", "'X_IMAGE'"),
                     ("POLNAME2", "'Y_IMAGE'"), ("POLZERO1", "1.0"), ("POLZERO2", "1.0"),
                     ("POLSCAL1", "1.0"), ("POLSCAL2", "1.0")):  # fmt: skip
            content = edit_card(content, *card)
    Path("x.psf").write_bytes(edit_card(content, name, value))
    status, line = run("-PSF_NAME", "x.psf")
    assert status == 2
    assert message in line


@pytest.mark.parametrize(
    "row", ["1e38 1e38 1e38", "0 0 0", "1e-320 0 0", "nan 1 1", "inf 1 1", "x 1 1", ""]
)
def test_numbers_of_a_filter(run, row):
    Path("x.conv").write_text(f"CONV NORM\n{row}\n{row}\n{row}\n")
    status, line = run("-FILTER_NAME", "x.conv", "--steps", "measure")
    assert status == 2
    assert "FILTER_NAME" in line


@pytest.mark.parametrize("name", ["gauss_0_3x3", "gauss_0.0_5x5", "tophat_0_3x3", "mexhat_0_5x5"])
def test_filters_of_no_width(run, name):
    status, line = run("-FILTER_NAME", name, "--steps", "measure")
    assert status == 2
    assert name in line


def test_a_truncated_compressed_catalogue(run):
    text = "ra,dec,mag\n" + "".join(f"10.0{k},20.0{k},1{k % 9}\n" for k in range(2000))
    whole = gzip.compress(text.encode())
    Path("x.csv.gz").write_bytes(whole[: len(whole) // 2])
    status, _ = run("-ASTREFCAT_NAME", "x.csv.gz")
    assert status == 3
    assert "x.csv.gz: broken compressed file" in Path("f.json").read_text()


def test_a_field_of_a_catalogue_that_is_too_long(run):
    Path("x.csv").write_text("ra,dec,mag\n10,20,15\n" + "1" * 200_000 + ",20,15\n")
    status, _ = run("-ASTREFCAT_NAME", "x.csv")
    assert status == 3
    assert "x.csv: not a readable table" in Path("f.json").read_text()


def test_a_list_that_names_itself(run):
    Path("l.txt").write_text("@m.txt\n")
    Path("m.txt").write_text("@l.txt\n")
    status, line = run("-ISR_BIAS", "@l.txt")
    assert status == 2
    assert "the list names itself" in line


@pytest.mark.parametrize(
    ("name", "value"),
    [("CDELT1", "4.9E-324"), ("CDELT1", "1E308"), ("CRVAL1", "1E308"), ("CRPIX1", "-1E308")],
)
def test_a_scale_of_the_sky(run, name, value):
    Path("f.fits").write_bytes(edit_card(Path("f.fits").read_bytes(), name, value))
    Path("x.csv").write_text("ra,dec,mag\n" + "".join(f"10.0{k},20.0{k},15\n" for k in range(9)))
    status, _ = run()
    assert status == 0
    status, _ = run("-ASTREFCAT_NAME", "x.csv")
    assert status == 3


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("NAXIS", "-1", "NAXIS"), ("NAXIS", "5000", "NAXIS"), ("NAXIS1", "-64", "NAXIS1"),
     ("BITPIX", "7", "BITPIX"), ("BITPIX", "'x'", "BITPIX")],
)  # fmt: skip
def test_cards_of_the_pixels(run, name, value, message):
    Path("f.fits").write_bytes(edit_card(Path("f.fits").read_bytes(), name, value))
    status, line = run()
    assert status == 1
    assert message in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-CAMERA", "x" * 300), "CAMERA"),
        (("-PHOT_APERTURES", ",".join(["5"] * 20_000)), "PHOT_APERTURES"),
        (("-PHOT_APERTURES", "5," * 500_000 + "5"), "PHOT_APERTURES"),
        (("-BACK_TYPE", "MANUAL", "-BACK_VALUE", "1e308"), "BACK_VALUE"),
    ],
)
def test_values_of_keywords(run, arguments, message):
    status, line = run(*arguments)
    assert status == 2
    assert message in line
    assert len(line) < 400


def test_a_psf_sampled_too_finely(run):
    write_frame(Path("f.fits"), 1)
    status, _ = run("-PSF_SAMPLING", "0.01", "-PSF_SIZE", "511,511", "--strict")
    assert status == 3
    (summary,) = json.loads(Path("f.json").read_text())
    assert any("finer than 1/20 of the FWHM" in text for text in summary["warnings"])
