"""Calls from Python of the helpers of kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def entry(helper: Callable[..., Any]) -> Callable[..., Any]:
    """Return a helper of kernels, which has no entry for Python once it is compiled, with one."""
    if not hasattr(helper, "py_func"):  # NUMBA_DISABLE_JIT
        return helper

    @numba.njit
    def call(*arguments):  # type: ignore[no-untyped-def]
        return helper(*arguments)

    return call
