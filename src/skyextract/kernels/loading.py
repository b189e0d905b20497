"""numba's view of the compiled kernels: how they go to the disk, and come back to be built in.

numba's own cache notices no edit in another file, and fails on a damaged entry or a folder that
cannot be written.  Here compiled kernels are kept by `store`.  Only who compiles imports this
module: `native` runs what was compiled.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from contextlib import suppress
from functools import cache, partial
from itertools import chain
from typing import Any

import llvmlite.binding
from numba.core import sigutils, types
from numba.core.caching import NullCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import compile_result
from numba.core.errors import NumbaError
from numba.core.runtime import rtsys
from numba.core.serialize import dumps
from numba.core.types import BaseTuple, unliteral  # type: ignore[attr-defined]
from numba.np.numpy_support import as_dtype

from skyextract.kernels.native import SCALARS, Check, MachineCode, packed, unpacked
from skyextract.kernels.sources import SIGNATURES
from skyextract.kernels.store import PACKAGE, Entry


def keep_on_disk(dispatcher: Any, for_kernels: bool) -> None:
    """Let a kernel be loaded when it was compiled before, and kept when it is compiled."""
    dispatcher._cache = KernelCache(dispatcher, for_kernels)
    dispatcher.get_call_template = partial(_call_template, dispatcher)


def _call_template(dispatcher: Any, args: Any, kws: Any) -> Any:
    """Type a call from another kernel: constants are numbers like others, not a type each."""
    plain = tuple(map(unliteral, args))
    named = {name: unliteral(item) for name, item in kws.items()}
    return type(dispatcher).get_call_template(dispatcher, plain, named)


def qualified_name(dispatcher: Any) -> tuple[str, str]:
    """Return the module of a kernel, below `skyextract.kernels`, and its name."""
    function = dispatcher.py_func
    return function.__module__.removeprefix(f"{PACKAGE}."), function.__qualname__


def compile_declared(dispatcher: Any) -> None:
    """Compile a kernel for its declared signature, unless that was done.

    A declaration that no longer fits the kernel is passed over: its first call compiles it.
    """
    arguments = signature(dispatcher)
    if arguments is not None:
        with suppress(NumbaError):
            dispatcher.compile(arguments)


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
        return Entry.of(*self.name, key)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compile result of an earlier run, or None."""
        body = self.entry(sig, target_context).read()
        if body is None:
            return None
        code, description, environment, declared, environments = pickle.loads(unpacked(body)[1])
        rtsys.initialize(target_context)
        codegen = target_context.codegen()
        name, _, (machine_code, bitcode) = code
        if machine_code:
            library = _Library(codegen, name)
            library.bitcode = bitcode
            library.enable_object_caching()
            library._set_compiled_object(machine_code)
            library._finalize_final_module()
        else:  # of a helper
            library = codegen.create_library(name)
            library._final_module = llvmlite.binding.parse_bitcode(bitcode)
            library.enable_object_caching()
            library.finalize()
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
        native = None if self.for_kernels else _machine_code(data, environments)
        self.entry(sig, data.target_context).write(packed(native, body))


def _machine_code(data: Any, environments: Iterable[Any]) -> MachineCode | None:
    """Return a compile result as `native` runs it, or None for arguments it does not check."""
    checks = _checks(data.signature.args)
    if checks is None:
        return None
    module = data.library._final_module
    own = data.environment
    return MachineCode(
        code=data.library._get_compiled_object(),
        entry=data.fndesc.llvm_cpython_wrapper_name,
        environments=[
            (name, pickle.dumps(list(item.consts)))
            for name, item in [
                (data.target_context.get_env_name(data.fndesc), own),
                *((item.env_name, item) for item in environments if item is not own),
            ]
        ],
        externals=[
            item.name
            for item in chain(module.functions, module.global_variables)
            if item.is_declaration and not item.name.startswith("llvm.")
        ],
        arguments=checks,
    )


def _checks(arguments: Iterable[Any]) -> list[Check] | None:
    """Return what `native` has to check of arguments of these types, None if it cannot."""
    checks = [_check(unliteral(argument)) for argument in arguments]
    return None if None in checks else [check for check in checks if check is not None]


def _check(argument: Any) -> Check | None:
    if isinstance(argument, types.Array):
        if argument.layout not in "AC":
            return None
        dtype = as_dtype(argument.dtype).str
        return "array", dtype, argument.ndim, argument.layout, argument.mutable
    if isinstance(argument, BaseTuple):
        checks = _checks(argument)
        return None if checks is None else ("tuple", argument.instance_class.__name__, checks)
    kind = getattr(argument, "name", "").replace("boolean", "bool")
    return (kind,) if kind in SCALARS else None
