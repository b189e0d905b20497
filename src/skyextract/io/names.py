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
    """

    path: str
    extension: int | str | None = None

    def __str__(self) -> str:
        return self.path if self.extension is None else f"{self.path}[{self.extension}]"


def parse_image_spec(text: str) -> ImageSpec:
    """Parse ``path``, ``path[2]`` or ``path[SCI]``.

    A file whose own name ends in brackets is taken literally if it exists.

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
    extension = match["extension"].strip()
    if re.fullmatch(r"\d+", extension):
        return ImageSpec(match["path"], int(extension))
    if not extension or re.fullmatch(r"-\d+", extension):
        raise ConfigError(f"{text}: [{extension}] is neither an extension number nor a name")
    return ImageSpec(match["path"], extension.upper())


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
    if "," not in text or Path(text).exists():
        return parse_image_spec(text), None
    parts = text.split(",")
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
