"""The points of fits, against a map of which pixel counts in which of them."""

from __future__ import annotations

import numpy as np
import pytest

from skyextract.kernels.galaxies.points import (
    N_PARTS,
    PART,
    START,
    arrange_points,
    arrange_within,
    average_squares,
    cover_points,
    grid_of,
    points_in,
)
from tests.entry import entry

arrange, average, cover_of = entry(arrange_points), entry(average_squares), entry(cover_points)
within = entry(arrange_within)
count_of, pixels_of = entry(points_in), entry(grid_of)


@pytest.mark.parametrize("side", [12, 31, 60, 200])
@pytest.mark.parametrize("place", [(0.5, 0.5), (0.3, 0.97), (0.0, 0.0), (1.3, 0.5)])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_each_pixel_counts_once_and_those_of_the_middle_alone(
    side: int, place: tuple[float, float], step: int
) -> None:
    box = np.array([7, 11, side, side + 3])
    x, y = box[0] + place[0] * side, box[1] + place[1] * side
    parts = np.empty((N_PARTS, PART), np.int64)
    n = arrange(box, x, y, step, 4.0, parts)
    assert n == count_of(parts)
    cover = np.empty(n, np.float32)
    cover_of(parts, cover)
    pixels = np.random.default_rng(side).normal(size=(box[3], box[2])).astype(np.float32)
    means = np.empty(n, np.float32)
    average(pixels.ravel(), pixels_of(box, 1), parts, means)
    counted = np.zeros(pixels.shape, int)
    for left, bottom, square, n_x, n_y, *_, start in parts[:, : START + 1]:
        for i in range(n_x * n_y):
            low, first = bottom - 11 + i // n_x * square, left - 7 + i % n_x * square
            cell = np.s_[low : low + square, first : first + square]
            assert pixels[cell].shape == (square, square)
            assert means[start + i] == pytest.approx(pixels[cell].mean(), abs=1e-6)
            if cover[start + i]:
                assert cover[start + i] == square**2
                counted[cell] += 1
    assert counted.max() == 1
    last = int(parts[:, 2].max())
    assert counted.sum() == (box[3] // last * last) * (box[2] // last * last)
    row, column = int(y) - 11, int(x) - 7
    if 0 <= row < box[3] and 0 <= column < side and step == 1:
        assert counted[row, column]
    if 0 <= row < box[3] - last and 0 <= column < side - last:
        assert parts[0, 0] - 7 <= column < parts[0, 0] - 7 + parts[0, 3] * step
        assert parts[0, 1] - 11 <= row < parts[0, 1] - 11 + parts[0, 4] * step


def test_a_large_box_has_few_points() -> None:
    parts = np.empty((N_PARTS, PART), np.int64)
    assert arrange(np.array([0, 0, 80, 80]), 40.0, 40.0, 1, 8.0, parts) < 0.2 * 80**2


@pytest.mark.parametrize("half", [1.6, 6.0, 11.8, 60.0])
@pytest.mark.parametrize("side", [91, 300, 30_000, 200_000])
def test_there_are_no_more_points_than_there_is_room_for(half: float, side: int) -> None:
    parts, room = np.empty((N_PARTS, PART), np.int64), 95**2
    box = np.array([3, 5, side, side // 2])
    n = within(box, 3.0 + 0.5 * side, 5.0 + 0.5 * side, 1, half, room, parts)
    assert n == count_of(parts)
    assert 0 < n <= room
