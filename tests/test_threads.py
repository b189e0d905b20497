"""Threads that help: who has not begun is not waited for, and all end with their owner."""

from __future__ import annotations

import threading
import time

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
