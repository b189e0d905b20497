"""Files that keywords name may be pipes, as of process substitution: `-FILTER_NAME <(...)`."""

from __future__ import annotations

import json
import os
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from tests.faults.fuzz import WORLD
from tests.faults.harness import write_frame

COLUMNS = "NUMBER\nX_IMAGE\nY_IMAGE\nMAG_AUTO\n"


@contextmanager
def pipe(content):
    """Give the name of a pipe out of which something comes, once."""
    read, write = os.pipe()

    def feed():
        with os.fdopen(write, "wb") as file:
            file.write(content)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield f"/dev/fd/{read}"
    finally:
        os.close(read)
        thread.join()


def plane(value, dtype):
    """Write a plane of one value into f.side and return its bytes."""
    fits.PrimaryHDU(np.full((96, 96), value, dtype)).writeto("f.side", overwrite=True)
    return Path("f.side").read_bytes()


CASES = {
    "PARAMETERS_NAME": (COLUMNS.encode, ()),
    "FILTER_NAME": (lambda: b"CONV NORM\n1 2 1\n2 4 2\n1 2 1\n", ()),
    "WEIGHT_IMAGE": (lambda: plane(2.0, "f4"), ("-WEIGHT_TYPE", "MAP_WEIGHT")),
    "FLAG_IMAGE": (lambda: plane(4, "i2"), ("-PARAMETERS_NAME", "flags.param")),
    "ISR_DEFECTS": (lambda: b"image\nbox(40,40,9,9,0)\n", ("--steps", "isr,measure")),
    "ASSOC_NAME": (lambda: b"1 40 40 15\n2 60 60 16\n", ("-PARAMETERS_NAME", "assoc.param")),
}


@pytest.mark.parametrize("keyword", CASES)
def test_a_pipe_is_as_good_as_a_file(skyextract, tmp_path, keyword):
    write_frame(tmp_path / "f.fits", 1, 96)
    Path("flags.param").write_text(COLUMNS + "IMAFLAGS_ISO(1)\n")
    Path("assoc.param").write_text(COLUMNS + "NUMBER_ASSOC\n")
    make, options = CASES[keyword]
    content = make()
    Path("side").write_bytes(content)
    found = []
    for number in range(2):
        with pipe(content) as name:
            names = ("side", name)
            outcome = skyextract(
                "f.fits", f"-{keyword}", names[number], *options, "-CATALOG_NAME", "f.txt",
                "-CATALOG_TYPE", "ASCII_HEAD",
            )  # fmt: skip
            assert outcome.status == 0, outcome.stderr
        found.append(Path("f.txt").read_bytes())
        (summary,) = json.loads(Path("f.json").read_text())
        made = summary["provenance"]
        assert made["config"][keyword]["value"] == names[number]
        assert [item["sha256"] for item in made["inputs"] if item["path"] == names[number]]
    assert found[0] == found[1]
    assert not list(tmp_path.glob(".skyextract-*"))


def test_images_and_workers_share_a_pipe(program, tmp_path):
    for k in range(3):
        write_frame(tmp_path / f"f{k}.fits", k, 96)
    read, write = os.pipe()
    os.write(write, COLUMNS.encode())
    os.close(write)
    before = os.dup(0)
    os.dup2(read, 0)
    try:
        outcome = program(
            "f0.fits", "f1.fits", "f2.fits", "-j", "2", "-PARAMETERS_NAME", "/dev/stdin", "-q"
        )
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(read)
    assert (outcome.status, outcome.stderr) == (0, "")
    for k in range(3):
        assert fits.getdata(tmp_path / f"f{k}.cat", 2).dtype.names == tuple(COLUMNS.split())


def test_an_error_names_the_pipe(skyextract, tmp_path):
    write_frame(tmp_path / "f.fits", 1, 96)
    with pipe(b"no filter") as name:
        outcome = skyextract("f.fits", "-FILTER_NAME", name)
    assert outcome.status == 2
    assert outcome.stderr == (
        f"skyextract: error: FILTER_NAME = {name}: not a convolution filter (no CONV line)\n"
    )
    content = plane(1.0, "f4")[:9000]
    with pipe(content) as name:
        outcome = skyextract("f.fits", "-WEIGHT_IMAGE", name, "-WEIGHT_TYPE", "MAP_WEIGHT")
    assert outcome.status == 1
    assert outcome.stderr == (
        f"skyextract: error: f.fits: {name}: truncated: 6120 of 36864 data bytes are there\n"
    )


