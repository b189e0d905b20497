"""Aperture kernels against sep and plain numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sep

from skyextract.kernels.measurement import aperture as k
from skyextract.kernels.measurement import pixel
from skyextract.kernels.measurement.records import Noise, Shapes, SourcePixels
from skyextract.kernels.values import APERTURE_INCOMPLETE, TOUCHES_BAD

RNG = np.random.default_rng(4)
N = 60


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two overlapping Gaussians and noise; labels of their halves; positions."""
    y, x = np.mgrid[:N, :N].astype(float)
    px, py = np.array([22.313, 33.837, 56.929]), np.array([25.771, 29.219, 3.113])
    image = RNG.normal(0.0, 1.0, (N, N))
    for cx, cy, flux in zip(px, py, (900.0, 2000.0, 600.0), strict=True):
        image += flux / 18.0 * np.exp(-((x - cx) ** 2 / 8.0 + (y - cy) ** 2 / 5.0))
    labels = np.zeros((N, N), dtype=np.int32)
    distance = np.array([(x - a) ** 2 + (y - b) ** 2 for a, b in zip(px, py, strict=True)])
    near = distance.min(axis=0) < 40.0
    labels[near] = distance.argmin(axis=0)[near] + 1
    return image.astype(np.float32), labels, px, py


def shapes(px, py, *ellipse) -> Shapes:
    """a, b, cxx, cyy, cxy of the ellipses, or circles of one pixel."""
    one, n = np.ones(px.size), px.size
    ellipse = ellipse or (one, one, one, one, np.zeros(n))
    return Shapes(px, py, *ellipse, np.zeros(n, np.uint8))


def apertures(
    image, labels, px, py, radii, *, mask=pixel.CORRECT, gain=0.0, sky=0.0, variance=None
):
    n = px.size
    flux, error = np.zeros((n, len(radii))), np.zeros((n, len(radii)))
    flags = np.zeros(n, dtype=np.int32)
    mapped = variance is not None
    plane = variance if mapped else np.zeros((1, 1), dtype=np.float32)
    k.aperture_fluxes(
        SourcePixels(image, labels, mask), Noise(plane, mapped, 1.0, gain, False), shapes(px, py),
        np.full(n, sky), np.array(radii), 0, n, flux, error, flags,
    )  # fmt: skip
    return flux, error, flags


def replaced(image, labels, source, cx, cy):
    """MASK_TYPE CORRECT, pixel by pixel."""
    out = image.astype(float).copy()
    good = np.isfinite(image) & ((labels <= 0) | (labels == source))
    for y, x in np.argwhere(~good):
        u, v = int(2 * cx + 0.49999 - x), int(2 * cy + 0.49999 - y)
        inside = 0 <= u < N and 0 <= v < N and good[v, u]
        out[y, x] = image[v, u] if inside else 0.0
    return out


def test_circles_without_neighbours_equal_sep() -> None:
    image, labels, px, py = scene()
    flux, error, flags = apertures(image, labels, px, py, [2.5, 6.1], mask=0, gain=2.0)
    for j, radius in enumerate((2.5, 6.1)):
        expected, expected_error, _ = sep.sum_circle(
            image, px, py, radius, err=1.0, gain=2.0, subpix=5
        )
        np.testing.assert_allclose(flux[:, j], expected, rtol=1e-5)
        np.testing.assert_allclose(error[:, j], expected_error, rtol=1e-5)
    assert flags.tolist() == [0, 0, APERTURE_INCOMPLETE]


@pytest.mark.parametrize("bad", [False, True])
def test_neighbours_and_bad_pixels_are_replaced_by_opposite_ones(bad: bool) -> None:
    image, labels, px, py = scene()
    if bad:
        image[25, 24:27] = np.nan
    flux, _, flags = apertures(image, labels, px, py, [7.0])
    for i in range(2):
        clean = replaced(image, labels, i + 1, px[i], py[i]).astype(np.float32)
        expected, _, _ = sep.sum_circle(clean, px[i : i + 1], py[i : i + 1], 7.0, subpix=5)
        assert flux[i, 0] == pytest.approx(expected[0], rel=1e-5)
    assert bool(flags[0] & TOUCHES_BAD) is bad


def test_blank_leaves_neighbours_out_and_unclaimed_pixels_belong_to_nobody() -> None:
    image, labels, px, py = scene()
    blank, _, _ = apertures(image, labels, px, py, [7.0], mask=pixel.BLANK)
    only = np.where((labels > 0) & (labels != 1), 0.0, image).astype(np.float32)
    expected, _, _ = sep.sum_circle(only, px[:1], py[:1], 7.0, subpix=5)
    assert blank[0, 0] == pytest.approx(expected[0], rel=1e-5)
    image[28, 20] = -np.inf
    flux, _, flags = apertures(image, labels, px, py, [7.0], mask=pixel.BLANK)
    assert math.isfinite(flux[0, 0])
    assert flags[0] == 0


