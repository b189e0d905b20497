"""Windows about detections beside plain numpy."""

import numpy as np
import pytest

from skyextract.datamodel.arrays import widened
from skyextract.kernels.psf.windows import put_back, residual_windows

SHAPE, SIDE, BITS = (40, 50), 20, 5


@pytest.mark.parametrize("gain", [0.0, 2.0])
def test_pixels_of_a_footprint_and_beside_count(gain):
    rng = np.random.default_rng(1)
    image = rng.normal(0.0, 5.0, SHAPE).astype(np.float32)
    models = rng.exponential(20.0, SHAPE).astype(np.float32) - 2
    variance = rng.uniform(20.0, 30.0, SHAPE).astype(np.float32)
    mask = rng.choice(np.array([0, 0, 0, 1, 2, 4], np.uint16), SHAPE)
    labels = rng.choice(np.array([0] * 30 + [-1, 1, 2, 3], np.int32), SHAPE)
    host, corner = np.array([0, 2, 1]), np.array([[-4, -7], [12, 15], [30, 41]])
    data, weight = np.zeros((2, 3, SIDE, SIDE), np.float32)
    chi2 = np.zeros((3, 2))
    residual_windows(
        image, models, variance, mask, BITS, labels, host, corner, 2, 0.05, gain, data, weight, chi2
    )
    for k, (y, x) in enumerate(corner):
        rows, columns = slice(max(y, 0), y + SIDE), slice(max(x, 0), x + SIDE)
        here = rows, columns
        own = np.abs(labels[here]) == host[k] + 1
        used = widened(own, 2) & (own | (labels[here] == 0)) & ((mask[here] & BITS) == 0)
        light = models[here].astype(np.float64)
        noise = variance[here] + (0.05 * light) ** 2
        noise += np.maximum(light, 0.0) / gain if gain else 0.0
        rest = image[here] - models[here]
        expected = np.zeros((2, SIDE, SIDE))
        there = tuple(
            slice(max(-v, 0), max(-v, 0) + n) for v, n in zip((y, x), rest.shape, strict=True)
        )
        expected[0][there], expected[1][there] = rest, used / noise
        assert np.array_equal(data[k], expected[0].astype(np.float32))
        assert np.allclose(weight[k], expected[1], rtol=1e-6, atol=0.0)
        assert np.allclose(chi2[k], [(used / noise * rest**2).sum(), used.sum()], rtol=1e-6)


def test_sources_are_added_as_far_as_they_reach():
    rng = np.random.default_rng(2)
    stamps = rng.uniform(size=(4, 11, 11)).astype(np.float32)
    window, flux = np.array([0, 1, 1, 0]), np.array([10.0, 4.0, -3.0, 2.0])
    row, column = np.array([10, 1, 19, -3]), np.array([10, 18, 22, 5])
    reach = np.array([5, 3, 5, 4])
    data = np.zeros((2, SIDE, SIDE), np.float32)
    put_back(window, row, column, flux, reach, stamps, data)
    wide = np.zeros((2, SIDE + 20, SIDE + 20))
    for n, r in enumerate(reach):
        y, x = row[n] + 10, column[n] + 10
        wide[window[n], y - r : y + r + 1, x - r : x + r + 1] += (
            flux[n] * stamps[n, 5 - r : 6 + r, 5 - r : 6 + r]
        )
    assert np.allclose(data, wide[:, 10:-10, 10:-10], rtol=1e-6)
