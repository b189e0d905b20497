"""What a running pipeline carries along: messages, step times, threads."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from skyextract.messages import LABELLED, RESULT
from skyextract.threads import Helpers

_T = TypeVar("_T")
_R = TypeVar("_R")

log = logging.getLogger("skyextract")

_MANY_PIXELS = 1 << 23
_MANY_OBJECTS = 100_000
"""A usual image makes fewer."""
_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_ONE_PLACE = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, (1 << 31) - 1))
"""Settings of glibc: all threads take memory from one place, which keeps what is freed."""
_DOCSTRINGS = ("numpy._core._add_newdocs", "numpy._core._add_newdocs_scalars")
"""Of numpy 2; modules without names, which it imports and asks nothing."""
_SMALL_IMAGE, _BYTES_PER_PIXEL = 1 << 22, 24
_LARGE_PAGE, _MADV_DONTNEED, _MADV_HUGEPAGE = 1 << 21, 4, 14
_LINKER = "libllvmlite"
_is_ours = threading.Event()
_has_taken = threading.Event()
_keeps_freed = threading.Event()
_starts = threading.Event()


def prepare_process() -> None:
    """Set what holds for a whole process, before numpy and numba are imported."""
    # Our matrices are small, and the threads that work on the image need the cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Pages of 2 MB for large arrays: of many only parts are written to, and clearing the rest took
    # a tenth of a run.
    os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")
    # Where scipy is installed numba imports it at the first kernel call, 0.3 s for nothing:
    # no kernel uses numpy.linalg, and nothing else here needs it.
    sys.modules.setdefault("scipy", None)  # type: ignore[arg-type]
    # It also imports coverage, where that is installed and not at work already; and
    # astropy.io.fits imports numcodecs, for others who want its codecs.
    sys.modules.setdefault("coverage", None)  # type: ignore[arg-type]
    sys.modules.setdefault("numcodecs", None)  # type: ignore[arg-type]
    # numpy imports the docstrings of its functions, a tenth of its time, for who asks for help.
    for name in _DOCSTRINGS:
        sys.modules.setdefault(name, ModuleType(name))
    # What imports make stays: to look for garbage among it took a twentieth of a run.
    gc.disable()
    _is_ours.set()
    _starts.set()


def collect_garbage() -> None:
    """Look for garbage again after `prepare_process`, but not among what there is so far.

    Nor for each few hundred objects: most images make none that is not let go by itself.
    """
    if _starts.is_set():
        _starts.clear()
        gc.freeze()
        gc.set_threshold(_MANY_OBJECTS)
        gc.enable()


def physical_memory() -> int:
    """Return the bytes of memory that the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def keep_freed_memory() -> None:
    """Let the C library (glibc) keep what is freed from now on, for the next image.

    All threads take it from one place: that of a thread goes back to the system with what it has.

    It would give planes of pixels back to the system, which clears them page by page for the next
    image: up to a tenth of the CPU time.
    """
    _keeps_freed.set()
    for name, value in _ONE_PLACE:
        _call_library("mallopt", name, value)


