"""The decorators of all kernels."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, cached_property, update_wrapper
from typing import Any, TypeVar, cast

from skyextract.kernels import native
from skyextract.kernels.store import PACKAGE

_F = TypeVar("_F", bound=Callable[..., object])
_INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT", "0") not in {"", "0"}


class Kernel:
    """A function that numba compiles: kept on disk, releasing the GIL, IEEE division.

    Code that an earlier run compiled is called without numba, which is imported when something
    must be compiled.

    Parameters
    ----------
    function : callable
        The function in Python.
    for_kernels : bool
        Called by other kernels only: there is no entry for Python, which would unpack the
        arguments and is a third of the time to compile.
    liberties : frozenset of str
        With IEEE arithmetic, in LLVM's words: sums in any order, several terms at once
        ("reassoc"); a product and a sum in one step, rounded once ("contract").
    """

    def __init__(
        self,
        function: Callable[..., object],
        for_kernels: bool,
        liberties: frozenset[str] = frozenset(),
    ) -> None:
        update_wrapper(self, function)
        self.py_func = function
        self.for_kernels = for_kernels
        self.liberties = liberties
        self._ready: list[tuple[list[native.Test], Any]] | None = None

    def __call__(self, *arguments: object) -> object:
        """Call the code for these arguments; load or compile it first if that was not done."""
        if self._ready is None:
            self.load()
        for tests, code in self._ready or ():
            if native.accepted(arguments, tests):
                return code(*arguments)
        return self.dispatcher(*arguments)

    @property
    def module(self) -> str:
        """The module of the kernel, below `skyextract.kernels`."""
        return self.py_func.__module__.removeprefix(f"{PACKAGE}.")

    def load(self) -> bool:
        """Load the code of earlier runs; tell whether there is some."""
        self._ready = [] if self.for_kernels else native.load(self.py_func, self.module)
        return bool(self._ready)

    @cached_property
    def dispatcher(self) -> Any:
        """What numba makes of the function."""
        import numba

        from skyextract.kernels.loading import keep_on_disk

        _tell_numba()
        dispatcher: Any = numba.njit(
            nogil=True,
            error_model="numpy",
            fastmath=set(self.liberties) or False,
            no_cfunc_wrapper=True,
            no_cpython_wrapper=self.for_kernels,
        )(self.py_func)
        keep_on_disk(dispatcher, self.for_kernels)
        return dispatcher


@cache
def _tell_numba() -> None:
    """Let kernels call each other by the names that their modules know them by."""
    from numba import types
    from numba.extending import typeof_impl

    typeof_impl.register(Kernel)(lambda kernel, _context: types.Dispatcher(kernel.dispatcher))


def kernel(function: _F) -> _F:
    """Make a `Kernel` of a function; to type checkers it stays the function.

    A function whose name starts with an underscore is called by kernels alone: see `helper`.
    """
    return _compiled(function, for_kernels=function.__name__.startswith("_"))


def helper(function: _F) -> _F:
    """Make a `Kernel` for calls from other kernels only."""
    return _compiled(function, for_kernels=True)


def summation(function: _F) -> _F:
    """Make a helper whose sums may be added in any order, always the same one on a processor."""
    return _compiled(function, for_kernels=True, liberties=frozenset({"reassoc", "contract"}))


def fused(function: _F) -> _F:
    """Make a helper that rounds a product and the sum that it is part of once, not twice."""
    return _compiled(function, for_kernels=True, liberties=frozenset({"contract"}))


def _compiled(function: _F, for_kernels: bool, liberties: frozenset[str] = frozenset()) -> _F:
    return function if _INTERPRETED else cast(_F, Kernel(function, for_kernels, liberties))
