"""The structure of a FITS file from its bytes alone: what must be known before it is trusted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from skyextract.datamodel.card import CARD
from skyextract.datamodel.header import BLOCK
from skyextract.errors import ImageError

DTYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
"""The type of the numbers that each BITPIX stands for."""
_MAX_BLOCKS = 4000
"""Blocks of one header: 144,000 cards."""
_STEP = 1 << 20
_STRUCTURE = re.compile(r"(BITPIX|NAXIS\d*|PCOUNT|GCOUNT|GROUPS) *= *([^/ ]+)")


class Readable(Protocol):
    """What bytes can be read from."""

    def read(self, n: int, /) -> bytes:
        """Read up to n bytes."""


def read_header(stream: Readable) -> tuple[bytes, dict[str, str]]:
    """Read the blocks of one header.

    Returns
    -------
    blocks : bytes
    cards : dict
        The words of the cards that say how much data follows.

    Raises
    ------
    ImageError
        The stream ends before the card END, or there is none in sight.
    """
    blocks = b""
    cards: dict[str, str] = {}
    for _ in range(_MAX_BLOCKS):
        block = stream.read(BLOCK)
        blocks += block
        for start in range(0, len(block), CARD):
            card = block[start : start + CARD].decode("latin-1")
            if card[:8].rstrip() == "END":
                return blocks, cards
            match = _STRUCTURE.match(card)
            if match:
                cards.setdefault(match[1], match[2])
        if len(block) < BLOCK:
            break
    raise ImageError("header without END")


def data_size(cards: dict[str, str]) -> int:
    """Return the number of data bytes, padding included, that a header announces.

    Raises
    ------
    ImageError
        As `data_bytes`.
    """
    return -(-data_bytes(cards) // BLOCK) * BLOCK


def data_bytes(cards: dict[str, str]) -> int:
    """Return the number of data bytes, without padding, that a header announces.

    Raises
    ------
    ImageError
        BITPIX or an axis is missing or impossible.
    """
    bits = _integer(cards, "BITPIX")
    if bits not in DTYPES:
        raise ImageError(f"BITPIX = {bits} is no FITS data type")
    n = _integer(cards, "NAXIS")
    if not 0 <= n <= 999:
        raise ImageError(f"NAXIS = {n}: must be 0 to 999")
    axes = [_integer(cards, f"NAXIS{k + 1}") for k in range(n)]
    for k, axis in enumerate(axes, start=1):
        if axis < 0:
            raise ImageError(f"NAXIS{k} = {axis} is negative")
    if cards.get("GROUPS") == "T" and axes and axes[0] == 0:
        axes = axes[1:]
    size = 1 if axes else 0
    for axis in axes:
        size *= axis
    parameters = max(0, _integer(cards, "PCOUNT", 0)) if n else 0
    groups = max(1, _integer(cards, "GCOUNT", 1))
    return abs(bits) // 8 * groups * (parameters + size)


def _integer(cards: dict[str, str], name: str, default: int | None = None) -> int:
    word = cards.get(name, None if default is None else str(default))
    if word is None:
        raise ImageError(f"header card {name} is missing")
    try:
        number = float(word.upper().replace("D", "E"))
        if number != int(number):
            raise ValueError
    except (ValueError, OverflowError):
        raise ImageError(f"{name} = {word} is no integer") from None
    return int(number)


def announced(stream: BinaryIO) -> Iterator[bytes]:
    """Read a decompressed FITS file, and no more than its headers announce.

    A few bytes of what comes after the last header unit are read, too: they tell that there is
    something, and let the end of the compressed file be checked.

    Raises
    ------
    ImageError
        Not FITS, or a primary header that is damaged.
    """
    primary = True
    while True:
        start = stream.read(9)
        if not start.startswith(b"SIMPLE" if primary else b"XTENSION"):
            if primary:
                raise ImageError("not a FITS file" if start else "empty file")
            yield start + stream.read(CARD - len(start))
            return
        try:
            blocks, cards = read_header(Joined(start, stream))
            size = data_size(cards)
        except ImageError:
            if primary:
                raise
            return  # the units before it can be used
        yield blocks
        while size > 0:
            piece = stream.read(min(size, _STEP))
            if not piece:
                return
            size -= len(piece)
            yield piece
        primary = False


class Joined:
    """A stream of which the first bytes have been read."""

    def __init__(self, start: bytes, stream: BinaryIO) -> None:
        self._start = start
        self._stream = stream

    def read(self, n: int) -> bytes:
        """Read up to n bytes."""
        start, self._start = self._start, b""
        return start + self._stream.read(n - len(start))
