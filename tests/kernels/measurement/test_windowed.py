"""Growth curves and windowed parameters against sep and plain numpy."""

from __future__ import annotations

import numba
import numpy as np
import pytest
import sep

from skyextract.kernels.measurement import windowed as k
from skyextract.kernels.measurement.fluxradius import N_BINS, flux_radii
from skyextract.kernels.measurement.records import Noise, Shapes, SourcePixels
from skyextract.kernels.values import TOUCHES_BAD

N = 64
PLANE = np.zeros((1, 1), dtype=np.float32)


@pytest.fixture(scope="module")
def stars() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(9)
    y, x = np.mgrid[:N, :N].astype(float)
    px, py = np.array([15.3, 44.7, 30.2]), np.array([17.6, 20.1, 46.5])
    image = rng.normal(0.0, 1.0, (N, N))
    for cx, cy, flux in zip(px, py, (3000.0, 1500.0, 6000.0), strict=True):
        image += flux / (2 * np.pi * 3.0) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 6.0)
    return image.astype(np.float32), px, py


def growth(image, px, py, a, total, fractions, *, whole=False):
    n = px.size
    out = (
        np.zeros((n, len(fractions))), np.zeros(n), np.zeros((n if whole else 0, N_BINS)),
        np.zeros(n), np.zeros(n, dtype=np.int32),
    )  # fmt: skip
    labels = np.zeros(image.shape, dtype=np.int32)
    circles = Shapes(px, py, a, a, 1 / a**2, 1 / a**2, np.zeros(n), np.zeros(n, np.uint8))
    plane = SourcePixels(image, labels, 0)
    flux_radii(plane, circles, 0.0, total, np.array(fractions), whole, 0, n, *out)
    return out


def test_flux_radii_equal_sep(stars) -> None:
    image, px, py = stars
    a = np.array([1.8, 1.7, 1.9])
    total, _, _ = sep.sum_circle(image, px, py, 8.0)
    radii, half, _, reach, flags = growth(image, px, py, a, total, [0.2, 0.5, 0.9])
    expected, _ = sep.flux_radius(image, px, py, 6.0 * a, [0.2, 0.5, 0.9], normflux=total, subpix=5)
    np.testing.assert_allclose(radii, expected, rtol=2e-3)
    np.testing.assert_allclose(half, radii[:, 1], rtol=1e-12)
    np.testing.assert_allclose(reach, 6.0 * a)
    assert not flags.any()


def test_partial_curve_gives_the_radii_of_the_whole_one(stars) -> None:
    image, px, py = stars
    a, total = np.array([1.8, 2.5, 3.9]), np.array([2900.0, 1400.0, -50.0])
    fractions = [0.1, 0.5, 0.95]
    part = growth(image, px, py, a, total, fractions)
    full = growth(image, px, py, a, total, fractions, whole=True)
    np.testing.assert_allclose(part[0], full[0], rtol=1e-9)
    np.testing.assert_allclose(part[1], full[1], rtol=1e-9)
    y, x = np.mgrid[:N, :N]
    inside = np.hypot(x - px[0], y - py[0]) < 6.0 * 1.8
    assert full[2][0, -1] == pytest.approx(image[inside].astype(float).sum(), rel=0.01)


def test_a_source_without_extent_has_the_radius_of_a_pixel(stars) -> None:
    """The process died of it: its curve had bins of no width."""
    image, px, py = stars
    with np.errstate(divide="ignore"):
        got = growth(image, px, py, np.zeros(3), np.full(3, 1e9), [0.5], whole=True)
    np.testing.assert_array_equal(got[3], 1.0)
    assert ((got[0] > 0.95) & (got[0] <= 1.0)).all()
    at_centres = image[np.rint(py).astype(int), np.rint(px).astype(int)]
    assert (got[2][:, -1] > at_centres).all()


def windowed(image, px, py, half, *, variance=None, noise2=1.0, gain=0.0, labels=None, mask=0):
    n = px.size
    out = np.zeros((n, 10))
    iterations, status, flags = (np.zeros(n, dtype=np.int32) for _ in range(3))
    if labels is None:
        labels = np.zeros(image.shape, dtype=np.int32)
    small = np.full(n, 0.05)
    k.windowed(
        SourcePixels(image, labels, mask),
        Noise(PLANE if variance is None else variance, variance is not None, noise2, gain, False),
        Shapes(px, py, small, small, small, small, np.zeros(n), np.zeros(n, dtype=np.uint8)),
        half, 0, n, out, iterations, status, flags,
    )  # fmt: skip
    return out, iterations, status, flags


