"""What docs/products.md describes is what the products hold, and the reverse."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits
from astropy.table import Table

from skyextract.cli import main
from skyextract.datamodel.flags import Mask

ROOT = Path(__file__).resolve().parents[2]
NIGHT = ROOT / "examples/night"
PAGE = (ROOT / "docs/products.md").read_text()
STRUCTURAL = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|TFIELDS|EXTNAME|EXTVER|BSCALE|BZERO|"
    r"T(TYPE|FORM|UNIT|DISP|COMM|DIM)\d+|"
)
SOMETIMES = {
    # of `checks`: with a catalogue that is far deeper than the frame
    "n_brightest",
    # of `checks`: with a colour term, and where the degree over the field had to be lowered
    *("color", "color_pivot", "color_term_error", "scatter_without_color", "degree"),
    # cards: extensions with a name and a version; a variance that was not there before
    *("SKYEXTN", "SKYEXTV", "VARTYPE"),
    # of `photometry`: where too few stars are free of bad pixels
    "n_with_masked_pixels",
    # in dual-image mode
    *("detection_psf_source", "detection_fwhm_pix"),
    # of an image that failed
    *("error", "traceback"),
}


def section(title: str) -> str:
    """Return the text below a heading, up to the next one of its level or above."""
    heading = re.search(rf"^(#+) {re.escape(title)}$", PAGE, re.MULTILINE)
    assert heading, title
    rest = PAGE[heading.end() :]
    end = re.search(rf"^#{{1,{len(heading[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(text: str, head: str) -> list[list[str]]:
    """Return the cells of the rows of the table whose first header cell is `head`."""
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {head} |")) + 2
    found = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def described(text: str, head: str) -> set[str]:
    """Return the names in the first column of a table: separate by commas, `[]` for a list."""
    return {
        name
        for first, *_ in rows(text, head)
        for name in re.findall(r"[\w.-]+", re.sub(r"`|\[\]", "", first))
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled raw frame, with what observatories write into headers, and all its products."""
    folder = tmp_path_factory.mktemp("products")
    with fits.open(NIGHT / "science.fits.fz") as units:
        header = units[1].header.copy()
        header.update(
            {
                "OBJECT": "M 3", "TELESCOP": "0.6 m", "INSTRUME": "CCD", "AIRMASS": 1.01,
                "DATE-OBS": "2024-05-01T23:20:00", "SITELONG": 0.0, "SITELAT": 40.0, "SITEELEV": 99,
            }
        )  # fmt: skip
        fits.PrimaryHDU(units[1].data, header).writeto(folder / "science.fits")
    previous = Path.cwd()
    os.chdir(folder)
    status = main(
        [
            *("science.fits", "-CAMERA", str(NIGHT / "camera.conf")),
            *("-ISR_BIAS", str(NIGHT / "bias*.fz"), "-ISR_DARK", str(NIGHT / "dark*.fz")),
            *("-ISR_FLAT", str(NIGHT / "flat*.fz"), "-ASTREFCAT_NAME", str(NIGHT / "refcat.fits")),
            *("-EXPOSURE_NAME", "exposure.fits", "-MATCH_NAME", "match.fits"),
            *("-NIGHT_NAME", "night.ecsv", "-CHECKIMAGE_TYPE", "MASK", "-VERBOSE_TYPE", "QUIET"),
            *("-PSFMODEL_NAME", "model.psf"),
        ]
    )
    os.chdir(previous)
    assert status == 0
    return folder


@pytest.fixture(scope="module")
def summary(folder: Path) -> dict[str, Any]:
    (found,) = json.loads((folder / "science.json").read_text())
    return found


def assert_same(written: set[str], page: set[str]) -> None:
    assert written - page == set(), "written and not described in docs/products.md"
    assert page - written - SOMETIMES == set(), "described in docs/products.md and not written"


def test_fields_of_the_summary(summary):
    page = described(section("Summary"), "field")
    outer = {name for name in page if "." not in name}
    assert_same(set(summary), outer)
    within = {name.removeprefix("provenance.") for name in page if name.startswith("provenance.")}
    assert_same(set(summary["provenance"]), within)
    (config,) = {frozenset(item) for item in summary["provenance"]["config"].values()}
    assert config == {"value", "origin"}
    (inputs,) = {frozenset(item) for item in summary["provenance"]["inputs"]}
    assert inputs == {"path", "sha256"}


