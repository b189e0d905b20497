"""Pipes, terminals and devices as outputs and inputs: written through, and read into a file."""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import sys
from pathlib import Path
from typing import BinaryIO

from skyextract.errors import ImageError, OutputError
from skyextract.record import record

log = logging.getLogger("skyextract")

STDOUT = "STDOUT"
STDIN = "-"
_DESCRIPTOR = re.compile(r"/(?:dev/fd|proc/(?:self|\d+)/fd)/(\d+)$")
_NAMED = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_MAX_LINKS = 40


@record
class Stream:
    """A complete product that waits to be written through.

    Attributes
    ----------
    spool : str
        The file where it waits.
    name : str
        STDOUT, or the pipe or device.
    """

    spool: str
    name: str


def is_stream(path: str | Path) -> bool:
    """Tell whether an output is no file that could be replaced: a pipe, a terminal, a device.

    Names below /dev and /proc are streams even where they lead to a file, as /dev/stdout does
    after `> file`: what was written there before must stay.
    """
    if str(path).upper() == STDOUT:
        return True
    name = os.path.abspath(path)  # noqa: PTH100 (links stay)
    for _ in range(_MAX_LINKS):
        if name.startswith(("/dev/", "/proc/")) and not name.startswith("/dev/shm/"):
            return True
        try:
            facts = os.lstat(name)
        except (OSError, ValueError):
            return False
        if not stat.S_ISLNK(facts.st_mode):
            return not (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode))
        link = str(Path(name).readlink())
        name = os.path.normpath(Path(name).parent / link)
    return False


def write_through(stream: Stream, headings: dict[str, bytes] | None = None) -> None:
    """Copy a waiting product to its pipe or device, and remove the copy.

    A reader that has gone, as in `skyextract ... | head`, is no error.

    Parameters
    ----------
    stream : Stream
    headings : dict, optional
        First lines of the tables that were written before, by the name of the stream: one that
        stands there is not repeated, others are noted.

    Raises
    ------
    OutputError
        The device is full, or the stream closed.
    """
    spool = Path(stream.spool)
    try:
        with spool.open("rb") as source, _open_to_write(stream.name) as target:
            if headings is not None:
                heading = source.readline()
                if headings.get(stream.name) != heading:
                    headings[stream.name] = heading
                    source.seek(0)
            _copy(source, target)
    except BrokenPipeError:
        log.info("%s: the reader has gone", stream.name)
    except OSError as error:
        reason = "closed" if error.errno == errno.EBADF else error.strerror or str(error)
        raise OutputError(f"{stream.name}: cannot be written ({reason})") from None
    finally:
        spool.unlink(missing_ok=True)
        if not any(spool.parent.iterdir()):
            spool.parent.rmdir()


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    while part := source.read(1 << 20):
        target.write(part)


def _open_to_write(name: str) -> BinaryIO:
    number = 1 if name.upper() == STDOUT else _descriptor(name)
    if number is None:
        return open(os.open(name, os.O_WRONLY | os.O_NOCTTY), "wb", buffering=0)  # noqa: PTH123
    standard = {1: sys.stdout, 2: sys.stderr}
    if number in standard:
        if standard[number] is None:  # closed before we began; the number may be another file
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        standard[number].flush()
    return open(os.dup(number), "wb", buffering=0)  # noqa: PTH123


def _descriptor(name: str) -> int | None:
    """Return the number of the open file that a name like /dev/stdout or /dev/fd/3 means."""
    path = os.path.abspath(name)  # noqa: PTH100
    if path in _NAMED:
        return _NAMED[path]
    match = _DESCRIPTOR.match(path)
    return int(match[1]) if match else None


def is_pipe(path: str) -> bool:
    """Tell whether an image can be read only once: `-` for standard input, a pipe, a terminal."""
    if path == STDIN:
        return True
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


def spool_image(path: str, copy: Path) -> None:
    """Copy an image that comes out of a pipe into a file; ImageError if none comes."""
    spool_input(path, copy)
    if copy.stat().st_size == 0:
        raise ImageError(f"{path}: nothing came out of it")


def spool_input(path: str, copy: Path) -> None:
    """Copy what comes out of a pipe into a file.

    Raises
    ------
    ImageError
        Nothing can be read from it, or the disk is full.
    """
    try:
        if path == STDIN:
            if sys.stdin is None:
                raise ImageError("-: standard input is closed")
            if sys.stdin.isatty():
                raise ImageError("-: standard input is a terminal; pipe an image into it")
        number_or_name = os.dup(0) if path == STDIN else path
        with open(number_or_name, "rb") as source, copy.open("wb") as target:  # noqa: PTH123
            _copy(source, target)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error})") from None
