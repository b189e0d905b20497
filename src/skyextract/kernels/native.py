"""Compiled kernels run without numba.

What numba compiled is machine code with an entry that unpacks Python's arguments.  LLVM alone
links it (`llvmlite`), and three small extension modules of numba, which need none of its Python
modules, have the functions that it calls.  That spares the import of numba and its preparations,
a large part of a short run.  Whatever is not as expected here leaves the kernel to numba.
"""

from __future__ import annotations

import builtins
import ctypes
import importlib
import marshal
import pickle
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from skyextract.kernels.store import Entry, stored_entries

_EXTENSIONS = ("_helperlib", "_dynfunc", "core.runtime._nrt_python")
_LOCK = threading.RLock()

Check = tuple[Any, ...]
"""What an argument must be: ("array", dtype, ndim, layout, writable), ("tuple", name, checks) or
a kind of scalar."""


Test = Callable[[Sequence[object]], bool]
"""Whether arguments are as they must be in one respect."""


class MachineCode(NamedTuple):
    """A compiled kernel as it is stored.

    Attributes
    ----------
    code : bytes
        Object file.
    entry : str
        Symbol of the function that is called with Python's arguments.
    environments : list of (str, bytes)
        Symbols that point to objects which the code needs, and these, pickled; the first is
        the kernel's own.
    externals : list of str
        Symbols that the code takes from elsewhere.
    arguments : list
        The `Check` of each argument.
    """

    code: bytes
    entry: str
    environments: list[tuple[str, bytes]]
    externals: list[str]
    arguments: list[Check]


def packed(native: MachineCode | None, for_numba: bytes) -> bytes:
    """Return the content of a file: the code for use here, and the same for numba."""
    return marshal.dumps((None if native is None else tuple(native), for_numba))


def unpacked(body: bytes) -> tuple[MachineCode | None, bytes]:
    """Return the two parts that `packed` put together."""
    native, for_numba = marshal.loads(body)
    return (None if native is None else MachineCode(*native)), for_numba


_PARTS = ("ffi", "context", "dylib", "initfini", "object_file", "targets", "executionengine")
"""Modules of `llvmlite.binding` that linking needs, each after those that it imports."""


class _Unfinished(ModuleType):
    """A package some modules of which were imported; whoever asks it for more gets all of it."""

    def __getattr__(self, name: str) -> Any:
        with _LOCK:
            if self.__class__ is _Unfinished and not name.startswith("__"):
                self.__class__ = ModuleType  # type: ignore[assignment]
                assert self.__spec__ is not None
                assert self.__spec__.loader is not None
                self.__spec__.loader.exec_module(self)
        return object.__getattribute__(self, name)


class _Llvm:
    """What linking needs of `llvmlite.binding`, in half the time that it takes to import.

    What is left out describes LLVM's instructions, types and passes, for who compiles.
    """

    def __init__(self) -> None:
        package = _unfinished_binding()
        if package is not None:
            _open_library(package)
        parts = [importlib.import_module(f"llvmlite.binding.{name}") for name in _PARTS]
        if package is not None:
            package.__class__ = _Unfinished
        self._names = {name: value for part in parts for name, value in vars(part).items()}
        self._ffi = parts[0]

    def __getattr__(self, name: str) -> Any:
        try:
            return self._names[name]
        except KeyError:
            raise AttributeError(name) from None

    def empty_module(self, triple: str) -> Any:
        """Return a module of LLVM without content."""
        ffi, text = self._ffi, f'target triple = "{triple}"'
        parse = ffi.lib.LLVMPY_ParseAssembly
        parse.argtypes = [ffi.LLVMContextRef, ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p)]
        parse.restype = ffi.LLVMModuleRef
        with ffi.OutputString() as message:
            module = ffi.ObjectRef(parse(self.get_global_context(), text.encode(), message))
            if message:
                raise RuntimeError(str(message))
        return module


def _unfinished_binding() -> ModuleType | None:
    """Return `llvmlite.binding` without what its initialisation imports; None: it is there."""
    if "llvmlite.binding" in sys.modules:
        return None
    import llvmlite

    spec = find_spec("llvmlite.binding")
    if spec is None:
        raise ImportError("llvmlite.binding")
    package = llvmlite.binding = module_from_spec(spec)
    sys.modules["llvmlite.binding"] = package
    return package