def test_positions_equal_sep(stars) -> None:
    image, px, py = stars
    half = np.array([2.0, 2.1, 2.0])
    out, iterations, status, _ = windowed(image, px + 0.3, py - 0.4, half)
    x, y, _ = sep.winpos(image, px + 0.3, py - 0.4, 2.0 * half / 2.35, subpix=11)
    np.testing.assert_allclose(out[:, 0], x, atol=2e-4)
    np.testing.assert_allclose(out[:, 1], y, atol=2e-4)
    assert (status == 0).all()
    assert (iterations < 17).all()


def test_moments_flux_and_errors_of_the_window_equal_their_definitions(stars) -> None:
    image, px, py = stars
    half = np.full(3, 2.0)
    out, _, _, _ = windowed(image, px, py, half, gain=2.0)
    y, x = np.mgrid[:N, :N].astype(float)
    sigma = 4.0 / 2.35
    for row in out:
        # The sums are those around the last position but one; that is within 1e-4 of it.
        dx, dy = x - row[0], y - row[1]
        weight = np.exp(-(dx**2 + dy**2) / (2 * sigma**2)) * (np.hypot(dx, dy) < 4 * sigma)
        light = weight * image
        noise = weight**2 * (1.0 + np.maximum(image, 0.0) / 2.0)
        assert row[5] == pytest.approx(light.sum(), rel=1e-3)
        assert row[2] == pytest.approx((light * dx**2).sum() / light.sum(), rel=5e-3)
        assert row[4] == pytest.approx((light * dx * dy).sum() / light.sum(), abs=5e-3)
        assert row[6] == pytest.approx(noise.sum(), rel=1e-3)
        expected = 4.0 * (noise * (dx**2 + 1 / 12)).sum() / light.sum() ** 2
        assert row[7] == pytest.approx(expected, rel=2e-3)


def test_failures_keep_the_start_and_say_so(stars) -> None:
    image, px, py = stars
    out, _, status, flags = windowed(-image, px, py, np.full(3, 2.0))
    assert (status & 4).all()
    np.testing.assert_array_equal(out[:, 0], px)
    assert np.isnan(out[:, 2]).all()
    empty = np.full_like(image, np.nan)
    out, _, status, flags = windowed(empty, px, py, np.full(3, 2.0))
    assert (status & 4).all()
    assert (flags & TOUCHES_BAD).all()


def test_nan_pixel_is_replaced_by_the_opposite_one(stars) -> None:
    image, px, py = stars
    clean, _, _, _ = windowed(image, px, py, np.full(3, 2.0))
    image = image.copy()
    image[19, 16] = np.nan
    out, _, _, flags = windowed(image, px, py, np.full(3, 2.0), mask=2)
    assert abs(out[0, 0] - clean[0, 0]) < 0.05
    assert flags.tolist() == [TOUCHES_BAD, 0, 0]


def iterate_on_all_pixels(image, x, y, half):
    """Return the position that the windowed iteration on every pixel comes to."""
    sigma = 2 * half / 2.35
    row, column = np.mgrid[: image.shape[0], : image.shape[1]].astype(float)
    for _ in range(16):
        dx, dy = column - x, row - y
        r2 = dx**2 + dy**2
        light = image * np.exp(-r2 / (2 * sigma**2)) * (r2 < (4 * sigma) ** 2)
        step = 2 * (light * dx).sum() / light.sum(), 2 * (light * dy).sum() / light.sum()
        x, y = x + step[0], y + step[1]
        if np.hypot(*step) < 2e-4:
            break
    return x, y


@pytest.mark.parametrize("seed", [1] if numba.config.DISABLE_JIT else [1, 2])
def test_sampled_window_of_a_huge_object_finds_its_centre(seed) -> None:
    rng = np.random.default_rng(seed)
    size, width = 900, 90.0
    true = size / 2 + rng.uniform(-20, 20, 2)
    y, x = np.mgrid[:size, :size].astype(float)
    image = 50 * np.exp(-((x - true[0]) ** 2 + (y - true[1]) ** 2) / (2 * width**2))
    image = (image + rng.normal(0, 5, image.shape)).astype(np.float32)
    half = np.array([1.18 * width])
    start = true + rng.uniform(-2, 2, 2)
    out, iterations, status, _ = windowed(image, start[:1], start[1:], half, noise2=25.0)
    assert iterations[0] < 17
    assert status[0] == 0
    # Every second pixel of every second row: twice the noise of all of them, and no bias.
    error = 2 * np.sqrt(out[0, 7])
    position = iterate_on_all_pixels(image, *start, half[0])
    np.testing.assert_allclose(out[0, :2], position, atol=4 * error)
    np.testing.assert_allclose(out[0, :2], true, atol=4 * error)
    assert error < 0.2


