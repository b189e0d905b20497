"""Rice-coded integers, as the tiles of compressed FITS images hold them.

FITS Standard 4.0, section 10.4.1: the first value as it is, then blocks of differences from the
value before.  A block begins with a number: 0 means that all its differences are 0, the highest one
that they are stored as they are, and any other one more than the number of low bits that stand
apart from the rest, which is counted in zeros before a one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import helper, kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import I4, I8, U1

SPARE = 8
"""Bytes after the last tile that may be read, whatever they are."""


_MOST_ZEROS = 24
"""Zeros before a one that are counted in one step."""
_ZEROS = np.array([8, *(8 - byte.bit_length() for byte in range(1, 256))], np.uint8)
"""Zeros before the first one of a byte."""


@helper
def _window(data: U1, at: int) -> np.uint64:
    """Return the 57 bits from bit `at` on, and maybe more, at the upper end of 64 bits."""
    byte = np.uint64(at >> 3)
    word = np.uint64(0)
    for k in range(8):
        word = (word << np.uint64(8)) | np.uint64(data[byte + np.uint64(k)])
    return word << np.uint64(at & 7)


@helper
def _zeros(word: np.uint64) -> int:
    """Return the number of zeros before the first one of 64 bits, at most `_MOST_ZEROS` + 8."""
    n = 0
    while word >> np.uint64(56) == np.uint64(0) and n < _MOST_ZEROS:
        word <<= np.uint64(8)
        n += 8
    return n + int(_ZEROS[word >> np.uint64(56)])


@helper
def _bits(word: np.uint64, first: int, n: int) -> int:
    """Return n < 57 bits, after the `first` ones, of the upper end of 64 bits."""
    shifted = word << np.uint64(first)
    # In two steps: a shift by 64 means nothing.
    return int(np.int64((shifted >> np.uint64(1)) >> np.uint64(63 - n)))


@helper
def _decode(data: U1, first: int, size: int, n_bits: int, block: int, out: I4) -> bool:
    """Decode one tile into `out`; False if its bytes end before its values do."""
    n_code = 3 if n_bits == 8 else (4 if n_bits == 16 else 5)
    raw = 6 if n_bits == 8 else (14 if n_bits == 16 else 25)
    wrap = (1 << n_bits) - 1
    sign = 0 if n_bits == 8 else 1 << (n_bits - 1)
    end = 8 * (first + size)
    at = 8 * first + n_bits
    if at > end:
        return False
    value = _bits(_window(data, 8 * first), 0, n_bits)
    for start in range(0, len(out), block):
        past = min(start + block, len(out))
        split = _bits(_window(data, at), 0, n_code) - 1
        at += n_code
        if at > end:
            return False
        word, left = np.uint64(0), 0  # bits from `at` on, of which so many are known
        for k in range(start, past):
            difference = 0
            if split == raw:
                difference = _bits(_window(data, at), 0, n_bits)
                at += n_bits
            elif split >= 0:
                if left < _MOST_ZEROS + 8 + 1 + split:
                    word, left = _window(data, at), 57
                zeros = _zeros(word)
                if zeros > _MOST_ZEROS:
                    zeros = 0
                    while at + zeros < end and _bits(_window(data, at + zeros), 0, 1) == 0:
                        zeros += 1
                    difference = (zeros << split) | _bits(_window(data, at + zeros), 1, split)
                    left = 0
                else:
                    difference = (zeros << split) | _bits(word, zeros + 1, split)
                    word <<= np.uint64(zeros + 1 + split)
                    left -= zeros + 1 + split
                at += zeros + 1 + split
            if at > end:
                return False
            step = difference >> 1
            value = (value - step - 1 if difference & 1 else value + step) & wrap
            out[k] = (value ^ sign) - sign
    return True


@kernel
def decode_tiles(data: U1, first: I8, size: I8, n_bits: int, block: int, out: I4) -> int:
    """Decode tiles of equal length; return the number of those from the first on that are whole.

    Parameters
    ----------
    data : (n,) uint8
        The tiles, and `SPARE` bytes more.
    first, size : (n_tiles,) int64
        Places and lengths of the tiles in `data`, within it.
    n_bits : {8, 16, 32}
        Of a value; 8 have no sign.
    block : int
        Values of a block.
    out : (n_tiles, n_values) int32
        Output.
    """
    for tile in range(len(first)):
        if not _decode(data, first[tile], size[tile], n_bits, block, out[tile]):
            return tile
    return len(first)
