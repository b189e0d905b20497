"""Checksums computed in a thread, and by those who ask."""

from __future__ import annotations

import hashlib
import os
import threading

import pytest

from skyextract.io.checksums import begin, sha256


@pytest.mark.parametrize("first", [False, True])
def test_the_checksum_is_that_of_the_content(tmp_path, first):
    path = tmp_path / "frame.fits"
    for content in (b"a" * 5_000_000, b"b" * 5_000_000):
        path.write_bytes(content)
        os.utime(path, ns=(0, content[0]))
        if first:
            begin(path)
        assert sha256(path) == hashlib.sha256(content).hexdigest()


def test_it_is_computed_once(tmp_path, monkeypatch):
    path = tmp_path / "frame.fits"
    path.write_bytes(bytes(100_000))
    calls, digest = [], hashlib.file_digest

    def counted(*arguments):
        calls.append(threading.current_thread())
        return digest(*arguments)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    begin(f"{path}[0]")
    assert len({sha256(path) for _ in range(5)}) == 1
    assert len(calls) == 1


def test_what_cannot_be_read_is_no_error_of_the_thread(tmp_path):
    begin(tmp_path / "none.fits")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    begin(pipe)
    assert sha256(pipe) is None
    assert sha256(tmp_path / "none.fits") is None
    large = tmp_path / "large.fits"
    large.touch()
    os.truncate(large, 1 << 40)
    n_before = threading.active_count()
    begin(large)
    assert threading.active_count() == n_before
    assert sha256(large, largest=1000) is None
