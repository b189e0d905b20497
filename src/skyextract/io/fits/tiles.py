"""Tile-compressed images of integers in Rice's code, which most are, read without astropy.

FITS Standard 4.0, section 10.  Importing astropy takes longer than a run on a small image.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.arrays import I8, U1, AnyArray
from skyextract.run import Run

if TYPE_CHECKING:
    from skyextract.datamodel.header import Header

_TYPES: dict[int, np.dtype[Any]] = {8: np.dtype("u1"), 16: np.dtype("i2"), 32: np.dtype("i4")}
_QUANTISED = ("ZSCALE", "ZZERO", "ZBLANK", "ZQUANTIZ", "ZMASKCMP")
_FORM = re.compile(r"1?([PQ])B(\(\d*\))?")
_DEFAULT_BLOCK, _DEFAULT_BYTES = 32, 4


def decompress(
    header: Header, shape: tuple[int, ...], data: U1, run: Run | None = None
) -> AnyArray | None:
    """Return the numbers of a compressed image, before BSCALE and BZERO, axes as in numpy.

    None where something is not as most images have it, or broken: then astropy reads it, or says
    what is wrong with it.

    Parameters
    ----------
    header : Header
        Of the binary table.
    shape : tuple of int
        Axes of the image in FITS order.
    data : (n + SPARE,) uint8
        The table and its heap, and `kernels.rice.SPARE` bytes more.
    run : Run, optional
        Lends its threads.
    """
    dtype, block = _coding(header)
    if dtype is None or len(shape) != 2 or 0 in shape:
        return None
    if (header.get("ZTILE1", shape[0]), header.get("ZTILE2", 1)) != (shape[0], 1):
        return None
    from skyextract.kernels.rice import SPARE, decode_tiles

    places = _places(header, shape[1], data[:-SPARE])
    if places is None:
        return None
    out = np.empty(shape[::-1], np.int32)
    first, size = places
    n_bits = 8 * dtype.itemsize

    def decode(band: tuple[int, int]) -> bool:
        rows = slice(*band)
        n_whole = decode_tiles(data, first[rows], size[rows], n_bits, block, out[rows])
        return n_whole == band[1] - band[0]

    run = run or Run()
    if not all(run.map(decode, run.bands(shape[1]))):
        return None
    return out.astype(dtype, copy=False)


def _coding(header: Header) -> tuple[np.dtype[Any] | None, int]:
    """Return type of the numbers, None if they are not plain Rice-coded, and length of blocks."""
    bits = header.get("ZBITPIX")
    dtype = _TYPES.get(bits) if isinstance(bits, int) else None
    if header.get("ZCMPTYPE") != "RICE_1" or any(name in header for name in _QUANTISED):
        return None, 0
    chosen: dict[str, Any] = {"BLOCKSIZE": _DEFAULT_BLOCK, "BYTEPIX": _DEFAULT_BYTES}
    k = 1
    while f"ZNAME{k}" in header:
        chosen[str(header[f"ZNAME{k}"])] = header.get(f"ZVAL{k}", 0)
        k += 1
    block = chosen["BLOCKSIZE"]
    if dtype is None or chosen["BYTEPIX"] != dtype.itemsize:
        return None, 0
    return (dtype, block) if isinstance(block, int) and block > 0 else (None, 0)


def _places(header: Header, n_tiles: int, data: U1) -> tuple[I8, I8] | None:
    """Return places and lengths of the tiles in the data, None if they are not all in there."""
    form = _FORM.match(str(header.get("TFORM1", "")).strip())
    name = str(header.get("TTYPE1", "")).strip()
    if header.get("TFIELDS") != 1 or name != "COMPRESSED_DATA" or form is None:
        return None
    numbers = np.dtype(">i4" if form[1] == "P" else ">i8")
    width = 2 * numbers.itemsize
    if header.get("NAXIS1") != width or header.get("NAXIS2") != n_tiles:
        return None
    heap = header.get("THEAP", width * n_tiles)
    if not isinstance(heap, int) or len(data) < width * n_tiles:
        return None
    table = data[: width * n_tiles].view(numbers).reshape(n_tiles, 2).astype(np.int64)
    size, first = np.ascontiguousarray(table[:, 0]), table[:, 1] + heap
    inside = (size > 0) & (first >= width * n_tiles) & (first + size <= len(data))
    return (first, size) if inside.all() else None
