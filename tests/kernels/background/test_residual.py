"""Low blocks against numpy's medians."""

import numpy as np
import pytest

from skyextract.kernels.background.residual import count_low_blocks


@pytest.mark.parametrize("every", [1, 2, 3])
def test_equal_to_medians(every):
    rng = np.random.default_rng(every)
    side, limit, least = 8, np.float32(-0.3), 0.5
    image = rng.normal(size=(90, 70)).astype(np.float32)
    image += rng.normal(0.0, 0.5, (90, 70 // 5)).repeat(5, axis=1).astype(np.float32)
    bad = rng.random(image.shape) < rng.uniform(0.0, 0.6, (90, 1))
    bad[30:40, 30:45] = True
    rows, columns = np.array([0, 11, 30, 82]), np.array([0, 5, 33, 62])
    n_known = n_low = 0
    for first in rows:
        for left in columns:
            part = np.s_[first : first + side : every, left : left + side : every]
            good = image[part][~bad[part]]
            if good.size >= least * bad[part].size:
                n_known += 1
                n_low += np.count_nonzero(good < limit) > good.size / 2
    assert 0 < n_low < n_known < rows.size * columns.size
    found = count_low_blocks(
        image, bad.view(np.uint8), rows, columns, side, every, limit, least
    )  # fmt: skip
    assert found == (n_known, n_low)
