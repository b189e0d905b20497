"""A caller's descriptors and standard streams become those of a child of the server."""

from __future__ import annotations

import fcntl
import io
import os
import sys
from typing import TextIO


def moved_up(descriptor: int, least: int) -> int:
    """Give a descriptor a number that is free, and not below another one."""
    new: int = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, least)
    os.close(descriptor)
    return new


def take_streams(streams: dict[int, int]) -> None:
    """Put the caller's standard streams in place of ours, in number and in `sys`."""
    names = ("stdin", "stdout", "stderr")
    for number, name in enumerate(names):
        old = getattr(sys, name)
        given = streams.get(number)
        if given is None:
            os.close(number)
            stream = None
        else:
            os.dup2(given, number)
            os.close(given)
            stream = _text_stream(number, name, old)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _text_stream(number: int, name: str, like: TextIO) -> TextIO:
    """Open a standard stream as the interpreter does, with the encoding that ours had."""
    direct = bool(getattr(like, "write_through", False))
    mode = "rb" if number == 0 else "wb"
    raw = open(number, mode, buffering=0 if direct and number else -1, closefd=False)  # noqa: SIM115
    vars(getattr(raw, "raw", raw))["name"] = f"<{name}>"
    stream = io.TextIOWrapper(
        raw, encoding=like.encoding, errors=like.errors, newline="\n",
        line_buffering=number == 2 or (not direct and os.isatty(number)), write_through=direct,
    )  # fmt: skip
    vars(stream)["mode"] = mode[0]
    return stream
