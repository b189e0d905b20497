"""A job: one image and the files that it writes."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from skyextract.errors import ConfigError
from skyextract.io.names import (
    WORDS_OF_HEADER,
    ImageSpec,
    expand_name,
    expand_names,
    head_path,
    parse_image_argument,
    parse_image_spec,
    safe_word,
    stem,
    words_in,
)
from skyextract.io.streams import is_pipe, is_stream
from skyextract.record import record
from skyextract.run import Run
from skyextract.settings.resolve import Settings

KINDS: tuple[str, ...] = ("bias", "dark", "flat", "fringe")
"""Kinds of calibration frames, of which masters are made; the keywords are ISR_BIAS and so on."""


@record
class Job:
    """One image (or dual-image pair) and the files that it writes.

    Attributes
    ----------
    measurement : ImageSpec
        The image to measure.
    detection : ImageSpec or None
        The image to detect on, in dual-image mode.
    products : dict
        Path per product keyword; products that are not wanted are absent.
    check_images : tuple of (str, Path)
        Check-image types and their files.
    folder : Path
        Of the products.
    night : Path or None
        Table of the night to which it is added.
    copies : tuple of (str, str)
        Copies of what came from pipes, and the names of these.
    """

    measurement: ImageSpec
    detection: ImageSpec | None
    products: dict[str, Path]
    check_images: tuple[tuple[str, Path], ...]
    folder: Path = Path()
    night: Path | None = None
    copies: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """The image in messages: its name without folders."""
        extension = str(self.measurement).removeprefix(self.measurement.name)
        return (Path(self.measurement.name).name or self.measurement.name) + extension

    @property
    def has_summary(self) -> bool:
        """Whether the summary is written, to a file or as lines of --json."""
        return "SUMMARY_NAME" in self.products or JSON_LINES in self.products

    def shown(self, text: str) -> str:
        """Return a text in which the copy of what came from a pipe has the name of the pipe."""
        for copy, name in self.copies:
            text = text.replace(copy, name)
        return text

    @property
    def images(self) -> list[str]:
        """The images as the user named them, the one to detect on first."""
        return [str(spec) for spec in (self.detection, self.measurement) if spec]

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that it writes."""
        return tuple(self.named_files.values())

    @property
    def named_files(self) -> dict[str, Path]:
        """All files that it writes, by their keyword."""
        return self.products | {f"CHECKIMAGE_NAME ({kind})": p for kind, p in self.check_images}

    @property
    def folders(self) -> set[Path]:
        """The folders of its files."""
        return {Path(os.path.realpath(path)).parent for path in self.files if not is_stream(path)}

    def make_folders(self) -> None:
        """Make what lacks of its folders within that of the products: `{object}/{stem}.cat`.

        Where one cannot be made, writing its files tells why.
        """
        inside = Path(os.path.realpath(self.folder))
        for folder in self.folders:
            if folder.is_relative_to(inside):
                with suppress(OSError):
                    folder.mkdir(parents=True, exist_ok=True)


PRODUCTS = (
    "CATALOG_NAME",
    "SUMMARY_NAME",
    "EXPOSURE_NAME",
    "HEAD_NAME",
    "PSFMODEL_NAME",
    "MATCH_NAME",
    "REGIONS_NAME",
    "REPORT_NAME",
    "XML_NAME",
)


JSON_LINES = "--json"
"""The product of that option: the summary on standard output, an object per line."""


NIGHT = "night.ecsv"
"""NIGHT_NAME AUTO."""


def plan_job(
    image: str, settings: Settings, output_dir: Path, *, one_of_several: bool = False
) -> Job:
    """Split an image argument and name its products."""
    measurement, detection = parse_image_argument(image)

    words = _words(measurement, settings)

    def place(pattern: str) -> Path:
        return expand_name(pattern, words, output_dir)

    output = settings.config.output
    products = {}
    for keyword in PRODUCTS:
        pattern = getattr(output, keyword.lower())
        wanted = pattern and not (keyword == "XML_NAME" and not output.write_xml)
        if keyword == "CATALOG_NAME" and output.catalog_type == "NONE":
            wanted = False
        if wanted:
            products[keyword] = place(pattern)
    if settings.json_lines:
        products[JSON_LINES] = Path("STDOUT")
    if settings.config.pipeline.steps in (("ISR",), ("CHARACTERIZE",), ("ISR", "CHARACTERIZE")):
        suffix = ".char" if "CHARACTERIZE" in settings.config.pipeline.steps else ".isr"
        products.setdefault("EXPOSURE_NAME", place(f"{{stem}}{suffix}.fits"))
        products.pop("CATALOG_NAME", None)
    check_images = tuple((kind, place(name)) for kind, name in check_image_names(settings))
    night = _night_name(settings, one_of_several)
    table = output_dir / night if night else None
    places = (measurement, detection, products, check_images, output_dir, table)
    return Job(*places, copies=settings.copies)


