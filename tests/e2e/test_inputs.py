"""No product overwrites a file that is read, by whatever name: error 2 before any work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skyextract.settings.grammar import declarations
from tests.faults.harness import write_frame

NAMING = [name for name, item in declarations().items() if item.keyword.opens]
OTHERS = {
    "configuration": ["f.fits", "-c", "in.dat"],
    "camera": ["f.fits", "-CAMERA", "./in.dat"],
    "image": ["in.dat"],
    "second image": ["f.fits", "in.dat", "-SUMMARY_NAME", "{stem}.json"],
    "image to detect on": ["in.dat,f.fits"],
    "glob": ["f.fits", "-ISR_BIAS", "in.d*"],
    "list": ["f.fits", "-ISR_BIAS", "@in.dat"],
    "in a list": ["f.fits", "-ISR_BIAS", "@list"],
    "extension": ["f.fits", "-WEIGHT_IMAGE", "in.dat[0]"],
    "header": ["in.fits"],
}


@pytest.fixture
def place(tmp_path):
    """Make the files; in.dat is what is to stay as it is."""
    write_frame(tmp_path / "f.fits", 1, 64)
    write_frame(tmp_path / "in.fits", 1, 64)
    (tmp_path / "in.dat").write_text("# f.fits\nDETECT_THRESH 5\n")
    (tmp_path / "list").write_text("in.dat\n")
    (tmp_path / "link").symlink_to("in.dat")
    os.link(tmp_path / "in.dat", tmp_path / "hard")
    os.link(tmp_path / "in.dat", tmp_path / "in.head")
    return tmp_path


def refused(skyextract, place, words, product, name):
    before = (place / "in.dat").read_bytes()
    outcome = skyextract(*words, f"-{product}", name)
    assert outcome.status == 2, outcome.stderr
    assert outcome.stderr.count("error:") == 1
    assert f"{product}: {Path(name)} is an input; it is not overwritten" in outcome.stderr
    assert (place / "in.dat").read_bytes() == before
    assert not list(place.glob("*.json"))


@pytest.mark.parametrize("keyword", NAMING)
def test_files_that_keywords_name(skyextract, place, keyword):
    refused(skyextract, place, ["f.fits", f"-{keyword}", "in.dat"], "CATALOG_NAME", "in.dat")


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files(skyextract, place, kind):
    refused(skyextract, place, OTHERS[kind], "REGIONS_NAME", "in.dat")


@pytest.mark.parametrize("name", ["link", "hard", "./in.dat", "../{place}/in.dat"])
def test_other_names(skyextract, place, name):
    words = ["f.fits", "-ISR_DEFECTS", "in.dat"]
    refused(skyextract, place, words, "CATALOG_NAME", name.format(place=place.name))


@pytest.mark.parametrize(
    "product",
    ["CATALOG_NAME", "SUMMARY_NAME", "EXPOSURE_NAME", "HEAD_NAME", "PSFMODEL_NAME", "MATCH_NAME",
     "REGIONS_NAME", "REPORT_NAME"],
)  # fmt: skip
def test_all_products(skyextract, place, product):
    refused(skyextract, place, ["f.fits", "-ISR_DEFECTS", "in.dat"], product, "in.dat")


def test_an_image_that_is_the_product_of_another(skyextract, place):
    Path("f.cat").write_bytes((place / "f.fits").read_bytes())
    outcome = skyextract("f.fits", "f.cat", "-SUMMARY_NAME", "{stem}.json")
    assert outcome.status == 2
    assert "is an input" in outcome.stderr
