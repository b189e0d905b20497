"""Names of files: image specifications and output name patterns.  No heavy imports."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from skyextract.errors import ConfigError
from skyextract.io.streams import STDIN, STDOUT
from skyextract.io.textfiles import read_text
from skyextract.record import record
from skyextract.run import Run

_BRACKETS = re.compile(r"^(?P<path>.+?)\[(?P<extension>[^\[\]]*)\]$")
_COMMA = re.compile(r",(?![^\[\]]*\])")
_IN_BRACES, _BRACE = re.compile(r"\{(\w+)\}"), re.compile(r"[{}]\w*\}?")
_PACKED, _IMAGE = re.compile(r"(?i)\.(gz|bz2|fz)$"), re.compile(r"(?i)\.(fits|fit|fts)$")
_COMPRESSION = (".gz", ".bz2", ".fz", ".xz", ".zst", ".zip", ".z")
"""Of a file that cannot be read its summary remains, and has a name like others."""
_FITS = (".fits", ".fit", ".fts")
_PRODUCT = (".isr", ".char")


@record
class ImageSpec:
    """An image as the user names it.

    Attributes
    ----------
    path : str
        The file.
    extension : int, str or None
        Header unit by number (0 is the primary) or by EXTNAME in capitals; None: all images.
    version : int or None
        EXTVER of a header unit that is given by its name; None: any.
    plane : int or None
        Plane of a cube, from 1; None: all.
    source : str
        The pipe that `path` is a copy of, if it is one.
    """

    path: str
    extension: int | str | None = None
    version: int | None = None
    plane: int | None = None
    source: str = ""

    @property
    def name(self) -> str:
        """The file as the user named it."""
        return self.source or self.path

    def __str__(self) -> str:
        parts = [part for part in (self.extension, self.version, self.plane) if part is not None]
        return f"{self.name}[{','.join(map(str, parts))}]" if parts else self.name


def without_image(message: str, name: str) -> str:
    """Return a message without the image that it begins with, where the reader knows of which.

    Parameters
    ----------
    name : str
        The file as the user named it; the extension may follow in brackets.
    """
    return re.sub(rf"^{re.escape(name)}(\[[^]]*\])?: ", "", message)


def parse_image_spec(text: str) -> ImageSpec:
    """Parse ``path``, ``path[2]``, ``path[SCI]`` or ``path[SCI,1]`` (with EXTVER).

    ``path[1,2]`` is the second plane of the cube in header unit 1, as is ``path[SCI,1,2]``
    with name and EXTVER.  A file whose own name ends in brackets is taken literally if it exists.

    Raises
    ------
    ConfigError
        Empty name or brackets, negative number.
    """
    if not text.strip():
        raise ConfigError("empty image name")
    match = _BRACKETS.match(text)
    if match is None or os.path.exists(text):  # noqa: PTH110 (names too long are no error here)
        return ImageSpec(text)
    extension, *rest = (part.strip() for part in match["extension"].split(","))
    by_number = re.fullmatch(r"\d+", extension) is not None
    if (
        not extension
        or re.fullmatch(r"-\d+", extension)
        or len(rest) > (1 if by_number else 2)
        or not all(re.fullmatch(r"[1-9]\d*", part) for part in rest)
    ):
        raise ConfigError(
            f"{text}: [{match['extension']}] is neither an extension number nor a name"
            + (", with the EXTVER of a name or the plane of a cube after a comma" if rest else "")
        )
    numbers = [int(part) for part in rest]
    if by_number:
        return ImageSpec(match["path"], int(extension), plane=numbers[0] if numbers else None)
    version, plane = [*numbers, None, None][:2]
    return ImageSpec(match["path"], extension.upper(), version, plane)


def parse_image_argument(text: str) -> tuple[ImageSpec, ImageSpec | None]:
    """Parse an IMAGE argument: one image, or ``detection,measurement`` (dual-image mode).

    Returns
    -------
    (measurement, detection) : the image to measure, and the one to detect on or None.

    Raises
    ------
    ConfigError
        An empty part, or more than two images.
    """
    parts = _COMMA.split(text)
    if len(parts) == 1 or os.path.exists(text):  # noqa: PTH110
        return parse_image_spec(text), None
    if len(parts) != 2 or not all(part.strip() for part in parts):
        raise ConfigError(
            f"{text}: dual-image mode takes two images, detection.fits,measurement.fits"
        )
    return parse_image_spec(parts[1].strip()), parse_image_spec(parts[0].strip())


def stem(path: str | Path) -> str:
    """Return the ``{stem}`` of an input: the name without folder and known suffixes.

    Drops .gz/.bz2/.fz and the like, then .fits/.fit/.fts, then .isr/.char, in any case.
    """
    if str(path) == STDIN:
        return "stdin"
    name = Path(path).name
    for suffixes in (_COMPRESSION, _FITS, _PRODUCT):
        for suffix in suffixes:
            if name.lower().endswith(suffix) and len(name) > len(suffix):
                name = name[: -len(suffix)]
                break
    return name


WORDS = ("stem", "object", "filter", "date", "ext")
"""What stands in braces in the names of products."""
WORDS_OF_HEADER = ("object", "filter", "date")
UNKNOWN = "unknown"
_MAX_LENGTH = 64


def safe_word(text: str) -> str:
    """Return a text as part of a name: letters, digits and . _ + -, none of these at its ends."""
    word = re.sub(r"[^A-Za-z0-9.+-]+|\.\.+", "_", text).strip("._+-")
    return word[:_MAX_LENGTH] or UNKNOWN


def words_in(pattern: str) -> list[str]:
    """Return the words in braces of a name pattern.

    Raises
    ------
    ValueError
        A brace that stands for nothing: alone, or around another word.
    """
    rest = _IN_BRACES.sub(lambda match: "" if match[1] in WORDS else match[0], pattern)
    if (brace := _BRACE.search(rest)) is not None:
        words = ", ".join(f"{{{word}}}" for word in WORDS)
        message = f"{brace[0]} is none of {words}"
        raise ValueError(message)
    return [word for word in _IN_BRACES.findall(pattern) if word in WORDS]


def expand_name(
    pattern: str, words: Mapping[str, str], output_dir: str | Path | None = None
) -> Path:
    """Return the output file of a name pattern for one input.

    Parameters
    ----------
    pattern : str
        A name, in which ``{stem}`` and the like stand for `words`.
    words : mapping
        Text per word; `stem` is `stem` of the input.
    output_dir : str or Path, optional
        Folder of relative names; default: the working directory.
    """
    if pattern.upper() == STDOUT:
        return Path(STDOUT)
    name = _IN_BRACES.sub(lambda match: words.get(match[1], match[0]), pattern)
    return Path(output_dir or ".") / name


def expand_names(names: Sequence[str], keyword: str, run: Run) -> list[str]:
    """Return the files that a list of names, globs and @lists means, in order.

    An @list holds one name or glob per line; relative names in it are relative to the list.

    Raises
    ------
    ConfigError
        A file does not exist, nothing matches a glob, or a list names itself.
    """
    files: list[str] = []
    for name in unlisted(names, keyword, run):
        if os.path.isfile(parse_image_spec(name).path):  # noqa: PTH113
            files.append(name)
        elif any(c in name for c in "*?["):
            found = sorted(glob.glob(name))  # noqa: PTH207 (absolute patterns, too)
            if not found:
                raise ConfigError(f"{keyword} {name}: no file matches")
            files += found
        else:
            raise ConfigError(f"{keyword} {name}: no such file")
    return list(dict.fromkeys(files))


def unlisted(
    names: Iterable[str], keyword: str, run: Run, lists: tuple[str, ...] = ()
) -> Iterator[str]:
    """Yield names, and instead of an @list those in it: one per line, relative to it.

    Parameters
    ----------
    keyword : str
        Who asks, for errors.
    run : Run
        Takes note of the lists.
    lists : tuple of str
        Those that the names stand in.

    Raises
    ------
    ConfigError
        A list cannot be read, or names itself.
    """
    for name in names:
        if not name.startswith("@") or os.path.exists(name):  # noqa: PTH110
            yield name
            continue
        path = os.path.realpath(name[1:])
        if path in lists:
            raise ConfigError(f"{keyword} {name}: the list names itself")
        lines = list_lines(read_text(name[1:], keyword, run), Path(name[1:]).parent)
        yield from unlisted(lines, keyword, run, (*lists, path))


def list_lines(text: str, folder: Path) -> list[str]:
    """Return the names of an @list whose relative ones are relative to a folder."""
    lines = [line.split("#", 1)[0].strip() for line in text.splitlines()]
    return [_beside(folder, line) for line in lines if line]


def _beside(folder: Path, line: str) -> str:
    """Return a line of a list, a name or another @list, seen from the folder of the list."""
    mark, name = ("@", line[1:]) if line.startswith("@") else ("", line)
    return mark + str(folder / os.path.expanduser(name))  # noqa: PTH111


def head_path(path: str, suffix: str) -> str | None:
    """Return the additional header beside an image, ``image.head``, or None.

    ``image.fits.gz`` has ``image.head``, or as SExtractor has it ``image.fits.head``.
    """
    if not suffix:
        return None
    name = Path(path).name
    bare = _PACKED.sub("", name)
    candidates = [_IMAGE.sub("", bare), name.rpartition(".")[0] or name]
    for candidate in candidates:
        head = os.path.join(os.path.dirname(path), candidate + suffix)  # noqa: PTH118, PTH120
        if candidate + suffix != name and os.path.isfile(head):  # noqa: PTH113
            return head
    return None
