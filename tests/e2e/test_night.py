"""The table and the page of a night, and summaries on standard output."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

HEADER = {"FILTER": "r", "EXPTIME": 30.0, "AIRMASS": 1.3, "DATE-OBS": "2026-02-14T03:00:00"}


def write(path: Path, seed: int = 1) -> None:
    rng = np.random.default_rng(seed)
    image = rng.normal(500.0, 5.0, (90, 80)).astype(np.float32)
    for x, y in rng.integers(10, 70, (12, 2)):
        image[y : y + 3, x : x + 3] += 300.0
    fits.PrimaryHDU(image, fits.Header(HEADER)).writeto(path)


@pytest.fixture
def frames(tmp_path) -> list[str]:
    for k in range(3):
        write(tmp_path / f"f{k}.fits", k)
    (tmp_path / "bad.fits").write_text("no image")
    return ["f0.fits", "f1.fits", "f2.fits", "bad.fits"]


@pytest.mark.parametrize("named", [(), ("-NIGHT_NAME", "night.ecsv")])
def test_a_foreign_table_is_told_before_any_work(skyextract, tmp_path, frames, named):
    (tmp_path / "night.ecsv").write_text("hello")
    done = skyextract("f0.fits", "f1.fits", "--steps", "measure", *named)
    assert done.status == 2
    assert "is no table of a night, and is not overwritten: NIGHT_NAME names another" in done.stderr
    assert (tmp_path / "night.ecsv").read_text() == "hello"
    assert not (tmp_path / "f0.cat").exists()


def test_damaged_summaries_are_left_out(program, tmp_path, frames):
    program("f0.fits", "f1.fits", "--steps", "measure", "-NIGHT_NAME", "")
    text = (tmp_path / "f0.json").read_text()
    (tmp_path / "wrong.json").write_text(
        text.replace('"exposure_time": 30.0', '"exposure_time": "x"')
    )
    (tmp_path / "wild.json").write_text(
        text.replace("f0.fits", "wild.fits").replace('"airmass": 1.3', '"airmass": Infinity')
    )
    done = program("--night", ".")
    assert done.status == 0, done.stderr
    assert "wrong.json: is no summary, left out" in done.stderr
    table = Table.read(tmp_path / "night.ecsv")
    assert sorted(table["file"]) == ["f0.fits", "f1.fits", "wild.fits"]
    assert (tmp_path / "night.html").is_file()


def test_frames_in_parallel_are_rows_of_one_table(program, tmp_path, frames):
    done = program(*frames, "-j", 2, "--steps", "measure", "-NIGHT_NAME", "n.ecsv")
    assert done.status == 1
    table = Table.read(tmp_path / "n.ecsv")
    assert sorted(table["file"]) == sorted(frames)
    rows = {row["file"]: row for row in table}
    assert rows["f1.fits"]["airmass"] == 1.3
    assert (
        rows["f1.fits"]["n_sources"] == done.summary("f1.json")[0]["steps"]["measure"]["n_sources"]
    )
    assert rows["bad.fits"]["status"] == "failed"
    assert rows["bad.fits"]["warnings"] == "not a FITS file"
    assert program("f1.fits", "--steps", "measure", "-NIGHT_NAME", "n.ecsv").status == 0
    assert len(Table.read(tmp_path / "n.ecsv")) == 4


def test_the_night_of_summaries_alone(skyextract, tmp_path, frames):
    assert skyextract(*frames[:3], "--steps", "measure", "-o", "night").status == 0
    for name in frames:
        (tmp_path / name).unlink()
    (tmp_path / "night/other.json").write_text('{"a": 1}')
    done = skyextract("--night", "night")
    assert done.status == 0
    assert "other.json: is no summary" in done.stderr
    assert "night/night.ecsv and night/night.html: 3 frames" in done.stderr
    table = Table.read(tmp_path / "night/night.ecsv")
    assert list(table["file"]) == frames[:3]
    page = (tmp_path / "night/night.html").read_text()
    assert "! 3 frames: 3 complete (3 with warnings), 0 partial, 0 FAILED" in page
    assert 'xlink:href="#f0"' in page


def test_the_page_tells_the_night_by_filters_and_times(skyextract, tmp_path, frames):
    # A frame without a time of day is in the table alone; the trends stay those of time.
    with fits.open("f2.fits", "update") as units:
        units[0].header["DATE-OBS"], units[0].header["FILTER"] = "2026-02-14", "g"
    skyextract(*frames, "--steps", "measure", "-o", "night")
    page = (tmp_path / "night/night.html").read_text()
    assert "2026-02-14 03:00 to 03:00 UT" in page
    assert "r: 2 frames" in page
    assert "g: 1 frame<" in page
    assert page.count("1 without a time of day are not shown") == 2  # sources and airmass
    assert "number of the frame" not in page
    assert '<div class="words bad">not a FITS file</div>' in page


def test_points_of_the_night_lead_to_the_reports(skyextract, tmp_path, frames):
    done = skyextract("f0.fits", "--steps", "measure", "-REPORT_NAME", "{stem} report.html")
    assert done.status == 0
    assert skyextract("--night", ".").status == 0
    page = (tmp_path / "night.html").read_text()
    assert '<a href="f0%20report.html">f0.fits</a>' in page
    assert 'xlink:href="f0%20report.html"' in page


@pytest.mark.parametrize(("folder", "status"), [("none", 2), (".", 1)])
def test_no_night_to_be_made(skyextract, folder, status):
    done = skyextract("--night", folder)
    assert done.status == status
    assert done.stderr.count("\n") == 1


def test_summaries_on_standard_output(skyextract, tmp_path, frames):
    done = skyextract("f0.fits", "--steps", "measure", "--json")
    (line,) = done.stdout.splitlines()
    assert json.loads(line) == done.summary("f0.json")[0]
    done = skyextract("bad.fits", "--json", "-SUMMARY_NAME", "")
    assert json.loads(done.stdout)["status"] == "failed"
    assert not list(tmp_path.glob("bad.json"))


def test_lines_of_a_batch_are_in_the_order_of_the_images(program, tmp_path, frames):
    shutil.copy(tmp_path / "f0.fits", tmp_path / "f9.fits")
    done = program("f2.fits", "bad.fits", "f9.fits", "-j", 2, "--steps", "measure", "--json")
    images = [json.loads(line)["image"] for line in done.stdout.splitlines()]
    assert images == ["f2.fits", "bad.fits", "f9.fits"]


def test_standard_output_holds_one_thing(skyextract, tmp_path, frames):
    done = skyextract("f0.fits", "--json", "-CATALOG_NAME", "STDOUT")
    assert done.status == 2
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_several_tables_on_standard_output_have_one_line_of_names(program, tmp_path, frames):
    options = ("--steps", "measure", "-CATALOG_NAME", "STDOUT", "-CATALOG_TYPE", "CSV")
    done = program(*frames[:3], *options)
    rows = sum(done.summary(f"f{k}.json")[0]["steps"]["measure"]["n_sources"] for k in range(3))
    names, *lines = done.stdout.splitlines()
    assert names.startswith("NUMBER,")
    assert names not in lines
    assert len(lines) == rows > 10