def test_all_rows_at_once_give_the_sums_of_one_after_the_other(stars) -> None:
    """A bad pixel in the corner of the window, outside the circle, changes nothing but the way."""
    image, px, py = stars
    half = np.array([1.9, 2.3, 2.6])
    expected = windowed(image, px, py, half, gain=2.0)
    assert (expected[1] > 1).all()
    assert not expected[2].any()
    for i, (cx, cy) in enumerate(zip(px, py, strict=True)):
        radius = 4.0 * half[i] * 2.0 / 2.35
        spoiled = image.copy()
        spoiled[int(cy - radius + 1.5), int(cx - radius + 1.5)] = np.nan
        found = windowed(spoiled, px, py, half, gain=2.0)
        np.testing.assert_array_equal(found[0][i], expected[0][i])
        assert found[1][i] == expected[1][i]


def test_a_window_that_leaves_the_frame_to_the_left() -> None:
    """Light that falls to the right draws the centroid beyond the first column, by more than
    the window: nothing is summed there, and no memory beside the stamp is written to."""
    x = np.mgrid[:64, :300][1]
    image = (0.24 - (x - 10.0)).astype(np.float32)
    start, half = np.array([10.0]), np.array([2.06])
    out, iterations, _, _ = windowed(image, start, np.array([32.0]), half)
    spoiled = image.copy()
    spoiled[26, 4] = np.nan  # in the corner of the window: row after row
    other = windowed(spoiled, start, np.array([32.0]), half)
    assert iterations[0] == other[1][0] == 2
    np.testing.assert_array_equal(out, other[0])


def iterate_by_pixels(image, labels, own, x, y, half):
    """Return position and iterations of the window, pixel for pixel as the definition says."""
    sigma = 2.0 * half / 2.35
    radius = 4.0 * sigma
    lost = ~np.isfinite(image) | ((labels > 0) & (labels != own))
    row, column = np.indices(image.shape)
    iterations = 0
    while iterations < 16:
        iterations += 1
        v = np.trunc(2 * y + 0.49999 - row).astype(int)
        u = np.trunc(2 * x + 0.49999 - column).astype(int)
        inside = (v >= 0) & (v < len(image)) & (u >= 0) & (u < image.shape[1])
        at = np.where(inside, v, 0), np.where(inside, u, 0)
        opposite = np.where(inside & ~lost[at], image[at], 0.0)
        values = np.where(lost, opposite, image)
        dx, dy = column - x, row - y
        r = np.hypot(dx, dy)
        ramp = np.clip(0.5 + radius - r, 0.0, 1.0)
        light = values * np.exp(-(r**2) / (2 * sigma**2)) * ramp
        step = 2 * (light * dx).sum() / light.sum(), 2 * (light * dy).sum() / light.sum()
        x, y = x + step[0], y + step[1]
        if np.hypot(*step) < 2e-4:
            break
    return x, y, iterations


@pytest.mark.parametrize("start", [(80.0, 75.0), (78.4, 70.7), (80.0, 40.0), (40.3, 118.6)])
def test_large_window_among_pixels_of_others_and_bad_ones(start) -> None:
    """Within the frame and cut by its edges; those that start on a pixel's centre, too."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:150, :160].astype(float)
    image = 60 * np.exp(-(((x - start[0] - 1.3) ** 2 + (y - start[1] + 2.1) ** 2) / 800))
    image = (image + rng.normal(0, 3, image.shape)).astype(np.float32)
    labels = np.where(rng.random(image.shape) < 0.2, 7, 0).astype(np.int32)
    labels[30:34] = 7
    image[:, 90] = np.nan
    half = np.array([18.0])
    out, iterations, _, _ = windowed(
        image, np.array(start[:1]), np.array(start[1:]), half, noise2=9.0, labels=labels, mask=2
    )
    *position, number = iterate_by_pixels(image, labels, 1, *start, half[0])
    assert 2 < iterations[0] == number
    np.testing.assert_allclose(out[0, :2], position, rtol=0, atol=1e-9)
