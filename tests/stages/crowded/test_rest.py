"""What is left of an image tells which sources are several that nobody can tell apart."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.stages.background.planes import Plane
from skyextract.stages.crowded.hidden import Hidden, only
from skyextract.stages.crowded.rest import (
    LeastFlux,
    filtered_about,
    filtered_plane,
    mean_square,
    nearest_pixel,
    noise_scale,
    scatter_of_noise,
    significant_sources,
)
from skyextract.stages.crowded.sums import sums_of_stars
from skyextract.stages.detection.matched import matched_filter, stamps_filter
from skyextract.stages.pointsources.sweeps import FittedSources, point_fit

FWHM, STEP, NOISE = 3.5, 24, 10.0
LEAST = 5.0 * NOISE * np.sqrt(4.0 * np.pi) * FWHM / 2.355
"""Five sigma of a matched filter."""


def fitted_grid(flux, distance, seed=1, n=12):
    """Pairs of stars, `distance` FWHM apart, fitted as one each."""
    rng = np.random.default_rng(seed)
    psf = Psf.gaussian(FWHM, PsfSource.FILE)
    size = n * STEP
    image = rng.normal(0.0, NOISE, (size, size)).astype(np.float32)
    y, x = (v.ravel() * STEP + STEP / 2 for v in np.mgrid[:n, :n].astype(float))
    angle = rng.uniform(0.0, 2 * np.pi, x.size)
    r = psf.radius
    for side in (-0.5, 0.5):
        sx, sy = (side * distance * FWHM * f(angle) for f in (np.cos, np.sin))
        for stamp, j, i in zip(psf.stamps(x, y, sx, sy), y.astype(int), x.astype(int), strict=True):
            image[j - r : j + r + 1, i - r : i + r + 1] += np.float32(flux / 2) * stamp
    exposure = Exposure(image=image, mask=np.zeros(image.shape, np.uint16), psf=psf)
    cell = np.ones((1, 1), np.float32)
    background = BackgroundMap(
        level=0.0 * cell, rms=NOISE * cell, mesh_width=size, mesh_height=size, shape=image.shape,
        mean=0.0, sigma=NOISE,
    )  # fmt: skip
    plane = Plane(
        background=background, subtracted=image, variance=np.full_like(image, NOISE**2),
        bad=np.zeros(image.shape, np.bool_), n_bad=0,
        saturated=np.packbits(image < -np.inf, axis=1), relative=False, weight_gain=False, gain=0.0,
    )  # fmt: skip
    run, sources = Run(1), FittedSources.at(x, y)
    fit = point_fit(image, plane.variance_plane(run), 0.0, exposure.mask, psf, sources)
    sources = fit.sweep(sources, 4, run)
    return exposure, Hidden(sources, image - fit.planes.residual, plane, psf), run


def share_of_sums(flux, distance, n_detected=0, seed=1):
    exposure, hidden, run = fitted_grid(flux, distance, seed)
    least = LeastFlux(LEAST, np.ones((1, 1), np.float32), exposure.shape)
    faint, bright, _ = sums_of_stars(exposure, hidden, n_detected, least, run)
    assert not bright.any()
    return faint.mean()


def test_faint_pairs_are_told_from_stars():
    """Few stars are taken for sums; pairs that are nearly resolved are, most of them."""
    stars, pairs = (share_of_sums(1.3 * LEAST, distance) for distance in (0.0, 1.2))
    assert stars < 0.06
    assert pairs > 0.2


def test_brighter_sources_and_detections_stay():
    assert share_of_sums(10.0 * LEAST, 1.2) == 0.0
    assert share_of_sums(1.3 * LEAST, 1.2, n_detected=1000) == 0.0


def test_detections_keep_their_rows():
    """Whatever a search says of them: what was measured of them stands in these rows."""
    _, hidden, _ = fitted_grid(10.0 * LEAST, 0.0, n=5)
    kept = np.arange(25) % 2 == 0
    some = only(hidden, kept, 10)
    stay = kept | (np.arange(25) < 10)
    np.testing.assert_array_equal(some.x, hidden.x[stay])
    gone = hidden.models - some.models
    assert gone.sum() == pytest.approx(hidden.flux[~stay].sum(), rel=0.01)


def test_a_broken_pixel_does_not_spoil_the_noise_of_others():
    """The square of 3e38 is infinite."""
    row, column = np.indices((60, 60)).reshape(2, -1)
    image = np.random.default_rng(5).normal(0.0, 1.0, (60, 60)).astype(np.float32)
    clean = mean_square(image.copy(), row, column, 2).reshape(60, 60)
    part = image[:7, 8:13].astype(float)
    assert clean[4, 10] == pytest.approx((part[2:] ** 2).mean(), rel=1e-6)
    assert clean[1, 10] == pytest.approx((part[:4] ** 2).mean(), rel=1e-6)
    for value in (1e20, 3e38, -3e38):
        broken = image.copy()
        broken[30, 30] = value
        found = mean_square(broken, row, column, 2).reshape(60, 60)
        near = np.zeros(image.shape, bool)
        near[28:33, 28:33] = True
        np.testing.assert_allclose(found[~near], clean[~near], rtol=1e-3)
        assert (found[near] > 1e9).all()


@pytest.mark.parametrize("has_map", [False, True])
def test_windows_are_filtered_as_all_of_the_image_is(has_map):
    """Pixels at the edges, beside bad ones and in several cells of the PSF."""
    rng = np.random.default_rng(3)
    ny, nx, reach = 90, 120, 4
    edges = np.array([0, 40, 120]), np.array([0, 50, 90])
    y, x = np.mgrid[-10:11, -10:11]
    widths = np.array([[1.4, 1.6], [1.5, 1.8]])[:, :, None, None]
    stamps = np.exp(-0.5 * (x**2 + 1.2 * y**2) / widths**2)
    matched = stamps_filter(stamps / stamps.sum((2, 3), keepdims=True), *edges)
    cell = np.ones((1, 1), np.float32)
    background = BackgroundMap(
        level=0.0 * cell, rms=2.0 * cell, mesh_width=nx, mesh_height=ny, shape=(ny, nx),
        mean=0.0, sigma=2.0,
    )  # fmt: skip
    bad = rng.uniform(size=(ny, nx)) < 0.01
    variance = np.where(bad, 1e30, rng.uniform(2.0, 6.0, (ny, nx))).astype(np.float32)
    plane = Plane(
        background=background, subtracted=np.zeros((ny, nx), np.float32),
        variance=variance if has_map else None, bad=bad, n_bad=int(bad.sum()),
        saturated=np.zeros((ny, nx // 8), np.uint8), relative=False, weight_gain=False, gain=0.0,
    )  # fmt: skip
    image = rng.normal(0.0, 2.0, (ny, nx)).astype(np.float32)
    row = np.array([0, 3, 20, 45, 89, 60, 30])
    column = np.array([0, 118, 20, 80, 70, 10, 21])
    got = filtered_about(plane, image, row, column, reach, matched, Run(1))
    want = filtered_plane(plane, image, matched, Run(1))
    near = np.zeros((ny, nx), np.bool_)
    for j, i in zip(row, column, strict=True):
        near[max(j - reach, 0) : j + reach + 1, max(i - reach, 0) : i + reach + 1] = True
    np.testing.assert_allclose(got[near], want[near], rtol=1e-4, atol=1e-4)
    # Many, each once: threads change nothing.
    row, column = (v.ravel() for v in np.mgrid[: ny : 2 * reach + 1, : nx : 2 * reach + 1])
    by_one, by_two = (
        filtered_about(plane, image, row, column, reach, matched, Run(n)) for n in (1, 2)
    )
    filled = row.max() + reach + 1
    np.testing.assert_array_equal(by_two[:filled], by_one[:filled])


def test_correlated_noise_is_that_of_the_place():
    """Pixels of one width everywhere, sums of 2 x 2 on the left and of 4 x 4 on the right."""
    rng = np.random.default_rng(5)
    size = 900
    wide = rng.normal(size=(size + 3, size + 3))
    sums = [
        np.lib.stride_tricks.sliding_window_view(wide, (k, k))[:size, :size].sum((2, 3)) / k
        for k in (2, 4)
    ]
    image = np.where(np.arange(size) < size // 2, *sums).astype(np.float32)
    cell = np.ones((1, 1), np.float32)
    background = BackgroundMap(
        level=0.0 * cell, rms=cell, mesh_width=size, mesh_height=size, shape=image.shape,
        mean=0.0, sigma=1.0,
    )  # fmt: skip
    plane = Plane(
        background=background, subtracted=image, variance=np.ones_like(image),
        bad=np.zeros(image.shape, np.bool_), n_bad=0,
        saturated=np.packbits(image < -np.inf, axis=1), relative=False, weight_gain=False, gain=0.0,
    )  # fmt: skip
    matched = matched_filter(Psf.gaussian(FWHM, PsfSource.FILE), image.shape)
    filtered = filtered_plane(plane, image, matched, Run(1))
    unit = matched.unit(1.0)
    nowhere = np.zeros(0, np.int64)
    scale = noise_scale(filtered, image, plane, unit, matched, nowhere, Run(1))
    least = LeastFlux(100.0, scale, image.shape).times(1.5)
    for side, x in ((slice(50, 350), 200.0), (slice(550, 850), 700.0)):
        want = filtered[50:-50, side].std() / unit
        got = least.at(np.full(3, x), np.array([200.0, 450.0, 700.0])) / 150.0
        np.testing.assert_allclose(got, want, rtol=0.12)
    white = rng.normal(size=image.shape).astype(np.float32)
    filtered = filtered_plane(plane, white, matched, Run(1))
    assert (noise_scale(filtered, white, plane, unit, matched, nowhere, Run(1)) == 1.0).all()
    # what models of galaxies leave is none of the noise
    patches = rng.uniform(-20.0, 20.0, (30, 30)) * (rng.random((30, 30)) < 0.4)
    left = np.kron(patches, np.ones((30, 30))).astype(np.float32)
    filtered = filtered_plane(plane, white + left, matched, Run(1))
    assert noise_scale(filtered, white + left, plane, unit, matched, nowhere, Run(1)).max() > 5.0
    extended = np.flatnonzero(filtered_plane(plane, np.abs(left), matched, Run(1)) > 0.01)
    before = filtered.copy()
    scale = noise_scale(filtered, white + left, plane, unit, matched, extended, Run(1))
    assert scale.max() < 1.2
    assert (filtered == before).all()


@pytest.mark.parametrize(("fwhm", "half"), [(3.5, 3), (3.5, 7), (2.0, 2), (6.0, 4)])
def test_noise_in_boxes_scatters_as_filtered_white_noise_does(fwhm, half):
    rng = np.random.default_rng(2)
    size, side = 1000, 2 * half + 1
    frequency = np.fft.fftfreq(size)
    squares = frequency[:, None] ** 2 + frequency**2
    taps = np.exp(-2.0 * (np.pi * fwhm / 2.3548) ** 2 * squares)
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) * taps).real
    n = size // side
    boxes = noise[: n * side, : n * side].reshape(n, side, n, side)
    rms = np.sqrt((boxes**2).mean((1, 3)))
    assert scatter_of_noise(half, fwhm) == pytest.approx(np.log(rms).std(), rel=0.1)


def kept_stars(width):
    """Share of stars 1.25 times the limit that stay: above, and in the last quarter.

    Noise is so much wider there.  As the program says, and by the box about each alone.
    """
    exposure, hidden, run = fitted_grid(0.0, 0.0)
    parameters = hidden.sources.parameters.copy()
    parameters[:, 0] = 1.25 * LEAST
    noise = np.random.default_rng(3).normal(0.0, NOISE, exposure.shape).astype(np.float32)
    middle = 3 * len(noise) // 4
    noise[middle:] *= np.float32(width)
    hidden = replace(
        hidden, models=np.zeros_like(noise), plane=replace(hidden.plane, subtracted=noise),
        sources=replace(hidden.sources, parameters=parameters),
    )  # fmt: skip
    least = LeastFlux(LEAST, np.ones((1, 1), np.float32), exposure.shape)
    matched = matched_filter(hidden.psf, exposure.shape)
    row, column = nearest_pixel(hidden.x, hidden.y, noise.shape)
    filtered = filtered_plane(hidden.plane, hidden.residual, matched, run)
    raw = np.sqrt(mean_square(filtered / np.float32(matched.unit(NOISE)), row, column, 3)) < 1.25
    clear = significant_sources(hidden, 0, least, matched, run)
    upper = hidden.y < middle
    return [(which[upper].mean(), which[~upper].mean()) for which in (clear, raw)]


def test_stars_in_even_noise_are_not_lost_by_chance():
    """A box of a FWHM and a half has three independent pixels: its rms is 30 % off."""
    kept, raw = kept_stars(1.0)
    assert kept == (1.0, 1.0)
    assert max(raw) < 0.95


def test_stars_where_models_leave_more_are_lost():
    (upper, lower), raw = kept_stars(3.0)
    assert upper > raw[0]
    assert lower < 0.2


def test_mean_squares_of_boxes_take_no_plane():
    """At the edge the pixels that are there count, and little memory is taken for few sources."""
    rng = np.random.default_rng(4)
    filtered = rng.normal(size=(1500, 1200)).astype(np.float32)
    row, column = np.array([0, 3, 700, 1499]), np.array([1199, 600, 2, 0])
    tracemalloc.start()
    got = mean_square(filtered, row, column, 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    want = [
        (filtered[max(0, j - 4) : j + 5, max(0, i - 4) : i + 5].astype(float) ** 2).mean()
        for j, i in zip(row, column, strict=True)
    ]
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert peak < 0.1 * filtered.nbytes
