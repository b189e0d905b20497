"""Where compiled kernels are kept: folders, stamps of the sources, files with a checksum.

A compiled kernel is one file, `<root>/<module>-<stamp>/<function>-<environment>-<key>.nbc`:

- root: NUMBA_CACHE_DIR, the `__pycache__` beside this file, the user's cache folder, a private
  temporary folder.  All are read in this order, so that what the administrator compiled is used
  though nobody may write there; new files go to the first that can be written.  NUMBA_CACHE_DIR
  stands alone if it can be written;
- stamp: a hash of the text of the module, of all kernel modules that it imports and of
  `jit`, because the code of a helper is part of the code of its callers;
- environment: a hash of Python, numba, LLVM, processor and NUMBA_* settings.

Only the standard library is imported, so that the command line can ask `missing_kernels`.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import stat
import sys
import threading
import time
import zlib
from collections.abc import Collection
from contextlib import suppress
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = "skyextract.kernels"
SIGNATURES = HERE / "signatures.txt"

_DECORATORS = "jit"
_MAGIC = b"skyextract kernel 3\n"
"""Another number for another content of the files."""
_NAMES = re.compile(r"from skyextract\.kernels([\w.]*) import (\([^)]*\)|[^\n]*)")
_MODULE = re.compile(r"import skyextract\.kernels([\w.]*)()")
"""Both begin with what is looked for at once; a line's beginning is looked for line by line."""
_SETTINGS = (
    "BOUNDSCHECK", "CPU_FEATURES", "CPU_NAME", "DEBUGINFO", "DISABLE_INTEL_SVML", "ENABLE_AVX",
    "FULL_TRACEBACKS", "LLVM_REFPRUNE_FLAGS", "LLVM_REFPRUNE_PASS", "LOOP_VECTORIZE", "OPT",
    "SLP_VECTORIZE",
)  # fmt: skip

_ROOM = 100_000
"""Bytes: the files of kernels have 4 kB to 2 MB, half of them 20 kB."""

_TEMPORARY = "SKYEXTRACT_TEMPORARY_KERNELS"
"""Variable of the environment that hands the temporary folder down."""
_INHERITED = os.environ.get(_TEMPORARY)

log = logging.getLogger("skyextract")


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


@cache
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


@cache
def environment() -> str:
    """Return the hash of everything else that compiled code depends on."""
    digest = hashlib.sha256(_MAGIC)
    digest.update(repr((sys.implementation.cache_tag, os.uname().machine)).encode())
    for package in ("numba", "llvmlite"):
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            version = Path(spec.origin).with_name("_version.py")
            digest.update(version.read_bytes() if version.is_file() else spec.origin.encode())
    for name in _SETTINGS:
        digest.update(repr(os.environ.get(f"NUMBA_{name}")).encode())
    try:
        with open("/proc/cpuinfo", "rb") as file:  # noqa: PTH123
            # A home folder is shared by machines with different processors.
            lines = file.read(8192).split(b"\n\n")[0].splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith((b"model name", b"flags", b"CPU part", b"Features")):
            digest.update(line)
    return digest.hexdigest()[:12]


