"""The pages of memory that a call writes to: a child that waits for one has its own ahead.

After a fork, both processes have the same pages until one writes to them, be it that Python counts
a reference there.  The system stops it, then, and copies the page: of a call on a small frame
6000 times, a twentieth of its time.  Calls that follow each other mostly write to the same pages.
"""

from __future__ import annotations

import mmap
import os
from itertools import pairwise

import numpy as np

from skyextract.datamodel.ahead import POPULATE_WRITE, advice

_PAGE = mmap.PAGESIZE
_ENTRY = np.dtype("=u8")
_PRESENT, _OF_A_FILE, _OWN = (np.uint64(1 << bit) for bit in (63, 61, 56))
"""Bits of /proc/self/pagemap: in memory, shared or of a file, and mapped by nobody else."""
MOST_PAGES = 16384
"""A child that waits has no more of its own, 64 MB."""


class Pages:
    """Memory of the server that a child may write to, and which pages of it calls have written to.

    Made in the server; its children share what they note.
    """

    def __init__(self) -> None:
        self.parts = _private_parts()
        self.noted = mmap.mmap(-1, max(sum(last - first for first, last in self.parts), 1))

    def note(self) -> None:
        """Note the pages that this process has for itself, for those that come after it."""
        at = 0
        try:
            with open("/proc/self/pagemap", "rb", buffering=0) as file:  # noqa: PTH123
                for first, last in self.parts:
                    body = os.pread(file.fileno(), (last - first) * _ENTRY.itemsize, first * 8)
                    entries = np.frombuffer(body, _ENTRY)
                    is_own = entries & (_PRESENT | _OF_A_FILE | _OWN) == _PRESENT | _OWN
                    self.noted[at : at + is_own.size] = is_own.tobytes()
                    at += last - first
        except (OSError, ValueError):
            pass  # calls are slower

    def copy(self) -> None:
        """Make the noted pages, which this process and its parent share, its own."""
        numbers = [np.arange(first, last) for first, last in self.parts]
        pages = np.concatenate([*numbers, np.empty(0, np.int64)])
        pages = pages[np.frombuffer(self.noted[: pages.size], np.bool_)]
        advise = advice()
        if advise is None or not 0 < pages.size <= MOST_PAGES:
            return
        ends = [0, *(np.flatnonzero(np.diff(pages) != 1) + 1).tolist(), pages.size]
        for begin, end in pairwise(ends):
            place, size = int(pages[begin]) * _PAGE, (end - begin) * _PAGE
            if advise(place, size, POPULATE_WRITE) and begin == 0:
                return  # nor any other


def _private_parts() -> list[tuple[int, int]]:
    """Return first and past-last numbers of the pages of private memory that may be written to."""
    parts = []
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            for line in file:
                span, mode, *_ = line.split()
                if mode[1] == "w" and mode[3] == "p":
                    first, last = (int(end, 16) // _PAGE for end in span.split("-"))
                    parts.append((first, last))
    except OSError:
        pass
    return parts
