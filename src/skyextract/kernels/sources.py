"""The sources of the kernels: their stamps, and which functions of them are declared."""

from __future__ import annotations

import hashlib
import os
import re
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
SIGNATURES = HERE / "signatures.txt"

_DECORATORS = "jit"
_NAMES = re.compile(r"from skyextract\.kernels([\w.]*) import (\([^)]*\)|[^\n]*)")
_MODULE = re.compile(r"import skyextract\.kernels([\w.]*)()")
"""Both begin with what is looked for at once; a line's beginning is looked for line by line."""


def state() -> list[tuple[str, int, int]]:
    """Return names, times (ns) and lengths of all that stamps are made of."""
    found, folders = [], [str(HERE)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.name.endswith((".py", ".txt")):
                    about = entry.stat()
                    found.append((entry.path, about.st_mtime_ns, about.st_size))
                elif entry.name != "__pycache__" and entry.is_dir():
                    folders.append(entry.path)
    return sorted(found)


# Paths are text where each module has some: to put them together took longer than to read them.
def _source(module: str) -> str:
    return f"{HERE}/{module.replace('.', '/')}.py"


@cache
def _modules() -> frozenset[str]:
    """Return the names of all modules, looked up at once: one by one they are hundreds of files."""
    found: set[str] = set()
    for folder, folders, files in os.walk(HERE):
        folders[:] = [name for name in folders if name != "__pycache__"]
        package = folder[len(str(HERE)) + 1 :].replace(os.sep, ".")
        stems = [name.removesuffix(".py") for name in files if name.endswith(".py")]
        found.update(f"{package}.{stem}".strip(".") for stem in stems)
    return frozenset(found)


def size(module: str) -> int:
    """Return the length of a source, a measure of the time that it takes to compile."""
    return os.stat(_source(module)).st_size  # noqa: PTH116


def imported_modules(text: str) -> set[str]:
    """Return the kernel modules that a source imports, as `measurement.aperture`."""
    found = set()
    for base, names in _NAMES.findall(text) + _MODULE.findall(text):
        module = base.removeprefix(".")
        inside = [f"{module}.{name}".strip(".") for name in re.findall(r"\w+", names)]
        found |= {name for name in [module, *inside] if name in _modules()}
    return found


@cache
def _read(module: str) -> tuple[bytes, frozenset[str]]:
    """Return the text of a module and the kernel modules that it imports."""
    try:
        with open(_source(module), "rb") as file:  # noqa: PTH123
            text = file.read()
    except OSError:
        return b"", frozenset()
    # `jit` is part of all code; what it loads that with is not.
    return text, frozenset() if module == _DECORATORS else frozenset(
        imported_modules(text.decode())
    )


def stamp(module: str) -> str:
    """Return the hash of all sources whose change makes a module be compiled again."""
    texts: dict[str, bytes] = {}
    todo = {module, _DECORATORS}
    while todo:
        name = todo.pop()
        texts[name], imported = _read(name)
        todo |= imported - texts.keys()
    digest = hashlib.sha256()
    for name in sorted(texts):
        digest.update(f"{name} {len(texts[name])}\n".encode() + texts[name])
    return digest.hexdigest()[:16]


def stamps() -> dict[str, str]:
    """Return the stamps of all modules."""
    return {module: stamp(module) for module in _modules()}


def declared() -> dict[str, list[str]]:
    """Return the kernels that are called from Python: function names by module.

    A line of the list whose function is gone, from a file that was not updated, is none.
    """
    found: dict[str, list[str]] = {}
    for line in SIGNATURES.read_text().splitlines():
        module, _, function = line.partition("(")[0].rpartition(".")
        if f"def {function}(".encode() in _read(module)[0]:
            found.setdefault(module, []).append(function)
    return found
