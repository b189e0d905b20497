"""Names of files: image specifications and output name patterns.  No heavy imports."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from skyextract.errors import ConfigError

_BRACKETS = re.compile(r"^(?P<path>.+?)\[(?P<extension>[^\[\]]*)\]$")
_COMPRESSION = (".gz", ".bz2", ".fz")
_FITS = (".fits", ".fit", ".fts")
_PRODUCT = (".isr", ".char")


@dataclass(frozen=True)
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
    """

    path: str
    extension: int | str | None = None
    version: int | None = None
    plane: int | None = None

    def __str__(self) -> str:
        parts = [part for part in (self.extension, self.version, self.plane) if part is not None]
        return f"{self.path}[{','.join(map(str, parts))}]" if parts else self.path


def parse_image_spec(text: str) -> ImageSpec:
    """Parse ``path``, ``path[2]``, ``path[SCI]`` or ``path[SCI,1]`` (with EXTVER).

    ``path[1,2]`` is the second plane of the cube in header unit 1, as is ``path[SCI,1,2]``
    with name and EXTVER.  A file whose own name ends in brackets is taken literally if it exists.

    Raises
    ------
    ConfigError
        Empty name or brackets, negative number.
    """
    text = text.strip()
    if not text:
        raise ConfigError("empty image name")
    match = _BRACKETS.match(text)
    if match is None or Path(text).exists():
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
    return ImageSpec(match["path"], extension.upper(), *numbers)


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
    parts = re.split(r",(?![^\[\]]*\])", text)
    if len(parts) == 1 or Path(text).exists():
        return parse_image_spec(text), None
    if len(parts) != 2 or not all(part.strip() for part in parts):
        raise ConfigError(
            f"{text}: dual-image mode takes two images, detection.fits,measurement.fits"
        )
    return parse_image_spec(parts[1]), parse_image_spec(parts[0])


def stem(path: str | Path) -> str:
    """Return the ``{stem}`` of an input: the name without folder and known suffixes.

    Drops .gz/.bz2/.fz, then .fits/.fit/.fts, then .isr/.char, in any case.
    """
    name = Path(path).name
    for suffixes in (_COMPRESSION, _FITS, _PRODUCT):
        for suffix in suffixes:
            if name.lower().endswith(suffix) and len(name) > len(suffix):
                name = name[: -len(suffix)]
                break
    return name


def expand_name(pattern: str, path: str | Path, output_dir: str | Path | None = None) -> Path:
    """Return the output file of a name pattern for one input.

    Parameters
    ----------
    pattern : str
        A name, in which ``{stem}`` stands for `stem` of the input.
    path : str or Path
        The input image.
    output_dir : str or Path, optional
        Folder of relative names; default: the working directory.
    """
    return Path(output_dir or ".") / pattern.replace("{stem}", stem(path))
