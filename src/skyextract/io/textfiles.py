"""Small text files that keywords name: lists of numbers and plain texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skyextract.errors import ConfigError
from skyextract.run import Run

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8


def read_text(path: str | Path, keyword: str, run: Run) -> str:
    """Return the text of a file that a keyword names.

    Raises
    ------
    ConfigError
        It does not exist, cannot be read, or is no text.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{keyword} {path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{keyword} {path}: cannot be read ({error.strerror})") from None
    run.note_opened(path)
    if b"\0" in data:
        raise ConfigError(f"{keyword} {path}: is no text file")
    return data.decode("utf-8-sig", "replace")


def read_number_list(path: str | Path, keyword: str, run: Run) -> F8:
    """Read a table of numbers in columns, such as an ASSOC_NAME list.

    Lines that are empty or start with ``#`` are skipped; what follows a ``#`` is a comment;
    commas count as blanks.  A word that is no number is NaN.

    Returns
    -------
    (n_rows, n_columns) float64
        (0, 0) for a list without rows.

    Raises
    ------
    ConfigError
        As `read_text`, or rows of unequal length.
    """
    import numpy as np

    rows: list[list[float]] = []
    for number, line in enumerate(read_text(path, keyword, run).splitlines(), start=1):
        words = line.split("#", 1)[0].replace(",", " ").split()
        if not words:
            continue
        if rows and len(words) != len(rows[0]):
            raise ConfigError(
                f"{keyword} {path}:{number}: {len(words)} columns, but {len(rows[0])} before"
            )
        rows.append([_number(word) for word in words])
    return np.array(rows, np.float64) if rows else np.empty((0, 0))


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return float("nan")
