"""The tree of isophotes against one that is made by labelling every level anew."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label

from skyextract.kernels.detection.branches import Branches, TreeRules
from skyextract.kernels.detection.pixels import Components, Pixels
from skyextract.kernels.detection.tree import split_components

THRESHOLD = 1.0
EIGHT = np.ones((3, 3))


def scene(seed, shape=(34, 45)):
    """Return Gaussians on a plateau above the threshold, and some noise."""
    rng = np.random.default_rng(seed)
    v, u = np.indices(shape)
    image = 2.0 + rng.exponential(0.5, shape)
    for _ in range(12):
        x, y = rng.uniform(3, shape[1] - 3), rng.uniform(3, shape[0] - 3)
        peak, sigma = 10 ** rng.uniform(0.3, 2.5), rng.uniform(0.8, 2.5)
        image += peak * np.exp(-0.5 * ((u - x) ** 2 + (v - y) ** 2) / sigma**2)
    return image.astype(np.float32)


def split(
    image, *, n_levels=32, contrast=0.005, linear=False, min_area=3, noise=(0.0, 0.0), psf_area=0.0,
    local=(0.0, 0.0),
):  # fmt: skip
    """Return (threshold, pixels) of the branches, of one component that fills the image."""
    y, x = (v.ravel().astype(np.int32) for v in np.indices(image.shape))
    order = np.random.default_rng(0).permutation(image.size).astype(np.int32)
    branch, level = np.empty(image.size, np.int32), np.empty(image.size, np.float32)
    count = np.empty(1, np.int32)
    flat = image.ravel()
    split_components(
        Pixels(x, y, flat, flat, np.zeros(1, np.float32), False),
        Components(order, np.array([0, image.size])),
        TreeRules(n_levels, contrast, linear, min_area, *noise, psf_area, *local),
        THRESHOLD, 0, 1, Branches(branch, level, count),
    )  # fmt: skip
    return [(level[b], frozenset(order[branch == b].tolist())) for b in range(count[0])]


def reference(
    image, *, n_levels=32, contrast=0.005, linear=False, min_area=3, noise=(0.0, 0.0), psf_area=0.0,
    local=(0.0, 0.0),
):  # fmt: skip
    flat = image.ravel().astype(float)
    step, top = np.arange(n_levels) / n_levels, flat.max()
    ratio = THRESHOLD * (top / THRESHOLD) ** step
    levels = (THRESHOLD + (top - THRESHOLD) * step if linear else ratio).astype(np.float32)
    found = []
    above: list[tuple[frozenset, bool, frozenset | None]] = []
    n_before = 0
    for k in range(n_levels - 1, -1, -1):
        if k and (flat > levels[k]).sum() == n_before:
            continue  # nothing joins
        n_before = (flat > levels[k]).sum()
        marks, n = label(image > levels[k], EIGHT) if k else (np.ones(image.shape, int), 1)
        isophotes = []
        for pixels in (frozenset(np.flatnonzero(marks == i + 1).tolist()) for i in range(n)):
            if len(pixels) < min_area:
                continue
            children = [child for child in above if child[0] <= pixels]
            whole = all(child[1] for child in children)
            strong, points = [], []
            for p, w, before in children:
                values, rise = flat[list(p)], float(levels[k + 1])
                height, own = values.max() - rise, (values - rise).sum()
                of_point = height * psf_area
                least = noise[0] * np.sqrt(1 + noise[1] * rise)
                point = None
                is_strong = max(own, of_point) > contrast * flat.sum() and (
                    height > least or not noise[0]
                )
                if local[0] and w:
                    rises = height > max(local[0] * rise, local[1] * np.sqrt(1 + noise[1] * rise))
                    is_point = own < 1.3 * of_point and len(p) < 2 * psf_area
                    may_be = before is None and own < height / rise * of_point
                    point = p if rises and (is_point or may_be) else before
                    points.append(point)
                # others stand upon the same light
                if is_strong or (local[0] and (not w or point)):
                    strong.append((point or p, w))
            if len(strong) > 1:
                whole = False
                found += [(levels[k + 1], p) for p, w in strong if w]
            isophotes.append((pixels, whole, next((p for p in points if p), None)))
        above = isophotes
    return found or [(None, frozenset(range(flat.size)))]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"contrast": 0.0},
        {"contrast": 0.05, "min_area": 1},
        {"n_levels": 7, "linear": True, "contrast": 1e-3},
        {"contrast": 0.0, "min_area": 1, "noise": (3.0, 0.5)},
        {"contrast": 0.02, "min_area": 1, "noise": (3.0, 0.5), "psf_area": 12.0},
        {"contrast": 0.3, "noise": (3.0, 0.5), "psf_area": 12.0, "local": (0.2, 2.0)},
        {"contrast": 0.3, "noise": (3.0, 0.5), "psf_area": 60.0, "local": (0.2, 2.0)},
    ],
    ids=str,
)
def test_same_branches_as_level_by_level(seed, options):
    image = scene(seed)
    found, expected = split(image, **options), reference(image, **options)
    if len(expected) == 1:
        assert found[0][1] == expected[0][1]
    assert sorted(len(p) for _, p in found) == sorted(len(p) for _, p in expected)
    assert set(found if len(found) > 1 else []) == set(expected if len(expected) > 1 else [])
    if len(expected) > 1:
        levels = [level for level, _ in found]
        assert levels == sorted(levels, reverse=True)


def few_peaks(seed, noise=0.0):
    """Return one to three Gaussians of which some hardly rise above what is between them."""
    rng = np.random.default_rng(seed)
    v, u = np.indices((15, 18))
    image = 1.01 + noise * rng.exponential(1.0, u.shape)
    for _ in range(1 + seed % 3):
        x, y = rng.uniform(4, 14), rng.uniform(4, 11)
        peak, sigma = 10 ** rng.uniform(0.3, 1.5), rng.uniform(1.0, 2.0)
        image += peak * np.exp(-0.5 * ((u - x) ** 2 + (v - y) ** 2) / sigma**2)
    return image.astype(np.float32)


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize(
    "options",
    [
        {"contrast": 0.0},
        {"contrast": 0.0, "min_area": 1, "noise": (0.5, 0.5)},
        {"contrast": 0.0, "min_area": 1, "n_levels": 200},
        {"contrast": 0.0, "min_area": 1, "n_levels": 150, "linear": True},
    ],
    ids=str,
)
def test_few_peaks_and_many_levels(noise, options):
    numbers = []
    for seed in range(12):
        image = few_peaks(seed, noise)
        found, expected = split(image, **options), reference(image, **options)
        if len(expected) > 1:
            assert set(found) == set(expected)
        assert len(found) == len(expected)
        numbers.append(len(found))
    assert noise or 1 in numbers
    assert max(numbers) > 1


def test_pixels_that_equal_levels():
    """Saddles upon thresholds, and one step of float32 beside them, are on their right side."""
    n_levels, top = 300, np.float32(40.0)
    levels = (THRESHOLD * (float(top) / THRESHOLD) ** (np.arange(n_levels) / n_levels)).astype("f4")
    beside = [np.nextafter(levels, np.float32(end)) for end in (0, 99)]
    saddles = np.random.default_rng(1).permutation(np.concatenate([levels, *beside])[1:])[:60]
    image = np.full((1, 2 * saddles.size + 1), top)
    image[0, 1::2] = saddles
    options = {"n_levels": n_levels, "contrast": 0.0, "min_area": 1}
    found = split(image, **options)
    assert len(found) == saddles.size + 1
    assert set(found) == set(reference(image, **options))


def test_the_scenes_do_branch():
    assert all(len(split(scene(seed))) > 3 for seed in range(4))


def test_too_small_or_flat_to_branch():
    image = np.full((5, 5), 3, np.float32)
    assert [p for _, p in split(image)] == [frozenset(range(25))]
    image[2, 1] = image[2, 3] = 9
    assert len(split(image, min_area=1, contrast=0.0)) == 2
    assert len(split(image, min_area=13, contrast=0.0)) == 1
    assert len(split(image, min_area=1, contrast=0.0, n_levels=1)) == 1
