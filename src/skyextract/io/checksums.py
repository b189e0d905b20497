"""Checksums of input files, computed once per process."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from skyextract.io.names import parse_image_spec
from skyextract.io.streams import is_pipe

_PART = 1 << 18
"""Bytes that are read at once: a fraction of a millisecond."""
_PATIENCE = 0.05
"""Seconds after which a thread that waits for a free core sees whether it is waited for."""


def file_facts(name: str) -> dict[str, Any]:
    """Return name, size and time of change of a file: what tells that it is still the same."""
    stat = Path(parse_image_spec(name).path).stat()
    return {"path": name, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def sha256(name: str | Path, largest: float = math.inf) -> str | None:
    """Return the checksum of a file; None if it is gone, a pipe, or larger than `largest` bytes.

    A pipe gives its content once: reading it again would wait for ever.
    """
    if is_pipe(parse_image_spec(str(name)).path):
        return None
    try:
        facts = file_facts(str(name))
    except OSError:
        return None
    if facts["size"] > largest:
        return None
    return _checksum(facts).value()


def begin(name: str | Path, resting: threading.Event, largest: int = 1 << 31) -> None:
    """Let a thread compute the checksum of a file that is read and measured meanwhile.

    Nothing happens where `sha256` would return None, or fail, or without room for a thread.

    Parameters
    ----------
    resting : threading.Event
        Set while a core may be free (`Run.resting`): the thread works then, or when somebody
        waits for the checksum.
    """
    path = parse_image_spec(str(name)).path
    if is_pipe(path):
        return
    with suppress(OSError, RuntimeError):
        facts = file_facts(str(name))
        if facts["size"] <= largest:
            threading.Thread(target=_checksum(facts).compute, args=(resting,), daemon=True).start()


class _Checksum:
    """The checksum of a file, computed by whoever comes first; others wait."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._value = ""
        self._is_wanted = False

    def value(self) -> str:
        self._is_wanted = True
        return self._once(None)

    def compute(self, resting: threading.Event) -> None:
        """Compute it if that can be done, between the work of others."""
        with suppress(OSError):
            self._once(resting)

    def _once(self, resting: threading.Event | None) -> str:
        with self._lock:
            if not self._value:
                self._value = self._digest(resting)
            return self._value

    def _digest(self, resting: threading.Event | None) -> str:
        digest, buffer = hashlib.sha256(), memoryview(bytearray(_PART))
        with Path(self._path).open("rb", buffering=0) as stream:
            while n := stream.readinto(buffer):
                digest.update(buffer[:n])
                while resting is not None and not self._is_wanted:
                    if resting.wait(_PATIENCE):
                        break
        return digest.hexdigest()


def _checksum(facts: Mapping[str, Any]) -> _Checksum:
    return _known(parse_image_spec(facts["path"]).path, facts["size"], facts["mtime_ns"])


@lru_cache(maxsize=4096)
def _known(path: str, size: int, mtime_ns: int) -> _Checksum:  # noqa: ARG001 (they make the key)
    return _Checksum(path)
