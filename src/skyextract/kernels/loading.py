"""Compiled kernels come back from the disk, and go there.

numba's own cache notices no edit in another file, fails on a damaged entry or a folder that
cannot be written, and prepares for compiling before it loads anything (0.3 s).  Here compiled
kernels are kept by `store`, and loaded without that.
"""

from __future__ import annotations

import pickle
from contextlib import suppress
from functools import cache, partial
from typing import Any

import llvmlite.binding
from numba.core import sigutils, types
from numba.core.caching import NullCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import compile_result
from numba.core.errors import NumbaError
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys
from numba.core.serialize import dumps
from numba.core.types import BaseTuple, unliteral  # type: ignore[attr-defined]

from skyextract.kernels.store import PACKAGE, SIGNATURES, Entry


def keep_on_disk(dispatcher: Any, for_kernels: bool) -> None:
    """Let a kernel be loaded when it was compiled before, and kept when it is compiled."""
    dispatcher._cache = KernelCache(dispatcher, for_kernels)
    dispatcher.get_call_template = partial(_call_template, dispatcher)
    if not for_kernels:
        dispatcher._compile_for_args = FirstCall(dispatcher)


def _call_template(dispatcher: Any, args: Any, kws: Any) -> Any:
    """Type a call from another kernel: constants are numbers like others, not a type each."""
    plain = tuple(map(unliteral, args))
    named = {name: unliteral(item) for name, item in kws.items()}
    return type(dispatcher).get_call_template(dispatcher, plain, named)


def qualified_name(dispatcher: Any) -> tuple[str, str]:
    """Return the module of a kernel, below `skyextract.kernels`, and its name."""
    function = dispatcher.py_func
    return function.__module__.removeprefix(f"{PACKAGE}."), function.__qualname__


class FirstCall:
    """Return the code for arguments that a kernel was not called with before.

    It is loaded if it was compiled by an earlier run, without what numba prepares for compiling.
    """

    def __init__(self, dispatcher: Any) -> None:
        self.dispatcher = dispatcher

    def __call__(self, *args: object) -> object:
        """Load or compile the kernel for these arguments; numba asks under a name of its own."""
        dispatcher = self.dispatcher
        if load(dispatcher):
            found = dispatcher.overloads.get(tuple(map(dispatcher.typeof_pyval, args)))
            if found is not None:
                return found.entry_point
        return type(dispatcher)._compile_for_args(dispatcher, *args)


def load(dispatcher: Any) -> bool:
    """Load a kernel for its declared signature; tell whether that was compiled before."""
    arguments = signature(dispatcher)
    if arguments is None or not dispatcher._cache.entry(arguments, dispatcher.targetctx).exists():
        return False
    dispatcher.compile(arguments)
    return True


def compile_declared(dispatcher: Any) -> None:
    """Compile a kernel for its declared signature, unless that was done.

    A declaration that no longer fits the kernel is passed over: its first call compiles it.
    """
    arguments = signature(dispatcher)
    if arguments is not None:
        with suppress(NumbaError):
            dispatcher.compile(arguments)


def prepare() -> None:
    """Do ahead of a fork what numba does before it compiles the first function."""
    cpu_target.target_context.refresh()


def signature(dispatcher: Any) -> tuple[Any, ...] | None:
    """Return the argument types that `signatures.txt` declares for a kernel.

    Records stand there by the name that the kernel's module knows them by.
    """
    text = _signatures().get(".".join(qualified_name(dispatcher)))
    if text is None:
        return None
    names = {
        name: partial(_record, item)
        for name, item in dispatcher.py_func.__globals__.items()
        if isinstance(item, type) and issubclass(item, tuple)
    }
    return tuple(eval(text, names | vars(types)))


def _record(record: type, *fields: Any) -> Any:
    """Return numba's type of a NamedTuple whose fields have these types."""
    return BaseTuple.from_types(fields, record)


@cache
def _signatures() -> dict[str, str]:
    lines = SIGNATURES.read_text().splitlines()
    return {name: f"({types}" for name, _, types in (line.partition("(") for line in lines)}


class _Library(JITCodeLibrary):  # type: ignore[misc]
    """Code that was loaded; its bitcode is parsed if another kernel is compiled with it."""

    bitcode = b""
    _shared_module: Any

    def _get_module_for_linking(self) -> Any:
        if self._shared_module is None:
            self._shared_module = llvmlite.binding.parse_bitcode(self.bitcode)
            self._codegen._engine._load_defined_symbols(self._shared_module)
        return self._shared_module


class KernelCache(NullCache):  # type: ignore[misc]
    """What numba asks for compiled code of one function, and hands new code to."""

    def __init__(self, dispatcher: Any, for_kernels: bool) -> None:
        self.name = qualified_name(dispatcher)
        self.for_kernels = for_kernels

    def entry(self, arguments: Any, context: Any) -> Entry:
        """Return the file of the code for these argument types on this processor."""
        key = (sigutils.normalize_signature(arguments)[0], context.codegen().magic_tuple())
        return Entry(*self.name, key)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compile result of an earlier run, or None."""
        body = self.entry(sig, target_context).read()
        if body is None:
            return None
        code, description, environment, declared, environments = pickle.loads(body)
        rtsys.initialize(target_context)
        codegen = target_context.codegen()
        name, _, (machine_code, bitcode) = code
        library = _Library(codegen, name)
        library.bitcode = bitcode
        library.enable_object_caching()
        library._set_compiled_object(machine_code)
        library._finalize_final_module()
        codegen._engine._defined_symbols.add(description.llvm_func_name)
        if not self.for_kernels:
            codegen._engine._defined_symbols.add(description.llvm_cpython_wrapper_name)
        entry_point = target_context.get_executable(library, description, environment)
        for other in environments:
            codegen.set_env(other.env_name, other)
        return compile_result(
            target_context=target_context,
            typing_context=target_context.typing_context,
            library=library,
            environment=environment,
            entry_point=entry_point,
            fndesc=description,
            signature=declared,
            objectmode=False,
            lifted=(),
            reload_init=[],
            referenced_envs=environments,
        )

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compile result."""
        if data.library.has_dynamic_globals or data.lifted or data.reload_init:
            return
        code, description, environment, declared, *_, environments = data._reduce()
        body = dumps((code, description, environment, declared, environments))
        self.entry(sig, data.target_context).write(body)
