"""Threads that help: who has not begun is not waited for, and all end with their owner."""

from __future__ import annotations

import threading
import time
import weakref

import pytest

from skyextract.threads import Helpers


def test_a_helper_that_has_not_begun_is_not_waited_for():
    goes_on, done = threading.Event(), []
    helpers = Helpers(1)
    (busy,) = helpers.begin(lambda: (done.append("first"), goes_on.wait(20)), 1)
    while not done:
        time.sleep(0.001)
    (late,) = helpers.begin(lambda: done.append("second"), 1)
    start = time.monotonic()
    late.end()
    assert time.monotonic() - start < 5.0
    goes_on.set()
    busy.end()
    (next_one,) = helpers.begin(lambda: done.append("third"), 1)
    while len(done) < 2:
        time.sleep(0.001)
    next_one.end()
    assert done == ["first", "third"]


def test_a_helper_that_has_begun_is_waited_for():
    begun, done = threading.Event(), []
    (help_,) = Helpers(1).begin(lambda: (begun.set(), time.sleep(0.1), done.append(1)), 1)
    begun.wait(20)
    help_.end()
    assert done == [1]


def test_the_error_of_a_helper_is_raised_by_its_caller():
    begun = threading.Event()

    def fail():
        begun.set()
        raise MemoryError("of a thread")

    helpers = Helpers(1)
    (help_,) = helpers.begin(fail, 1)
    begun.wait(20)
    with pytest.raises(MemoryError, match="of a thread"):
        help_.end()
    done = []
    (next_one,) = helpers.begin(lambda: (done.append(1), begun.clear()), 1)
    while begun.is_set():  # the thread is still there
        time.sleep(0.001)
    next_one.end()
    assert done == [1]


class _Plane:
    """What a piece of work holds; an object that can be looked for."""


def test_what_work_holds_is_not_kept_for_a_helper_that_has_not_begun():
    goes_on, begun = threading.Event(), threading.Event()
    helpers = Helpers(1)
    (busy,) = helpers.begin(lambda: (begun.set(), goes_on.wait(20)), 1)
    begun.wait(20)
    plane = _Plane()
    kept = weakref.ref(plane)
    (late,) = helpers.begin(lambda plane=plane: None, 1)
    late.end()
    del plane
    alive = kept() is not None
    goes_on.set()
    busy.end()
    assert not alive


def test_what_work_holds_is_let_go_before_its_end_is_told():
    helpers, alive = Helpers(1), 0
    for _ in range(2000):
        begun, plane = threading.Event(), _Plane()
        kept = weakref.ref(plane)
        (help_,) = helpers.begin(lambda begun=begun, plane=plane: begun.set(), 1)
        del plane
        begun.wait(20)
        help_.end()
        alive += kept() is not None
    assert alive == 0


def test_threads_end_with_their_owner():
    before = set(threading.enumerate())
    helpers = Helpers(3)
    for _ in range(2):
        for help_ in helpers.begin(lambda: None, 3):
            help_.end()
    threads = set(threading.enumerate()) - before
    assert len(threads) == 3
    del helpers
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_no_room_for_a_thread_is_no_memory(monkeypatch):
    def start(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(MemoryError):
        Helpers(1).begin(lambda: None, 1)
