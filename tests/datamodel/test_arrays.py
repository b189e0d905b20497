"""Memory of planes: taken when it is written to, or in large pages."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import pytest

from skyextract.datamodel.arrays import (
    blank,
    copied,
    distinct,
    has_bits,
    n_from,
    n_set,
    places_set,
    scattered,
    unmarked,
    whole,
    widened,
)
from skyextract.run import Run


@pytest.mark.parametrize("shape", [(3, 5), (2000, 1000)])
def test_blank_planes_are_zeros_that_can_be_written(shape):
    plane = blank(shape, np.uint16)
    assert plane.shape == shape
    assert plane.dtype == np.uint16
    assert plane.flags.c_contiguous
    assert not plane.any()
    plane[1] = 7
    assert plane.sum() == 7 * shape[1]
    assert not blank(shape, np.uint16).any()


@pytest.mark.parametrize("shape", [(3, 5), (2000, 1003)])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_kept_memory_is_cleared_by_all_threads(shape, n_threads, monkeypatch):
    monkeypatch.setattr("skyextract.datamodel.arrays.keeps_freed_memory", lambda: True)
    for _ in range(3):
        plane = blank(shape, np.int32, Run(n_threads))
        assert plane.shape == shape
        assert not plane.any()
        plane[:] = -1


@pytest.mark.parametrize("shape", [(3, 5), (3000, 1001)])
@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_whole_planes_are_contiguous_and_of_their_own(shape, dtype):
    one, other = whole(shape, dtype), whole(shape, dtype)
    one[:], other[:] = 7, 3
    assert one.shape == shape
    assert one.dtype == dtype
    assert one.flags.c_contiguous
    assert one.flags.aligned
    assert (one == 7).all()
    assert (other == 3).all()


def test_blank_planes_take_no_memory_unless_written():
    def resident() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    used = np.ones((4000, 4000), np.float32)
    del used
    before = resident()
    plane = blank((4000, 4000), np.float32)
    plane[10] = 1.0
    assert resident() - before < plane.nbytes / 10


LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(
    not LARGE_PAGES.exists() or "[never]" in LARGE_PAGES.read_text(), reason="no large pages"
)
@pytest.mark.parametrize("make", [blank, unmarked])
def test_blank_planes_that_are_only_read_take_no_page_after_the_other(make):
    plane = make((4000, 4000), np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    assert not plane.any()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert faults < plane.nbytes / resource.getpagesize() / 4


@pytest.mark.parametrize("shape", [(3, 5), (4000, 4000)])
def test_masks_of_later_images_are_not_cleared(shape, monkeypatch):
    monkeypatch.setattr("skyextract.datamodel.arrays.keeps_freed_memory", lambda: True)
    before = Path("/proc/self/statm").read_text().split()[1]
    plane = unmarked(shape, np.uint16)
    taken = int(Path("/proc/self/statm").read_text().split()[1]) - int(before)
    assert taken * os.sysconf("SC_PAGE_SIZE") <= max(plane.nbytes / 10, 1 << 16)
    assert plane.shape == shape
    assert not plane.any()
    plane[-1] = 7
    assert plane.sum() == 7 * shape[1]


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("shape", [(1, 7), (200, 31), (700, 1)])
def test_copies_are_of_their_own(n_threads, shape):
    plane = np.random.default_rng(1).random(shape, dtype=np.float32)
    copy = copied(plane, Run(n_threads))
    np.testing.assert_array_equal(copy, plane)
    copy[:] = -1.0
    assert plane.min() >= 0.0
    np.testing.assert_array_equal(copied(plane, Run(n_threads), less=2.0 * plane), -plane)
    assert copied(plane, Run(n_threads), out=copy) is copy
    np.testing.assert_array_equal(copy, plane)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("shape", [(1, 7), (900, 1001)])
def test_pixels_are_counted_and_marked_by_all_threads(n_threads, shape):
    rng = np.random.default_rng(2)
    plane = rng.integers(0, 9, shape).astype(np.float32)
    plane.flat[3] = np.nan
    run = Run(n_threads)
    expected = [np.count_nonzero(plane >= level) for level in (8.0, 7.5, 0.0)]
    assert n_from(plane, (8.0, 7.5, 0.0), run).tolist() == expected
    mask = rng.integers(0, 16, shape).astype(np.uint16)
    np.testing.assert_array_equal(has_bits(mask, 2 | 8, run), (mask & 10) != 0)
    state = (mask & 4).astype(np.uint8)
    assert n_set(state, run) == np.count_nonzero(state)
    np.testing.assert_array_equal(places_set(state, run), np.flatnonzero(state))
    assert places_set(np.zeros(shape, np.uint8), run).size == 0


@pytest.mark.parametrize(("shape", "n"), [((30, 40), 0), ((30, 40), 3), ((5, 7), 9), ((1, 6), 2)])
def test_areas_are_widened_to_squares(shape, n):
    area = np.random.default_rng(1).random(shape) < 0.03
    y, x = np.indices(shape)
    expected = np.zeros(shape, bool)
    for j, i in np.argwhere(area):
        expected |= (np.abs(y - j) <= n) & (np.abs(x - i) <= n)
    np.testing.assert_array_equal(widened(area, n), expected)


@pytest.mark.parametrize("n", [0, 1, 2, 40])
def test_distinct_values_are_those_of_numpy(n: int) -> None:
    values = np.random.default_rng(n).integers(-9, 9, n)
    found = distinct(values)
    np.testing.assert_array_equal(found, np.unique(values))
    assert found.dtype == values.dtype


def test_of_scattered_places_alone_memory_is_taken():
    def pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    plane = scattered((4096, 4096), np.int32)
    before = pages()
    places = (np.arange(64) + 0.5) / 64.0 * plane.size
    plane.ravel()[places.astype(np.int64)] = 7
    assert pages() - before < 1000
    assert plane.sum(dtype=np.int64) == 64 * 7
