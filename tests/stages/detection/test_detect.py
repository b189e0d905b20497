"""Detection against SExtractor and sep, and on awkward input."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import fields, replace

import numpy as np
import pytest
import sep
from astropy.io import fits

from skyextract.datamodel.flags import Mask
from skyextract.datamodel.psf import Psf
from skyextract.errors import ConfigError
from skyextract.run import Run
from skyextract.settings.keywords import Background, Extraction
from skyextract.stages.background.estimate import estimate_background, estimate_weighted_background
from skyextract.stages.background.interpolate import subtract_background
from skyextract.stages.detection.detect import detect, detection_threshold
from skyextract.stages.detection.filters import builtin_filter
from skyextract.stages.detection.matched import filter_matched, matched_filter
from skyextract.stages.detection.offframe import significance_along
from skyextract.stages.detection.withpsf import PixelNoise, detect_with_psf

CONFIG = Extraction(detect_minarea=5, detect_thresh=(1.5,), detect_niter=1, deblend_nthresh=32)
TAPS = builtin_filter("default")


def field(shape=(400, 500), n=60, fwhm=3.5, seed=1, sky=100.0, noise=5.0):
    """Stars, with their positions and fluxes, on a sky of known noise."""
    rng = np.random.default_rng(seed)
    image = np.zeros(shape)
    y, x = rng.uniform(5, shape[0] - 5, n), rng.uniform(5, shape[1] - 5, n)
    flux = 10 ** rng.uniform(3.0, 5.0, n)
    v, u = np.indices(shape)
    sigma = fwhm / 2.35482
    for i in range(n):
        image += (
            flux[i]
            / (2 * np.pi * sigma**2)
            * np.exp(-0.5 * ((u - x[i]) ** 2 + (v - y[i]) ** 2) / sigma**2)
        )
    image += rng.normal(sky, noise, shape)
    return image.astype(np.float32), x, y, flux


def subtracted(image, mask=None):
    background = estimate_background(image, mask, None, Background(), Run(1))
    return subtract_background(image, mask, background, Run(1)), background.sigma


SEXTRACTOR = shutil.which("source-extractor") or shutil.which("sex")


@pytest.mark.skipif(SEXTRACTOR is None, reason="SExtractor is not installed")
@pytest.mark.filterwarnings("ignore:The following header keyword")
@pytest.mark.parametrize("weighted", [False, True])
def test_equal_to_sextractor(shared_data, tmp_path, weighted):
    file = shared_data / "ntt_emmi" / "upstream_tests" / "galaxies.fits"
    names = [
        "X_IMAGE", "Y_IMAGE", "A_IMAGE", "B_IMAGE", "THETA_IMAGE", "X2_IMAGE", "XMIN_IMAGE",
        "YMAX_IMAGE", "XPEAK_IMAGE", "ISOAREAF_IMAGE", "FLAGS",
    ]  # fmt: skip
    (tmp_path / "p.param").write_text("\n".join(names))
    options = {
        "PARAMETERS_NAME": "p.param", "CATALOG_TYPE": "FITS_1.0", "CATALOG_NAME": "c.fits",
        "DETECT_MINAREA": "5", "FILTER_NAME": "f.conv", "CHECKIMAGE_TYPE": "SEGMENTATION",
        "CHECKIMAGE_NAME": "s.fits", "VERBOSE_TYPE": "QUIET",
    }  # fmt: skip
    if weighted:
        options["WEIGHT_TYPE"] = "MAP_WEIGHT"
        options["WEIGHT_IMAGE"] = str(file).replace(".fits", ".weight.fits")
    (tmp_path / "f.conv").write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n")
    (tmp_path / "c.sex").write_text("")
    command = [SEXTRACTOR, str(file), "-c", "c.sex"]
    for key, value in options.items():
        command += [f"-{key}", value]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    theirs = fits.getdata(tmp_path / "c.fits", 1)

    image = fits.getdata(file).astype(np.float32)
    weight = np.ones_like(image) if weighted else None
    background, scale = estimate_weighted_background(image, None, weight, Background(), Run(2))
    variance = weight * np.float32(scale) ** 2 if weighted else None
    d = detect(
        subtract_background(image, None, background, Run(2)),
        CONFIG,
        Run(2),
        sigma=background.sigma,
        taps=TAPS,
        variance=variance,
    )
    np.testing.assert_array_equal(d.segmentation != 0, fits.getdata(tmp_path / "s.fits") != 0)
    assert d.n == len(theirs)
    ours = {
        "X_IMAGE": d.x + 1, "Y_IMAGE": d.y + 1, "A_IMAGE": d.a, "B_IMAGE": d.b,
        "X2_IMAGE": d.x2, "XMIN_IMAGE": d.xmin + 1, "YMAX_IMAGE": d.ymax + 1,
        "XPEAK_IMAGE": d.xpeak + 1, "ISOAREAF_IMAGE": d.fdnpix,
    }  # fmt: skip
    distance = np.hypot(theirs["X_IMAGE"][:, None] - 1 - d.x, theirs["Y_IMAGE"][:, None] - 1 - d.y)
    match = distance.argmin(1)
    assert len(set(match)) == d.n
    for name, values in ours.items():
        np.testing.assert_allclose(values[match], theirs[name], rtol=1e-5, atol=2e-4)
    np.testing.assert_array_equal(d.flags[match] & 2, theirs["FLAGS"] & 2)
    np.testing.assert_array_equal(d.flags[match] & 8, theirs["FLAGS"] & 8)


def test_close_to_sep():
    image, *_ = field()
    data, sigma = subtracted(image)
    d = detect(data, CONFIG, Run(1), sigma=sigma, taps=TAPS)
    theirs = sep.extract(
        data.copy(), 1.5 * sigma, filter_kernel=np.ascontiguousarray(TAPS), filter_type="conv"
    )
    assert d.n == len(theirs)
    for i in range(d.n):
        j = np.hypot(theirs["x"] - d.x[i], theirs["y"] - d.y[i]).argmin()
        assert theirs["x"][j] == pytest.approx(d.x[i], abs=1e-3)
        assert theirs["npix"][j] == pytest.approx(d.fdnpix[i], abs=2)


def check_consistency(d):
    """What must hold for any detections."""
    n = d.n
    assert len(d.first) == n + 1
    assert d.first[-1] == len(d.pixel) == len(d.filtered)
    flat = d.segmentation.ravel()
    assert len(np.unique(d.pixel)) == len(d.pixel) == np.count_nonzero(flat)
    nx = d.segmentation.shape[1]
    for i in range(n):
        pixels = d.pixel[d.first[i] : d.first[i + 1]]
        own = pixels[: d.n_own[i]]
        assert (flat[own] == i + 1).all()
        assert (flat[pixels[d.n_own[i] :]] == -(i + 1)).all()
        assert (d.xmin[i], d.xmax[i]) == ((pixels % nx).min(), (pixels % nx).max())
        assert (d.ymin[i], d.ymax[i]) == ((pixels // nx).min(), (pixels // nx).max())
        assert d.fdnpix[i] == len(pixels)
    peak = d.ypeak.astype(np.int64) * nx + d.xpeak
    assert (np.diff(peak) > 0).all()
    for f in fields(d):
        value = getattr(d, f.name)
        values = np.zeros(0) if value is None else np.asarray(getattr(value, "level", value))
        assert np.isfinite(values).all(), f.name


@pytest.mark.parametrize("mode", ["filter", "psf", "weight", "none"])
def test_consistent_and_independent_of_threads(mode):
    image, *_ = field(n=150)
    data, sigma = subtracted(image)
    variance = np.random.default_rng(1).uniform(0.8, 1.2, data.shape).astype(np.float32)
    psf = matched_filter(Psf.gaussian(3.5), data.shape)
    search = {
        "filter": lambda run: detect(data, CONFIG, run, sigma=sigma, taps=TAPS),
        "psf": lambda run: detect_with_psf(data, psf, PixelNoise(sigma), CONFIG, run),
        "weight": lambda run: detect(
            data, CONFIG, run, sigma=sigma, taps=TAPS, variance=variance * np.float32(sigma**2)
        ),
        "none": lambda run: detect(data, CONFIG, run, sigma=sigma),
    }[mode]
    one = search(Run(1))
    check_consistency(one)
    assert one.n > 80
    three = search(Run(3))
    for f in fields(one):
        np.testing.assert_array_equal(getattr(one, f.name), getattr(three, f.name))


def test_psf_filter_finds_stars_down_to_five_sigma():
    image, x, y, flux = field(n=80, noise=5.0, seed=4)
    data, sigma = subtracted(image)
    psf = matched_filter(Psf.gaussian(3.5), data.shape)
    d = detect_with_psf(data, psf, PixelNoise(sigma), Extraction(), Run(1))
    distance = np.hypot(x[:, None] - d.x, y[:, None] - d.y)
    isolated = np.sort(np.hypot(x[:, None] - x, y[:, None] - y), axis=1)[:, 1] > 15
    significance = flux * np.sqrt(psf.square) / 5.0
    assert (distance.min(1)[isolated & (significance > 8)] < 0.7).all()
    assert (distance.min(0) < 3).all()  # nothing spurious
    assert d.fdnpix.min() > 9  # more than the peak pixel


def draw(psf, shape, x, y, flux):
    """Return an image of point sources."""
    image = np.zeros(shape)
    half = psf.radius + 1
    padded = np.pad(image, half)
    for column, row, f in zip(x, y, flux, strict=True):
        i, j = round(column), round(row)
        stamp = psf.stamp(column, row, column - i, row - j, size=2 * half + 1)
        padded[j : j + 2 * half + 1, i : i + 2 * half + 1] += f * stamp
    return padded[half:-half, half:-half]


@pytest.mark.parametrize(("fwhm", "share"), [(2.2, 0.5), (3.5, 0.8), (6.0, 0.9)])
def test_psf_filter_takes_close_pairs_apart(fwhm, share):
    """Two stars 1.5 FWHM apart, 1:3, the fainter of S/N 100: the matched filter makes them one."""
    psf = Psf.gaussian(fwhm)
    rng = np.random.default_rng(5)
    step = 12 * fwhm
    v, u = (v.ravel() for v in np.indices((8, 8)))
    x = step * (u + 0.5) + rng.uniform(-0.5, 0.5, 64)
    y = step * (v + 0.5) + rng.uniform(-0.5, 0.5, 64)
    angle = rng.uniform(0, 2 * np.pi, 64)
    fainter = x + 1.5 * fwhm * np.cos(angle), y + 1.5 * fwhm * np.sin(angle)
    filtering = matched_filter(psf, (round(8 * step), round(8 * step)))
    flux = 100.0 / np.sqrt(filtering.square)
    x, y = np.concatenate([x, fainter[0]]), np.concatenate([y, fainter[1]])
    image = draw(psf, (round(8 * step),) * 2, x, y, np.repeat([3 * flux, flux], 64))
    image = (image + rng.normal(size=image.shape)).astype(np.float32)
    found = detect_with_psf(image, filtering, PixelNoise(1.0), Extraction(), Run(2))
    distance = np.hypot(found.x - x[:, None], found.y - y[:, None])
    near = distance.min(1) < 0.3 * fwhm
    assert (near[:64] & near[64:]).mean() > share
    assert (distance.min(0) < 0.5 * fwhm).all()
    check_consistency(found)


@pytest.mark.parametrize("snr", [20.0, 40.0])
def test_psf_filter_finds_stars_beside_galaxies(snr):
    """Stars 3.5 FWHM from exponential disks with 22 times their light."""
    fwhm, scale, n = 3.5, 4.0, 25
    rng, step = np.random.default_rng(7), 105
    v, u = (v.ravel() for v in np.indices((5, 5)))
    x = step * (u + 0.5) + rng.uniform(-0.5, 0.5, n)
    y = step * (v + 0.5) + rng.uniform(-0.5, 0.5, n)
    angle = rng.uniform(0, 2 * np.pi, n)
    star = x + 3.5 * fwhm * np.cos(angle), y + 3.5 * fwhm * np.sin(angle)
    psf, shape = Psf.gaussian(fwhm), (5 * step, 5 * step)
    filtering = matched_filter(psf, shape)
    flux = snr / np.sqrt(filtering.square)
    image = draw(psf, shape, *star, np.full(n, flux))
    row, column = np.indices(shape)
    for i, j in zip(x, y, strict=True):
        disk = np.exp(-np.hypot(column - i, row - j) / scale)
        image += flux / 0.045 * disk / (2 * np.pi * scale**2)
    image = (image + rng.normal(size=shape)).astype(np.float32)
    found = detect_with_psf(image, filtering, PixelNoise(1.0), Extraction(), Run(2))
    distance = np.hypot(found.x - star[0][:, None], found.y - star[1][:, None])
    assert (distance.min(1) < 0.5 * fwhm).mean() > 0.9
    assert found.n <= 2 * n


def test_psf_filter_does_not_take_the_broken_core_of_a_saturated_star_apart():
    v, u = np.indices((120, 120))
    image = 1e6 * (1 + ((u - 60.3) ** 2 + (v - 59.8) ** 2) / 2.5**2) ** -2.5
    image = np.minimum(image, 2e4)
    # as surveys interpolate them: every other row is too faint
    image[::2][image[::2] > 2e3] *= 0.4
    image = (image + np.random.default_rng(2).normal(0, 3, image.shape)).astype(np.float32)
    psf = matched_filter(Psf.gaussian(2.8), image.shape)
    assert detect_with_psf(image, psf, PixelNoise(3.0), Extraction(), Run(1)).n == 1


@pytest.mark.parametrize("turn", range(4))
def test_psf_filter_leaves_out_sources_centred_off_the_frame(turn):
    psf = Psf.gaussian(3.5)
    rng = np.random.default_rng(8)
    # every 20 pixels a star, pixels beyond the border: two outside, one inside by as much
    beyond = np.array([3.0, 1.5, -1.5] * 5)
    x = 20.0 * np.arange(1, 16)
    significance = 10.0 * 5.0 ** rng.random(15)
    padded = np.zeros((60, 320))
    for column, row, s in zip(x, 20 - beyond, significance, strict=True):
        stamp = psf.stamp(column, row, 0.0, row - np.round(row))
        half = len(stamp) // 2
        top = round(row) - half
        share = np.zeros_like(padded)
        share[max(top, 0) : top + 2 * half + 1, round(column) - half : round(column) + half + 1] = (
            stamp[max(-top, 0) :]
        )
        padded += share * s / np.sqrt((share[20:] ** 2).sum())
    image = padded[20:] + rng.normal(size=(40, 320))
    image = np.ascontiguousarray(np.rot90(image, turn), np.float32)
    filtering = matched_filter(psf, image.shape)
    kept = detect_with_psf(image, filtering, PixelNoise(1.0), Extraction(), Run(1))
    unclean = replace(Extraction(), clean=False)
    every = detect_with_psf(image, filtering, PixelNoise(1.0), unclean, Run(1))
    assert (kept.n, every.n) == (5, 15)
    along = kept.x if turn % 2 == 0 else kept.y
    along = along if turn in (0, 3) else 319 - along
    np.testing.assert_allclose(np.sort(along), x[2::3], atol=1.5)
    # what is left out is masked from the others' photometry
    assert kept.unclaimed.size > 10 * 9


def test_significance_across_the_border_is_that_of_the_filtered_image():
    image, *_ = field(n=40, seed=7)
    data, sigma = subtracted(image)
    bad = (np.random.default_rng(3).random(data.shape) < 0.02).view(np.uint8)
    variance = np.random.default_rng(1).uniform(0.8, 1.2, data.shape).astype(np.float32) * 25
    psf = matched_filter(Psf.gaussian(3.5), data.shape)
    plane = filter_matched(data, psf, Run(1), sigma=sigma, variance=variance, bad=bad)
    for y, x in ((0, 0), (0, 37), (100, data.shape[1] - 1), (data.shape[0] - 1, 5), (80, 90)):
        for axis in (0, 1):
            along = significance_along(axis, y, x, data, psf, sigma, variance, bad)
            half = along.size // 2
            at = np.tile([[y], [x]], along.size)
            at[axis] += np.arange(-half, half + 1)
            there = ((at >= 0) & (at < np.array([data.shape]).T)).all(axis=0)
            expected = plane[at[0, there], at[1, there]] / psf.unit(sigma)
            assert along[there] == pytest.approx(expected, rel=0.02, abs=0.02)


@pytest.mark.parametrize("by_psf", [False, True])
def test_bad_row_makes_no_phantom_and_leaves_others_alone(by_psf):
    image, x, y, _ = field(n=40, seed=7)
    data, sigma = subtracted(image)
    psf = matched_filter(Psf.gaussian(3.5), data.shape)

    def search(pixels, bad=None):
        if by_psf:
            return detect_with_psf(pixels, psf, PixelNoise(sigma), Extraction(), Run(1), bad=bad)
        return detect(pixels, CONFIG, Run(1), sigma=sigma, taps=TAPS, bad=bad)

    clean = search(data)
    mask = np.zeros(data.shape, np.uint16)
    row = round(y[0])
    mask[row] = Mask.NO_DATA
    mask[100:140, 200:260] = Mask.NO_DATA
    holes = np.where(mask != 0, np.float32(0), data)
    d = search(holes, (mask != 0).view(np.uint8))
    distance = np.hypot(d.x[:, None] - clean.x, d.y[:, None] - clean.y)
    assert (distance.min(1) < 4).all()
    away = (np.abs(clean.y - row) > 25) & (
        (clean.x < 170) | (clean.x > 290) | (clean.y < 70) | (clean.y > 170)
    )
    assert distance[:, away].min(0).max() == 0
    on_row = np.hypot(clean.x - x[0], clean.y - y[0]).argmin()
    assert (np.hypot(d.x - clean.x[on_row], d.y - clean.y[on_row]) < 6).sum() == 1


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (1, 50), (50, 1)])
def test_tiny_and_empty(shape):
    for value in (0.0, np.nan):
        image = np.full(shape, value, np.float32)
        psf = matched_filter(Psf.gaussian(3.5), shape)
        for d in (
            detect(image, CONFIG, Run(2), sigma=1.0),
            detect(image, CONFIG, Run(2), sigma=1.0, taps=TAPS),
            detect_with_psf(image, psf, PixelNoise(1.0), CONFIG, Run(2)),
        ):
            assert d.n == 0
            assert d.segmentation.shape == shape


def test_whole_image_above_threshold():
    d = detect(np.full((30, 40), 9, np.float32), CONFIG, Run(2), sigma=1.0, taps=TAPS)
    assert (d.n, d.fdnpix[0], d.flags[0]) == (1, 1200, 8)


def test_min_and_max_area():
    image = np.zeros((40, 40), np.float32)
    image[5:8, 5:8] = 10
    image[20:30, 20:30] = 10
    config = replace(CONFIG, clean=False)
    assert detect(image, config, Run(1), sigma=1.0).n == 2
    d = detect(image, replace(config, detect_minarea=10), Run(1), sigma=1.0)
    assert (d.n, len(d.unclaimed)) == (1, 9)
    d = detect(image, replace(config, detect_maxarea=50), Run(1), sigma=1.0)
    assert (d.n, len(d.unclaimed), d.x[0]) == (1, 100, 6)


def test_cleaning_merges_what_a_wing_explains():
    v, u = np.indices((120, 120))
    radius2 = (u - 60) ** 2 + (v - 60) ** 2
    image = 1e5 / (1 + radius2 / 9) ** 2
    bump = (u - 96) ** 2 + (v - 60) ** 2 < 6
    image = (np.where(radius2 < 900, image, 0) + 15 * bump).astype(np.float32)
    config = replace(CONFIG, detect_thresh=(10.0,), deblend_mincont=1.0)
    kept = detect(image, replace(config, clean=False), Run(1), sigma=1.0)
    assert kept.n == 2
    d = detect(image, config, Run(1), sigma=1.0)
    assert d.n == 1
    assert (d.segmentation == -1).sum() == bump.sum()
    assert d.fdnpix[0] == kept.fdnpix.sum()
    check_consistency(d)


def test_thresholds():
    config = replace(CONFIG, detect_thresh=(3.0,))
    assert detection_threshold(config, 2.0) == 6.0
    assert detection_threshold(replace(config, thresh_type=("ABSOLUTE",)), 2.0) == 3.0
    surface = replace(config, detect_thresh=(22.5, 25.0))
    assert detection_threshold(surface, 2.0, 0.5) == pytest.approx(0.25 * 10.0)
    with pytest.raises(ConfigError, match="pixel scale"):
        detection_threshold(surface, 2.0)
    with pytest.raises(ConfigError, match="positive"):
        detection_threshold(replace(config, detect_thresh=(0.0,)), 2.0)