def test_fields_of_an_image_that_failed(skyextract, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("skyextract.image.read_frames", broken)
    done = skyextract("any.fits", "-VERBOSE_TYPE", "QUIET")
    assert done.status == 1
    (found,) = done.summary("any.json")
    assert found["error"] == "internal error: RuntimeError: boom"
    assert "boom" in found["traceback"][-1]
    assert set(found) <= described(section("Summary"), "field")


@pytest.mark.parametrize("step", ["isr", "characterize", "measure", "astrometry", "photometry"])
def test_fields_of_the_steps(summary, step):
    assert_same(
        set(summary["steps"][step]), {"status", "seconds"} | described(section(step), "field")
    )


def test_fields_of_the_frame(summary):
    assert_same(set(summary["frame"]), described(section("frame"), "field"))
    assert None not in summary["frame"].values()


def test_fields_within_fields(summary):
    """Lists and objects name their fields in the row of their own."""
    places = {
        ("isr", "calibrations"): summary["steps"]["isr"]["calibrations"],
        ("isr", "amplifiers[]"): summary["steps"]["isr"]["amplifiers"][0],
        ("isr", "sky_steps[]"): summary["steps"]["isr"]["sky_steps"][0],
        ("frame", "site"): summary["frame"]["site"],
    }
    for (title, name), written in places.items():
        (row,) = (row for row in rows(section(title), "field") if f"`{name}`" in row[0])
        missing = {"calibrations": {"fringe"}}.get(name, set())
        assert set(re.findall(r"`(\w+)`", row[-1])) == set(written) | missing, name
    checks = section("photometry")
    page = described(checks, "field of `checks`")
    page |= {
        name
        for row in rows(checks, "field of `checks`")
        for name in re.findall(r"`(\w+)`", row[-1])
    }
    assert_same(set(summary["steps"]["photometry"]["checks"]), page)


def cards(header: fits.Header) -> set[str]:
    return {name for name in header if not STRUCTURAL.fullmatch(name)}


def test_header_cards(folder):
    page = described(section("Header cards"), "card")
    ours = {name for name in page if not name.startswith("SEX")}
    with fits.open(folder / "science.cat") as units:
        assert_same(cards(units[0].header), page)
        assert_same(cards(units["LDAC_OBJECTS"].header), page)
        lines = "".join(line.ljust(80) for line in units["LDAC_IMHEAD"].data[0][0].ravel())
        assert ours - set(fits.Header.fromstring(lines)) == set()
    with fits.open(folder / "match.fits") as units:
        for unit in units:
            assert_same(cards(unit.header), ours)
    for name in ("exposure.fits", "check.fits", "model.psf"):
        header = fits.getheader(folder / name)
        assert ours - set(header) == set(), name
        assert {n for n in header if n.startswith(("SKY", "PHOT", "MAG"))} - ours <= {"SKYPROD"}


def test_exposure_file(folder):
    text = section("Exposure file")
    own = described(text, "card")
    with fits.open(folder / "exposure.fits") as units:
        assert_same({unit.name for unit in units[1:]}, described(text, "extension"))
        for name, *_, content in rows(text, "extension"):
            if name in ("PSF_STARS", "APCORR", "PROVENANCE"):
                columns = set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", content)) - {"PSF"}
                assert set(units[name].columns.names) == columns, name
        written = cards(units[0].header) | cards(units["BACKGROUND"].header)
        written |= {name for name in units["IMAGE"].header if name.startswith("SKYEXT")}
        status = described(section("Header cards"), "card")
        assert_same(written - status, own)
        planes = {name.removeprefix("MP_") for name in units["MASK"].header["MP_*"]}
    assert planes == described(section("Mask planes"), "plane") == set(Mask.__members__)


@pytest.mark.parametrize("table", ["ASTROMETRY", "PHOTOMETRY"])
def test_match_table(folder, table):
    text = section("Match table")
    page = described(text, f"column of {table}")
    if table == "PHOTOMETRY":
        first = [row[0] for row in rows(text, "column of ASTROMETRY")][:3]
        page |= {name for cell in first for name in cell.split(", ")}
    assert_same(set(fits.getdata(folder / "match.fits", table).names), page)


def test_table_of_the_night(folder):
    table = Table.read(folder / "night.ecsv")
    assert_same(set(table.colnames), described(section("Night"), "column"))
