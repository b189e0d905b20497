"""A product made again from its provenance, and how it was made in words."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NIGHT = EXAMPLES / "night"
PRODUCTS = (
    "-EXPOSURE_NAME",
    "{stem}.exp.fits",
    "-CHECKIMAGE_TYPE",
    "BACKGROUND",
    "-CHECKIMAGE_NAME",
)


def write(path: Path, seed: int = 1) -> None:
    rng = np.random.default_rng(seed)
    units = [fits.PrimaryHDU()]
    for _ in range(2):
        image = rng.normal(500.0, 5.0, (90, 80)).astype(np.float32)
        for x, y in rng.integers(10, 70, (12, 2)):
            image[y : y + 3, x : x + 3] += 300.0
        units.append(fits.ImageHDU(image))
    fits.HDUList(units).writeto(path, overwrite=True)


def again(skyextract, product: str, n_files: int):
    """Run --rerun from another folder; all products must be the same."""
    place = Path(product).absolute()
    here = Path.cwd()
    try:
        os.chdir("/")
        done = skyextract("--rerun", place)
    finally:
        os.chdir(here)
    assert done.status == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == n_files
    assert all(": the same" in line for line in lines)
    assert (
        len([line for line in lines if line.endswith(" bytes")]) == n_files - 1
    )  # and the summary
    return done


def test_the_same_bytes_of_raw_frames(skyextract):
    done = skyextract(
        NIGHT / "science.fits.fz", "-CAMERA", NIGHT / "camera.conf", "-o", "made",
        *(word for kind in ("bias", "dark", "flat")
          for word in (f"-ISR_{kind}", str(NIGHT / f"{kind}*.fz"))),
        "-ASTREFCAT_NAME", NIGHT / "refcat.fits", *PRODUCTS, "check.fits",
    )  # fmt: skip
    assert done.status == 0, done.stderr
    again(skyextract, "made/science.exp.fits", 4)
    told = skyextract("--explain", "made/science.cat").stdout
    summary = done.summary("made/science.json")[0]
    assert "extension 1: COMPLETE" in told
    assert "corrected with bias, dark, flat" in told
    n_sources = summary["steps"]["measure"]["n_sources"]
    assert f"{n_sources} sources found" in told
    assert "error of the zero point" in told
    assert "at most 0.100 mag (FALLBACK), 0.250 mag (FAILED)" in told
    assert "NOT PASSED" not in told
    assert f"ASTREFCAT_NAME {NIGHT / 'refcat.fits'}: command line; default (empty)" in told
    assert "all as it was" in told
    weak = summary["steps"]["astrometry"] | {"n_matched": 100, "n_used": 9}
    summary["steps"]["astrometry"] = weak
    Path("made/science.json").write_text(json.dumps([summary]))
    told = skyextract("--explain", "made/science.json").stdout
    assert "rests on: 9.0 %, at least 10.0 % (FALLBACK)  NOT PASSED" in told
    assert told.count("NOT PASSED") == 1


def test_the_same_bytes_of_sdss(skyextract, shared_data):
    folder = shared_data / "sdss_stripe82"
    catalog = folder / "refcat/sdss_stars_field.fits"
    done = skyextract(
        folder / "fpC-004192-r4-0300.fit.gz", "-ASTREFCAT_NAME", catalog, "-GAIN", 4.7123456789012,
    )  # fmt: skip
    assert done.status == 0, done.stderr
    again(skyextract, "fpC-004192-r4-0300.cat", 2)


def test_the_same_bytes_of_extensions_and_planes(skyextract, tmp_path):
    write(tmp_path / "my field.fits")
    (tmp_path / "my.conf").write_text("DETECT_NITER 1\nBACK_SIZE 32\nGAIN 0.1234567890123\n")
    arguments = ("--strict", "-c", "my.conf", "-o", "out $x", "-CATALOG_NAME", "{stem} #1.cat")
    done = skyextract("my field.fits", *arguments, *PRODUCTS, tmp_path / "check.fits")
    assert done.status == 3, done.stderr
    again(skyextract, "out $x/my field #1.cat", 4)
    told = skyextract("--explain", "out $x/my field.json").stdout
    assert "FALLBACK" in told
    assert "DETECT_NITER 1: my.conf:1; default 2" in told
    assert "--strict" in told
    assert skyextract("my field.fits[2]", "-CATALOG_NAME", "two.cat").status == 0
    assert [
        item["extension"] for item in again(skyextract, "two.cat", 2).summary("my field.json")
    ] == [2]


def test_what_changed_is_named_and_nothing_is_touched(skyextract, tmp_path):
    write(tmp_path / "a.fits")
    (tmp_path / "my.param").write_text("NUMBER\n")
    arguments = ("a.fits", "--steps", "measure", "-PARAMETERS_NAME", "my.param")
    assert skyextract(*arguments).status == 0
    before = (tmp_path / "a.cat").read_bytes()
    write(tmp_path / "a.fits", 2)
    (tmp_path / "my.param").unlink()
    done = skyextract("--rerun", "a.cat")
    assert done.status == 1
    assert sorted(done.stdout.splitlines()) == ["a.fits: has changed since", "my.param: is gone"]
    assert "a.fits: has changed since" in skyextract("--explain", "a.cat").stdout
    assert (tmp_path / "a.cat").read_bytes() == before
    write(tmp_path / "a.fits")
    assert skyextract(*arguments[:3]).status == 0
    (tmp_path / "a.head").write_text("EXPTIME = 10.0\nEND\n")
    for option in ("--rerun", "--explain"):
        assert "a.head: came since, and would be read now" in skyextract(option, "a.cat").stdout


def test_a_product_that_was_changed(skyextract, tmp_path):
    write(tmp_path / "a.fits")
    skyextract("a.fits", "--steps", "measure")
    with (tmp_path / "a.cat").open("ab") as file:
        file.write(b" ")
    done = skyextract("--rerun", "a.json")
    assert done.status == 1
    assert "a.cat: DIFFERS" in done.stdout


def test_settings_that_are_not_those_of_the_checksum(skyextract, tmp_path):
    write(tmp_path / "a.fits")
    skyextract("a.fits", "--steps", "measure")
    objects = json.loads((tmp_path / "a.json").read_text())
    objects[0]["provenance"]["config"]["DETECT_THRESH"]["value"] = "3"
    (tmp_path / "a.json").write_text(json.dumps(objects))
    done = skyextract("--rerun", "a.cat")
    assert done.status == 2
    assert "checksum" in done.stderr


@pytest.mark.parametrize("option", ["--rerun", "--explain"])
@pytest.mark.parametrize("name", ["none.cat", "other.cat", "other.json"])
def test_nothing_tells_how(skyextract, tmp_path, option, name):
    (tmp_path / "other.cat").write_text("x")
    (tmp_path / "other.json").write_text("[1]")
    done = skyextract(option, name)
    assert done.status == 1
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rerun", "a.cat", "b.cat"), "b.cat: --rerun takes no"),
        (("--explain", "a.cat", "b.cat"), "b.cat: --explain takes no"),
        (("--explain", "a.cat", "--rerun", "a.cat"), "only one at a time"),
        (("--night", ".", "--watch", "."), "only one at a time"),
    ],
)
def test_nothing_is_left_out_in_silence(skyextract, arguments, said):
    done = skyextract(*arguments)
    assert done.status == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_products_that_were_moved(skyextract, tmp_path):
    (tmp_path / "work").mkdir()
    write(tmp_path / "a.fits")
    skyextract("a.fits", "--steps", "measure", "-o", "work")
    shutil.move(tmp_path / "work", tmp_path / "kept")
    again(skyextract, "kept/a.cat", 2)
