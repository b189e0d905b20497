"""Boxes that overlap, and colours, against a look at all pairs."""

from __future__ import annotations

import numpy as np

from skyextract.kernels.galaxies.boxes import colour_sources, copy_boxes, overlapping_boxes


def boxes(n: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    sides = rng.integers(1, 90, (n, 2))
    sides[::17] = 0
    return np.column_stack([rng.integers(0, size, (n, 2)), sides]).astype(np.int64)


def overlap(a: np.ndarray, b: np.ndarray) -> bool:
    return all(a[k] < b[k] + b[k + 2] and b[k] < a[k] + a[k + 2] for k in (0, 1)) and bool(
        a[2] * a[3] * b[2] * b[3]
    )


def test_neighbours_are_those_whose_boxes_overlap() -> None:
    given = boxes(200, 700)
    first = np.empty(201, np.int64)
    found = overlapping_boxes(given, first)
    for i in range(200):
        true = [j for j in range(200) if j != i and overlap(given[i], given[j])]
        assert found[first[i] : first[i + 1]].tolist() == true


def test_sources_of_one_colour_do_not_overlap() -> None:
    given = boxes(200, 700)
    first = np.empty(201, np.int64)
    found = overlapping_boxes(given, first)
    colour = np.empty(200, np.int64)
    order = np.random.default_rng(1).permutation(200)
    count = colour_sources(order, found, first, colour)
    assert set(colour) == set(range(count))
    for i in range(200):
        assert not (colour[found[first[i] : first[i + 1]]] == colour[i]).any()
    assert colour[order[0]] == 0


def test_nothing_at_all() -> None:
    first = np.full(1, 7, np.int64)
    assert overlapping_boxes(np.zeros((0, 4), np.int64), first).size == 0
    assert first[0] == 0
    assert colour_sources(*[np.zeros(0, np.int64)] * 2, first, np.zeros(0, np.int64)) == 0


def test_boxes_are_copied_and_nothing_else() -> None:
    image = np.arange(60, dtype=np.float32).reshape(6, 10)
    boxes = np.array([[0, 0, 3, 2], [2, 1, 8, 5], [4, 4, 0, 2]])
    copy = np.full_like(image, -1.0)
    copy_boxes(image, boxes, copy)
    expected = np.full_like(image, -1.0)
    expected[:2, :3], expected[1:, 2:] = image[:2, :3], image[1:, 2:]
    np.testing.assert_array_equal(copy, expected)
