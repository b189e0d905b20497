"""Quantiles in cells against numpy's."""

import numpy as np
import pytest

from skyextract.kernels.detection.quantiles import cell_quantiles

PERCENT = (2.275, 15.866, 50.0, 100.0)
EDGES = np.array([0, 31, 60, 101])
ROWS = slice(3, 70)


def found(image, claimed, step, spread=1.0):
    number = np.zeros(EDGES.size - 1, np.int64)
    quantiles = np.zeros((number.size, len(PERCENT)))
    plane = np.zeros((1, 1), np.uint8) if claimed is None else claimed
    cell_quantiles(
        image, plane, claimed is not None, ROWS.start, ROWS.stop, EDGES, step, spread,
        np.array(PERCENT) / 100.0, number, quantiles,
    )  # fmt: skip
    return number, quantiles


@pytest.mark.parametrize("scale", [1.0, 40.0, 1e-3, 1e-30, 1e30])
@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("with_sources", [False, True])
def test_equal_to_numpy(scale, step, with_sources):
    rng = np.random.default_rng(4)
    image = rng.normal(0.0, scale, (80, 101)).astype(np.float32)
    image[rng.random(image.shape) < 0.1] = 0.0
    image[rng.random(image.shape) < 0.1] = scale  # equal values
    image[10, 10:13] = np.nan, np.inf, -np.inf
    claimed = (rng.random(image.shape) < 0.3).astype(np.uint8) if with_sources else None
    number, quantiles = found(image, claimed, step)
    for i in range(number.size):
        part = np.s_[ROWS.start : ROWS.stop : step, EDGES[i] : EDGES[i + 1] : step]
        sample = image[part]
        free = (sample != 0.0) & np.isfinite(sample)
        if claimed is not None:
            free &= claimed[part] == 0
        assert number[i] == free.sum()
        np.testing.assert_array_equal(quantiles[i], np.percentile(sample[free], PERCENT))


def test_one_pixel_and_none():
    image = np.zeros((80, 101), np.float32)
    image[20, 5] = 7.0
    number, quantiles = found(image, None, 1)
    assert number.tolist() == [1, 0, 0]
    assert (quantiles[0] == 7.0).all()
    assert np.isnan(quantiles[1:]).all()
