"""Lists of images: `@list`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from skyextract.errors import ConfigError
from skyextract.io.names import list_lines
from skyextract.io.textfiles import read_text
from skyextract.run import Run


def listed_images(words: Iterable[str], lists: list[str]) -> Iterator[str]:
    """Yield the images that are named, and those of an @list: one per line, relative to it.

    Parameters
    ----------
    lists : list of str
        The lists that were read are added.

    Raises
    ------
    ConfigError
        A list cannot be read, or names itself.
    """
    for word in words:
        path = Path(word[1:])
        if not word.startswith("@") or Path(word).exists():
            yield word
            continue
        if str(path.resolve()) in lists:
            raise ConfigError(f"{word}: the list names itself")
        lists.append(str(path.resolve()))
        lines = list_lines(read_text(path, "list of images", Run()), path.parent)
        yield from listed_images(lines, lists)
