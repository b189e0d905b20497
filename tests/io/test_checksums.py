"""Checksums computed in a thread, and by those who ask."""

from __future__ import annotations

import hashlib
import os
import pickle
import threading

import pytest

from skyextract.io.checksums import begin, sha256
from skyextract.run import Run

FREE = threading.Event()
FREE.set()


@pytest.mark.parametrize("first", [False, True])
def test_the_checksum_is_that_of_the_content(tmp_path, first):
    path = tmp_path / "frame.fits"
    for content in (b"a" * 5_000_000, b"b" * 5_000_000):
        path.write_bytes(content)
        os.utime(path, ns=(0, content[0]))
        if first:
            begin(path, FREE)
        assert sha256(path) == hashlib.sha256(content).hexdigest()


def test_it_is_computed_once(tmp_path, monkeypatch):
    path = tmp_path / "frame.fits"
    path.write_bytes(bytes(100_000))
    calls, make = [], hashlib.sha256

    def counted(*arguments):
        calls.append(threading.current_thread())
        return make(*arguments)

    monkeypatch.setattr(hashlib, "sha256", counted)
    begin(f"{path}[0]", FREE)
    assert len({sha256(path) for _ in range(5)}) == 1
    assert len(calls) == 1


def test_what_cannot_be_read_is_no_error_of_the_thread(tmp_path):
    begin(tmp_path / "none.fits", FREE)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    begin(pipe, FREE)
    assert sha256(pipe) is None
    assert sha256(tmp_path / "none.fits") is None
    large = tmp_path / "large.fits"
    large.touch()
    os.truncate(large, 1 << 40)
    n_before = threading.active_count()
    begin(large, FREE)
    assert threading.active_count() == n_before
    assert sha256(large, largest=1000) is None


def test_without_room_for_a_thread_it_is_computed_when_wanted(tmp_path, monkeypatch):
    file = tmp_path / "a.fits"
    file.write_bytes(b"SIMPLE")

    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    begin(file, threading.Event())
    assert sha256(file) == hashlib.sha256(b"SIMPLE").hexdigest()


def test_the_thread_works_while_the_others_rest(tmp_path, monkeypatch):
    """It stops where they work, goes on when they rest, and does not let anybody wait."""
    path = tmp_path / "frame.fits"
    path.write_bytes(bytes(5_000_000))
    right, parts, resting = hashlib.sha256(bytes(5_000_000)).hexdigest(), [], threading.Event()

    class Counted:
        def __init__(self):
            self.digest = make()

        def update(self, part):
            parts.append(len(part))
            self.digest.update(part)

        def hexdigest(self):
            return self.digest.hexdigest()

    make = hashlib.sha256
    monkeypatch.setattr(hashlib, "sha256", Counted)
    before = set(threading.enumerate())
    begin(path, resting)
    (thread,) = set(threading.enumerate()) - before
    thread.join(0.3)
    assert thread.is_alive()
    assert len(parts) == 1
    assert sha256(path) == right
    thread.join()

    os.utime(path, ns=(0, 1))
    begin(path, resting)
    (thread,) = set(threading.enumerate()) - before
    resting.set()
    thread.join()
    assert sum(parts) == 10_000_000
    assert sha256(path) == right


def test_a_run_rests_while_its_threads_have_no_work():
    run = Run(2)
    assert run.resting.is_set()
    assert run.map(lambda _: run.resting.is_set(), [1, 2]) == [False, False]
    assert run.resting.is_set()

    def fail(_):
        raise ValueError("it")

    with pytest.raises(ValueError, match="it"):
        run.map(fail, [1, 2])
    assert run.resting.is_set()
    assert pickle.loads(pickle.dumps(run)).resting.is_set()
