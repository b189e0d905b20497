"""Pipes and devices are written through and read into a file."""

from __future__ import annotations

import os
import threading

import pytest

from skyextract.errors import ImageError, OutputError
from skyextract.io.atomic import atomic_output
from skyextract.io.streams import Stream, is_pipe, is_stream, spool_input, write_through


def test_what_is_a_stream(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    (tmp_path / "to_fifo").symlink_to("fifo")
    (tmp_path / "to_null").symlink_to("/dev/null")
    (tmp_path / "to_file").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("fifo", "to_fifo", "to_null"):
        assert is_stream(tmp_path / name), name
    for name in ("file", "to_file", "none", "loop", "x" * 300):
        assert not is_stream(tmp_path / name), name
    assert is_stream("STDOUT")
    assert is_stream("/dev/stdout")
    assert is_stream("/dev/fd/7")
    assert is_pipe("-")
    assert is_pipe(str(tmp_path / "fifo"))
    assert not is_pipe(str(tmp_path / "file"))


def test_a_fifo_is_written_through_and_stays(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    got = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    with atomic_output(fifo) as stream:
        stream.write(b"first")
    reader.join()
    assert got == [b"first"]
    assert fifo.is_fifo()


def test_an_open_file_is_appended_to(tmp_path):
    """As in `skyextract -CATALOG_NAME /dev/fd/N >> log`: what is there stays."""
    log = tmp_path / "log"
    log.write_bytes(b"before ")
    with log.open("ab") as file, atomic_output(f"/dev/fd/{file.fileno()}") as stream:
        stream.write(b"after")
    assert log.read_bytes() == b"before after"


def test_a_reader_that_has_gone_is_no_error_and_a_closed_stream_is(tmp_path):
    read, write = os.pipe()
    os.close(read)
    spool = tmp_path / "one" / "spool"
    spool.parent.mkdir()
    spool.write_bytes(b"x" * 100)
    write_through(Stream(str(spool), f"/dev/fd/{write}"))
    os.close(write)
    assert not spool.parent.exists()
    spool.parent.mkdir()
    spool.write_bytes(b"x")
    with pytest.raises(OutputError, match="closed"):
        write_through(Stream(str(spool), f"/dev/fd/{write}"))


def test_a_full_device(tmp_path):
    with pytest.raises(OutputError, match="No space"), atomic_output("/dev/full") as stream:
        stream.write(b"x")


def test_what_comes_out_of_a_pipe_is_a_file(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(b"pixels"))
    writer.start()
    spool_input(str(fifo), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"pixels"
    writer.join()
    with pytest.raises(ImageError, match="cannot be read"):
        spool_input(str(tmp_path / "none"), tmp_path / "copy")