def take_memory_at_once(n_pixels: int) -> None:
    """Take the memory of a small image in pages of 2 MB, and use it again for its next planes.

    The C library (glibc) would ask the system for each plane, and give it back, in pages of 4 kB:
    thousands of them, a twentieth of the CPU time.  Planes of large images look after themselves.
    In processes of others nothing is changed.

    Parameters
    ----------
    n_pixels : int
        Of the image.
    """
    if n_pixels >= _SMALL_IMAGE or not _is_ours.is_set() or _keeps_freed.is_set():
        return
    if sys.platform != "linux" or _has_taken.is_set():
        return
    _has_taken.set()
    import ctypes

    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return
    for name, value in _ONE_PLACE:
        library.mallopt(name, value)
    number, pointer = ctypes.c_size_t, ctypes.c_void_p
    take, advise, give_back = library.malloc, library.madvise, library.free
    take.argtypes, take.restype = [number], pointer
    advise.argtypes, give_back.argtypes = [pointer, number, ctypes.c_int], [pointer]
    size = _BYTES_PER_PIXEL * n_pixels // _LARGE_PAGE * _LARGE_PAGE
    if place := take(size + _LARGE_PAGE):
        advise(-(-place // _LARGE_PAGE) * _LARGE_PAGE, size, _MADV_HUGEPAGE)
        give_back(place)  # to the library, which has it for what comes


def keeps_freed_memory() -> bool:
    """Whether what is freed stays for the next image."""
    return _keeps_freed.is_set()


def return_unused_memory(n_pixels: int) -> None:
    """Give memory that is not used in this moment back to the system, unless it is to be kept.

    The C library (glibc) keeps what is free among what is in use, where the planes of the next
    step may find no room; and the system maps LLVM whole, a hundred MB, for the few functions
    that link our kernels.  To look for both takes two milliseconds, too long where there is little.

    Parameters
    ----------
    n_pixels : int
        Of the image.
    """
    if n_pixels >= _MANY_PIXELS and not _keeps_freed.is_set():
        _call_library("malloc_trim", 0)
        _unmap_linker()


def _unmap_linker() -> None:
    """Let the code of LLVM go, which comes back from its file where it is called again (Linux).

    Only pages that may be executed: nobody has written to them.
    """
    import ctypes

    try:
        places = Path("/proc/self/maps").read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in places:
        if _LINKER in line and " r-xp " in line:
            first, end = (int(address, 16) for address in line.split()[0].split("-"))
            code, size = ctypes.c_void_p(first), ctypes.c_size_t(end - first)
            _call_library("madvise", code, size, _MADV_DONTNEED)


def _call_library(name: str, *arguments: Any) -> None:
    """Call a function of glibc, where there is one."""
    if sys.platform != "linux":
        return
    import ctypes

    library = ctypes.CDLL(None)
    if hasattr(library, name):
        getattr(library, name)(*arguments)


def end_with_parent(parent: int | None = None) -> None:
    """Let the system kill this process when its parent has ended, however that was (Linux).

    Parameters
    ----------
    parent : int or None
        The parent; if it is another one already, it ended before it could be watched.  None: the
        present one.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


@dataclass
class Run:
    """Messages, warnings, step times and worker threads of one image.

    Attributes
    ----------
    n_threads : int
        Threads for kernels; results never depend on it.
    warnings : list of str
        All warnings so far, for the JSON summary.
    seconds : dict
        Wall time per step.
    opened : list of str
        Files whose content was used, in the order of their first use: whoever reads a file, or
        takes what was read of it from a cache, says so with `note_opened`.
    copies : tuple of (str, str)
        Copies of what came from pipes, and the names of these, which messages have.
    resting : threading.Event
        Set while `map` has no work for the threads, and a core may be free for something else.
    """

    n_threads: int = 1
    label: str = ""
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    copies: tuple[tuple[str, str], ...] = ()
    resting: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _told: set[str] = field(default_factory=set, init=False, repr=False)
    _helpers: Helpers | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.resting.set()

    def __getstate__(self) -> dict[str, Any]:
        # Threads and what they wait for stay in their process.
        return {**self.__dict__, "_helpers": None, "resting": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, resting=threading.Event())
        self.resting.set()

    def info(self, message: str) -> None:
        """Tell the user, on stderr (-v)."""
        log.info(LABELLED, *self._labelled(self.shown(message)))

    def tell(self, message: str) -> None:
        """Tell the user what was taken for what, on stderr, once per text."""
        message = self.shown(message)
        if message not in self._told:
            self._told.add(message)
            log.log(RESULT, LABELLED, *self._labelled(message))

    def warn(self, message: str) -> None:
        """Warn the user on stderr, once per text, and keep it for the summary."""
        message = self.shown(message)
        if message not in self.warnings:
            self.warnings.append(message)
            log.warning(LABELLED, *self._labelled(message))

    def shown(self, text: str) -> str:
        """Return a text in which the copy of what came from a pipe has the name of the pipe."""
        for copy, name in self.copies:
            text = text.replace(copy, name)
        return text

    def _labelled(self, message: str) -> tuple[str, str]:
        """Return label and message; a message that names the image itself needs no other label."""
        place, separator, rest = message.partition(": ")
        name = place.rpartition("/")[2]
        ours = self.label.removesuffix(": ").partition("[")[0]
        if separator and ours and name.partition("[")[0] == ours:
            return f"{name}: ", rest
        return self.label, message

    def note_opened(self, *paths: str | Path) -> None:
        """Note files whose content is used, for the provenance."""
        self.opened += [name for name in map(str, paths) if name not in self.opened]

    @contextmanager
    def noting_opened(self) -> Iterator[list[str]]:
        """Give the files that are opened in the block, for a cache to note them again later."""
        before, self.opened = self.opened, []
        inside = self.opened
        try:
            yield inside
        finally:
            self.opened = before
            self.note_opened(*inside)

    @contextmanager
    def about(self, label: str) -> Iterator[None]:
        """Put another label before the messages of the block."""
        before, self.label = self.label, label
        try:
            yield
        finally:
            self.label = before

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the wall time of the block to `seconds[step]`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            self.seconds[step] = self.seconds.get(step, 0.0) + elapsed
            log.debug("%s%s: %.3f s", self.label, step, elapsed)

    def map(self, function: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
        """Apply `function` to the items in threads; results in the order of the items.

        The kernels release the GIL, so threads run them truly in parallel.  This thread works
        with the others, which stay for the next call, and waits for none that has not begun when
        it finds no more items.  `function` must not call `map` of the same run.  Of several errors
        that of the first item is raised.
        """
        n_others = min(self.n_threads, len(items)) - 1
        if n_others <= 0:
            return [function(item) for item in items]
        turns = iter(range(len(items)))
        results: dict[int, _R] = {}
        errors: dict[int, Exception] = {}

        def work() -> None:
            for k in turns:
                try:
                    results[k] = function(items[k])
                except Exception as error:
                    errors[k] = error
                    _leave(turns)

        if self._helpers is None:
            self._helpers = Helpers(self.n_threads - 1)
        self.resting.clear()
        try:
            others = self._helpers.begin(work, n_others)
            work()
            for other in others:
                other.end()
        except BaseException:
            _leave(turns)
            raise
        finally:
            self.resting.set()
        if errors:
            raise errors[min(errors)]
        return [results[k] for k in range(len(items))]

    def bands(self, n_rows: int, least: int = 64) -> list[tuple[int, int]]:
        """Split rows into (first, past-last) bands, one per thread."""
        n = max(1, min(self.n_threads, n_rows // least))
        edges = [n_rows * i // n for i in range(n + 1)]
        return list(pairwise(edges))


def _leave(turns: Iterator[int]) -> None:
    """Take all turns that are left, so that nobody begins another one."""
    for _ in turns:
        pass


def resolve_threads(nthreads: int, n_processes: int = 1) -> int:
    """Return the number of threads for NTHREADS.

    0: the cores this process may use, shared; -N: the same, but at most N, as SExtractor.
    """
    if nthreads > 0:
        return nthreads
    cores = max(1, len(os.sched_getaffinity(0)) // n_processes)
    return min(cores, -nthreads) if nthreads else cores
