"""The one decorator that every kernel uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

_F = TypeVar("_F", bound=Callable[..., object])


def kernel(function: _F) -> _F:
    """Compile `function` with numba: cached on disk, releasing the GIL, IEEE division.

    The compiled function keeps the type of the plain one, so that callers are checked.
    """
    compiled = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return cast(_F, compiled)