def _open_library(package: ModuleType) -> None:
    """Open the library of LLVM beside `llvmlite.binding`.

    llvmlite finds it with `importlib.resources`, which imports what reads archives.
    """
    from llvmlite.utils import get_library_name

    path = Path(*package.__path__, get_library_name())
    if "importlib.resources" in sys.modules or not path.is_file():
        return
    sys.modules["importlib.resources"] = ModuleType("importlib.resources")
    try:
        ffi = importlib.import_module("llvmlite.binding.ffi")
    finally:
        del sys.modules["importlib.resources"]
    ffi.lib._lib_handle = ctypes.CDLL(str(path))


class Linker:
    """LLVM's linker in memory, with the functions of numba's runtime.

    Raises
    ------
    ImportError, AttributeError, OSError, RuntimeError
        If numba or llvmlite are not as they are known here.
    """

    def __init__(self) -> None:
        llvm = _Llvm()
        helpers, functions, runtime = (_extension(name) for name in _EXTENSIONS)
        for module in (helpers, functions):
            for name, address in module.c_helpers.items():
                llvm.add_symbol(f"numba_{name}", address)
        for name, address in runtime.c_helpers.items():
            llvm.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)
        llvm.add_symbol("numba_unpickle", ctypes.cast(_unpickle, ctypes.c_void_p).value)
        llvm.add_symbol("_Py_NoneStruct", id(None))
        for item in vars(builtins).values():
            if isinstance(item, type) and issubclass(item, BaseException):
                llvm.add_symbol(f"PyExc_{item.__name__}", id(item))
        runtime.memsys_use_cpython_allocator()
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        triple = llvm.get_process_triple()
        x86 = triple.startswith(("x86", "i386", "i686"))
        machine = llvm.Target.from_triple(triple).create_target_machine(
            reloc="static" if x86 else "default", codemodel="jitdefault", jit=True
        )
        self.llvm = llvm
        self.known: set[str] = set()
        self.engine = llvm.create_mcjit_compiler(llvm.empty_module(triple), machine)
        self.functions = functions

    def add(self, kernel: MachineCode) -> bool:
        """Take in the code of a kernel; False if symbols are missing.

        LLVM would end the process for a symbol that it does not find.
        """
        for name in set(kernel.externals) - self.known:
            if self.llvm.address_of_symbol(name) is None:
                return False
            self.known.add(name)
        self.engine.add_object_file(self.llvm.ObjectFileRef.from_data(kernel.code))
        self.engine.finalize_object()
        return True

    def function_of(self, kernel: MachineCode, function: Callable[..., object]) -> Any | None:
        """Return a kernel that was taken in as a function of Python, or None without its entry."""
        kept = {}  # helpers have no constants, but for a few
        for symbol, constants in kernel.environments:
            if constants not in kept:
                kept[constants] = self.functions.Environment(function.__globals__)
                kept[constants].consts.extend(pickle.loads(constants))
            address = self.engine.get_global_value_address(symbol)
            if address:
                ctypes.c_void_p.from_address(address).value = id(kept[constants])
        address = self.engine.get_function_address(kernel.entry)
        if not address:
            return None
        return self.functions.make_function(
            sys.modules[function.__module__], function.__name__, function.__doc__ or "", address,
            kept[kernel.environments[0][1]], tuple(kept.values()),
        )  # fmt: skip


@ctypes.PYFUNCTYPE(  # type: ignore[untyped-decorator]
    ctypes.py_object, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p
)
def _unpickle(address: int, size: int, _digest: int) -> object:
    """Return an object that the code of a kernel carries: an exception, the type of a result."""
    if address not in _unpickled:
        _unpickled[address] = pickle.loads(ctypes.string_at(address, size))
    return _unpickled[address]


_unpickled: dict[int, object] = {}


def _extension(name: str) -> ModuleType:
    """Return an extension module of numba, without its package."""
    full = f"numba.{name}"
    if full in sys.modules:
        return sys.modules[full]
    if "numba" in sys.modules:
        return importlib.import_module(full)
    package = find_spec("numba")
    if package is None or package.origin is None:
        raise ImportError(full)
    *folders, last = name.split(".")
    path = Path(package.origin).parent.joinpath(*folders, last + EXTENSION_SUFFIXES[0])
    spec = spec_from_file_location(full, path, loader=ExtensionFileLoader(full, str(path)))
    if spec is None or spec.loader is None:
        raise ImportError(full)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[full] = module
    return module


