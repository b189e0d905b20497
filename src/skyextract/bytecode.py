"""Byte code of all modules in one file.

Python looks for every module in several places, and opens a file for each: with three hundred of
them a twentieth of a short run.  This file stands where Python keeps the byte code of the package,
and is made of that.  As there, the code of a module counts as long as its source has the time and
the size of the one that it was made from; what is not in the file is imported as ever.
"""

from __future__ import annotations

import marshal
import mmap
import os
import sys
from contextlib import suppress
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import MAGIC_NUMBER, cache_from_source
from types import CodeType

_HERE = os.path.dirname(__file__)
_PACKAGE = "skyextract."
_LENGTH = 8
"""Bytes in which the file says how long it is."""
_HEAD = 16
"""Bytes before the code in a file of Python's: magic number, flags, then the stamp (PEP 552)."""

_Entry = tuple[str, bytes, int, int]
"""Of a module: its source, below the package; time and size of that; first and past-last byte."""


class _Loader(SourceFileLoader):
    """Loads a module whose code is known."""

    def __init__(self, name: str, path: str, code: memoryview) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the code, or that of Python's own file if the package was moved."""
        found: CodeType = marshal.loads(self._code)
        return found if found.co_filename == self.path else super().get_code(fullname)


class Archive:
    """The file: one of `sys.meta_path`, which finds modules there."""

    def __init__(self) -> None:
        self.path = cache_from_source(f"{_HERE}/modules.py").removesuffix("pyc") + "all"
        self._missed: list[str] = []
        self._entries: dict[str, _Entry] = {}
        self._codes = memoryview(b"")
        with suppress(OSError, EOFError, ValueError, TypeError):
            with open(self.path, "rb") as file:
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            magic, entries, size = marshal.loads(data[_LENGTH:])
            # A file that was cut, as a crash of the machine leaves them, is none.
            if magic == MAGIC_NUMBER and int.from_bytes(data[:_LENGTH], "little") == len(data):
                self._entries, self._codes = entries, data[-size:]

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> object:
        """Return how to load a module; None if it is not here, or not of the source as it is."""
        if not name.startswith(_PACKAGE):
            return None
        source, stamp, first, end = self._entries.get(name, ("", b"", 0, 0))
        path = f"{_HERE}/{source}"
        if not source or _stamp(path) != stamp:
            self._missed.append(name)
            return None
        is_package = source.endswith("/__init__.py")
        spec = ModuleSpec(
            name, _Loader(name, path, self._codes[first:end]), origin=path, is_package=is_package
        )
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [path.removesuffix("/__init__.py")]
        return spec

    def keep(self) -> None:
        """Make the file anew if Python has byte code of modules that were not found in it."""
        if sys.dont_write_bytecode or not any(map(_code_of, map(_source_of, self._missed))):
            return
        entries: dict[str, _Entry] = {}
        codes: list[bytes] = []
        end = 0
        for folder, _, files in os.walk(_HERE):
            for file in files:
                if not file.endswith(".py"):
                    continue
                source = f"{folder}/{file}"[len(_HERE) + 1 :]
                stamp, code = _code_of(source) or (b"", b"")
                if code:
                    name = source.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
                    entries[_PACKAGE + name] = source, stamp, end, end + len(code)
                    codes.append(code)
                    end += len(code)
        part = f"{self.path}.{os.getpid()}"
        try:
            with open(part, "wb") as file_:
                head = marshal.dumps((MAGIC_NUMBER, entries, end))
                length = _LENGTH + len(head) + end
                file_.write(b"".join([length.to_bytes(_LENGTH, "little"), head, *codes]))
            os.replace(part, self.path)
        except OSError:
            with suppress(OSError):
                os.unlink(part)


def use() -> Archive:
    """Let modules that are imported from now on be found in the file."""
    archive = Archive()
    sys.meta_path.insert(0, archive)  # type: ignore[arg-type]
    return archive


def _stamp(path: str) -> bytes:
    """Return time and size of a source as Python notes them, nothing if there is none."""
    try:
        about = os.stat(path)
    except OSError:
        return b""
    numbers = int(about.st_mtime), about.st_size
    return b"".join((number & 0xFFFFFFFF).to_bytes(4, "little") for number in numbers)


def _source_of(name: str) -> str:
    """Return the source of a module that was imported, below the package."""
    found = getattr(sys.modules.get(name), "__file__", None) or ""
    return found[len(_HERE) + 1 :] if found.startswith(f"{_HERE}/") else ""


def _code_of(source: str) -> tuple[bytes, bytes] | None:
    """Return the stamp of a source, and its code as Python keeps it; None if it keeps none."""
    path = f"{_HERE}/{source}"
    try:
        with open(cache_from_source(path), "rb") as file:
            data = file.read()
    except OSError:
        return None
    head = MAGIC_NUMBER + bytes(4)  # no flags: the source is told by its stamp
    if not data.startswith(head) or data[8:_HEAD] != _stamp(path):
        return None
    return data[8:_HEAD], data[_HEAD:]
