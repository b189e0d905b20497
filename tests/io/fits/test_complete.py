"""Whether a file is all there, at every length that it has while it is written."""

from __future__ import annotations

import bz2
import gzip

import numpy as np
import pytest
from astropy.io import fits

from skyextract.io.fits.complete import what_is_missing


def mosaic(**cards) -> list[fits.PrimaryHDU]:
    image = np.arange(900, dtype=np.float32).reshape(30, 30)
    return [fits.PrimaryHDU(header=fits.Header(cards)), fits.ImageHDU(image), fits.ImageHDU(image)]


def single() -> list[fits.PrimaryHDU]:
    return [fits.PrimaryHDU(np.arange(900, dtype=np.int16).reshape(30, 30))]


def compressed() -> list[fits.PrimaryHDU]:
    rng = np.random.default_rng(1)
    return [fits.PrimaryHDU(), fits.CompImageHDU(rng.normal(9, 3, (60, 50)).astype(np.float32))]


@pytest.mark.parametrize("make", [single, compressed])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_every_length_of_a_file_but_the_last_lacks_something(tmp_path, make, pack):
    fits.HDUList(make()).writeto(tmp_path / "whole.fits")
    with fits.open(tmp_path / "whole.fits", disable_image_compression=True) as hdus:
        last = hdus[-1]
        end = last.fileinfo()["datLoc"] + last.size  # what follows is padding
    whole = (tmp_path / "whole.fits").read_bytes()
    content = pack(whole)
    needed = end if pack is bytes else len(content)
    path = tmp_path / "part.fits"
    lengths = {*range(0, len(content), 517), needed - 1, needed, len(content)}
    for length in sorted(lengths):
        path.write_bytes(content[:length])
        assert bool(what_is_missing(path)) == (length < needed), length


def test_a_mosaic_with_extensions_to_come(tmp_path):
    path = tmp_path / "m.fits"
    fits.HDUList(mosaic(NEXTEND=2)[:2]).writeto(path)
    assert what_is_missing(path) == "1 of 2 extensions"
    fits.HDUList(mosaic(NEXTEND=2)).writeto(path, overwrite=True)
    assert what_is_missing(path) == ""
    fits.HDUList(mosaic()[:2]).writeto(path, overwrite=True)
    assert what_is_missing(path) == ""  # nobody can know


def test_what_will_not_get_better_lacks_nothing(tmp_path):
    path = tmp_path / "x.fits"
    path.write_bytes(b"no FITS" * 1000)
    assert what_is_missing(path) == ""
    path.write_bytes(b"\x1f\x8b" + b"no gzip" * 1000)
    assert what_is_missing(path) == ""
    fits.HDUList(single()).writeto(path, overwrite=True)
    content = path.read_bytes()
    path.write_bytes(
        content.replace(b"BITPIX  =                   16", b"BITPIX  =                   17")
    )
    assert what_is_missing(path) == ""
    path.write_bytes(content + b"what somebody has left" * 100)
    assert what_is_missing(path) == ""


def test_space_that_is_set_aside_lacks_everything(tmp_path):
    path = tmp_path / "x.fits"
    for length in (0, 28800):
        path.write_bytes(bytes(length))
        assert what_is_missing(path) == "everything"
