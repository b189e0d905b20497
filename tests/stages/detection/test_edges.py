"""The noise of the background meshes near the border of a frame."""

import numpy as np
import pytest

from skyextract.datamodel.background import BackgroundMap
from skyextract.run import Run
from skyextract.stages.background.interpolate import mesh_variance
from skyextract.stages.detection.offframe import Edges


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("shape", [(140, 60), (9, 50), (50, 9), (4, 4)])
def test_parts_near_the_border_are_those_of_the_plane(shape, n_threads):
    side = 16
    meshes = tuple(-(-size // side) for size in shape)
    level, rms = np.random.default_rng(1).uniform(2.0, 3.0, (2, *meshes)).astype(np.float32)
    background = BackgroundMap(level, rms, side, side, shape, 2.5, 2.5)
    plane = mesh_variance(background, Run())
    half, (ny, nx) = 2, shape
    edges = Edges(background, 2 * half + 1, Run(n_threads))
    for y in range(-half, ny + half):
        for x in range(-half, nx + half):
            near_y = min(y, ny - 1 - y) <= half
            near_x = min(x, nx - 1 - x) <= half
            rows = slice(max(y - half, 0), min(y + half + 1, ny))
            columns = slice(max(x - half, 0), min(x + half + 1, nx))
            if near_y or near_x:
                np.testing.assert_array_equal(edges[rows, columns], plane[rows, columns])
