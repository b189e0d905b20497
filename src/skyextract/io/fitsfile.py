"""The structure of a FITS file: header units, where their data are, and nothing read twice.

Plain files are memory-mapped; .gz and .bz2 files are decompressed into memory once.  The
format is recognised by its first bytes, not by the name.  A data unit shorter than its
header says is never filled up: it is an error of that unit.
"""

from __future__ import annotations

import bz2
import gzip
import mmap
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyextract.errors import ImageError
from skyextract.header import BLOCK, CARD, Header

DTYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_END = b"END".ljust(CARD)


@dataclass(frozen=True)
class HeaderUnit:
    """One header unit of a file: its own cards and where its data are.

    Attributes
    ----------
    index : int
        0 is the primary.
    kind : str
        IMAGE, COMPRESSED (an image in a binary table), BINTABLE, TABLE ...
    shape : tuple of int
        Axes in FITS order (NAXIS1 first), of the decompressed image if COMPRESSED.
    offset, size : int
        Place and length of the data in bytes, without the filling.
    truncated : bool
        The file ends before the data do.
    """

    index: int
    kind: str
    header: Header
    shape: tuple[int, ...]
    offset: int
    size: int
    truncated: bool

    @property
    def name(self) -> str:
        """EXTNAME in capitals, or an empty string."""
        return str(self.header.get("EXTNAME") or "").strip().upper()


def card_integer(header: Header, keyword: str, default: int | None = None) -> int:
    """Return a card that must be an integer; ImageError if it is none."""
    value = header.get(keyword, default)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ImageError(f"header card {keyword} is missing or no integer")
    return value


def _axes(header: Header, prefix: str = "") -> tuple[int, ...]:
    n = card_integer(header, f"{prefix}NAXIS")
    if not 0 <= n <= 999:
        raise ImageError(f"{prefix}NAXIS = {n}")
    axes = tuple(card_integer(header, f"{prefix}NAXIS{k + 1}") for k in range(n))
    if any(axis < 0 for axis in axes):
        raise ImageError(f"negative axis in {prefix}NAXISn = {axes}")
    return axes


class FitsFile:
    """A FITS file open for reading; a context manager.

    Parameters
    ----------
    path : str
        The file.

    Attributes
    ----------
    units : list of HeaderUnit
        All header units that could be read.
    broken : str
        Why reading stopped before the end of the file; empty if it did not.

    Raises
    ------
    ImageError
        Missing, a directory, unreadable, not FITS, broken compression, broken primary header.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.compressed = False
        self._buffer = self._read(path)
        self.units: list[HeaderUnit] = []
        self.broken = ""
        self._scan()

    def _read(self, path: str) -> memoryview:
        if Path(path).is_dir():
            raise ImageError(f"{path}: is a directory, not an image")
        try:
            with Path(path).open("rb") as file:
                magic = file.read(3)
                if magic[:2] == b"\x1f\x8b" or magic == b"BZh":
                    self.compressed = True
                    packed = magic + file.read()
                    data = gzip.decompress(packed) if magic[0] == 0x1F else bz2.decompress(packed)
                    return memoryview(data)
                if not magic:
                    raise ImageError(f"{path}: empty file")
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except FileNotFoundError:
            raise ImageError(f"{path}: no such file") from None
        except EOFError:
            raise ImageError(f"{path}: truncated compressed file") from None
        except (zlib.error, gzip.BadGzipFile, ValueError) as error:
            raise ImageError(f"{path}: broken compressed file ({error})") from None
        except OSError as error:
            if error.errno is None:  # from bz2
                raise ImageError(f"{path}: broken compressed file ({error})") from None
            raise ImageError(f"{path}: cannot be read ({error.strerror})") from None

    def close(self) -> None:
        """Let the memory go, as soon as no array of `raw` needs it."""
        self._buffer = memoryview(b"")

    def __enter__(self) -> FitsFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _scan(self) -> None:
        offset = 0
        while offset < len(self._buffer):
            start = bytes(self._buffer[offset : offset + CARD])
            if offset == 0 and not start.startswith(b"SIMPLE"):
                raise ImageError(f"{self.path}: not a FITS file")
            if offset and not start.startswith(b"XTENSION"):
                if start.strip(b"\0 \n"):
                    self.broken = f"unknown data after header unit {len(self.units) - 1}"
                return
            try:
                unit = self._unit(len(self.units), offset)
            except ImageError as error:
                if offset == 0:
                    raise ImageError(f"{self.path}: {error}") from None
                self.broken = f"header unit {len(self.units)}: {error}"
                return
            self.units.append(unit)
            offset = unit.offset + -(-unit.size // BLOCK) * BLOCK

    def _unit(self, index: int, offset: int) -> HeaderUnit:
        end = offset
        while True:
            block = bytes(self._buffer[end : end + BLOCK])
            place = block.find(_END)
            while place > 0 and place % CARD:
                place = block.find(_END, place + 1)
            end += BLOCK
            if place >= 0:
                break
            if len(block) < BLOCK:
                raise ImageError("header without END: the file is truncated or damaged")
        header = Header.fromstring(bytes(self._buffer[offset:end]))
        axes = _axes(header)
        kind = "IMAGE"
        if index:
            kind = str(header.get("XTENSION") or "").strip().upper()
            kind = "IMAGE" if kind == "IUEIMAGE" else kind
        bitpix = card_integer(header, "BITPIX")
        if bitpix not in DTYPES:
            raise ImageError(f"BITPIX = {bitpix} is no FITS data type")
        n = int(np.prod(axes, dtype=object)) if axes else 0
        if header.get("GROUPS") is True and axes and axes[0] == 0:
            kind, n = "GROUPS", int(np.prod(axes[1:], dtype=object))
        if index or kind == "GROUPS":
            n = (n + card_integer(header, "PCOUNT", 0)) * card_integer(header, "GCOUNT", 1)
        size = n * abs(bitpix) // 8
        if kind == "BINTABLE" and header.get("ZIMAGE") is True:
            kind, axes = "COMPRESSED", _axes(header, "Z")
        return HeaderUnit(index, kind, header, axes, end, size, end + size > len(self._buffer))

    def raw(self, unit: HeaderUnit) -> NDArray[Any]:
        """Return the data of an IMAGE unit as in the file: big-endian, 1-D, not copied.

        Raises
        ------
        ImageError
            The data are truncated.
        """
        self.check_complete(unit)
        dtype = np.dtype(DTYPES[card_integer(unit.header, "BITPIX")])
        return np.frombuffer(self._buffer, dtype, unit.size // dtype.itemsize, unit.offset)

    def table_bytes(self, unit: HeaderUnit) -> bytes:
        """Return the data bytes of any unit; ImageError if they are truncated."""
        self.check_complete(unit)
        return bytes(self._buffer[unit.offset : unit.offset + unit.size])

    def check_complete(self, unit: HeaderUnit) -> None:
        """Raise an ImageError if the file ends before the data of the unit do."""
        if unit.truncated:
            have = max(0, len(self._buffer) - unit.offset)
            raise ImageError(f"truncated: {have} of {unit.size} data bytes are there")
