"""Deblending kernels: random numbers, shapes, trees."""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
import pytest

from skyextract.kernels.detection import shape
from skyextract.kernels.detection.branches import Branches
from skyextract.kernels.detection.deblend import Draws, Sources, count_draws, gather_components
from skyextract.kernels.detection.draws import RANDOM_MAX, random_numbers
from skyextract.kernels.detection.pixels import Components, Pixels
from skyextract.run import Run
from skyextract.settings.keywords import Extraction
from skyextract.stages.detection.detect import detect

CONFIG = Extraction(
    detect_thresh=(1.0,), thresh_type=("ABSOLUTE",), detect_minarea=5, clean=False, filter=False
)


def blob(shape, x, y, flux, sigma=2.0):
    v, u = np.indices(shape)
    profile = np.exp(-0.5 * ((u - x) ** 2 + (v - y) ** 2) / sigma**2)
    return flux * profile / (2 * np.pi * sigma**2)


def test_random_numbers_are_those_of_the_c_library():
    # the first values of rand() on Linux
    assert random_numbers(5).tolist() == [
        np.float32(v) for v in (1804289383, 846930886, 1681692777, 1714636915, 1957747793)
    ]


def test_moments_of_a_source():
    image = blob((60, 70), 30.3, 25.6, 1e5, 3.0).astype(np.float32)
    d = detect(image, CONFIG, Run(1), sigma=1.0)
    own = d.segmentation == 1
    v, u = np.indices(image.shape)
    w = np.where(own, image, 0).astype(float)
    mx, my = (w * u).sum() / w.sum(), (w * v).sum() / w.sum()
    assert (d.x[0], d.y[0]) == pytest.approx((mx, my), abs=1e-9)
    assert d.x2[0] == pytest.approx((w * (u - mx) ** 2).sum() / w.sum(), rel=1e-9)
    assert d.xy[0] == pytest.approx((w * (u - mx) * (v - my)).sum() / w.sum(), abs=1e-9)
    assert d.a[0] ** 2 + d.b[0] ** 2 == pytest.approx(d.x2[0] + d.y2[0])
    assert (d.xpeak[0], d.ypeak[0], d.fdnpix[0]) == (30, 26, own.sum())
    assert (d.xmin[0], d.xmax[0]) == (u[own].min(), u[own].max())
    assert d.flags[0] == 0


def test_singular_source():
    image = np.zeros((9, 9), np.float32)
    image[4, 2:7] = 10
    d = detect(image, CONFIG, Run(1), sigma=1.0)
    assert d.singular[0]
    assert d.y2[0] == pytest.approx(1 / 12, abs=1e-6)
    assert (d.theta[0], d.x[0]) == pytest.approx((0, 4))


@pytest.mark.parametrize("ratio", [1, 3, 30])
def test_two_sources_are_split_and_share_all_pixels(ratio):
    image = blob((50, 60), 22, 25, 3e4) + blob((50, 60), 33, 25, 3e4 / ratio)
    d = detect(image.astype(np.float32), CONFIG, Run(1), sigma=1.0)
    assert d.n == 2
    assert (d.flags == 2).all()
    assert sorted(d.x) == pytest.approx([22, 33], abs=0.5)
    assert d.fdnpix.sum() == (image.astype(np.float32) > 1).sum()
    assert len(set(d.id_parent)) == 1


def test_contrast_decides():
    image = (blob((50, 60), 22, 25, 3e4) + blob((50, 60), 33, 25, 3e2)).astype(np.float32)
    coarse = replace(CONFIG, deblend_mincont=0.02)
    assert detect(image, coarse, Run(1), sigma=1.0).n == 1
    strict = replace(CONFIG, deblend_mincont=1e-4)
    assert detect(image, strict, Run(1), sigma=1.0).n == 2
    never = replace(CONFIG, deblend_mincont=1.0)
    assert detect(image, never, Run(1), sigma=1.0).n == 1
    assert detect(image, replace(strict, deblend_nthresh=1), Run(1), sigma=1.0).n == 1