def _night_name(settings: Settings, one_of_several: bool) -> str:
    """Return the name of the table of the night; empty: none.

    Raises
    ------
    ConfigError
        The name of a page, or of a single frame.
    """
    name = settings.config.output.night_name
    if name == "AUTO":
        return NIGHT if one_of_several else ""
    if Path(name).suffix.lower() in (".html", ".htm"):
        message = f"{name} is a page: name the table, {Path(name).stem}.ecsv, and it stands beside"
        raise settings.error("NIGHT_NAME", message)
    if "{" in name:
        raise settings.error("NIGHT_NAME", f"{name}: one table has all frames, no words in braces")
    return name


def _words(spec: ImageSpec, settings: Settings) -> dict[str, str]:
    """Return what the words in braces of the products' names stand for.

    Raises
    ------
    ConfigError
        Braces around something else, or a word of the header where the image comes from a pipe.
    """
    wanted: set[str] = set()
    for keyword in (*PRODUCTS, "CHECKIMAGE_NAME"):
        value = settings.value(keyword)
        for pattern in (value,) if isinstance(value, str) else value:
            try:
                found = words_in(pattern)
            except ValueError as error:
                raise settings.error(keyword, str(error)) from None
            wanted.update(found)
    selected = [spec.extension, spec.version, spec.plane]
    extension = "-".join(str(part) for part in selected if part is not None)
    words = {"stem": stem(spec.name), "ext": safe_word(extension) if extension else "all"}
    if not wanted & set(WORDS_OF_HEADER):
        return words
    if is_pipe(spec.path):
        raise ConfigError(f"{spec}: a pipe is not read before its products have names")
    from skyextract.io.words import header_words

    return words | header_words(spec)


def check_image_names(settings: Settings) -> list[tuple[str, str]]:
    """Return type and name of each check image wanted: pair by pair, as in SExtractor.

    Raises
    ------
    ConfigError
        Fewer names than types, or one type twice.
    """
    types = settings.config.output.checkimage_type
    names = settings.config.output.checkimage_name
    if all(kind == "NONE" for kind in types):
        return []
    if len(names) < len(types):
        message = f"CHECKIMAGE_TYPE has {len(types)}: {len(types)} names are needed"
        raise settings.error("CHECKIMAGE_NAME", message)
    wanted = [pair for pair in zip(types, names, strict=False) if pair[0] != "NONE"]
    for kind, _ in wanted:
        if types.count(kind) > 1:
            raise settings.error("CHECKIMAGE_TYPE", f"{kind} is asked for twice")
    return wanted


def _may_be_several(names: Sequence[str], keyword: str) -> bool:
    """Tell whether names, globs and lists mean several frames, or nobody knows yet."""
    if any(is_pipe(name.removeprefix("@")) for name in names):
        return True  # a list out of a pipe can be read once, and not here
    try:
        return len(expand_names(names, keyword, Run())) > 1
    except ConfigError:
        return True  # said by whoever needs the frames


def image_files(jobs: Sequence[Job]) -> list[str]:
    """Return the files of all images."""
    return [spec.path for job in jobs for spec in (job.measurement, job.detection) if spec]


def input_files(settings: Settings, jobs: Sequence[Job]) -> list[str]:
    """Return what is read besides the images, as far as it exists.

    Files and folders that keywords name, and the additional headers beside the images.
    """
    suffix = settings.config.detector.header_suffix
    heads = [head_path(path, suffix) for path in image_files(jobs)]
    names = [*settings.files, *(head for head in heads if head is not None)]
    run = Run()
    for keyword, name in settings.named_files():
        if is_pipe(name.removeprefix("@")):
            continue  # no product is one
        try:
            names += expand_names([name], keyword, run)
        except ConfigError:
            names.append(name)  # no file, or a folder of a catalogue
    names += run.opened  # the lists themselves
    return [path for name in names if os.path.exists(path := parse_image_spec(name).path)]  # noqa: PTH110


