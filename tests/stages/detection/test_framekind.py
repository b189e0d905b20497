"""Frames that are no images of the sky."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.header import Header
from skyextract.stages.detection.framekind import calibration_kind, doubt_of_kind, is_inverted

SIGMA = 10.0


def stars(seed, n=40, shape=(300, 300)):
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    image = rng.normal(0.0, SIGMA, shape)
    for x, y in zip(rng.uniform(5, 295, n), rng.uniform(5, 295, n), strict=True):
        image += 10 ** rng.uniform(2, 4) * np.exp(-0.5 * ((xx - x) ** 2 + (yy - y) ** 2) / 2.0)
    return image.astype(np.float32), rng


def inverted(image):
    return is_inverted(image, SIGMA, np.zeros(image.shape, bool))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_negative(seed):
    image, rng = stars(seed)
    assert inverted(-image)
    assert not inverted(image)
    # A difference of two images has both, a frame of noise has none, and dead pixels are single.
    assert not inverted(image - stars(seed + 10)[0])
    assert not inverted(rng.normal(0.0, SIGMA, image.shape).astype(np.float32))
    dead = image.copy()
    dead.flat[rng.choice(dead.size, 500, replace=False)] = -1000.0
    assert not inverted(dead)
    # Bad pixels do not count.
    assert not is_inverted(-image, SIGMA, np.ones(image.shape, bool))


@pytest.mark.parametrize(
    ("card", "value", "kind"),
    [
        ("IMAGETYP", "Bias Frame", "bias"), ("IMAGETYP", "zero", "bias"),
        ("OBSTYPE", "DARK", "dark"), ("FRAME", "Dark", "dark"), ("IMAGETYP", "SKYFLAT", "flat"),
        ("OBSTYPE", "dome flat", "flat"), ("IMAGETYP", "Flat Field", "flat"),
        ("IMAGETYP", "Light Frame", ""), ("OBSTYPE", "object", ""), ("IMAGETYP", "EXPOSE", ""),
        ("FRAME", "ICRS", ""), ("IMAGETYP", "Light (flat corrected)", ""), ("FRAME", 17, ""),
    ],
)  # fmt: skip
def test_what_headers_say(card, value, kind):
    assert calibration_kind(Header.of({card: value}))[0] == kind
    assert calibration_kind(None)[0] == ""


def test_hardly_any_source():
    empty = np.random.default_rng(1).normal(0.0, SIGMA, (500, 500)).astype(np.float32)
    bad = np.zeros(empty.shape, bool)
    assert "(1 found)" in doubt_of_kind(None, empty, SIGMA, bad, 0, 1)
    assert doubt_of_kind(None, empty, SIGMA, bad, 0, 3) == ""
    # Of none `support` tells.
    assert doubt_of_kind(None, empty, SIGMA, bad, 0, 0) == ""
    assert doubt_of_kind(None, empty[:300, :300], SIGMA, bad[:300, :300], 0, 1) == ""
    small = (None, empty[:300, :300], SIGMA, bad[:300, :300], 0, 2)
    assert doubt_of_kind(*small, snr=20.0) == ""
    assert "(2 found)" in doubt_of_kind(*small, snr=5.5)
    assert doubt_of_kind(*small, snr=5.5, has_psf=True) == ""


def test_shadows_are_no_negative_stars():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:400, :400]
    noise = rng.normal(0.0, SIGMA, (400, 400))
    edge = (np.abs(x + y - 600) < 20) * -40.0 * SIGMA
    ring = (np.abs(np.hypot(x - 200, y - 200) - 190) < 6) * -40.0 * SIGMA
    wide = (np.hypot(x - 200, y - 200) > 150) * -40.0 * SIGMA
    for shadow in (edge, ring, wide):
        assert not inverted((noise + shadow).astype(np.float32))
