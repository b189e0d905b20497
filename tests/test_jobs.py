"""Names of the products of a batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skyextract.errors import ConfigError
from skyextract.jobs import check_names, plan_job
from skyextract.settings.resolve import Settings, command_line_settings, resolve


def settings(**keywords: str) -> Settings:
    return resolve(None, command_line_settings(list(keywords.items())))


def test_check_images_are_named_pair_by_pair(tmp_path):
    """NONE takes its name with it, as in SExtractor."""
    wanted = settings(
        CHECKIMAGE_TYPE="BACKGROUND,NONE,-OBJECTS", CHECKIMAGE_NAME="{stem}.bg.fits,x,o.fits"
    )
    job = plan_job("in.fits.gz", wanted, tmp_path)
    assert job.check_images == (
        ("BACKGROUND", tmp_path / "in.bg.fits"),
        ("-OBJECTS", tmp_path / "o.fits"),
    )
    assert plan_job("in.fits", settings(CHECKIMAGE_TYPE="NONE"), tmp_path).check_images == ()


@pytest.mark.parametrize(
    ("types", "names", "message"),
    [
        ("BACKGROUND,OBJECTS", "check.fits", "CHECKIMAGE_NAME = check.fits: .* 2 names"),
        ("OBJECTS,OBJECTS", "a,b", "CHECKIMAGE_TYPE .* OBJECTS is asked for twice"),
        ("OBJECTS,BACKGROUND", "a,a", r"both CHECKIMAGE_NAME \(OBJECTS\) and CHECKIMAGE_NAME"),
    ],
)
def test_check_images_that_cannot_be_named(types, names, message, tmp_path):
    wanted = settings(CHECKIMAGE_TYPE=types, CHECKIMAGE_NAME=names)
    with pytest.raises(ConfigError, match=message):
        check_names([plan_job("in.fits", wanted, tmp_path)])


def write(path: Path, **cards: object) -> None:
    fits.PrimaryHDU(np.zeros((4, 4), np.float32), fits.Header(cards)).writeto(path)


NAME = "{object}_{filter}_{date}_{ext}_{stem}.cat"


@pytest.mark.parametrize(
    ("cards", "name"),
    [
        ({"OBJECT": "M 31 / core", "FILTER": "r", "DATE-OBS": "2026-02-14T23:59:59"},
         "M_31_core_r_2026-02-14_all_a.cat"),
        ({"OBJECT": "../../etc/passwd", "FILTER": "H-alpha 656"},
         "etc_passwd_H-alpha_656_unknown_all_a.cat"),
        ({"OBJECT": "x" * 68}, f"{'x' * 64}_unknown_unknown_all_a.cat"),
        ({"OBJECT": "{stem}{date}"}, "stem_date_unknown_unknown_all_a.cat"),
    ],
)  # fmt: skip
def test_words_of_the_header_in_names(tmp_path, cards, name):
    write(tmp_path / "a.fits", **cards)
    job = plan_job(str(tmp_path / "a.fits"), settings(CATALOG_NAME=NAME), tmp_path)
    assert job.products["CATALOG_NAME"] == tmp_path / name


def test_folders_of_a_name_are_made_within_that_of_the_products(tmp_path):
    write(tmp_path / "a.fits", OBJECT="../M 31")
    pattern = {"CATALOG_NAME": "{object}/{stem}.cat", "HEAD_NAME": "../elsewhere/{stem}.head"}
    job = plan_job(str(tmp_path / "a.fits"), settings(**pattern), tmp_path / "out")
    job.make_folders()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["M_31"]
    assert not (tmp_path / "elsewhere").exists()


def test_an_image_without_a_header_has_a_name(tmp_path):
    (tmp_path / "a.fits").write_text("no image")
    for image in ("a.fits", "none.fits"):
        job = plan_job(str(tmp_path / image), settings(CATALOG_NAME="{object}.cat"), tmp_path)
        assert job.products["CATALOG_NAME"] == tmp_path / "unknown.cat"


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("m.fits[2]", "m-2.cat"),
        ("m.fits[sci,3]", "m-SCI-3.cat"),
        ("m.fits", "m-all.cat"),
        ("m.fits[../up]", "m-UP.cat"),
        ("m.fits[a b/c]", "m-A_B_C.cat"),
    ],
)
def test_extensions_in_names(tmp_path, image, name):
    job = plan_job(image, settings(CATALOG_NAME="{stem}-{ext}.cat"), tmp_path)
    assert job.products["CATALOG_NAME"] == tmp_path / name


@pytest.mark.parametrize("braces", ["{thing}", "{stem", "}", "{}", "{{stem}}"])
def test_braces_around_no_word(tmp_path, braces):
    message = r"command line: CATALOG_NAME = .*[{}] ?\w*\}? is none of \{stem\}"
    if braces == "{stem":
        message = r"\{stem is none of \{stem\}"
    with pytest.raises(ConfigError, match=message):
        plan_job("a.fits", settings(CATALOG_NAME=f"{braces}.cat"), tmp_path)


@pytest.mark.parametrize(
    ("name", "message"), [("n.html", "is a page: name the table, n.ecsv"), ("{date}", "no words")]
)
def test_what_is_no_name_of_a_table_of_the_night(tmp_path, name, message):
    with pytest.raises(ConfigError, match=message):
        plan_job("a.fits", settings(NIGHT_NAME=name), tmp_path)


@pytest.mark.parametrize(
    ("images", "advice"),
    [
        (("a.fits", "b.fits"), r"put \{stem\} into the name"),
        (("1/a.fits", "2/a.fits"), r"both are a: give each its folder"),
        (("a.fits[1]", "a.fits[2]"), r"put \{ext\} into the name"),
    ],
)
def test_how_two_images_get_products_of_their_own(tmp_path, images, advice):
    jobs = [plan_job(image, settings(CATALOG_NAME="night.cat"), tmp_path) for image in images]
    with pytest.raises(ConfigError, match=advice):
        check_names(jobs)


def test_a_table_of_the_night_is_no_product_of_an_image(tmp_path):
    table = tmp_path / "a.cat"
    job = plan_job("a.fits", settings(NIGHT_NAME="a.cat"), tmp_path)
    assert job.night == table
    with pytest.raises(ConfigError, match="both CATALOG_NAME and NIGHT_NAME"):
        check_names([job])
    assert plan_job("a.fits", settings(), tmp_path).night is None
    several = plan_job("a.fits", settings(), tmp_path, one_of_several=True)
    assert several.night == tmp_path / "night.ecsv"
