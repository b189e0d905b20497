"""Grown footprints, source by source, against a plain concatenation."""

import numpy as np

from skyextract.kernels.detection.footprints import gather_grown, lay_out


def test_own_taken_in_and_merged_pixels_follow_each_other():
    rng = np.random.default_rng(2)
    n_own = rng.integers(0, 5, 30).astype(np.int32)
    n_merged = np.where(rng.uniform(size=30) < 0.3, 2, 0)
    first = np.append(0, np.cumsum(n_own + n_merged)).astype(np.int64)
    pixel, added = np.split(rng.permutation(first[-1] + 70).astype(np.int64), [first[-1]])
    owner = rng.integers(0, 30, 70).astype(np.int32)
    grown, grown_first = np.empty(first[-1] + 70, np.int64), np.empty(31, np.int64)
    gather_grown(pixel, first, n_own, added, owner, grown, grown_first)
    for i in range(30):
        middle = first[i] + n_own[i]
        expected = [*pixel[first[i] : middle], *added[owner == i], *pixel[middle : first[i + 1]]]
        assert grown[grown_first[i] : grown_first[i + 1]].tolist() == expected
    assert grown_first[-1] == grown.size


def test_pixels_of_sources_one_after_the_other():
    rng = np.random.default_rng(1)
    length = rng.integers(0, 9, 40)
    start = np.concatenate([[0], np.cumsum(length)])
    pixel = rng.permutation(2000)[: start[-1]]
    filtered = rng.normal(size=pixel.size).astype(np.float32)
    sequence = rng.permutation(40)[:30]
    label = rng.integers(-9, 9, 30).astype(np.int32)
    parts = [np.arange(start[i], start[i + 1]) for i in sequence]
    take = np.concatenate(parts)
    own = np.empty(take.size, np.int64), np.empty(take.size, np.float32)
    labels = np.zeros(2000, np.int32)
    lay_out(start, pixel, filtered, sequence, label, *own, labels)
    np.testing.assert_array_equal(own[0], pixel[take])
    np.testing.assert_array_equal(own[1], filtered[take])
    expected = np.zeros(2000, np.int32)
    expected[pixel[take]] = np.repeat(label, [part.size for part in parts])
    np.testing.assert_array_equal(labels, expected)
