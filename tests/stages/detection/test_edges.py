"""What is kept of a plane near its border."""

import numpy as np
import pytest

from skyextract.stages.detection.offframe import Edges


@pytest.mark.parametrize("shape", [(40, 60), (9, 50), (50, 9), (4, 4)])
def test_parts_near_the_border_are_those_of_the_plane(shape):
    plane = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    half, (ny, nx) = 2, shape
    edges = Edges(plane, 2 * half + 1)
    for y in range(-half, ny + half):
        for x in range(-half, nx + half):
            near_y = min(y, ny - 1 - y) <= half
            near_x = min(x, nx - 1 - x) <= half
            rows = slice(max(y - half, 0), min(y + half + 1, ny))
            columns = slice(max(x - half, 0), min(x + half + 1, nx))
            if near_y or near_x:
                np.testing.assert_array_equal(edges[rows, columns], plane[rows, columns])
