"""Footprints that grow, and that are laid out source by source, against plain Python."""

import numpy as np
import pytest

from skyextract.kernels.detection.footprints import gather_grown, group_boxes, grow, lay_out

I4, I8 = np.int32, np.int64


def plainly_grown(labels, values, pixel, n_rounds):
    """Grow all sources of a frame, round by round."""
    labels, front, added = labels.copy(), [divmod(p, labels.shape[1]) for p in pixel], []
    for turn in range(n_rounds):
        steps = [(v, u) for v in (-1, 0, 1) for u in (-1, 0, 1) if turn % 2 or v * u == 0]
        new = []
        for y, x in front:
            for v, u in steps:
                q = y + v, x + u
                inside = 0 <= q[0] < labels.shape[0] and 0 <= q[1] < labels.shape[1]
                if inside and labels[q] == 0 and values[q] > 0:
                    labels[q] = labels[y, x]
                    new.append(q)
        added, front = added + new, new
    return labels, [y * labels.shape[1] + x for y, x in added]


def grown(labels, values, pixel, first, groups, n_rounds):
    """Grow sources group by group."""
    labels, n_own = labels.copy(), np.diff(first).astype(I4)
    added, owner = np.empty(labels.size, I8), np.empty(labels.size, I4)
    begin = np.cumsum([0, *map(len, groups)])
    member = np.concatenate(groups).astype(I8)
    n = grow(labels, values, pixel, first, n_own, member, begin, n_rounds, added, owner)
    return labels, added[:n], owner[:n]


def test_sources_share_the_ground():
    labels = np.zeros((11, 15), I4)
    labels[5, 4], labels[5, 10] = 1, 2
    values = np.ones(labels.shape, np.float32)
    values[:, 2] = 0
    pixel, first = np.array([5 * 15 + 4, 5 * 15 + 10]), np.array([0, 1, 2])
    labels, added, owner = grown(labels, values, pixel, first, [[0, 1]], 3)
    assert added.size == np.count_nonzero(labels) - 2
    assert labels[5, 7] == 1  # the first in order, where both arrive at once
    assert labels[5, 3] == 1
    assert labels[5, 2] == 0
    assert labels[5, 13] == 2
    assert labels[5, 14] == 0
    np.testing.assert_array_equal(owner + 1, labels.ravel()[added])


@pytest.mark.parametrize("n_rounds", [1, 2, 5])
def test_groups_grow_as_all_of_the_frame_together(n_rounds):
    rng = np.random.default_rng(n_rounds)
    ny, nx, n, side = 90, 130, 60, 8
    labels = np.zeros((ny, nx), I4)
    values = rng.normal(0.7, 1.0, (ny, nx)).astype(np.float32)
    parts, boxes = [], []
    for i in range(n):
        y, x = rng.integers(0, ny), rng.integers(0, nx)
        here = np.s_[y : y + rng.integers(1, 5), x : x + rng.integers(1, 5)]
        own = np.zeros(labels.shape, bool)
        own[here] = True
        own &= labels == 0
        if not own.any():
            own.flat[np.flatnonzero(labels == 0)[0]] = True
        labels[own] = i + 1
        parts.append(np.flatnonzero(own))
        rows, columns = np.nonzero(own)
        boxes.append((columns.min(), columns.max(), rows.min(), rows.max()))
    pixel, first = np.concatenate(parts), np.cumsum([0, *map(len, parts)])
    low_x, high_x, low_y, high_y = np.array(boxes, I4).T
    wide = [np.maximum(low - n_rounds, 0).astype(I4) for low in (low_x, low_y)]
    far = [np.minimum(high_x + n_rounds, nx - 1), np.minimum(high_y + n_rounds, ny - 1)]
    far = [edge.astype(I4) for edge in far]
    group = np.empty(n, I8)
    cell = np.full((-(-ny // side), -(-nx // side)), -1)
    group_boxes(wide[0], far[0], wide[1], far[1], side, cell, group)
    assert 1 < np.unique(group).size < n
    groups = [np.flatnonzero(group == g) for g in np.unique(group)]

    expected, sequence = plainly_grown(labels, values, pixel, n_rounds)
    found, added, owner = grown(labels, values, pixel, first, groups, n_rounds)
    np.testing.assert_array_equal(found, expected)
    sequence = np.array(sequence)
    for i in range(n):  # the pixels of each source come in the same order
        of_source = sequence[expected.ravel()[sequence] == i + 1]
        np.testing.assert_array_equal(added[owner == i], of_source)


def test_boxes_in_a_chain_of_cells_are_one_group():
    rng = np.random.default_rng(3)
    low = rng.integers(0, 380, (2, 150)).astype(I4)
    high = (low + rng.integers(0, 20, (2, 150))).astype(I4)
    group = np.empty(150, I8)
    group_boxes(low[0], high[0], low[1], high[1], 10, np.full((40, 40), -1), group)
    cells = np.zeros((150, 40, 40), bool)
    for i in range(150):
        a, b = low[:, i] // 10, high[:, i] // 10 + 1
        cells[i, a[1] : b[1], a[0] : b[0]] = True
    flat = cells.reshape(150, -1).astype(int)
    together = flat @ flat.T > 0
    for _ in range(8):
        together = (together.astype(int) @ together) > 0
    np.testing.assert_array_equal(group, np.argmax(together, axis=1))
    assert 10 < np.unique(group).size < 140


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