def test_local_sky_and_variance_plane() -> None:
    image, labels, px, py = scene()
    flux, _, _ = apertures(image, labels, px, py, [5.0], mask=0)
    lower, _, _ = apertures(image, labels, px, py, [5.0], mask=0, sky=0.5)
    area = sep.sum_circle(np.ones_like(image), px, py, 5.0, subpix=5)[0]
    np.testing.assert_allclose(flux[:, 0] - lower[:, 0], 0.5 * area, rtol=1e-6)
    variance = RNG.uniform(1.0, 3.0, image.shape).astype(np.float32)
    _, error, _ = apertures(image, labels, px, py, [5.0], mask=0, variance=variance)
    expected = sep.sum_circle(variance, px, py, 5.0, subpix=5)[0]
    np.testing.assert_allclose(error[:, 0] ** 2, expected, rtol=1e-5)


def ellipses(px):
    a, b, theta = np.array([2.0, 2.1, 2.2]), np.array([1.5, 1.6, 1.4]), np.array([0.1, -0.4, 0.9])
    c, s = np.cos(theta), np.sin(theta)
    cxx = c**2 / a**2 + s**2 / b**2
    cyy = s**2 / a**2 + c**2 / b**2
    cxy = 2 * c * s * (1 / a**2 - 1 / b**2)
    return a, b, theta, cxx, cyy, cxy


def test_kron_radii_and_elliptical_fluxes() -> None:
    image, labels, px, py = scene()
    a, b, theta, cxx, cyy, cxy = ellipses(px)
    radii, flags = np.zeros(3), np.zeros(3, dtype=np.int32)
    sources = shapes(px, py, a, b, cxx, cyy, cxy)
    k.kron_radii(SourcePixels(image, labels, 0), sources, 2.5, 3.5, 0.0, 0, 3, radii, flags)
    expected, _ = sep.kron_radius(image, px, py, a, b, theta, 6.0)
    np.testing.assert_allclose(radii, np.maximum(2.5 * expected, 3.5), rtol=1e-4)
    flux, error = np.zeros(3), np.zeros(3)
    plane = np.zeros((1, 1), dtype=np.float32)
    k.elliptical_fluxes(
        SourcePixels(image, labels, pixel.CORRECT), Noise(plane, False, 1.0, 0.0, False), sources,
        np.zeros(3), 0.0, 0, 3, radii, flux, error, flags,
    )  # fmt: skip
    y, x = np.mgrid[:N, :N]
    for i in range(3):
        r2 = cxx[i] * (x - px[i]) ** 2 + cyy[i] * (y - py[i]) ** 2
        inside = r2 + cxy[i] * (x - px[i]) * (y - py[i]) <= radii[i] ** 2
        clean = replaced(image, labels, i + 1, px[i], py[i])
        assert flux[i] == pytest.approx(clean[inside].sum(), rel=1e-9)
        assert error[i] == pytest.approx(math.sqrt(inside.sum()), rel=1e-9)
    assert (flags[:2] & k.CROWDED).any()
    assert flags[2] & APERTURE_INCOMPLETE


def test_least_aperture_takes_over_and_empty_ellipse_gives_zero() -> None:
    image, labels, px, py = scene()
    a, b, _, cxx, cyy, cxy = ellipses(px)
    radii, flags = np.full(3, 3.5), np.zeros(3, dtype=np.int32)
    radii[1] = math.nan
    flux, error = np.ones(3), np.ones(3)
    plane = np.zeros((1, 1), dtype=np.float32)
    k.elliptical_fluxes(
        SourcePixels(image, labels, 0), Noise(plane, False, 1.0, 0.0, False),
        shapes(px, py, a, b, cxx, cyy, cxy), np.zeros(3), 20.0, 0, 3, radii, flux, error, flags,
    )  # fmt: skip
    y, x = np.mgrid[:N, :N]
    inside = (x - px[0]) ** 2 + (y - py[0]) ** 2 <= 100.0
    assert flux[0] == pytest.approx(image[inside].astype(float).sum(), rel=1e-9)
    assert radii[0] == 0.0
    assert flux[1] == error[1] == 0.0


def test_petrosian_radius_of_an_exponential_disc() -> None:
    """eta(r) = 0.2 of exp(-r/h) lies at r = 3.63 h; radii are tried in steps of 0.3 sigma."""
    y, x = np.mgrid[:121, :121]
    h = 5.0
    image = (1000.0 * np.exp(-np.hypot(x - 60.2, y - 59.9) / h)).astype(np.float32)
    labels = np.zeros((121, 121), dtype=np.int32)
    one = np.ones(1)
    radii, flags = np.zeros(1), np.zeros(1, dtype=np.int32)
    width = one * 9.0
    disc = shapes(one * 60.2, one * 59.9, width, width, one / 81.0, one / 81.0, one * 0.0)
    plane = SourcePixels(image, labels, pixel.CORRECT)
    k.petrosian_radii(plane, disc, 2.0, 1.0, 0.0, 0, 1, radii, flags)
    step = 1.1 * 0.3 * 9.0
    assert 0.0 <= radii[0] * 9.0 - 2.0 * 3.63 * h <= 2.0 * step