def came_since(settings: Settings, job: Job, known: Collection[str], moment: int) -> list[str]:
    """Return what would be read besides the image, is not `known`, and came after a moment (ns).

    What was there before, unchanged, was of no use to the image.
    """

    def is_new(path: str) -> bool:
        facts = os.stat(path)  # noqa: PTH116
        return stat.S_ISREG(facts.st_mode) and facts.st_ctime_ns > moment

    return [path for path in input_files(settings, [job]) if path not in known and is_new(path)]


def kept_masters(settings: Settings, folder: Path) -> list[Path]:
    """Return the names under which masters of raw calibration frames may be kept.

    The filter, which names of flats and fringes have, too, is not known before the frames are
    read.

    Raises
    ------
    ConfigError
        ISR_MASTER_NAME gives masters of two kinds one name.
    """
    pattern = settings.config.isr.isr_master_name
    names: dict[Path, str] = {}
    for kind in KINDS if pattern else ():
        given = settings.value(f"ISR_{kind.upper()}")
        if not given or not _may_be_several(given, f"ISR_{kind.upper()}"):
            continue  # a master that is ready
        path = folder / pattern.replace("{kind}", kind)
        if path in names:
            raise ConfigError(
                f"ISR_MASTER_NAME: {path} is the master of {names[path]} and of {kind}: put "
                "{kind} into the name"
            )
        names[path] = kind
    return list(names)


def check_names(
    jobs: Sequence[Job], inputs: Sequence[str] = (), masters: Sequence[Path] = ()
) -> None:
    """Check that no two products share a file and that none overwrites an input.

    Parameters
    ----------
    jobs : sequence of Job
    inputs : sequence of str
        Files and folders that are read besides the images.
    masters : sequence of Path
        As from `kept_masters`.
    """
    read = _Inputs([*image_files(jobs), *inputs])
    written: dict[str, tuple[int, str]] = {}
    files = [(number, *item) for number, job in enumerate(jobs) for item in job.named_files.items()]
    nights = {job.night for job in jobs if job.night}
    common = [("NIGHT_NAME", night) for night in nights]
    common += [("ISR_MASTER_NAME", path) for path in masters]
    for number, keyword, path in [*files, *((-1, *item) for item in common)]:
        if is_stream(path):
            continue
        if read.contain(path):
            raise ConfigError(f"{keyword}: {path} is an input; it is not overwritten")
        place = os.path.realpath(path)
        if place in written and number not in (written[place][0], -1):
            first, second = (jobs[n].measurement for n in (written[place][0], number))
            raise ConfigError(f"{path}: two images, one {keyword}; {_how_to_part(first, second)}")
        if place in written:
            raise ConfigError(f"{path}: both {written[place][1]} and {keyword}")
        written[place] = (number, keyword)


def _how_to_part(first: ImageSpec, second: ImageSpec) -> str:
    """Return how the products of two images get names of their own."""
    if stem(first.name) != stem(second.name):
        return "put {stem} into the name (for dual-image mode write det.fits,meas.fits)"
    if first == second:
        return "name it once"
    if first.path == second.path:
        return "put {ext} into the name"
    return f"both are {stem(first.name)}: give each its folder (-o), or put {{date}} into the name"


class _Inputs:
    """Files that are read, known by their places and, for other names of them, their numbers."""

    def __init__(self, names: Sequence[str]) -> None:
        self._places = {os.path.realpath(name) for name in names}
        self._folders = [place for place in self._places if os.path.isdir(place)]  # noqa: PTH112
        self._numbers = {number for place in self._places if (number := _file_number(place))}

    def contain(self, path: Path) -> bool:
        """Tell whether a file is one of them, or stands in a folder that is one."""
        place, number = os.path.realpath(path), _file_number(path)
        inside = any(place.startswith(folder + os.sep) for folder in self._folders)
        return place in self._places or (number is not None and (inside or number in self._numbers))


def _file_number(path: str | Path) -> tuple[int, int] | None:
    """Return device and inode of a file; None if there is none."""
    try:
        facts = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino
