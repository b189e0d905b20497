"""Output files that are either complete or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from skyextract.errors import ConfigError, SkyextractError


class OutputError(SkyextractError):
    """A product cannot be written."""


def refuse_input(path: str | Path, inputs: Iterable[str | Path]) -> None:
    """Raise a ConfigError if `path` is one of the inputs, under whatever name."""
    target = Path(path)
    for name in inputs:
        source = Path(name)
        same = source.resolve() == target.resolve() or (
            source.exists() and target.exists() and source.samefile(target)
        )
        if same:
            raise ConfigError(f"{path}: is an input and would be overwritten")


@contextmanager
def atomic_output(path: str | Path, inputs: Iterable[str | Path] = ()) -> Iterator[BinaryIO]:
    """Write a file under a temporary name in its folder and move it into place at the end.

    An existing product is replaced; a failure inside the block leaves it as it was and
    removes the temporary file.

    Parameters
    ----------
    path : str or Path
        The file wanted.
    inputs : iterable of str or Path
        Files that must not be overwritten.

    Yields
    ------
    binary file, open for writing and reading

    Raises
    ------
    ConfigError
        `path` is one of the inputs.
    OutputError
        No such folder, no permission, disk full.
    """
    target = Path(path)
    refuse_input(target, inputs)
    if target.is_dir():
        raise OutputError(f"{path}: cannot be written (is a directory)")
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=".part", dir=target.parent
        )
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None
    os.close(handle)
    temporary = Path(name)
    try:
        with temporary.open("w+b") as stream:  # by its name: others may append to it
            yield stream
        temporary.chmod(_permissions(target))
        temporary.replace(target)
    except OSError as error:
        if error.filename is None:  # writing failed, for example on a full disk
            raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _permissions(target: Path) -> int:
    """Return the mode of the file that is replaced, or of a new one under the umask."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