@cache
def _linker() -> Linker | None:
    try:
        return Linker()
    except (ImportError, AttributeError, OSError, RuntimeError):
        return None


def load(function: Callable[..., object], module: str) -> list[tuple[list[Test], Any]]:
    """Return what was compiled of a kernel: for each the tests of its arguments, and its code.

    The list is empty if nothing was, or if it cannot be used without numba.
    """
    name = module, function.__name__
    with _LOCK:
        if name in _linked:  # while this thread waited for another one
            return _linked[name]
        linker = _linker()
        if linker is None:
            return []
        found = []
        for native in _added.pop(name, None) or _add(linker, *name):
            code = linker.function_of(native, function)
            if code is not None:
                found.append((make_tests(native.arguments), code))
        if found:
            _linked[name] = found
        return found


def load_ahead(kernels: Iterable[tuple[str, str]]) -> None:
    """Take in the code of kernels, module and function, that are going to be loaded."""
    for name in kernels:
        with _LOCK:
            linker = _linker()
            if linker is not None and name not in _linked and name not in _added:
                _added[name] = _add(linker, *name)


def is_loaded(module: str, function: str) -> bool:
    """Tell whether a kernel was loaded."""
    return (module, function) in _linked


_linked: dict[tuple[str, str], list[tuple[list[Test], Any]]] = {}
_added: dict[tuple[str, str], list[MachineCode]] = {}


def _add(linker: Linker, module: str, function: str) -> list[MachineCode]:
    """Take in what was compiled of a kernel."""
    codes = map(_read, stored_entries(module, function))
    return [code for code in codes if code is not None and linker.add(code)]


def _read(entry: Entry) -> MachineCode | None:
    body = entry.read()
    return None if body is None else unpacked(body)[0]


def accepted(arguments: Sequence[object], tests: Sequence[Test]) -> bool:
    """Tell whether code for arguments that pass `tests` can be called with these."""
    for test in tests:  # the fastest way
        if not test(arguments):
            return False
    return True


_C_CONTIGUOUS, _ALIGNED, _WRITEABLE = 0x1, 0x100, 0x400
"""Bits of the flags of an array."""


def make_tests(checks: Sequence[Check]) -> list[Test]:
    """Return what tells whether arguments are as they must be: how many, and each kind of them.

    A kernel is called a thousand times in the smallest run: a function for each argument took
    twice as long.
    """
    arrays, scalars, tuples = [], [], []
    for k, (kind, *about) in enumerate(checks):
        if kind == "array":
            name, ndim, layout, writable = about
            needed = _ALIGNED | (layout != "A" and _C_CONTIGUOUS) | (writable and _WRITEABLE)
            arrays.append((k, np.dtype(name), ndim, needed))
        elif kind == "tuple":
            tuples.append((k, about[0], make_tests(about[1])))
        else:
            scalars.append((k, SCALARS[kind]))
    ndarray = np.ndarray

    def are_arrays(arguments: Sequence[object]) -> bool:
        for k, dtype, ndim, needed in arrays:
            array = arguments[k]
            if not (
                isinstance(array, ndarray)
                and (array.dtype is dtype or array.dtype == dtype)
                and array.ndim == ndim
                and array.flags.num & needed == needed
            ):
                return False
        return True

    def are_scalars(arguments: Sequence[object]) -> bool:
        for k, kinds in scalars:
            if not isinstance(arguments[k], kinds):
                return False
        return True

    def are_tuples(arguments: Sequence[object]) -> bool:
        for k, name, tests in tuples:
            own = arguments[k]
            if not (isinstance(own, tuple) and type(own).__name__ == name and accepted(own, tests)):
                return False
        return True

    n = len(checks)
    kinds = (arrays, are_arrays), (scalars, are_scalars), (tuples, are_tuples)
    return [lambda arguments: len(arguments) == n, *(test for some, test in kinds if some)]


SCALARS: dict[str, Any] = {
    # by the name of numba's type
    "int64": (int, np.integer),
    "float64": (float, np.float64),
    "bool": (bool, np.bool_),
    "float32": np.float32,
    "none": type(None),
}
