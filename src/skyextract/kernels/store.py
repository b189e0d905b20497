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
import marshal
import math
import os
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

from skyextract.kernels import sources
from skyextract.kernels.sources import HERE

PACKAGE = "skyextract.kernels"

_MAGIC = b"skyextract kernel 3\n"
"""Another number for another content of the files."""
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


@cache
def _known() -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the stamps of all modules, and `declared`, as they were kept for these sources.

    To read and hash them took a hundredth of a short run.
    """
    name, state = f"sources-{zlib.crc32(os.fsencode(HERE)):08x}", sources.state()
    for root in roots()[0]:
        with suppress(OSError, EOFError, ValueError, TypeError):
            with open(f"{root}/{name}", "rb") as file:  # noqa: PTH123
                then, *found = marshal.loads(file.read())
            if then == state:
                stamps, kernels = found
                return stamps, kernels
    made = sources.stamps(), sources.declared()
    with suppress(OSError):  # there may be no folder, where nothing was compiled
        _put(roots()[1], name, marshal.dumps((state, *made)))
    return made


def stamp(module: str) -> str:
    """Return the hash of all sources whose change makes a module be compiled again."""
    return _known()[0].get(module) or sources.stamp(module)


def declared() -> dict[str, list[str]]:
    """Return the kernels that are called from Python: function names by module."""
    return _known()[1]


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
    _put(folder, name, data)


def _put(folder: Path, name: str, data: bytes) -> None:
    """Write a file, which appears as a whole or not at all."""
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
