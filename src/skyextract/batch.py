"""Many images: their products' names, parallel processes, and the worst exit status."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from skyextract.config import Settings
from skyextract.errors import ConfigError, ExitStatus
from skyextract.io.names import ImageSpec, expand_name, parse_image_argument
from skyextract.messages import RESULT, set_up_logging

log = logging.getLogger("skyextract")

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


def run_batch(
    images: Sequence[str],
    settings: Settings,
    n_jobs: int,
    strict: bool,
    output_dir: Path,
    level: str,
) -> ExitStatus:
    """Process all images and return the worst status (1 before 3).

    Raises
    ------
    ConfigError
        Before any work: two images would write the same file, a product would overwrite
        an input, or the output folder cannot be made.
    """
    jobs = [plan_job(image, settings, output_dir) for image in images]
    check_names(jobs)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{output_dir}: {error.strerror}") from None
    for note in settings.notes:
        log.warning(note)
    if not kernels_are_compiled():
        log.log(RESULT, "first run: compiling the numerical kernels; this takes a minute, once")
    if n_jobs == 1 or len(jobs) == 1:
        statuses = [run_job(job, settings, strict) for job in jobs]
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            min(n_jobs, len(jobs)), context, initializer=set_up_logging, initargs=(level,)
        ) as pool:
            statuses = list(pool.map(run_job, jobs, [settings] * len(jobs), [strict] * len(jobs)))
    for worst in (ExitStatus.USAGE, ExitStatus.IMAGE_FAILED, ExitStatus.STEP_FAILED):
        if worst in statuses:
            return worst
    return ExitStatus.OK


def kernels_are_compiled() -> bool:
    """Tell whether an earlier run left compiled kernels in numba's cache."""
    if "NUMBA_CACHE_DIR" in os.environ:
        return any(Path(os.environ["NUMBA_CACHE_DIR"]).rglob("*.nbi"))
    return any(Path(__file__).with_name("kernels").glob("__pycache__/*.nbi"))


def run_job(job: Job, settings: Settings, strict: bool) -> ExitStatus:
    """Process one image; every expected error becomes one line and a status."""
    from skyextract.pipeline import process_image

    try:
        return process_image(job, settings, strict)
    except MemoryError:
        log.error("%s: not enough memory", job.label)
    except Exception as error:
        # A mistake of ours in one image must not cost the rest of the batch.
        log.error("%s: internal error: %s: %s", job.label, type(error).__name__, error)
        log.debug("", exc_info=True)
    return ExitStatus.IMAGE_FAILED


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