def chances(x, y, value, core, levels):
    """Return what the Gaussian of each branch has at each pixel, (n_branches, n_pixels)."""
    out = []
    for b, level in enumerate(levels):
        w, u, v = (a[core == b] for a in (value, x, y))
        mx, my = (w * u).sum() / w.sum(), (w * v).sum() / w.sum()
        moments = np.cov(np.stack([u, v]), aweights=w, bias=True)
        area = 2 * np.pi * np.sqrt(np.linalg.det(moments))
        half = (level + w.max()) / 2
        lost = (w > half).sum() - (w > level).sum()
        correction = min(lost / (np.log(level / half) * area), 1.0)
        peak = min(np.exp(len(w) / (correction * area)), 4 * w.max())
        offset = np.stack([x - mx, y - my])
        distance = np.einsum("ik,ij,jk->k", offset, np.linalg.inv(moments), offset)
        out.append(peak * np.exp(-0.5 * distance / correction))
    return np.array(out)


def test_faint_pixels_go_to_branches_with_the_chances_of_their_gaussians():
    image = (blob((24, 34), 12, 11, 3e3) + blob((24, 34), 22, 13, 2e3) + 1.05).astype(np.float32)
    image[5, 5:20] = 0  # below the threshold, and left out
    y, x = (v.astype(np.int32) for v in np.nonzero(image > 1))
    value = image[y, x]
    near = [np.hypot(x - 12, y - 11) < 4, np.hypot(x - 22, y - 13) < 3.5]
    core = np.select(near, [0, 1], -1).astype(np.int32)
    n, levels = len(x), np.array([value[part].min() - 0.01 for part in near], np.float32)
    level = np.zeros(n, np.float32)
    level[:2] = levels
    pixels = Pixels(x, y, value, value, np.zeros(1, np.float32), False)
    components = Components(np.arange(n, dtype=np.int32), np.array([0, n]))
    branch, count = core.copy(), np.array([2], np.int32)
    members, n_draws = np.empty(n, np.int32), np.zeros(1, np.int64)
    branches = Branches(branch, level, count)
    count_draws(pixels, components, branches, 1.0, 0, 1, members, n_draws)
    each = chances(x.astype(float), y.astype(float), value.astype(float), core, levels)
    assert n_draws[0] == (core == -1).sum()

    draws, zero = random_numbers(n_draws[0]), np.zeros(1, np.int64)
    start, real = np.empty(3, np.int64), np.empty((2, shape.N_REAL))
    integer = np.empty((2, shape.N_INTEGER), np.int32)
    sources = Sources(zero, members, start, real, integer)
    gather_components(
        pixels, components, branches, Draws(draws, zero), sources, 1.0, 34, 24, 5, 0, 1
    )
    np.testing.assert_array_equal(branch[core >= 0], core[core >= 0])
    shared = core == -1
    share = (each[0] / each.sum(axis=0))[shared]
    assert 20 < ((share > 0.01) & (share < 0.99)).sum() < 0.5 * shared.sum()
    first_one = draws / RANDOM_MAX <= share
    np.testing.assert_array_equal(branch[shared], np.where(first_one, -2, -3))
    assert integer[:, shape.FDNPIX].tolist() == [np.isin(branch, (b, -b - 2)).sum() for b in (0, 1)]


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="too many pixels for interpreted loops")
def test_no_limit_on_the_number_of_branches():
    y, x = np.indices((210, 210))
    image = 20 + 15 * np.cos(x * 2 * np.pi / 8) * np.cos(y * 2 * np.pi / 8)
    image *= 1 + 1e-3 * np.random.default_rng(1).random(image.shape)
    config = replace(CONFIG, deblend_mincont=0.0)
    d = detect(image.astype(np.float32), config, Run(2), sigma=1.0)
    assert d.n > 1200
    assert d.fdnpix.sum() == 210 * 210
