"""Lines beside numpy's sums, bit by bit."""

import numpy as np
import pytest

from skyextract.kernels.background.lines import join_halves, stand_out


def interleaved(shape, rng):
    return rng.normal(size=(*shape, 2)).astype(np.float32).reshape(shape[0], -1)


def test_halves_are_joined_as_by_numpy():
    rng = np.random.default_rng(1)
    n_rises, width = 4, 11
    parts = interleaved((6 * n_rises, width), rng)
    out = np.full_like(parts, np.nan)
    join_halves(parts, n_rises, out)
    bands = parts.view(np.complex64).reshape(6, n_rises, width)
    joined = out.view(np.complex64).reshape(3, 2 * n_rises, width)
    for pair in range(3):
        for rise in range(2 * n_rises):
            step = (rise + 1) // 2
            want = bands[2 * pair, rise // 2].copy()
            want[: width - step] += bands[2 * pair + 1, rise // 2, step:]
            np.testing.assert_array_equal(joined[pair, rise], want)


@pytest.mark.parametrize(("near", "far"), [(3, 12), (0, 2)])
def test_lines_stand_out_from_those_beside(near, far):
    rng = np.random.default_rng(2)
    n, m = 5, 60
    number = rng.integers(0, 30, (n, m)).astype(np.float32)
    light = rng.normal(0.0, 9.0, (n, m)).astype(np.float32)
    sums = np.stack([light, number], axis=2).reshape(n, -1)
    value, enough = np.empty((n, m), np.float32), np.empty((n, m), np.bool_)
    stand_out(sums, np.float32(6.5), near, far, value, enough)

    def aside(plane):
        total = np.cumsum(np.pad(plane, ((0, 0), (far + 1, far))), axis=1, dtype=np.float64)
        wide, narrow = (
            total[:, far + k + 1 :][:, :m] - total[:, far - k :][:, :m] for k in (far, near)
        )
        return wide - narrow

    known = number > 6.5
    own = np.where(known, light / np.sqrt(np.maximum(number, 1.0)), np.float32(0.0))
    beside = aside(own) / np.maximum(aside(known.astype(np.float32)), 1.0)
    np.testing.assert_array_equal(enough, known)
    np.testing.assert_array_equal(
        value, np.where(known, own - beside.astype(np.float32), np.float32(0.0))
    )
