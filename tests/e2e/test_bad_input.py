"""Bad input gives one clear line and the right status, or a valid result; never a traceback."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from astropy.io import fits


def image(shape=(64, 64), seed=0):
    return np.random.default_rng(seed).normal(100, 5, shape).astype(np.float32)


def write(path, data, **cards):
    fits.PrimaryHDU(data, fits.Header(cards)).writeto(path)
    return path


def products(folder, inputs):
    return sorted(p.name for p in folder.iterdir() if p.name not in inputs)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.fits", "No such file"),
        ("folder", "directory"),
        ("text.fits", "not a FITS file"),
        ("empty.fits", "empty"),
        ("truncated.fits", "truncated"),
        ("truncated.fits.gz", "truncated"),
        ("vector.fits", "1 axes"),
        ("no_image.fits", "no image"),
        ("nan.fits", "no pixel has a value"),
    ],
)
def test_what_cannot_be_processed(skyextract, tmp_path, name, message):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name == "text.fits":
        path.write_text("This is not a FITS file.\n" * 200)
    elif name == "empty.fits":
        path.touch()
    elif name.startswith("truncated"):
        write(tmp_path / "whole.fits", image((256, 256)))
        content = (tmp_path / "whole.fits").read_bytes()[:100_000]
        (tmp_path / "whole.fits").unlink()
        if name.endswith(".gz"):
            content = gzip.compress(content)
        path.write_bytes(content)
    elif name == "vector.fits":
        write(path, np.zeros(50, dtype=np.float32))
    elif name == "nan.fits":
        write(path, np.full((50, 60), np.nan, dtype=np.float32))
    elif name == "no_image.fits":
        fits.PrimaryHDU().writeto(path)
    done = skyextract(name)
    assert done.status == 1
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    assert len(errors) == 1, done.stderr
    assert re.search(message, errors[0], re.IGNORECASE), errors[0]
    assert not [p for p in products(tmp_path, [name]) if not p.endswith(".json")]


@pytest.mark.parametrize(
    "case", ["constant", "zero", "tiny", "one_pixel", "row", "huge_values", "negative"]
)
@pytest.mark.parametrize("base", ["SKYEXTRACT", "SEXTRACTOR"])
def test_what_gives_an_empty_or_flagged_catalogue(skyextract, tmp_path, case, base):
    data = {
        "constant": np.full((50, 60), 7.0, dtype=np.float32),
        "zero": np.zeros((50, 60), dtype=np.int16),
        "tiny": image((5, 5)),
        "one_pixel": image((1, 1)),
        "row": image((1, 200)),
        "huge_values": image() * 1e30,
        "negative": -image(),
    }[case]
    write(tmp_path / "x.fits", data)
    done = skyextract(
        "x.fits", "-BASE_DEFAULTS", base, "-CATALOG_NAME", "x.cat", "-SUMMARY_NAME", "x.json",
        "-CATALOG_TYPE", "FITS_LDAC",
    )  # fmt: skip
    assert done.status == 0, done.stderr
    rows = fits.getdata(tmp_path / "x.cat", "LDAC_OBJECTS")
    assert len(rows) <= 2
    summary = done.summary("x.json")[0]
    # In SExtractor's base the level of saturation stands, and all is above it.
    huge = case == "huge_values" and base == "SEXTRACTOR"
    expected = "fallback" if huge else "complete"
    assert summary["steps"]["measure"]["status"] == expected
    assert summary["steps"]["measure"]["n_sources"] == len(rows)


def test_a_patchy_sky_without_sources_gives_an_empty_catalogue(skyextract, tmp_path):
    rng = np.random.default_rng(5)
    patches = np.kron(rng.random((64, 64)) < 0.5, np.ones((8, 8)))
    data = rng.normal(500.0, 16.0, patches.shape) + 400.0 * patches
    write(tmp_path / "x.fits", data.round().astype(np.uint16))
    for threshold, most in (("10", 0), ("5", 20)):  # some corners of patches look like stars
        done = skyextract(
            "x.fits", "-CATALOG_NAME", "x.cat", "-CATALOG_TYPE", "FITS_LDAC",
            "-DETECT_THRESH", threshold,
        )  # fmt: skip
        assert done.status == 0, done.stderr
        assert len(fits.getdata(tmp_path / "x.cat", "LDAC_OBJECTS")) <= most
        assert done.summary("x.json")[0]["steps"]["measure"]["status"] == "fallback"


def test_one_bad_image_does_not_cost_the_batch(program, tmp_path):
    write(tmp_path / "good.fits", image())
    (tmp_path / "bad.fits").write_text("no")
    done = program("bad.fits", "good.fits", "--steps", "measure")
    assert done.status == 1
    assert (tmp_path / "good.cat").exists()
    assert not (tmp_path / "bad.cat").exists()


def test_one_bad_extension_does_not_cost_the_file(skyextract, tmp_path):
    nothing = fits.ImageHDU(np.full((50, 60), np.nan, np.float32), fits.Header({"FILTER": "r"}))
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(image()), nothing]
    fits.HDUList([*hdus, fits.ImageHDU(image(seed=2))]).writeto(tmp_path / "mef.fits")
    done = skyextract("mef.fits", "--steps", "measure")
    assert done.status == 1
    statuses = [s["status"] for s in done.summary("mef.json")]
    assert statuses == ["complete", "failed", "complete"]
    assert done.summary("mef.json")[1]["frame"]["filter"] == "r"
    with fits.open(tmp_path / "mef.cat") as hdul:
        names = [h.name for h in hdul[1:]]
        n_rows = [len(h.data) for h in hdul[2::2]]
    assert names == ["LDAC_IMHEAD", "LDAC_OBJECTS"] * 3  # a pair for each extension
    assert n_rows[1] == 0


def test_odd_files_are_measured(skyextract, shared_data, tmp_path):
    for path in sorted((shared_data / "fits_oddities").iterdir()):
        done = skyextract(path, "--steps", "measure", "-CATALOG_NAME", "o.cat")
        assert done.status == 0, (path.name, done.stderr)
        (tmp_path / "o.cat").unlink()


def test_a_name_of_300_characters_costs_itself_alone(program, tmp_path):
    write(tmp_path / "good.fits", image())
    run = program(f"{'x' * 300}.fits", "good.fits", "--steps", "measure")
    assert run.status == 1
    assert "File name too long" in run.stderr
    assert "internal error" not in run.stderr
    assert "died" not in run.stderr
    assert (tmp_path / "good.cat").exists()


def test_a_configuration_from_a_fifo_is_read_once(program, tmp_path):
    write(tmp_path / "a.fits", image())
    fifo = tmp_path / "settings"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_text, args=["STEPS measure\n"], daemon=True)
    writer.start()
    run = program("a.fits", "-c", "settings", timeout=100)
    assert run.status == 0
    (summary,) = run.summary("a.json")
    inputs = {item["path"]: item["sha256"] for item in summary["provenance"]["inputs"]}
    assert inputs["settings"] is None
    assert inputs["a.fits"]


def test_a_frame_that_is_cut_off_keeps_what_its_header_says(skyextract, tmp_path):
    path = write(tmp_path / "a.fits", image(), EXPTIME=120.0, OBJECT="M 31")
    path.write_bytes(path.read_bytes()[:9000])
    assert skyextract(path, "--steps", "measure").status == 1
    (summary,) = json.loads((tmp_path / "a.json").read_text())
    assert summary["frame"]["exposure_time"] == 120.0
    assert summary["frame"]["object"] == "M 31"


def test_debug_tells_where_an_extension_failed(skyextract, tmp_path):
    image = np.random.default_rng(1).normal(100.0, 5.0, (60, 60)).astype(np.float32)
    fits.writeto(tmp_path / "f.fits", image)
    content = (tmp_path / "f.fits").read_bytes()
    (tmp_path / "f.fits").write_bytes(content[:3000])
    said = skyextract("f.fits", "--debug").stderr
    assert "truncated" in said
    assert "Traceback" in said
    assert "Traceback" not in skyextract("f.fits").stderr


def test_too_few_open_files(tmp_path):
    """What the shell's limit of open files leaves: one line, or a catalogue."""
    fits.writeto(tmp_path / "f.fits", np.random.default_rng(1).normal(size=(64, 64)))
    told = 0
    for n_files in (5, 6, 7):
        done = subprocess.run(
            ["bash", "-c", f"ulimit -n {n_files}; exec {sys.executable} -m skyextract f.fits -q"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode in {0, 1}
        assert "internal error" not in done.stderr
        assert "Traceback" not in done.stderr
        told += "too many open files" in done.stderr
    assert told