def test_a_list_of_frames_from_a_pipe(skyextract, tmp_path):
    """Its names are relative to the working directory."""
    write_frame(tmp_path / "f.fits", 1, 96)
    fits.PrimaryHDU(np.zeros((96, 96), np.float32)).writeto("bias.fits")
    with pipe(b"bias.fits\n") as name:
        outcome = skyextract("f.fits", "-ISR_BIAS", f"@{name}", "--steps", "isr", "-q")
    assert outcome.status == 0, outcome.stderr
    (summary,) = json.loads(Path("f.json").read_text())
    assert str(tmp_path / "bias.fits") in [item["path"] for item in summary["provenance"]["inputs"]]


def test_a_reference_catalogue_that_is_cut_off(program, tmp_path):
    """The pipe has its name in all messages and summaries, of several images, too."""
    for name in ("f0.fits", "f1.fits"):
        write_frame(tmp_path / name, 1, 96)
        for card, value in WORLD.items():
            fits.setval(tmp_path / name, card, value=value)
    columns = [fits.Column(name, "D", array=np.zeros(2000)) for name in ("RA", "DEC")]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "ref.fits")
    content = (tmp_path / "ref.fits").read_bytes()[:9000]
    for names in (["f0.fits"], ["f0.fits", "f1.fits"]):
        os.mkfifo(tmp_path / "ref")
        give = threading.Thread(target=(tmp_path / "ref").write_bytes, args=[content], daemon=True)
        give.start()
        done = program(*names, "-ASTREFCAT_NAME", "ref", "-NTHREADS", "1", timeout=100)
        (tmp_path / "ref").unlink()
        assert "astrometry failed: ref: truncated" in done.stderr
        for text in (done.stderr, *(path.read_text() for path in tmp_path.glob("*.json"))):
            assert "input0" not in text
        for name in names:
            (summary,) = done.summary(name.replace("fits", "json"))
            assert summary["steps"]["astrometry"]["reason"].startswith("ref: truncated")


def test_a_list_of_another_field_is_told(skyextract, tmp_path):
    write_frame(tmp_path / "f.fits", 1, 96)
    Path("assoc.param").write_text(COLUMNS + "NUMBER_ASSOC\n")
    Path("list").write_text("1 -500 40 15\n2 60 9999 16\n")
    options = ("-PARAMETERS_NAME", "assoc.param", "-ASSOC_NAME", "list", "--steps", "measure")
    done = skyextract("f.fits", *options)
    assert done.status == 0
    told = "none of the 2 entries of list lies within 2 pixels of a source"
    assert told in done.stderr
    (summary,) = done.summary("f.json")
    assert any(told in text for text in summary["warnings"])
    assert summary["steps"]["measure"]["n_sources"] == 0
    assert "none of the" not in skyextract("f.fits", *options, "-ASSOC_RADIUS", "999").stderr


def test_a_weight_map_without_a_kind_is_told(skyextract, tmp_path):
    write_frame(tmp_path / "f.fits", 1, 96)
    options = ("--steps", "measure", "-WEIGHT_IMAGE", "w.fits")
    told = "WEIGHT_IMAGE w.fits is not read: WEIGHT_TYPE, which says what its values are, is NONE"
    assert told in skyextract("f.fits", *options).stderr
    assert "WEIGHT" not in skyextract("f.fits", *options, "-WEIGHT_TYPE", "NONE").stderr
    Path("old.sex").write_text("WEIGHT_TYPE NONE\nWEIGHT_IMAGE w.fits\n")
    assert "WEIGHT" not in skyextract("f.fits", "-c", "old.sex", *options[:2]).stderr


def test_a_flag_map_that_nothing_asks_for_is_told(skyextract, tmp_path):
    write_frame(tmp_path / "f.fits", 1, 96)
    fits.PrimaryHDU(np.zeros((40, 30), "i2")).writeto("small.fits")
    options = ("--steps", "measure", "-FLAG_IMAGE")
    done = skyextract("f.fits", *options, "small.fits")
    assert done.status == 0
    assert "FLAG_IMAGE small.fits is not read: no column asks for it" in done.stderr
    assert "FLAG_IMAGE" not in skyextract("f.fits", *options, "flag.fits").stderr
    Path("flags.param").write_text(COLUMNS + "IMAFLAGS_ISO(1)\n")
    done = skyextract("f.fits", *options, "small.fits", "-PARAMETERS_NAME", "flags.param")
    assert done.status == 1
    assert "small.fits: 30 x 40 pixels, but the image has 96 x 96" in done.stderr
