"""Names of array types, by kind and bytes per element as in numpy: F4 is float32."""

from __future__ import annotations

import math
import mmap
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from skyextract.datamodel.ahead import clear_ahead, fresh_memory
from skyextract.run import Run, keeps_freed_memory

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
I2 = NDArray[np.int16]
I4 = NDArray[np.int32]
I8 = NDArray[np.int64]
U1 = NDArray[np.uint8]
U2 = NDArray[np.uint16]
U4 = NDArray[np.uint32]
C8 = NDArray[np.complex64]
C16 = NDArray[np.complex128]
Bools = NDArray[np.bool_]
AnyArray = NDArray[Any]
_Plane = TypeVar("_Plane", F4, U1)
_Number = TypeVar("_Number", bound=np.generic)

_ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_FEW_BYTES = 1 << 22
"""Bytes that fill no large pages."""
_MANY_BYTES = 1 << 25
"""Bytes whose clearing takes longer than thousands of small pages."""

_BLOCK = 1 << 18
"""Pixels that numpy works on at once in a thread."""


def blank(shape: tuple[int, ...], dtype: Any, run: Run | None = None) -> AnyArray:
    """Return zeros of which, in a first image, only what is written to takes memory and time.

    It comes in pages of 2 MB, where the system has these: one of them is cleared in the time of 75
    of the 512 small ones, most of which labels of sources write to.  Memory that the process has
    used before is cleared, which is the quicker way when there is some that is kept for images to
    come, or for few bytes; in threads, if a run lends its own.
    """
    kind = np.dtype(dtype)
    if math.prod(shape) * kind.itemsize < _FEW_BYTES or not keeps_freed_memory():
        return unmarked(shape, kind)
    if run is None:
        return np.zeros(shape, kind)
    cleared: AnyArray = np.empty(shape, kind)
    run.map(lambda band: cleared[slice(*band)].fill(0), run.bands(shape[0]))
    return cleared


def unmarked(shape: tuple[int, ...], dtype: Any) -> AnyArray:
    """Return a plane of zeros, such as a mask, of which most is only going to be read.

    The system shows one page of zeros in all places that nobody has written to: they take no
    memory, are not cleared, and are read from the cache.
    """
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if size < _FEW_BYTES:
        return np.zeros(shape, kind)
    return np.frombuffer(fresh_memory(size), kind).reshape(shape)


def scattered(shape: tuple[int, ...], dtype: Any) -> AnyArray:
    """Return zeros, of which a few places here and there are going to be written to.

    These alone take memory, 4 kB each: of large pages a handful of sources fills a plane.  A small
    plane is sooner cleared than so many pages are taken.
    """
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if size < _MANY_BYTES:
        return unmarked(shape, kind)
    memory = mmap.mmap(-1, size, flags=_ANONYMOUS)
    return np.frombuffer(memory, kind).reshape(shape)


def whole(shape: tuple[int, ...], dtype: Any) -> AnyArray:
    """Return an array without values, all of which is going to be written to.

    In a first image its memory comes in pages of 2 MB, where the system has these: it clears one
    of them in a tenth of the time of as much in small ones.
    """
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if size < _FEW_BYTES or keeps_freed_memory():
        return np.empty(shape, kind)
    return np.frombuffer(fresh_memory(size), kind).reshape(shape)


def clear_planes_ahead(shape: tuple[int, ...], run: Run, *, has_fits: bool) -> None:
    """Let a second core clear the memory of the next planes of a first image, which is large.

    They are those of labels and, with fits of the PSF, of their residuals, the first after the one
    of the image.
    """
    size = 4 * math.prod(shape)
    if run.n_threads > 1 and size >= _MANY_BYTES and not keeps_freed_memory():
        clear_ahead(size, 2 if has_fits else 1, run.resting)


def highest(plane: F4, run: Run) -> float:
    """Return the highest value, of those that are numbers, found in threads."""
    bands = run.map(
        lambda band: np.fmax.reduce(plane[slice(*band)], axis=None), run.bands(len(plane))
    )
    return float(np.fmax.reduce(bands))


def n_from(plane: F4, levels: tuple[float, ...], run: Run) -> I8:
    """Return how many pixels are at each level or above it, counted in threads."""
    step = max(1, _BLOCK // plane.shape[1])

    def count(band: tuple[int, int]) -> list[int]:
        number = [0] * len(levels)
        for first in range(*band, step):
            block = plane[first : min(first + step, band[1])]
            for k, level in enumerate(levels):
                number[k] += int(np.count_nonzero(block >= np.float32(level)))
        return number

    number: I8 = np.sum(run.map(count, run.bands(len(plane))), axis=0)
    return number


def n_set(mask: U1 | Bools, run: Run) -> int:
    """Return how many pixels are not 0, counted in threads."""
    return sum(
        run.map(lambda band: int(np.count_nonzero(mask[slice(*band)])), run.bands(len(mask)))
    )


def places_set(plane: U1, run: Run) -> I8:
    """Return the places, in a plane as one line, of the pixels that are not 0, found in threads."""
    nx = plane.shape[1]
    step = max(1, _BLOCK // nx)

    def places(band: tuple[int, int]) -> list[I8]:
        return [
            np.flatnonzero(plane[first : min(first + step, band[1])] != 0) + first * nx
            for first in range(*band, step)
        ]

    parts = run.map(places, run.bands(len(plane)))
    return np.concatenate([found for part in parts for found in part])


def has_bits(mask: U2, bits: int, run: Run) -> Bools:
    """Tell which pixels have one of some bits, looked at in threads."""
    found: Bools = np.empty(mask.shape, np.bool_)
    step = max(1, _BLOCK // mask.shape[1])

    def look(band: tuple[int, int]) -> None:
        for first in range(*band, step):
            rows = slice(first, min(first + step, band[1]))
            np.not_equal(mask[rows] & np.uint16(bits), 0, out=found[rows])

    run.map(look, run.bands(len(mask)))
    return found


def copied(
    plane: _Plane, run: Run, less: _Plane | None = None, out: _Plane | None = None
) -> _Plane:
    """Return a copy of a plane, less another one if that is given, made in threads.

    It is written to `out`, if that is given.
    """
    out = whole(plane.shape, plane.dtype) if out is None else out

    def rows(band: tuple[int, int]) -> None:
        here = slice(*band)
        if less is None:
            out[here] = plane[here]
        else:
            np.subtract(plane[here], less[here], out=out[here])

    run.map(rows, run.bands(plane.shape[0]))
    return out


def each_of(number: I8) -> tuple[I8, I8]:
    """Return for each of `number[k]` things the k that it belongs to, and its place there."""
    of = np.repeat(np.arange(number.size), number)
    return of, np.arange(of.size) - np.repeat(np.cumsum(number) - number, number)


def distinct(values: NDArray[_Number]) -> NDArray[_Number]:
    """Return each value once, in ascending order.

    That of `numpy.unique`, which imports `numpy.ma` when it is called first.
    """
    ordered = np.sort(values, axis=None)
    is_first = np.ones(ordered.size, np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    return ordered[is_first]


def widened(area: Bools, n: int) -> Bools:
    """Return pixels that are no farther than n along both axes from some of an area."""
    for axis in (0, 1):
        wide = area.copy()
        for k in range(1, n + 1):
            ahead, behind = ((slice(None),) * axis + (part,) for part in np.s_[k:, :-k])
            wide[ahead] |= area[behind]
            wide[behind] |= area[ahead]
        area = wide
    return area
