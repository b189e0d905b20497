"""Memory that is cleared ahead is zero, of its own, and keeps what is written meanwhile."""

from __future__ import annotations

import resource
import sys
import threading

import numpy as np
import pytest

from skyextract.datamodel import ahead
from skyextract.datamodel.ahead import clear_ahead, fresh_memory
from skyextract.datamodel.arrays import clear_planes_ahead, whole
from skyextract.run import Run

SIZE = 1 << 25


@pytest.fixture(autouse=True)
def none_left():
    yield
    ahead._planes.clear()


def resting(now: bool = True) -> threading.Event:
    event = threading.Event()
    if now:
        event.set()
    return event


def wait() -> None:
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.daemon:
            thread.join(5.0)


def test_planes_are_zero_and_each_ones_own():
    clear_ahead(SIZE, 2, resting())
    planes = [np.frombuffer(fresh_memory(SIZE), np.uint8) for _ in range(3)]
    for value, plane in enumerate(planes, 1):
        assert not plane.any()
        plane[:] = value
    wait()
    for value, plane in enumerate(planes, 1):
        assert (plane == value).all()
    assert not ahead._planes


@pytest.mark.parametrize("now", [True, False])
def test_what_is_written_while_planes_are_cleared_stays(now):
    clear_ahead(SIZE, 2, resting(now))
    first, second = (np.frombuffer(fresh_memory(SIZE), np.uint8) for _ in range(2))
    first[:: 1 << 12] = 7
    second[1 :: 1 << 12] = 9
    wait()
    assert (first[:: 1 << 12] == 7).all()
    assert first.sum() == 7 * (SIZE >> 12)
    assert second.sum() == 9 * (SIZE >> 12)


def test_planes_of_another_size_are_not_kept():
    clear_ahead(SIZE, 2, resting())
    assert len(fresh_memory(SIZE // 2)) == SIZE // 2
    assert len(ahead._planes) == 2
    clear_ahead(SIZE // 2, 1, resting())
    assert [len(plane) for plane in ahead._planes] == [SIZE // 2]


@pytest.mark.skipif(sys.platform != "linux", reason="madvise of Linux 5.14")
def test_a_cleared_plane_costs_its_user_no_page():
    clear_ahead(SIZE, 1, resting())
    wait()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.frombuffer(fresh_memory(SIZE), np.uint8)[:: 1 << 12] = 1
    with_pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    np.frombuffer(fresh_memory(SIZE), np.uint8)[:: 1 << 12] = 1
    without = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before - with_pages
    assert with_pages < max(without, 2) or without < 2


@pytest.mark.parametrize(
    ("n_threads", "shape", "kept", "expected"),
    [(2, (4000, 4000), False, 2), (1, (4000, 4000), False, 0), (2, (1000, 1000), False, 0),
     (2, (4000, 4000), True, 0)],
)  # fmt: skip
def test_only_first_large_images_with_a_second_thread(
    n_threads, shape, kept, expected, monkeypatch
):
    monkeypatch.setattr("skyextract.datamodel.arrays.keeps_freed_memory", lambda: kept)
    clear_planes_ahead(shape, Run(n_threads), has_fits=True)
    assert len(ahead._planes) == (expected if sys.platform == "linux" else 0)
    plane = whole(shape, np.float32)
    plane[:] = 3
    wait()
    assert (plane == 3).all()


@pytest.mark.skipif(sys.platform != "linux", reason="planes are cleared ahead on Linux")
def test_without_fits_one_plane_is_cleared(monkeypatch):
    """Another one would be memory that nobody uses."""
    monkeypatch.setattr("skyextract.datamodel.arrays.keeps_freed_memory", lambda: False)
    clear_planes_ahead((4000, 4000), Run(2), has_fits=False)
    assert len(ahead._planes) == 1


def test_without_a_thread_or_madvise_memory_is_as_before(monkeypatch):
    def start(_self) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    clear_ahead(SIZE, 2, resting())
    assert not np.frombuffer(fresh_memory(SIZE), np.uint8).any()
    monkeypatch.setattr(ahead, "advice", lambda: None)
    clear_ahead(SIZE, 2, resting())
    assert not ahead._planes
    assert len(fresh_memory(SIZE)) == SIZE
