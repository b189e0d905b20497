"""numba in the processes that compile ahead, which run nothing of what they compile.

Of a helper they need what its callers are built from and no machine code, and LLVM optimises it
where it is built in: numba would optimise each function once for itself and once more in every
caller.  The code of the kernels comes out the same, for a third less work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import _dynfunc
from numba.core.codegen import JITCodeLibrary
from numba.core.registry import cpu_target
from numba.core.runtime import nrtdynmod, rtsys
from numba.core.targetconfig import ConfigStack
from numba.core.types import Array, BaseTuple, Boolean, IntegerLiteral, Number  # type: ignore[attr-defined]
from numba.core.types.functions import BaseFunction
from numba.extending import overload
from numba.np import arrayobj

_ENTRY = "_ZN7cpython"
"""Begins the symbols of functions that are called from Python."""


_COUNTING = ("NRT_incref", "NRT_decref")
"""Functions that count the references to an array."""


class _Library(JITCodeLibrary):  # type: ignore[misc]
    """One function with what it calls; machine code is made if Python can call it."""

    def _optimize_functions(self, module: Any) -> None:
        """Optimise the functions that have a body here; numba prepares it for all others, too."""
        if not hasattr(llvmlite.binding, "create_pass_builder"):  # numba before 0.61
            super()._optimize_functions(module)
            return
        module.data_layout = self._codegen._data_layout
        passes, builder = self._codegen._function_pass_manager()
        for function in module.functions:
            if not function.is_declaration:
                passes.run(function, builder)

    def _optimize_final_module(self) -> None:
        if self._is_entry():
            super()._optimize_final_module()

    def _finalize_final_module(self) -> None:
        if self._is_entry():
            for function in self._final_module.functions:
                if function.name in _COUNTING and not function.is_declaration:
                    # Code of others that is linked in the same process shall not find it.
                    function.linkage = "internal"
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
    nrtdynmod._define_atomic_inc_dec = _counting
    context = cpu_target.target_context
    context.refresh()
    rtsys.initialize(context)
    codegen = context.codegen()
    codegen._library_class = _Library
    codegen.set_env = _leave_unset
    context.get_executable = _nothing_to_call
    context.create_cfunc_wrapper = _no_wrapper
    BaseFunction.get_call_type = _Resolved(BaseFunction.get_call_type).get  # type: ignore[method-assign]
    # The message of an assignment between shapes that differ is put together from strings,
    # which takes longer to compile than many a kernel.
    overload(_raise_shapes_differ)(_code_of_raise)
    arrayobj.raise_with_shape_context = _raise_shapes_differ


def _counting(module: Any, operation: str, **_ordering: str) -> Any:
    """Define how references to an array are counted: by the one thread that there is.

    Each call of a kernel has counters of its own, also of arrays that other threads work on, and
    no kernel starts threads.  numba counts in atomic steps, which took a tenth of the time.
    """
    word = ir.IntType(nrtdynmod._word_type.width)
    name = f"nrt_atomic_{operation}"
    function = ir.Function(module, ir.FunctionType(word, [word.as_pointer()]), name)
    builder = ir.IRBuilder(function.append_basic_block())
    (counter,) = function.args
    value = getattr(builder, operation)(builder.load(counter), ir.Constant(word, 1))
    builder.store(value, counter)
    builder.ret(value)
    return function


class _Resolved:
    """Types of calls that were asked for before.

    For each call numba tries the implementations of a function, most of which are for other
    arguments, and remembers only those that fit.
    """

    _PLAIN = (Number, Boolean, Array, BaseTuple, IntegerLiteral)

    def __init__(self, resolve: Callable[..., Any]) -> None:
        self._resolve = resolve
        self._known: dict[Any, tuple[Any, Any]] = {}

    @property
    def get(self) -> Callable[..., Any]:
        """The method that stands for numba's."""

        def get_call_type(function: Any, context: Any, args: Any, kws: Any) -> Any:
            if kws or not all(isinstance(item, self._PLAIN) for item in args):
                return self._resolve(function, context, args, kws)
            key = (function.key, tuple(args), ConfigStack.top_or_none())
            if key not in self._known:
                signature = self._resolve(function, context, args, kws)
                self._known[key] = signature, function._impl_keys[signature.args]
            signature, implementation = self._known[key]
            function._impl_keys[signature.args] = implementation
            return signature

        return get_call_type


def _no_wrapper(*_: object) -> None:
    """Make no entry for callers in C, of which there are none."""


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
