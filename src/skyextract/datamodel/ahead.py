"""Memory of planes that the system clears ahead, while a core is free."""

from __future__ import annotations

import contextlib
import mmap
import sys
import threading
from collections.abc import Callable

import numpy as np

_ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_LARGE_PAGE = getattr(mmap, "MADV_HUGEPAGE", None)
POPULATE_WRITE = 23
"""Of madvise (Linux 5.14): take the pages as if they were written to, but leave what they hold."""
_PART = 1 << 21
_PATIENCE = 0.02
"""Seconds after which a part is cleared though no core is free."""
_planes: list[mmap.mmap] = []


def fresh_memory(size: int) -> mmap.mmap:
    """Return memory that is zero, in large pages, which is taken where it is written to, or before.

    Parameters
    ----------
    size : int
        Bytes.
    """
    with contextlib.suppress(IndexError):  # others take planes, too
        if _planes and len(_planes[0]) == size:
            return _planes.pop()
    memory = mmap.mmap(-1, size, flags=_ANONYMOUS)
    if _LARGE_PAGE is not None:
        with contextlib.suppress(OSError):  # a system without them
            memory.madvise(_LARGE_PAGE)
    return memory


def clear_ahead(size: int, number: int, resting: threading.Event) -> None:
    """Let a thread clear the memory that the next calls of `fresh_memory` are going to return.

    The first steps use one core for half of their time, and the memory of a machine whose host has
    to find it first comes at less than 1 GB/s.  Whoever takes a plane meanwhile finds zeros, too.

    Parameters
    ----------
    size, number : int
        Bytes of a plane, and planes.
    resting : threading.Event
        Set while a core may be free (`Run.resting`).
    """
    _planes.clear()  # of an image of another size
    advise = advice()
    if advise is None:
        return
    with contextlib.suppress(OSError, RuntimeError):  # no room for planes, or for a thread
        planes = [fresh_memory(size) for _ in range(number)]
        _planes.extend(planes)
        threading.Thread(target=_clear, args=(planes, resting, advise), daemon=True).start()


def _clear(
    planes: list[mmap.mmap], resting: threading.Event, advise: Callable[[int, int, int], int]
) -> None:
    """Take the memory of planes part by part, the one that is wanted first before the others."""
    while planes:
        place = np.frombuffer(planes.pop(), np.uint8)
        for first in range(0, place.size, _PART):
            resting.wait(_PATIENCE)
            if advise(place.ctypes.data + first, min(_PART, place.size - first), POPULATE_WRITE):
                return  # an older system


def advice() -> Callable[[int, int, int], int] | None:
    """Return madvise; None where there is none."""
    if sys.platform != "linux":
        return None
    import ctypes

    library = ctypes.CDLL(None)
    if not hasattr(library, "madvise"):
        return None
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    found: Callable[[int, int, int], int] = library.madvise
    return found
