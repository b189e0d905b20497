"""FITS files: header units, and the numbers and rows that they hold.

Plain files are memory-mapped; .gz and .bz2 files are decompressed into memory once.  The
format is recognised by its first bytes, not by the name.  A data unit shorter than its
header says is never filled up: it is an error of that unit.  Tile-compressed images are read by
`tiles`, or else by astropy: whatever it raises for a file becomes an `ImageError`, and its
warnings stay away from the user.
"""

from __future__ import annotations

import bz2
import errno
import io
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from skyextract.datamodel.arrays import U1, AnyArray
from skyextract.datamodel.header import BLOCK, Header, repaired
from skyextract.errors import ImageError, NoFitsError, NoSuchImageError
from skyextract.io.fits.blocks import DTYPES, announced, data_bytes, data_size, read_header
from skyextract.io.fits.tiles import decompress
from skyextract.messages import quiet
from skyextract.record import record

if TYPE_CHECKING:
    from skyextract.run import Run


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Turn what astropy raises for damaged files into an `ImageError` with one line."""
    from astropy.io.fits import VerifyError

    try:
        with quiet():
            yield
    except (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError,
            AssertionError, ArithmeticError, EOFError, struct.error, zlib.error,
            VerifyError) as error:  # fmt: skip
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{what} ({reason[:100]})") from None


_PACKED = {
    b"\xfd7zXZ": ".xz", b"\x28\xb5\x2f\xfd": ".zst", b"PK\x03\x04": ".zip", b"\x1f\x9d": ".Z",
}  # fmt: skip
"""First bytes of compressed files that are not read."""


@record
class HeaderUnit:
    """One header unit of a file.

    Attributes
    ----------
    index : int
        0 is the primary.
    kind : str
        IMAGE, COMPRESSED (an image in a binary table), BINTABLE, TABLE ...
    header : Header
        Its own cards, all readable; of a compressed image those of the table.
    shape : tuple of int
        Axes in FITS order (NAXIS1 first), of the decompressed image if COMPRESSED.
    start, size : int
        Place and number of its data bytes, without padding.
    missing : int
        Number of data bytes after the end of the file.
    """

    index: int
    kind: str
    header: Header
    shape: tuple[int, ...]
    start: int
    size: int
    missing: int

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
    surplus : int
        Number of bytes after the last header unit that are none of another one.

    Raises
    ------
    ImageError
        Missing, a directory, unreadable, not FITS, broken compression, broken primary header.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.units: list[HeaderUnit] = []
        self.broken = ""
        self.surplus = 0
        self._stream = _open(path)
        self._size = self._stream.seek(0, 2)
        if not self._starts(0, b"SIMPLE"):
            why = _why_no_fits(self._stream) if self._size else "empty file"
            self._stream.close()
            raise NoFitsError(f"{path}: {why}")
        try:
            self._scan()
        except ImageError as error:
            self._stream.close()
            raise ImageError(f"{path}: {error}") from None

    def _starts(self, offset: int, magic: bytes) -> bool:
        self._stream.seek(offset)
        return self._stream.read(len(magic)) == magic

    def close(self) -> None:
        """Close the file; arrays that were read stay valid."""
        if not isinstance(self._stream, io.BytesIO):  # which its arrays keep, and it may not go
            self._stream.close()

    def __enter__(self) -> FitsFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _scan(self) -> None:
        offset = 0
        while offset < self._size:
            index = len(self.units)
            if index and not self._starts(offset, b"XTENSION"):
                self._note_rest(offset, index - 1)
                return
            try:
                self._stream.seek(offset)
                blocks, words = read_header(self._stream)
                start = offset + len(blocks)
                unit = self._unit(index, repaired(blocks.decode("latin-1")), start, words)
            except ImageError as error:
                if index == 0:
                    raise
                self.broken = f"header unit {index}: {error}"
                return
            self.units.append(unit)
            offset = start + data_size(words)

    def _note_rest(self, offset: int, index: int) -> None:
        """Tell what follows the last header unit that is one."""
        self._stream.seek(offset)
        first = self._stream.read(BLOCK)
        if not first[:80].strip(b"\0 \n"):
            return
        places = range(offset + BLOCK, self._size, BLOCK)
        if b"BITPIX" in first or any(self._starts(place, b"XTENSION") for place in places):
            self.broken = f"unknown data after header unit {index}"
        else:
            self.surplus = self._size - offset

    def _unit(self, index: int, header: Header, start: int, words: dict[str, str]) -> HeaderUnit:
        size = data_bytes(words)
        axes = _axes(header)
        kind = "IMAGE"
        if index:
            kind = str(header.get("XTENSION") or "").strip().upper()
            kind = "IMAGE" if kind == "IUEIMAGE" else kind
            card_integer(header, "PCOUNT", 0)
            card_integer(header, "GCOUNT", 1)
        elif header.get("GROUPS") is True and axes and axes[0] == 0:
            kind = "GROUPS"
        if kind == "BINTABLE" and header.get("ZIMAGE") is True:
            kind, axes = "COMPRESSED", _axes(header, "Z")
        missing = max(0, start + size - self._size)
        return HeaderUnit(index, kind, header, axes, start, size, missing)

    def _bytes(self, unit: HeaderUnit, dtype: np.dtype[Any], shape: tuple[int, ...]) -> AnyArray:
        """Return the first data bytes of a unit as an array, memory-mapped if possible."""
        if isinstance(self._stream, io.BytesIO):
            count = int(np.prod(shape, dtype=np.int64))
            packed = np.frombuffer(self._stream.getbuffer(), dtype, count, unit.start)
            return packed.reshape(shape)
        try:
            return np.memmap(self._stream, dtype, "c", unit.start, shape)
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
        axes = " x ".join(str(length) for length in reversed(shape))
        size = math.prod(shape) * dtype.itemsize / 1e9
        raise ImageError(f"not enough memory for {axes} pixels ({size:.3g} GB)")

    def numbers(self, unit: HeaderUnit, run: Run | None = None) -> AnyArray:
        """Return the numbers of an image as stored, before BSCALE and BZERO.

        Big-endian and memory-mapped, or native where they had to be decompressed; axes as in
        numpy.

        Parameters
        ----------
        run : Run, optional
            Lends its threads to decompress.

        Raises
        ------
        ImageError
            Truncated, or broken compression.
        """
        self.check_complete(unit)
        if unit.kind == "COMPRESSED":
            return self._decompress(unit, run)
        dtype = np.dtype(DTYPES[card_integer(unit.header, "BITPIX")])
        if not unit.shape or unit.size < math.prod(unit.shape) * dtype.itemsize:
            raise ImageError(f"{unit.size} data bytes for {unit.shape} pixels (PCOUNT, GCOUNT)")
        if unit.size == 0:
            raise ImageError("the image has no pixels")
        return self._bytes(unit, dtype, unit.shape[::-1])

    def _packed(self, unit: HeaderUnit) -> U1:
        """Return the bytes of a compressed image, and some more, as `decompress` takes them.

        Read and not mapped: to take so few bytes page by page takes three times as long.
        """
        from skyextract.kernels.rice import SPARE

        packed = np.zeros(unit.size + SPARE, np.uint8)
        self._stream.seek(unit.start)
        self._stream.readinto(packed[: unit.size].data)  # type: ignore[attr-defined]
        return packed

    def _decompress(self, unit: HeaderUnit, run: Run | None) -> AnyArray:
        """Return the numbers of a tile-compressed image (RICE, GZIP, HCOMPRESS, PLIO)."""
        numbers = decompress(unit.header, unit.shape, self._packed(unit), run)
        if numbers is not None:
            return numbers
        from astropy.io import fits

        stream = self._stream
        source = io.BytesIO(stream.getvalue()) if isinstance(stream, io.BytesIO) else self.path
        try:
            with (
                guarded("compressed image cannot be read"),
                fits.open(source, do_not_scale_image_data=True) as hdus,
            ):
                return np.asarray(hdus[unit.index].data)
        except Exception as error:
            # The class that its decompression raises has no public name.
            if type(error).__name__ != "CfitsioException":
                raise
            raise ImageError(f"compressed image cannot be read ({error})") from None

    def rows(self, unit: HeaderUnit, dtype: np.dtype[Any]) -> AnyArray:
        """Return the rows of a binary table as they are stored; ImageError if truncated.

        Parameters
        ----------
        dtype : numpy.dtype
            Of one row, NAXIS1 bytes.
        """
        self.check_complete(unit)
        n_rows = unit.shape[1]
        if n_rows == 0 or dtype.itemsize == 0:
            return np.zeros(n_rows, dtype)
        return self._bytes(unit, dtype, (n_rows,))

    def check_complete(self, unit: HeaderUnit) -> None:
        """Raise an ImageError if the file ends before the data of the unit do."""
        if unit.missing:
            have = max(0, unit.size - unit.missing)
            raise ImageError(f"truncated: {have} of {unit.size} data bytes are there")


@contextmanager
def side_file(path: str) -> Iterator[FitsFile]:
    """Open a file that goes with an image: what is wrong with it is told with its own name."""
    with FitsFile(path) as file:
        try:
            yield file
        except ImageError as error:
            text = str(error)
            raise ImageError(text if path in text else f"{path}: {text}") from None


def _why_no_fits(stream: BinaryIO) -> str:
    """Tell of a file what it is instead, if its first bytes say so."""
    stream.seek(0)
    start = stream.read(8)
    kind = next((kind for magic, kind in _PACKED.items() if start.startswith(magic)), "")
    return f"a {kind} file: only .gz, .bz2 and .fz are unpacked" if kind else "not a FITS file"


def _open(path: str) -> BinaryIO:
    """Open a file, decompressed if need be."""
    if Path(path).is_dir():
        raise ImageError(f"{path}: is a directory, not an image")
    try:
        stream = Path(path).open("rb")  # noqa: SIM115 (closed by FitsFile)
        magic = stream.read(3)
        stream.seek(0)
        if magic[:2] != b"\x1f\x8b" and magic != b"BZh":
            return stream
        import gzip

        unpack: Any = gzip.open if magic[0] == 0x1F else bz2.open
        content = io.BytesIO()
        with stream, unpack(stream) as packed:
            content.writelines(announced(packed))
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise NoSuchImageError(f"{path}: no such file") from None
    except EOFError:
        raise ImageError(f"{path}: truncated compressed file") from None
    except MemoryError:
        raise ImageError(f"{path}: not enough memory to decompress it") from None
    except (zlib.error, ValueError) as error:
        raise ImageError(f"{path}: broken compressed file ({error})") from None
    except OSError as error:
        if error.errno is None:  # from bz2, and of gzip BadGzipFile
            raise ImageError(f"{path}: broken compressed file ({error})") from None
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from None
    return content
