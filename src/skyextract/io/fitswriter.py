"""Writing FITS header units: images in row blocks and binary tables, without astropy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from skyextract.header import BLOCK, Header, is_structural

Columns = Mapping[str, NDArray[Any]]

_BITPIX = {"u1": 8, "i2": 16, "i4": 32, "i8": 64, "f4": -32, "f8": -64}
_TFORM = {"u1": "B", "i2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D"}
_UNSIGNED_OFFSET = {"u2": 1 << 15, "u4": 1 << 31}
_BLOCK_PIXELS = 1 << 18


def _kind(dtype: np.dtype[Any]) -> str:
    return dtype.str[1:]


def write_primary(stream: BinaryIO, header: Header | None = None) -> None:
    """Write a primary header unit without data, with the other cards of `header`."""
    cards = Header({"SIMPLE": True, "BITPIX": 8, "NAXIS": 0, "EXTEND": True})
    _extend(cards, header)
    stream.write(cards.tobytes())


def _extend(cards: Header, header: Header | None) -> None:
    if header is not None:
        cards.extend_missing(header, frozenset(k for k in header if is_structural(k)))


def write_image(
    stream: BinaryIO,
    array: NDArray[Any],
    header: Header | None = None,
    *,
    primary: bool = False,
    name: str = "",
    version: int = 0,
) -> None:
    """Write an image header unit.

    Parameters
    ----------
    array : (ny, nx) or (n, ny, nx)
        Any integer or real type; unsigned integers are stored with BZERO.
    header : Header, optional
        Cards to carry over; those that describe its own storage are left out.
    primary : bool
        As the primary unit, else as an IMAGE extension.
    name, version : str, int
        EXTNAME and EXTVER, if given.
    """
    kind = _kind(array.dtype)
    offset = _UNSIGNED_OFFSET.get(kind)
    stored = kind.replace("u", "i") if offset else kind
    cards = Header()
    cards["SIMPLE" if primary else "XTENSION"] = True if primary else "IMAGE"
    cards["BITPIX"] = _BITPIX[stored]
    cards["NAXIS"] = array.ndim
    for k, length in enumerate(reversed(array.shape)):
        cards[f"NAXIS{k + 1}"] = length
    if primary:
        cards["EXTEND"] = True
    else:
        cards["PCOUNT"], cards["GCOUNT"] = 0, 1
    if offset:
        cards["BSCALE"], cards["BZERO"] = 1, offset
    _name(cards, name, version)
    _extend(cards, header)
    stream.write(cards.tobytes())
    rows = array.reshape(-1, array.shape[-1])
    step = max(1, _BLOCK_PIXELS // max(1, rows.shape[1]))
    for first in range(0, rows.shape[0], step):
        block = rows[first : first + step]
        if offset:  # flipping the highest bit subtracts the offset
            block = block ^ block.dtype.type(offset)
        stream.write(block.astype(f">{kind}").tobytes())
    _fill(stream, array.size * array.dtype.itemsize)


def _name(cards: Header, name: str, version: int) -> None:
    if name:
        cards["EXTNAME"] = name
    if version:
        cards["EXTVER"] = version


def _fill(stream: BinaryIO, size: int, filling: bytes = b"\0") -> None:
    stream.write(filling * (-size % BLOCK))


def write_table(
    stream: BinaryIO,
    columns: Columns,
    header: Header | None = None,
    *,
    name: str = "",
    version: int = 0,
    units: Mapping[str, str] | None = None,
) -> None:
    """Write a binary table.

    Parameters
    ----------
    columns : mapping of str to array
        Rows along the first axis; booleans, integers up to int64, float32, float64 and text.
        Vector columns have further axes.
    header : Header, optional
        Further cards.
    name, version : str, int
        EXTNAME and EXTVER, if given.
    units : mapping of str to str, optional
        TUNIT of columns.

    Raises
    ------
    TypeError
        A column of a type that a binary table cannot hold.
    """
    stored = {key: _stored(key, np.asarray(values)) for key, values in columns.items()}
    n_rows = len(next(iter(stored.values()))) if stored else 0
    fields, cards = [], Header()
    for k, (key, values) in enumerate(stored.items(), start=1):
        shape = values.shape[1:]
        kind = _kind(values.dtype)
        fields.append((f"c{k}", values.dtype, shape))
        count = int(np.prod(shape, dtype=int))
        cards[f"TTYPE{k}"] = key
        if np.asarray(columns[key]).dtype.kind == "b":
            cards[f"TFORM{k}"] = f"{'' if count == 1 else count}L"
        elif values.dtype.kind == "S":
            cards[f"TFORM{k}"] = f"{count * values.dtype.itemsize}A"
        else:
            cards[f"TFORM{k}"] = f"{'' if count == 1 else count}{_TFORM[kind]}"
        if len(shape) > 1:
            cards[f"TDIM{k}"] = "(" + ",".join(str(n) for n in reversed(shape)) + ")"
        if units and units.get(key):
            cards[f"TUNIT{k}"] = units[key]
    table = np.zeros(n_rows, np.dtype(fields))
    for field, values in zip(table.dtype.names or (), stored.values(), strict=True):
        table[field] = values
    whole = Header({"XTENSION": "BINTABLE", "BITPIX": 8, "NAXIS": 2})
    whole["NAXIS1"], whole["NAXIS2"] = table.dtype.itemsize, n_rows
    whole["PCOUNT"], whole["GCOUNT"], whole["TFIELDS"] = 0, 1, len(stored)
    whole.extend_missing(cards)
    _name(whole, name, version)
    _extend(whole, header)
    stream.write(whole.tobytes())
    stream.write(table.tobytes())
    _fill(stream, table.nbytes)


def _stored(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return a column in the type it has in the file."""
    kind = values.dtype.kind
    if kind == "b":
        return np.where(values, b"T", b"F")
    if kind == "U":
        return np.char.encode(values, "ascii", "replace")
    if kind == "S":
        return values
    code = _kind(values.dtype)
    code = {"i1": "i2", "u2": "i4", "u4": "i8", "f2": "f4"}.get(code, code)
    if code not in _TFORM:
        raise TypeError(f"column {name}: a FITS table cannot hold {values.dtype}")
    return values.astype(f">{code}")
