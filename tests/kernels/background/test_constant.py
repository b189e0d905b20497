"""Long runs of equal pixels, beside a plain count."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from skyextract.kernels.background.constant import constant_runs


def plain_runs(image, mask, length):
    """Pixels at which a run along the row or the column reaches its length."""
    found = []
    for y, x in np.ndindex(image.shape):
        ends = []
        for line, k in ((image[y], x), (image[:, x], y)):
            begin = k - length + 1
            run = begin >= 0 and (line[begin : k + 1] == line[k]).all()
            ends.append(run and (begin == 0 or line[begin - 1] != line[k]))
        if any(ends) and not mask[y, x]:
            found.append(y * image.shape[1] + x)
    return found


@pytest.mark.parametrize(("length", "share"), [(4, 0.5), (5, 0.7), (8, 0.8)])
@pytest.mark.parametrize("n_bands", [1, 2, 3, 7, 40])
def test_runs_of_any_bands_are_those_of_the_whole(n_bands, length, share):
    rng = np.random.default_rng(6)
    image = (rng.random((40, 31)) < share).astype(np.float32)
    mask = (rng.random(image.shape) < 0.1).astype(np.uint16)
    edges = np.linspace(0, image.shape[0], n_bands + 1).astype(int).tolist()
    found = []
    for first, past in pairwise(edges):
        seeds = np.empty(image.size, np.int64)
        found += seeds[: constant_runs(image, mask, 1, length, first, past, seeds)].tolist()
    expected = plain_runs(image, mask, length)
    assert len(expected) > 20
    assert found == expected
