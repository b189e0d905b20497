"""A job: one image and the files that it writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skyextract.errors import ConfigError
from skyextract.io.names import ImageSpec, expand_name, parse_image_argument
from skyextract.settings.resolve import Settings


@dataclass(frozen=True)
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
    """

    measurement: ImageSpec
    detection: ImageSpec | None
    products: dict[str, Path]
    check_images: tuple[tuple[str, Path], ...]
    folder: Path = Path()

    @property
    def label(self) -> str:
        """The image in messages: its name without folders."""
        extension = str(self.measurement).removeprefix(str(self.measurement.path))
        return Path(self.measurement.path).name + extension


PRODUCTS = (
    "CATALOG_NAME",
    "SUMMARY_NAME",
    "EXPOSURE_NAME",
    "HEAD_NAME",
    "PSFMODEL_NAME",
    "MATCH_NAME",
    "REGIONS_NAME",
    "XML_NAME",
)


def plan_job(image: str, settings: Settings, output_dir: Path) -> Job:
    """Split an image argument and name its products."""
    measurement, detection = parse_image_argument(image)

    def place(pattern: str) -> Path:
        return expand_name(pattern, measurement.path, output_dir)

    output = settings.config.output
    products = {}
    for keyword in PRODUCTS:
        pattern = getattr(output, keyword.lower())
        wanted = pattern and not (keyword == "XML_NAME" and not output.write_xml)
        if keyword == "CATALOG_NAME" and output.catalog_type == "NONE":
            wanted = False
        if wanted:
            products[keyword] = Path("STDOUT") if pattern == "STDOUT" else place(pattern)
    if settings.config.pipeline.steps in (("ISR",), ("CHARACTERIZE",), ("ISR", "CHARACTERIZE")):
        suffix = ".char" if "CHARACTERIZE" in settings.config.pipeline.steps else ".isr"
        products.setdefault("EXPOSURE_NAME", place(f"{{stem}}{suffix}.fits"))
        products.pop("CATALOG_NAME", None)
    check_images = tuple((kind, place(name)) for kind, name in check_image_names(settings))
    return Job(measurement, detection, products, check_images, output_dir)


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


def check_names(jobs: Sequence[Job]) -> None:
    """Check that no two products share a file and that none overwrites an input."""
    images = [spec for job in jobs for spec in (job.measurement, job.detection) if spec]
    inputs = {Path(spec.path).resolve() for spec in images}
    written: dict[Path, tuple[int, str]] = {}
    for number, job in enumerate(jobs):
        checks = [(f"CHECKIMAGE_NAME ({kind})", path) for kind, path in job.check_images]
        named = [*job.products.items(), *checks]
        for keyword, path in named:
            if path == Path("STDOUT"):
                continue
            place = path.resolve()
            if place in inputs:
                raise ConfigError(f"{keyword}: {path} is an input; it is not overwritten")
            if place in written and written[place][0] != number:
                raise ConfigError(
                    f"{path}: two images, one {keyword}; put {{stem}} into the name"
                    " (for dual-image mode write det.fits,meas.fits)"
                )
            if place in written:
                raise ConfigError(f"{path}: both {written[place][1]} and {keyword}")
            written[place] = (number, keyword)
