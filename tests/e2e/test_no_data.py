"""Frames of which nothing is left, and lists of isr that are wrong: one line, and no products."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from tests.faults.harness import write_frame

SIZE = 96


def failed(done, status, told):
    lines = done.stderr.splitlines()
    assert done.status == status, done.stderr
    assert len(lines) == 1, done.stderr
    assert told in lines[0]
    assert not (done.folder / "f.cat").exists()


@pytest.fixture
def frame(tmp_path):
    return write_frame(tmp_path / "f.fits", 1, SIZE)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
@pytest.mark.parametrize("kind", ["MAP_WEIGHT", "MAP_RMS"])
def test_a_map_without_any_weight(skyextract, frame, value, kind):
    fits.writeto(frame.with_name("w.fits"), np.full((SIZE, SIZE), value, np.float32))
    done = skyextract("f.fits", "-WEIGHT_TYPE", kind, "-WEIGHT_IMAGE", "w.fits", "-NTHREADS", "1")
    failed(done, 1, "no pixel has a weight (WEIGHT_IMAGE)")


def test_a_map_with_a_little_weight(skyextract, frame):
    weight = np.zeros((SIZE, SIZE), np.float32)
    weight[:, : SIZE // 2] = 1.0
    fits.writeto(frame.with_name("w.fits"), weight)
    words = "-WEIGHT_TYPE MAP_WEIGHT -WEIGHT_IMAGE w.fits -NTHREADS 1".split()
    assert skyextract("f.fits", *words).status == 0


def test_an_image_to_detect_on_without_any_weight(skyextract, frame):
    fits.writeto(frame.with_name("w.fits"), np.zeros((SIZE, SIZE), np.float32))
    words = "-WEIGHT_TYPE MAP_WEIGHT,NONE -WEIGHT_IMAGE w.fits,none -NTHREADS 1".split()
    failed(skyextract("f.fits,f.fits", *words), 1, "no pixel has a weight")


def test_defects_that_cover_the_frame(skyextract, frame):
    (frame.parent / "d.reg").write_text("image\nbox(48,48,200,200,0)\n")
    done = skyextract("f.fits", "-ISR_DEFECTS", "d.reg", "-NTHREADS", "1")
    failed(done, 1, "no pixel has a value after the corrections")


@pytest.mark.parametrize(
    ("keyword", "text", "told"),
    [
        ("ISR_DEFECTS", "10 5 1 2\n", "is no box"),
        ("ISR_DEFECTS", "image\nbox(1,2\n", "is not understood"),
        ("ISR_CROSSTALK", "0 1 2\n", "not a square matrix"),
        ("ISR_LINEARITY", "2 1\n1 2\n", "the measured signal must rise"),
    ],
)
def test_lists_are_read_before_masters_are_made(skyextract, frame, keyword, text, told):
    rng = np.random.default_rng(1)
    for k in range(3):
        pixels = rng.normal(100.0, 3.0, (SIZE, SIZE)).astype(np.float32)
        fits.writeto(frame.with_name(f"b{k}.fits"), pixels)
    (frame.parent / "list").write_text(text)
    words = ["f.fits", "-ISR_BIAS", "b0.fits,b1.fits,b2.fits", "-NTHREADS", "1"]
    failed(skyextract(*words, f"-{keyword}", "list"), 2, told)
    assert not list(frame.parent.glob("master*"))
    assert skyextract(*words).status == 0
    assert len(list(frame.parent.glob("master*"))) == 1
