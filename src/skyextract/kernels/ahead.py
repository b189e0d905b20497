"""numba in the processes that compile ahead, which run nothing of what they compile.

Of a helper they need what its callers are built from and no machine code, and LLVM optimises it
where it is built in: numba would optimise each function once for itself and once more in every
caller.  The code of the kernels comes out the same, for a third less work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import _dynfunc
from numba.core.codegen import JITCodeLibrary
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys
from numba.extending import overload
from numba.np import arrayobj

_ENTRY = "_ZN7cpython"
"""Begins the symbols of functions that are called from Python."""


class _Library(JITCodeLibrary):  # type: ignore[misc]
    """One function with what it calls; machine code is made if Python can call it."""

    def _optimize_final_module(self) -> None:
        if self._is_entry():
            super()._optimize_final_module()

    def _finalize_final_module(self) -> None:
        if self._is_entry():
            super()._finalize_final_module()
        else:
            self._finalize_dynamic_globals()
            self._finalized = True

    def _is_entry(self) -> bool:
        return any(
            item.name.startswith(_ENTRY) and not item.is_declaration
            for item in self._final_module.functions
        )

    def serialize_using_object_code(self) -> Any:
        """Return what is stored: machine code, none of a helper, and what callers link."""
        if self._is_entry():
            return super().serialize_using_object_code()
        return self.name, "object", (b"", self._final_module.as_bitcode())


def prepare() -> None:
    """Set numba up, before this process compiles its first function."""
    context = cpu_target.target_context
    context.refresh()
    rtsys.initialize(context)
    codegen = context.codegen()
    codegen._library_class = _Library
    codegen.set_env = _leave_unset
    context.get_executable = _nothing_to_call
    # The message of an assignment between shapes that differ is put together from strings,
    # which takes longer to compile than many a kernel.
    overload(_raise_shapes_differ)(_code_of_raise)
    arrayobj.raise_with_shape_context = _raise_shapes_differ


def _nothing_to_call(library: Any, description: Any, environment: Any) -> Any:
    """Return what stands for the compiled function, which is not called here."""
    library._ensure_finalized()
    name = description.qualname.rpartition(".")[2]
    return _dynfunc.make_function(description.lookup_module(), name, "", 0, environment, (library,))


def _leave_unset(name: str, environment: Any) -> None:
    """Leave the pointer to an environment, which only code that runs follows."""


def _raise_shapes_differ(_source: object, _target: object) -> None:
    raise ValueError("cannot assign slice from input of different size")


def _code_of_raise(_source: object, _target: object) -> Callable[[object, object], None]:
    """Return what numba compiles for a call: arguments must be the same, with annotations."""
    return _raise_shapes_differ