def _can_write(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _private_folder() -> Path:
    """Return a folder under the temporary one which is this user's alone."""
    import tempfile

    folder = Path(tempfile.gettempdir(), f"skyextract-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="skyextract-"))
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not mine or stat.S_IMODE(found.st_mode) & 0o077:
        # Somebody else's folder under our name: its files must not be run.
        return Path(tempfile.mkdtemp(prefix="skyextract-"))
    return folder


@lru_cache(maxsize=1)
def _roots(given: str) -> tuple[list[Path], Path]:
    if given and _can_write(Path(given)):
        return [Path(given, "skyextract")], Path(given, "skyextract")
    candidates = [Path(given, "skyextract")] if given else []
    candidates.append(HERE / "__pycache__")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    if Path(home).is_absolute():
        candidates.append(Path(home, "skyextract"))
    for folder in candidates:
        if _can_write(folder):
            return candidates, folder
    temporary = _temporary_root()
    return [*candidates, temporary], temporary


@cache
def _temporary_root() -> Path:
    """Return the temporary folder, which processes that this one starts then know."""
    folder = Path(_INHERITED) if _INHERITED else _private_folder()
    os.environ[_TEMPORARY] = str(folder)
    return folder


def roots() -> tuple[list[Path], Path]:
    """Return the folders to look into, in order, and the one to write to."""
    return _roots(os.environ.get("NUMBA_CACHE_DIR", ""))


def destination() -> Path:
    """Return the folder to write to; of a temporary one the first process of a run warns."""
    folder = roots()[1]
    if str(folder) == os.environ.get(_TEMPORARY) and not _INHERITED:
        _warn_temporary(folder)
    return folder


@lru_cache(maxsize=1)
def _warn_temporary(folder: Path) -> None:
    log.warning(
        "no folder for compiled kernels can be written (see NUMBA_CACHE_DIR): they are kept in %s",
        folder,
    )


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


_all_loaded = threading.Event()
"""All kernels are in memory, or were found on disk."""


def note_all_loaded() -> None:
    """Note that this process, and those that it forks, have all kernels in memory."""
    _all_loaded.set()


def missing_kernels(modules: Collection[str] = ()) -> dict[str, list[str]]:
    """Return the kernels that are not compiled yet: function names by module.

    Parameters
    ----------
    modules : collection of str
        Of `skyextract.kernels`, as "psf.fit"; without any, all.
    """
    missing: dict[str, list[str]] = {}
    if _all_loaded.is_set():
        return missing
    for module, functions in declared().items():
        if modules and module not in modules:
            continue
        names = {name.rpartition("-")[0] for name in _stored_names(module)}
        absent = [name for name in functions if f"{name}-{environment()}" not in names]
        if absent:
            missing[module] = absent
    if not missing and not modules:
        _all_loaded.set()
    return missing


def _folder(module: str) -> str:
    return f"{module}-{stamp(module)}"


class Entry:
    """The file of one compiled kernel and one signature.

    Parameters
    ----------
    module, name : str
        Module below `skyextract.kernels`, and name of the file.
    """

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    @classmethod
    def of(cls, module: str, function: str, key: object) -> Entry:
        """Return the entry of a function; `key` tells it from others, by its `repr`."""
        digest = hashlib.sha256(repr(key).encode()).hexdigest()[:12]
        return cls(module, f"{function}-{environment()}-{digest}.nbc")

    def read(self) -> bytes | None:
        """Return what was written; a damaged file is removed, and None without a good one."""
        for root in roots()[0]:
            path = f"{root}/{_folder(self.module)}/{self.name}"
            try:
                with open(path, "rb") as file:  # noqa: PTH123
                    data = file.read()
            except OSError:
                continue
            body = data[len(_MAGIC) + 4 :]
            head = _MAGIC + zlib.crc32(body).to_bytes(4, "big")
            if body and data.startswith(head):
                return body
            _remove(Path(path))
        return None

    def write(self, body: bytes) -> None:
        """Write the file, or warn once that it cannot be kept; old stamps of the module go."""
        head = _MAGIC + zlib.crc32(body).to_bytes(4, "big")
        try:
            _write(destination(), self.module, self.name, head + body)
        except OSError as error:
            _warn_unkept(error.strerror or str(error))


def can_keep() -> bool:
    """Tell whether a file as large as that of a kernel can be written; if not, warn once."""
    folder = destination()
    probe = folder / f".room.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(os.urandom(_ROOM))
    except OSError as error:
        _warn_unkept(error.strerror or str(error))
        return False
    finally:
        _remove(probe)
    return True


def is_full() -> bool:
    """Tell whether this process could not keep what it compiled."""
    return _warn_unkept.cache_info().currsize > 0


def stored_entries(module: str, function: str) -> list[Entry]:
    """Return the entries of a kernel that exist, for whatever arguments."""
    start = f"{function}-{environment()}-"
    names = {name for name in _stored_names(module) if name.startswith(start)}
    return [Entry(module, name) for name in sorted(names)]


def _stored_names(module: str) -> list[str]:
    """Return the names of the files of a module, `.nbc` ones and others."""
    names: list[str] = []
    for root in roots()[0]:
        with suppress(OSError):
            names += os.listdir(f"{root}/{_folder(module)}")  # noqa: PTH208
    return names


@lru_cache(maxsize=1)
def _warn_unkept(reason: str) -> None:
    log.warning("compiled kernels cannot be kept: %s", reason)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _write(root: Path, module: str, name: str, data: bytes) -> None:
    folder = root / _folder(module)
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _remove_old(folder, module)
    part = folder / f".{name}.{os.getpid()}"
    try:
        part.write_bytes(data)
        part.replace(folder / name)
    except OSError:
        _remove(part)
        raise


def _remove_old(new: Path, module: str) -> None:
    """Remove the folders of earlier states of a module.

    Several installations may share a root that is not beside the package; what they do not use
    any more is older than a week.
    """
    import shutil

    oldest = math.inf if new.parent == HERE / "__pycache__" else time.time() - 7 * 86400
    for folder in new.parent.glob(f"{module}-*"):
        with suppress(OSError):
            if folder != new and folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)
