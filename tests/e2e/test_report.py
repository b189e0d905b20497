"""The report: one page per frame that says what came out, and needs no other file."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

ROOT = Path(__file__).resolve().parents[2]
FIELD = ROOT / "examples/field.fits.fz"
REFCAT = ROOT / "examples/field_refcat.fits"
VOID = {"meta", "link", "br", "input"}


class Page(HTMLParser):
    """Checks that elements are closed; keeps the text, the addresses and the titles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("href", "src", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("href", "src", "xlink:href")]

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read(path: Path) -> Page:
    page = Page(path.read_text())
    own = all(address.startswith(("#", "data:")) for address in page.addresses)
    assert own, "the page needs other files"
    assert path.stat().st_size < 3e6
    return page


def test_report_of_a_good_frame(skyextract, tmp_path):
    done = skyextract(FIELD, "-ASTREFCAT_NAME", REFCAT, "-REPORT_NAME", "{stem}.html")
    assert done.status == 0, done.stderr
    page = read(tmp_path / "field.html")
    (summary,) = done.summary("field.json")
    photometry = summary["steps"]["photometry"]
    assert "✓ COMPLETE" in page.text
    assert f"{photometry['zero_point']:.3f} mag" in page.text
    assert f"5σ limit {photometry['limiting_mag_5sigma']:.2f}" in page.text
    assert f"with flags {summary['steps']['measure']['n_flagged']}" in page.text
    ((*told,),) = re.findall(r"background ([\d.]+) its rms ([\d.]+)", page.text)
    assert told == re.findall(r"on the mesh; median ([\d.]+\d)", page.text)
    assert "Skipped: isr" in page.text
    assert "isr: SKIPPED" not in page.text
    assert "Simulated field" in page.text
    assert summary["provenance"]["inputs"][0]["sha256"] in page.text
    svg = re.findall(r"<svg.*?</svg>", (tmp_path / "field.html").read_text(), re.DOTALL)
    assert len(svg) == 13
    for drawing in svg[1:]:
        assert "currentColor" in drawing
        assert "#010203" not in drawing
    for unit in (
        "FWHM (arcsec)", "x (pixels)", "residual (mag)", "sources per 0.5 mag",
        "background (image units)", "source − reference (arcsec)",
    ):  # fmt: skip
        assert unit in page.text, unit


def test_report_of_failed_astrometry_says_so(skyextract, tmp_path):
    wrong = Table.read(REFCAT)
    wrong["RA"] += 3.0
    wrong.write(tmp_path / "wrong.fits")
    done = skyextract(FIELD, "-ASTREFCAT_NAME", "wrong.fits", "-REPORT_NAME", "r.html")
    assert done.status == 3
    text = read(tmp_path / "r.html").text
    assert "✕ PARTIAL: astrometry FAILED" in text
    assert "COMPLETE, with" not in text
    for warning in done.summary("field.json")[0]["warnings"]:
        assert " ".join(warning.split()) in text
    assert "What to do:" in text
    reason = " ".join(done.summary("field.json")[0]["steps"]["astrometry"]["reason"].split())
    assert text.count(reason) <= 2


def test_one_page_for_all_extensions_and_their_failures(skyextract, tmp_path):
    rng = np.random.default_rng(3)
    sky = rng.normal(500.0, 5.0, (2, 120, 100)).astype(np.float32)
    sky[0, 50:53, 40:43] += 900.0
    sky[1] = np.nan
    units = [fits.PrimaryHDU(), *(fits.ImageHDU(plane) for plane in sky)]
    fits.HDUList(units).writeto(tmp_path / "<mef>.fits")
    done = skyextract("<mef>.fits", "-REPORT_NAME", "r.html")
    assert done.status == 1
    page = read(tmp_path / "r.html")
    assert "extension 2: FAILED" in page.text
    assert "DEFAULT PSF, none was measured" in page.text
    assert "<mef>.fits" in page.text
    assert "<mef>" not in (tmp_path / "r.html").read_text()


def test_an_image_that_cannot_be_read_has_a_page_too(skyextract, tmp_path):
    (tmp_path / "bad.fits").write_text("no image")
    assert skyextract("bad.fits", "-REPORT_NAME", "r.html").status == 1
    assert "✕ FAILED" in read(tmp_path / "r.html").text


def test_without_the_extra_it_is_error_2_before_work(skyextract, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = skyextract(FIELD, "-REPORT_NAME", "r.html")
    assert done.status == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'skyextract[report]'" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("steps", ["measure", "characterize"])
def test_steps_alone(skyextract, tmp_path, steps):
    done = skyextract(FIELD, "--steps", steps, "-REPORT_NAME", "r.html")
    assert done.status == 0, done.stderr
    assert f"{steps}: COMPLETE" in read(tmp_path / "r.html").text
