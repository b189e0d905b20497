"""Matched filter and discs about footprints against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.datamodel.background import BackgroundMap
from skyextract.kernels.detection.discs import grow_discs
from skyextract.kernels.detection.matched import smooth_at
from skyextract.run import Run
from skyextract.stages.background.interpolate import mesh_variance
from skyextract.stages.detection import matchedwaves
from skyextract.stages.detection.matched import filter_matched, filter_two, stamps_filter


def gaussian(fwhm, size=21, stretch=1.0):
    y, x = np.indices((size, size)) - size // 2
    sigma = fwhm / 2.35482
    stamp = np.exp(
        -0.5 * ((x / sigma) ** 2 + (y / (stretch * sigma)) ** 2 + 0.3 * x * y / sigma**2)
    )
    return stamp / stamp.sum()


def one_cell(stamp, shape):
    ny, nx = shape
    return stamps_filter(stamp[None, None], np.array([0, nx]), np.array([0, ny]))


def kept(psf, j=0, i=0):
    """Stamp and squared stamp as the outer products hold them."""
    return tuple(
        np.einsum("rv,ru->vu", column[j, i].astype(float), line[j, i].astype(float))
        for column, line in ((psf.column, psf.line), (psf.column2, psf.line2))
    )


def reference(image, weight, stamp, square):
    half = stamp.shape[0] // 2
    d = np.pad(image * weight, half).astype(float)
    w = np.pad(weight, half).astype(float)
    windows = np.lib.stride_tricks.sliding_window_view
    numerator = (windows(d, stamp.shape) * stamp).sum((-2, -1))
    return numerator / np.sqrt((windows(w, stamp.shape) * square).sum((-2, -1)))


@pytest.mark.parametrize("stretch", [1.0, 1.3])
@pytest.mark.parametrize("fwhm", [1.5, 3.5, 6.0])
def test_what_is_left_out_of_a_stamp_costs_no_significance(fwhm, stretch):
    stamp = gaussian(fwhm, 41, stretch)
    psf = one_cell(stamp, (50, 50))
    used, square = kept(psf)
    half = used.shape[0] // 2
    true = stamp[20 - half : 21 + half, 20 - half : 21 + half]
    share = (used * true).sum() / np.sqrt((used**2).sum() * (stamp**2).sum())
    assert share > 0.999
    assert square.sum() == pytest.approx((used**2).sum(), rel=2e-3)


@pytest.mark.parametrize("smooth", [False, True])
def test_a_wide_psf_gives_by_transforms_what_sums_give(monkeypatch, smooth):
    """In tiles of several cells, about bad pixels, bad rows and the border."""
    rng = np.random.default_rng(2)
    shape = (80, 90)
    y, x = np.indices((21, 21)) - 10
    rings = [np.exp(-0.5 * (np.hypot(y, x) - r) ** 2) for r in (4.0, 5.0, 6.0, 4.5, 5.5, 3.5)]
    stamps = np.stack([ring / ring.sum() for ring in rings]).reshape(2, 3, 21, 21)
    psf = stamps_filter(stamps, np.array([0, 28, 60, 90]), np.array([0, 42, 80]))
    variance = (2.0 + np.sin(np.arange(90) / 20.0) * np.ones(shape)).astype(np.float32)
    image = (rng.normal(size=shape) * np.sqrt(variance)).astype(np.float32)
    image[32, 38] = 3e4
    bad = np.zeros(shape, np.uint8)
    bad[12:26, 48:84] = bad[58] = 1
    image[bad == 1] = 1e4  # must not matter
    monkeypatch.setattr(matchedwaves, "_LONGEST", 48)
    found = []
    for wide in (1, 10**9):
        monkeypatch.setattr(matchedwaves, "WIDE", wide)
        out = filter_matched(
            image, psf, Run(2), sigma=1.5, variance=variance, smooth=smooth, bad=bad
        )
        found.append(out / psf.unit(1.5))
        if wide == 1:  # sums of two images share nothing
            two = filter_two(
                (image[::-1].copy(), image), psf, Run(1), sigma=1.5, variance=variance,
                smooth=smooth, bad=bad,
            )  # fmt: skip
            np.testing.assert_array_equal(two[1], out)
            assert not np.array_equal(*two)
    assert 0 < (found[0] == 0).sum() < 500
    np.testing.assert_array_equal(found[0] == 0, found[1] == 0)
    np.testing.assert_allclose(*found, rtol=1e-5, atol=3e-3)


@pytest.mark.parametrize("value", [1e25, np.inf, np.nan])
def test_a_broken_pixel_shows_no_farther_than_a_wide_psf_reaches(monkeypatch, value):
    rng = np.random.default_rng(3)
    y, x = np.indices((15, 15)) - 7
    stamp = np.exp(-0.5 * (np.hypot(y, x) - 4.0) ** 2)
    psf = one_cell(stamp / stamp.sum(), (60, 70))
    image = rng.normal(size=(60, 70)).astype(np.float32)
    monkeypatch.setattr(matchedwaves, "WIDE", 1)
    before = filter_matched(image, psf, Run(1), sigma=1.0)
    image[30, 35] = value
    with np.errstate(invalid="ignore"):  # kernels as plain Python tell of infinity less infinity
        after = filter_matched(image, psf, Run(1), sigma=1.0)
    far = np.maximum(abs(np.arange(60) - 30)[:, None], abs(np.arange(70) - 35)) > 7
    np.testing.assert_allclose(after[far], before[far], atol=1e-5)


@pytest.mark.parametrize("stretch", [1.0, 1.3])
def test_significance(stretch):
    rng = np.random.default_rng(1)
    shape = (50, 60)
    variance = rng.uniform(1, 3, shape).astype(np.float32)
    image = (rng.normal(size=shape) * np.sqrt(variance)).astype(np.float32)
    bad = np.zeros(shape, np.uint8)
    bad[20, :] = bad[:, 33] = 1
    image[bad == 1] = 1e4  # must not matter
    variance[5, 5] = 1e30
    stamp = gaussian(3.5, stretch=stretch)
    psf = one_cell(stamp, shape)
    out = filter_matched(image, psf, Run(1), sigma=1.0, variance=variance, bad=bad)
    weight = np.where((bad == 1) | (variance > 1e29), 0, 1 / variance.astype(float))
    want = reference(np.where(bad == 1, 0, image), weight, *kept(psf))
    np.testing.assert_allclose(out / psf.unit(1.0), want, atol=1e-4)


@pytest.mark.parametrize("shape", [(80, 90), (9, 70), (70, 9)])
def test_smooth_variance_gives_the_same(shape):
    rng = np.random.default_rng(5)
    y, x = np.indices(shape)
    variance = (4 + 0.01 * x + 0.01 * y).astype(np.float32)
    image = rng.normal(0, 2, shape).astype(np.float32)
    bad = np.zeros(shape, np.uint8)
    bad[shape[0] // 2, shape[1] // 3] = 1
    psf = one_cell(gaussian(3.5), shape)
    options = {"sigma": 2.0, "variance": variance, "bad": bad}
    exact = filter_matched(image, psf, Run(1), **options)
    quick = filter_matched(image, psf, Run(1), smooth=True, **options)
    np.testing.assert_allclose(quick, exact, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_noise_of_meshes_is_that_of_their_plane(n_threads):
    rng = np.random.default_rng(6)
    shape, side = (150, 90), 32
    level, rms = rng.uniform(2.0, 3.0, (2, 5, 3)).astype(np.float32)
    mesh = BackgroundMap(level, rms, side, side, shape, 2.5, 2.5)
    image = rng.normal(0, 2, shape).astype(np.float32)
    bad = np.zeros(shape, np.uint8)
    bad[40, 30] = 1
    psf = one_cell(gaussian(3.5), shape)
    variance = mesh_variance(mesh, Run())
    plane = filter_matched(image, psf, Run(), sigma=2.5, variance=variance, smooth=True, bad=bad)
    run = Run(n_threads)
    np.testing.assert_array_equal(
        filter_matched(image, psf, run, sigma=2.5, mesh=mesh, bad=bad), plane
    )


@pytest.mark.parametrize("smooth", [False, True])
def test_pixels_of_much_more_noise_are_no_gap(smooth):
    """A nebula, or the shallow part of a coadd: 900 times the variance of the rest of the row."""
    rng = np.random.default_rng(7)
    shape = (60, 120)
    rms = np.where(np.arange(shape[1]) < 80, 1.0, 30.0) * np.ones(shape)
    image = (rng.normal(size=shape) * rms).astype(np.float32)
    psf = one_cell(gaussian(3.5), shape)
    variance = (rms**2).astype(np.float32)
    out = filter_matched(image, psf, Run(1), sigma=1.0, variance=variance, smooth=smooth)
    want = reference(image, 1.0 / rms**2, *kept(psf))
    away = np.abs(np.arange(shape[1]) - 80) > 12  # where a smooth variance is smooth
    got = out[:, away] / psf.unit(1.0)
    np.testing.assert_allclose(got, want[:, away], atol=1e-4)
    assert (out[5:-5, 95:] != 0.0).all()


def test_noise_and_signal_have_the_units_promised():
    stamp = gaussian(4.0)
    image = np.zeros((71, 71), np.float32)
    psf = one_cell(stamp, image.shape)
    image[35, 35] = 1000
    response = filter_matched(image, psf, Run(1), sigma=3.0) / 1000
    # what the filter makes of independent noise of 3
    noise = 3 * np.sqrt((response.astype(float) ** 2).sum())
    assert noise == pytest.approx(psf.unit(3.0), rel=3e-3)
    image[25:46, 25:46] = 1000 * stamp
    peak = filter_matched(image, psf, Run(1), sigma=3.0)[35, 35]
    assert peak / psf.unit(3.0) == pytest.approx(1000 * np.sqrt((stamp**2).sum()) / 3, rel=2e-3)


def test_varying_psf_and_threads():
    rng = np.random.default_rng(3)
    image = rng.normal(size=(200, 90)).astype(np.float32)
    stamps = np.array([[gaussian(3), gaussian(4)], [gaussian(5), gaussian(3.5)]])
    psf = stamps_filter(stamps, np.array([0, 40, 90]), np.array([0, 70, 200]))
    out = filter_matched(image, psf, Run(1), sigma=1.0)
    np.testing.assert_array_equal(out, filter_matched(image, psf, Run(3), sigma=1.0))
    scale = psf.unit(1.0)
    for j, rows in enumerate([slice(0, 70), slice(70, 200)]):
        for i, columns in enumerate([slice(0, 40), slice(40, 90)]):
            want = reference(image, np.ones(image.shape), *kept(psf, j, i))
            np.testing.assert_allclose(out[rows, columns] / scale, want[rows, columns], atol=1e-4)


def test_nothing_to_say_where_all_is_bad():
    image = np.ones((30, 30), np.float32)
    bad = np.ones(image.shape, np.uint8)
    psf = one_cell(gaussian(3.0), image.shape)
    assert (filter_matched(image, psf, Run(1), sigma=1.0, bad=bad) == 0).all()


def test_discs():
    """Of compact sources, a diagonal line of many rows, and one that meets the borders."""
    segmentation = np.zeros((90, 70), np.int32)
    segmentation[10:13, 10:13] = 1
    segmentation[np.arange(20, 85), np.arange(2, 67)] = 2
    segmentation[0, 50:] = segmentation[:30, 69] = 3
    pixels = [np.flatnonzero(segmentation == k) for k in (1, 2, 3)]
    first = np.cumsum([0, *map(len, pixels)])
    y, x = np.indices(segmentation.shape)
    for reach in (4.5, 0.0, 2.0), (0.3, 3.0, 11.7), (20.0, 1.0, 9.2):
        mask = np.zeros(segmentation.shape, np.uint8)
        grow_discs(segmentation, np.concatenate(pixels), first, np.array(reach), mask)
        expected = np.zeros(mask.shape, bool)
        for own, radius in zip(pixels, reach, strict=True):
            v, u = np.divmod(own, mask.shape[1])
            distance2 = (y[..., None] - v) ** 2 + (x[..., None] - u) ** 2
            expected |= distance2.min(axis=2) <= radius**2
        np.testing.assert_array_equal(mask == 1, expected)


@pytest.mark.parametrize("has_bad", [False, True])
def test_smooth_at_is_a_convolution_over_the_good_pixels(has_bad):
    rng = np.random.default_rng(2)
    image = rng.normal(size=(20, 25)).astype(np.float32)
    bad = (rng.random(image.shape) < 0.2).view(np.uint8) if has_bad else np.zeros((1, 1), np.uint8)
    taps = np.array([0.1, 0.25, 0.3, 0.25, 0.1], np.float32)
    y, x = (v.ravel().astype(np.int32) for v in np.indices(image.shape))
    out = np.empty(image.size, np.float32)
    smooth_at(image, bad, has_bad, taps, x, y, out)
    good = np.pad(bad == 0 if has_bad else np.ones(image.shape), 2).astype(float)
    padded = np.pad(image, 2) * good
    weight = np.outer(taps, taps)
    windows = np.lib.stride_tricks.sliding_window_view
    expected = (windows(padded, (5, 5)) * weight).sum((2, 3))
    expected /= (windows(good, (5, 5)) * weight).sum((2, 3))
    np.testing.assert_allclose(out, expected.ravel(), rtol=1e-5, atol=1e-6)


def test_smooth_at_without_any_good_pixel_is_zero():
    out = np.ones(1, np.float32)
    one = np.array([4], np.int32)
    bad = np.ones((9, 9), np.uint8)
    smooth_at(np.ones((9, 9), np.float32), bad, True, np.full(3, 1 / 3, np.float32), one, one, out)
    assert out[0] == 0


def test_plateau_of_a_trail_is_long_that_of_a_star_short_and_a_ring_has_none():
    star = one_cell(gaussian(4.0, size=41), (50, 50)).plateau()
    half = star.shape[0] // 2
    assert half <= 2
    assert star[half, half]
    trail = np.mean([np.roll(gaussian(4.0, size=41), k, axis=1) for k in range(-6, 7)], axis=0)
    trailed = one_cell(trail, (50, 50)).plateau()
    dy, dx = np.argwhere(trailed).T - trailed.shape[0] // 2
    assert np.abs(dx).max() >= 8
    assert np.abs(dy).max() <= 2
    np.testing.assert_array_equal(trailed, trailed[::-1, ::-1])
    y, x = np.indices((41, 41)) - 20
    ring = np.exp(-((np.hypot(x, y) - 8.0) ** 2) / 4.0)
    assert one_cell(ring / ring.sum(), (50, 50)).plateau() is None
