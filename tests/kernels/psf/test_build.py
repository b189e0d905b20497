"""The PSF solver's kernels against matrices written out."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.psf import build as psfbuild

N, SIZE, STEP = 9, 7, 0.8


def spline(t):
    t = np.abs(t)
    return np.where(t < 1, (4 - 6 * t**2 + 3 * t**3) / 6, np.where(t < 2, (2 - t) ** 3 / 6, 0))


def design(cx, cy):
    """Matrix from the coefficients of one image to the pixels of a stamp."""

    def axis(centre):
        t = (np.arange(SIZE) - centre) / STEP + (N - 1) / 2
        weights = spline(t[:, None] - np.arange(N))
        inside = (np.floor(t) >= 1) & (np.floor(t) + 2 < N)
        return weights * inside[:, None]

    return np.einsum("aj,bi->abji", axis(cy), axis(cx)).reshape(SIZE * SIZE, N * N)


@pytest.fixture
def problem():
    random = np.random.default_rng(1)
    terms = np.stack([np.ones(4), random.uniform(-0.5, 0.5, 4)], axis=1)
    cx, cy = random.uniform(2.6, 3.4, (2, 4))
    weight = random.uniform(0, 1, (4, SIZE, SIZE)).astype(np.float32)
    matrices = [
        np.concatenate([u * design(a, b) for u in t], axis=1)
        for t, a, b in zip(terms, cx, cy, strict=True)
    ]
    return random, terms, cx, cy, weight, matrices


def test_normal_matrix_and_right_side(problem):
    random, terms, cx, cy, weight, matrices = problem
    v = random.normal(size=(2, N, N))
    expected = sum(
        m.T @ (w.ravel() * (m @ v.ravel())) for m, w in zip(matrices, weight, strict=True)
    )
    out = np.zeros_like(v)
    psfbuild.apply_normal(v, terms, STEP, cx, cy, weight, out)
    np.testing.assert_allclose(out.ravel(), expected, atol=1e-12)

    out[:] = 0
    psfbuild.right_side(terms, STEP, cx, cy, weight, out)
    expected = sum(m.T @ w.ravel() for m, w in zip(matrices, weight, strict=True))
    np.testing.assert_allclose(out.ravel(), expected, atol=1e-12)


def test_diagonal_has_the_scale_of_the_normal_matrix(problem):
    _, terms, cx, cy, weight, matrices = problem
    blocks = np.zeros((N, N, 2, 2))
    psfbuild.diagonal(terms, STEP, cx, cy, np.ones_like(weight), blocks)
    exact = sum(m.T @ m for m in matrices)[: N * N, : N * N].sum(axis=1).reshape(N, N)
    inner = (slice(3, 6), slice(3, 6))
    np.testing.assert_allclose(blocks[..., 0, 0][inner], exact[inner], rtol=0.6)


@pytest.mark.parametrize("length", [0.7, 2.0])
def test_smoothing(length):
    random = np.random.default_rng(2)
    images = random.normal(size=(2, 11, 11))
    half = int(np.ceil(3 * length))
    taps = np.exp(-0.5 * (np.arange(-half, half + 1) / length) ** 2)
    offset = np.arange(11)[:, None] - np.arange(11)
    matrix = np.where(np.abs(offset) <= half, np.exp(-0.5 * (offset / length) ** 2), 0)
    out = np.full_like(images, np.nan)
    psfbuild.smooth_terms(images, taps, out)
    np.testing.assert_allclose(out, matrix @ images @ matrix, atol=1e-12)


def bump(size, x, y, sigma):
    gy, gx = np.mgrid[0:size, 0:size]
    return np.exp(-0.5 * ((gx - x) ** 2 + (gy - y) ** 2) / sigma**2)


def fit(stamps, noise, coefficients, step, cx, cy, flux, **options):
    n = len(stamps)
    weight, target = np.zeros((2, *stamps.shape), dtype=np.float32)
    out = np.zeros((n, 4))
    psfbuild.fit_stars(
        coefficients, np.ones((n, 1)), step, stamps, noise, options.get("inverse_gain", 0.0),
        0.003, 6.0, 6.0, options.get("clip", 5.0), 5, cx, cy, flux, weight, target, out,
    )  # fmt: skip
    return weight, target, out


def test_fluxes_and_centres_are_recovered_and_odd_pixels_get_no_weight():
    # A coefficient image stands for the PSF: what it renders to is the truth here.
    coefficients = bump(25, 12, 12, 2.5)[None]
    step, size = 1.0, 17
    rendered = np.zeros((1, size, size), dtype=np.float32)

    def image(x, y):
        t = (np.arange(size) - x) / step + 12
        u = (np.arange(size) - y) / step + 12
        wx = spline(t[:, None] - np.arange(25))
        wy = spline(u[:, None] - np.arange(25))
        return wy @ coefficients[0] @ wx.T

    rendered[0] = 500.0 * image(8.3, 7.6)
    rendered[0, 1, 8] += 300.0
    noise = np.ones_like(rendered)
    noise[0, 8, 14] = 1e30
    cx, cy, flux = np.array([8.0]), np.array([8.0]), np.array([300.0])
    weight, target, out = fit(rendered, noise, coefficients, step, cx, cy, flux)
    assert flux[0] == pytest.approx(500.0, rel=1e-3)
    assert cx[0] == pytest.approx(8.3, abs=2e-3)
    assert cy[0] == pytest.approx(7.6, abs=2e-3)
    assert out[0, psfbuild.N_CLIPPED] == 1
    assert not weight[0, 0:3, 8].any()
    assert not weight[0, 1, 7:10].any()
    assert weight[0, 8, 14] == 0
    good = weight > 0
    np.testing.assert_allclose((target / np.where(good, weight, 1))[good],
                               (rendered / flux[0])[good], rtol=1e-4, atol=1e-6)  # fmt: skip


def test_a_star_without_light_or_pixels_gets_flux_zero():
    coefficients = bump(25, 12, 12, 2.5)[None]
    stamps = np.full((2, 17, 17), -5.0, dtype=np.float32)
    noise = np.ones_like(stamps)
    noise[1] = 1e30
    flux = np.array([100.0, 100.0])
    weight, _, out = fit(stamps, noise, coefficients, 1.0, *np.full((2, 2), 8.0), flux)
    assert flux[0] == 0
    assert not weight.any()
    assert out[1, psfbuild.N_PIXELS] == 0
    assert np.isfinite(out).all()


def cut(x, y, peaks=((), (), (), ()), variance=None):
    data = np.arange(40.0 * 40).reshape(40, 40).astype(np.float32)
    variance = np.full_like(data, 4.0) if variance is None else variance
    stamps = np.empty((1, 11, 11), dtype=np.float32)
    noise = np.empty_like(stamps)
    columns = [np.array(c, dtype=float) for c in peaks]
    psfbuild.cut_stamps(
        data, variance, np.array([x]), np.array([y]), np.array([1000.0]), *columns, 2.0,
        stamps, noise,
    )  # fmt: skip
    return data, stamps[0], noise[0]


def test_stamps_hold_the_pixels_and_nothing_outside():
    data, stamp, noise = cut(20.4, 15.6)
    np.testing.assert_array_equal(stamp[5], data[16, 15:26])
    assert noise[5, 5] == 4.0
    assert noise[0, 0] > 1e29  # outside the inscribed circle
    _, stamp, noise = cut(1.0, 39.0)
    assert (noise[:, :4] > 1e29).all()
    assert (noise[6:] > 1e29).all()
    assert (stamp[noise > 1e29] == 0).all()


def test_neighbours_are_masked_but_neither_the_star_nor_its_wing():
    _, _, noise = cut(20, 20, ([20, 24], [20, 20], [1000, 500], [2, 2]))
    assert (noise[5, 8:] > 1e29).all()
    assert (noise[5, :7] == 4.0).all()
    _, _, noise = cut(20, 20, ([20, 24], [20, 20], [1000, 5], [2, 2]))
    assert (noise[5] == 4.0).all()


def test_radial_sums():
    rng = np.random.default_rng(8)
    stamps = rng.normal(5, 1, (3, 7, 7)).astype(np.float32)
    noise = rng.uniform(1, 2, (3, 7, 7)).astype(np.float32)
    noise[1, 2, 2:5] = 1e30
    cx, cy = rng.uniform(2.5, 3.5, (2, 3))
    flux = np.array([100.0, 40.0, -1.0])
    shape, edges = np.array([1.2, 0.9, 0.2]), np.array([0.0, 1.0, 2.5, 6.0])
    out = np.zeros((3, 3))
    psfbuild.radial_sums(stamps, noise, 0.5, 0.01, cx, cy, flux, 0.1, shape, edges, out)
    expected = np.zeros((3, 3))
    v, u = np.indices((7, 7))
    for s in (0, 1):
        dx, dy = u - cx[s], v - cy[s]
        r2 = shape[0] * dx**2 + shape[1] * dy**2 + 2 * shape[2] * dx * dy
        weight = flux[s] ** 2 / (noise[s] + 0.1 * flux[s] * 0.5 + (0.01 * flux[s]) ** 2)
        for terms, column in ((1, 0), (stamps[s] / flux[s], 1), (np.sqrt(r2), 2)):
            used = noise[s] < 1e30
            sums, _ = np.histogram(r2[used], edges, weights=(weight * terms)[used])
            expected[:, column] += sums
    np.testing.assert_allclose(out, expected, rtol=1e-6)
