"""The segmentation, drawn and asked for at some pixels."""

import numpy as np
import pytest

from skyextract.datamodel.detections import PER_SOURCE, Detections


def detections(seed, shape):
    """Sources whose pixels overlap at random, the last of each those of merged detections."""
    rng = np.random.default_rng(seed)
    length = rng.integers(1, 30, 12)
    first = np.concatenate([[0], np.cumsum(length)])
    fields = {name: np.zeros(12) for name in PER_SOURCE}
    fields["n_own"] = rng.integers(1, length + 1)
    pixel = rng.integers(0, np.prod(shape), first[-1])
    for axis, at in (("y", pixel // shape[1]), ("x", pixel % shape[1])):
        fields[f"{axis}min"] = np.minimum.reduceat(at, first[:-1])
        fields[f"{axis}max"] = np.maximum.reduceat(at, first[:-1])
    return Detections(
        labels=None, shape=shape, first=first, pixel=pixel,
        filtered=np.zeros(first[-1], np.float32), threshold=1.0, **fields,
    )  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_segmentation_at_some_pixels_is_that_of_the_plane(seed):
    found = detections(seed, (20, 30))
    plane = found.segmentation
    row, column = np.indices(plane.shape).reshape(2, -1)
    assert (plane < 0).any()
    assert (plane > 0).any()
    assert np.array_equal(found.labels_at(row, column), plane.ravel())
    assert np.array_equal(found.labels_at(row[77:79], column[77:79]), plane.ravel()[77:79])


def test_only_sources_near_some_pixels_are_looked_at():
    """Not all that share their rows with one pixel and their columns with another one."""
    shape, n = (1000, 1001), 2000
    rng = np.random.default_rng(4)
    y, x = rng.integers(0, shape[0] - 3, n), rng.integers(0, shape[1] - 3, n)
    fields = {name: np.zeros(n) for name in PER_SOURCE} | {"n_own": np.full(n, 9)}
    fields |= {"ymin": y, "ymax": y + 2, "xmin": x, "xmax": x + 2}
    square = np.arange(3)
    pixel = (y[:, None, None] + square[:, None]) * shape[1] + x[:, None, None] + square
    found = Detections(
        labels=None, shape=shape, first=9 * np.arange(n + 1), pixel=pixel.ravel(),
        filtered=np.zeros(9 * n, np.float32), threshold=1.0, **fields,
    )  # fmt: skip
    some = rng.choice(n, 400, replace=False)
    row = np.append(y[some] + 1, [0, 0, shape[0] - 1, shape[0] - 1])
    column = np.append(x[some] + 2, [0, shape[1] - 1, 0, shape[1] - 1])
    assert np.array_equal(found.labels_at(row, column), found.segmentation[row, column])
    looked_at = found._about(row, column)
    assert np.isin(some, looked_at).all()
    assert looked_at.size < 700  # (1181 share rows and columns)


def test_an_image_without_sources_has_no_labels():
    found = detections(1, (20, 30))
    none = np.zeros(0, np.int64)
    empty = Detections(
        labels=None, shape=(20, 30), first=np.zeros(1, np.int64), pixel=np.zeros(0, np.int64),
        filtered=none, threshold=1.0, **dict.fromkeys(PER_SOURCE, none),
    )  # fmt: skip
    assert found.image_shape == empty.image_shape == (20, 30)
    assert not empty.labels_at(np.array([0, 5]), np.array([3, 29])).any()
