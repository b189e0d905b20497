"""Labelling against a plain flood fill."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.detection.label import label_runs
from skyextract.kernels.detection.pixels import Components, Runs


def runs_of(mask):
    y, first, last = [], [], []
    for row, line in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
        for a, b in edges.reshape(-1, 2):
            y.append(row)
            first.append(a)
            last.append(b - 1)
    return tuple(np.array(values, np.int32) for values in (y, first, last))


def components(mask, min_area=1):
    y, first, last = runs_of(mask)
    length = last - first + 1
    pixel = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    order = np.full(pixel[-1], -1, np.int32)
    start = np.empty(len(y) + 1, np.int64)
    n = label_runs(Runs(y, first, last, pixel), min_area, Components(order, start))
    coordinates = np.argwhere(mask)
    return [coordinates[order[start[i] : start[i + 1]]] for i in range(n)]


def flood_fill(mask):
    left = {tuple(p) for p in np.argwhere(mask)}
    found = []
    while left:
        stack = [left.pop()]
        blob = set(stack)
        while stack:
            y, x = stack.pop()
            for v in (-1, 0, 1):
                for u in (-1, 0, 1):
                    q = (y + v, x + u)
                    if q in left:
                        left.remove(q)
                        blob.add(q)
                        stack.append(q)
        found.append(blob)
    return found


@pytest.mark.parametrize("density", [0.1, 0.3, 0.45, 0.7])
def test_components_are_those_of_a_flood_fill(density):
    rng = np.random.default_rng(int(100 * density))
    for shape in [(40, 40), (1, 50), (50, 1), (7, 90)]:
        mask = rng.random(shape) < density
        found = {frozenset(map(tuple, c.tolist())) for c in components(mask)}
        assert found == {frozenset((int(y), int(x)) for y, x in b) for b in flood_fill(mask)}


def test_completion_order_and_min_area():
    rng = np.random.default_rng(5)
    mask = rng.random((60, 60)) < 0.3
    found = components(mask)
    last = [max(map(tuple, c.tolist())) for c in found]
    assert last == sorted(last)
    large = components(mask, 5)
    assert [len(c) for c in large] == [len(c) for c in found if len(c) >= 5]


def test_pixels_are_linked_as_in_a_one_pass_scan():
    # a pixel comes before what it meets to its right: so does each list that it belongs to
    mask = np.array([[0, 0, 0, 1], [1, 0, 1, 0], [0, 1, 0, 0]], bool)
    (pixels,) = components(mask)
    assert pixels.tolist() == [[1, 0], [2, 1], [1, 2], [0, 3]]


def test_nothing():
    assert components(np.zeros((5, 5), bool)) == []
