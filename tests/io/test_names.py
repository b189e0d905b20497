"""Names of inputs and outputs."""

import subprocess
import sys

import pytest

from skyextract.errors import ConfigError
from skyextract.io.names import (
    ImageSpec,
    expand_name,
    parse_image_argument,
    parse_image_spec,
    stem,
    without_image,
)


@pytest.mark.parametrize(
    ("text", "path", "extension"),
    [
        ("a.fits", "a.fits", None),
        ("dir/a.fits[2]", "dir/a.fits", 2),
        ("a.fits[0]", "a.fits", 0),
        ("a.fits[SCI]", "a.fits", "SCI"),
        ("a.fits[ sci ]", "a.fits", "SCI"),
    ],
)
def test_image_spec(text, path, extension):
    assert parse_image_spec(text) == ImageSpec(path, extension)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("in/a.fits[0]: truncated: 3 bytes", "truncated: 3 bytes"),
        ("in/a.fits: no such file", "no such file"),
        ("in/a.fits.gz: broken", "in/a.fits.gz: broken"),
        ("b.fits: broken", "b.fits: broken"),
    ],
)
def test_a_message_without_the_image_it_is_about(message, expected):
    assert without_image(message, "in/a.fits") == expected


@pytest.mark.parametrize("text", ["", "a.fits[]", "a.fits[-1]", "a.fits,", ",a.fits", "a,b,c"])
def test_bad_image_argument(text):
    with pytest.raises(ConfigError):
        parse_image_argument(text)


def test_dual_image():
    measured, detected = parse_image_argument("det.fits[1],meas.fits")
    assert measured == ImageSpec("meas.fits")
    assert detected == ImageSpec("det.fits", 1)
    assert parse_image_argument("a.fits") == (ImageSpec("a.fits"), None)


def test_name_with_brackets_that_exists(tmp_path):
    path = tmp_path / "odd[1]"
    path.touch()
    assert parse_image_spec(str(path)) == ImageSpec(str(path))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.fits", "a"),
        ("dir/a.b.fits.gz", "a.b"),
        ("a.FIT.bz2", "a"),
        ("a.fits.fz", "a"),
        ("a.fts", "a"),
        ("a.fits.xz", "a"),
        ("a.isr.fits", "a"),
        ("a.char.fits.fz", "a"),
        ("a.isr.char.fits", "a.isr"),
        ("a.fits.fits", "a.fits"),
        ("a", "a"),
        (".fits", ".fits"),
        ("a.txt", "a.txt"),
    ],
)
def test_stem(name, expected):
    assert stem(name) == expected


def test_expand_name(tmp_path):
    assert expand_name("{stem}.cat", {"stem": "a"}, tmp_path) == tmp_path / "a.cat"
    assert expand_name("/abs/b.cat", {}, tmp_path).as_posix() == "/abs/b.cat"


def test_no_heavy_imports():
    code = (
        "import sys, skyextract.io.names\n"
        "print([m for m in ('numpy', 'astropy', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
