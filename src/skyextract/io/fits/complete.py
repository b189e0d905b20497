"""Whether a FITS file is all there, by what its headers announce; without its pixels.

A file that a camera or a copy is still writing is shorter than it says.
"""

from __future__ import annotations

import bz2
import gzip
import os
import re
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from skyextract.datamodel.card import CARD
from skyextract.errors import ImageError
from skyextract.io.fits.blocks import Joined, data_bytes, data_size, read_header

_STEP = 1 << 20
_NEXTEND = re.compile(rb"NEXTEND *= *(\d+)")


def what_is_missing(path: str | Path) -> str:
    """Return what a file lacks that may still come; empty if nothing does.

    A file that is damaged otherwise, or no FITS at all, will not get better: nothing is missing.

    Parameters
    ----------
    path : str or Path
        May be compressed as a whole (.gz, .bz2), which is told by its first bytes.

    Raises
    ------
    OSError
        It cannot be opened.
    """
    with Path(path).open("rb") as stream:
        magic = stream.read(6)
        stream.seek(0)
        if magic[:2] == b"\x1f\x8b" or magic[:3] == b"BZh":
            unpack: Any = gzip.open if magic[0] == 0x1F else bz2.open
            try:
                with unpack(stream) as packed:
                    return _missing(packed, None)
            except EOFError:
                return "the end of the compressed file"
            except (zlib.error, OSError, ValueError):
                return ""
        return _missing(stream, os.fstat(stream.fileno()).st_size)


def _missing(stream: BinaryIO, size: int | None) -> str:
    """Walk through the header units; `size` is None where only reading tells it."""
    unit, wanted, total = 0, 0, 0
    while True:
        start = stream.read(CARD)
        if not start.strip(b"\0 "):
            if unit == 0:
                return "everything"  # empty, or space that is set aside
            if not total:
                return "any data"
            return f"{wanted + 1 - unit} of {wanted} extensions" if unit <= wanted else ""
        if not start.startswith(b"XTENSION" if unit else b"SIMPLE"):
            return ""
        try:
            blocks, cards = read_header(Joined(start, stream))
        except ImageError:
            return f"the end of header {unit}"
        try:
            length = data_bytes(cards)  # some programs leave out the last padding
        except ImageError:
            return ""
        if unit == 0 and (match := _NEXTEND.search(blocks)):
            wanted = int(match[1])
        missing = _passed(stream, length, size)
        if missing:
            return f"{missing} of {length} data bytes in header unit {unit}"
        _passed(stream, data_size(cards) - length, size)
        total += length
        unit += 1


def _passed(stream: BinaryIO, length: int, size: int | None) -> int:
    """Pass over data; return how many of their bytes the file does not have."""
    if size is not None:
        end = stream.tell() + length
        stream.seek(end)
        return max(0, end - size)
    while length > 0:
        piece = stream.read(min(length, _STEP))
        if not piece:
            break
        length -= len(piece)
    return length
