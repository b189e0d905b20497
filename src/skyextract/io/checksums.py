"""Checksums of input files, computed once per process."""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

from skyextract.io.names import parse_image_spec
from skyextract.io.streams import is_pipe


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
    return _sha256(parse_image_spec(str(name)).path, facts["size"], facts["mtime_ns"])


@lru_cache(maxsize=4096)
def _sha256(path: str, size: int, mtime_ns: int) -> str:  # noqa: ARG001 (they make the key)
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
