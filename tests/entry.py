"""Calls from Python of the helpers of kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba

from skyextract.kernels.jit import Kernel


@cache
def entry(helper: Callable[..., Any]) -> Callable[..., Any]:
    """Return a helper of kernels, which has no entry for Python once it is compiled, with one.

    It is compiled once for all calls: each time takes half a second.
    """
    if not isinstance(helper, Kernel):  # NUMBA_DISABLE_JIT
        return helper
    compiled = helper.dispatcher

    @numba.njit
    def call(*arguments):  # type: ignore[no-untyped-def]
        return compiled(*arguments)

    return call
