"""Columns and rows that were interpolated before, and what are none."""

from __future__ import annotations

import numpy as np
import pytest

import skyextract as sky
from skyextract.stages.pixels.filledlines import filled_lines
from tests.compare.marked import marked_by

NY, NX, SIGMA, FWHM = 400, 500, 10.0, 3.3


def star_frame(seed, places=None):
    """Return an image of Gaussian stars, with their places and fluxes."""
    rng = np.random.default_rng(seed)
    image = rng.normal(300.0, SIGMA, (NY, NX))
    if places is None:
        places = rng.uniform(12, (NX - 13, NY - 13), (80, 2))
    flux = 10 ** rng.uniform(3.4, 5.0, len(places))
    yy, xx = np.mgrid[:NY, :NX]
    s = FWHM / 2.3548
    for (x, y), f in zip(places, flux, strict=True):
        part = np.s_[int(y) - 10 : int(y) + 11, int(x) - 10 : int(x) + 11]
        r2 = (xx[part] - x) ** 2 + (yy[part] - y) ** 2
        image[part] += rng.poisson(f * np.exp(-0.5 * r2 / s**2) / (2.0 * np.pi * s**2))
    return image, np.asarray(places), flux


def fill(image, part):
    """Put columns on the line between those beside."""
    rows, first, width = part
    left, right = image[rows, first - 1].copy(), image[rows, first + width].copy()
    for k in range(width):
        image[rows, first + k] = left + (right - left) * (k + 1) / (width + 1)
    marked = np.zeros(image.shape, bool)
    marked[rows, first : first + width] = True
    return marked


@pytest.mark.parametrize("whole_numbers", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_filled_columns(seed, whole_numbers):
    image, *_ = star_frame(seed)
    true = fill(image, (slice(None), 100, 1))
    true |= fill(image, (slice(None), 200, 5))
    true |= fill(image, (slice(130, 300), 300, 2))
    if whole_numbers:
        image = np.rint(image)
    for frame, expected in ((image, true), (image.T.copy(), true.T)):
        n, marked = marked_by(filled_lines, frame)
        assert n == 8
        assert marked[expected].mean() > 0.97
        assert np.count_nonzero(marked & ~expected) <= 20  # at the ends of the part of a column


def test_smooth_change_after_filling():
    """A background that was subtracted, or a flat field, leaves filled pixels near the line."""
    image, *_ = star_frame(4)
    true = fill(image, (slice(None), 250, 3))
    yy, xx = np.mgrid[:NY, :NX]
    image *= 1.0 + 0.02 * np.sin(xx / 40.0)
    n, marked = marked_by(filled_lines, image - 5e-4 * (xx - 100.0) ** 2 - 0.1 * yy)
    assert n == 3
    assert marked[true].mean() > 0.95


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_not_filled(seed):
    image, *_ = star_frame(seed)
    light = image - 300.0
    rng = np.random.default_rng(100 + seed)
    smooth = (image + np.roll(image, 1, 1) + np.roll(image, -1, 1)) / 3.0
    smooth[:, 0] = smooth[:, -1] = 300.0
    calm = image.copy()
    calm[:, 200:260] = 300.0 + 0.1 * (image[:, 200:260] - 300.0)  # less noise, as below a mask
    every_second = image.copy()
    every_second[1:-1:2] = 0.5 * (image[:-2:2] + image[2::2])
    frames = {
        "noise and stars": image,
        "smoothed": smooth,
        "an amplifier with less noise": calm,
        "interlaced": every_second,
        "rounded to its noise": np.rint(image / SIGMA),
        "single photons": rng.poisson(0.3, (NY, NX)),
        "no noise": np.ones((NY, 1)) * np.exp(-(((np.arange(NX) - 250.0) / 90.0) ** 2)),
        "clipped": np.maximum(light, 0.0),
        "constant": np.full((NY, NX), 7.0),
    }
    assert {
        name: marked_by(filled_lines, frame)[0] for name, frame in frames.items()
    } == dict.fromkeys(frames, 0)


def test_what_is_masked_already():
    image, *_ = star_frame(5)
    true = fill(image, (slice(None), 100, 5))
    assert marked_by(filled_lines, image, true)[0] == 0


def test_stars_on_filled_columns():
    """Stars there were .5 mag too faint without a flag."""
    rng = np.random.default_rng(6)
    columns = np.arange(40, NX - 40, 60)
    places = [(x + rng.uniform(-3.0, 8.0), y) for x in columns for y in range(20, NY - 20, 60)]
    places += [(x + 33.0, y) for x in columns for y in range(20, NY - 20, 60)]
    image, places, flux = star_frame(7, places)
    for x in columns:
        fill(image, (slice(None), int(x), 5))
    rows = sky.measure(sky.characterize(sky.exposure(image.astype("f4"), gain=1.0))).table
    off = np.hypot(
        rows["XWIN_IMAGE"] - 1.0 - places[:, :1], rows["YWIN_IMAGE"] - 1.0 - places[:, 1:]
    )
    star = off.argmin(axis=0)
    good = (off.min(axis=0) < 3.0) & (rows["FLAGS"] < 4) & ((rows["FLAGS_SKY"] & 4) == 0)
    scale = np.median((rows["FLUX_PSF"] / flux[star])[good])
    pull = (rows["FLUX_PSF"] / scale - flux[star]) / rows["FLUXERR_PSF"]
    assert good.sum() > 0.4 * len(places)
    assert np.abs(pull[good]).max() < 5.0
