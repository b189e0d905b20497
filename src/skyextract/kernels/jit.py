"""The decorators of all kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

from skyextract.kernels.loading import keep_on_disk

_F = TypeVar("_F", bound=Callable[..., object])


def kernel(function: _F) -> _F:
    """Compile `function` with numba: kept on disk, releasing the GIL, IEEE division.

    The compiled function keeps the type of the plain one, so that callers are checked.  A
    function whose name starts with an underscore is called by kernels alone: see `helper`.
    """
    return _compiled(function, for_kernels=function.__name__.startswith("_"))


def helper(function: _F) -> _F:
    """Compile `function` for calls from other kernels only; without an entry for Python.

    That entry, which unpacks the arguments, takes a third of the time to compile.
    """
    return _compiled(function, for_kernels=True)


def _compiled(function: _F, for_kernels: bool) -> _F:
    compiled: Any = numba.njit(
        nogil=True, error_model="numpy", no_cfunc_wrapper=True, no_cpython_wrapper=for_kernels
    )(function)
    if compiled is not function:  # it is, with NUMBA_DISABLE_JIT
        keep_on_disk(compiled, for_kernels)
    return cast(_F, compiled)
