"""A product made again from its provenance, and compared with itself: --rerun."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from skyextract import __version__
from skyextract.batch.images import compile_missing, run_job
from skyextract.batch.interrupts import Interrupted, interruptible
from skyextract.errors import ConfigError, ExitStatus
from skyextract.io.atomic import abandon, scratch_folder
from skyextract.jobs import Job, plan_job
from skyextract.outputs.made import Made, find_made
from skyextract.run import resolve_threads
from skyextract.settings.resolve import Settings, recorded_settings

log = logging.getLogger("skyextract")


def rerun(product: Path) -> tuple[ExitStatus, list[str]]:
    """Make the products of an image again, in a folder for the moment, and compare them.

    The products that stand are not touched.

    Returns
    -------
    status : ExitStatus
        IMAGE_FAILED if an input or a product differs.
    lines : list of str
        What there is to say of each.

    Raises
    ------
    ImageError
        Nothing tells how the product was made.
    ConfigError
        This version of the program does not understand it.
    """
    made = find_made(product)
    with made.where_it_was_made():
        changes = made.changes()
        if changes:
            return ExitStatus.IMAGE_FAILED, [f"{path}: {what}" for path, what in changes.items()]
        settings = _settings(made)
        scratch = scratch_folder()
        try:
            with interruptible(abandon):
                compile_missing(settings)
                job = _plan(made, settings, scratch)
                run_job(job, settings, resolve_threads(settings.config.pipeline.nthreads))
            compared = [
                _compared(path, job.named_files[key]) for key, path in made.products.items()
            ]
        except Interrupted as interrupt:
            return ExitStatus(interrupt.status), []
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    same = all(is_same for is_same, _ in compared)
    return ExitStatus.OK if same else ExitStatus.IMAGE_FAILED, [line for _, line in compared]


def _settings(made: Made) -> Settings:
    """Return the settings of a product, and make sure that they are all understood."""
    provenance = made.provenance
    if provenance["version"] != __version__:
        log.warning("made by version %s; this is %s", provenance["version"], __version__)
    settings = recorded_settings(
        provenance["config"], provenance["config_files"], strict=provenance["strict"]
    )
    if (
        provenance["version"] == __version__
        and settings.fingerprint() != provenance["config_sha256"]
    ):
        raise ConfigError("the settings in the provenance do not have its checksum")
    return settings


def _plan(made: Made, settings: Settings, scratch: Path) -> Job:
    """Return the job of old, with its files in another folder."""
    folder = Path(made.provenance["output_dir"])
    if not folder.is_dir() or not folder.samefile(made.folder):
        folder = made.folder  # the products were moved
    job = plan_job(",".join(made.provenance["images"]), settings, folder)

    def moved(key: str, path: Path) -> Path:
        place = scratch / key
        place.mkdir()
        return place / path.name

    products = {key: moved(key, path) for key, path in job.products.items()}
    checks = tuple((kind, moved(f"CHECK {kind}", path)) for kind, path in job.check_images)
    return replace(job, products=products, check_images=checks, night=None)


def _compared(before: Path, again: Path) -> tuple[bool, str]:
    """Return whether two files are the same, and that in words."""
    if not before.is_file():
        return False, f"{before.name}: is gone, and cannot be compared"
    if not again.is_file():
        return False, f"{before.name}: DIFFERS: it is not made now"
    if before.read_bytes() == again.read_bytes():
        return True, f"{before.name}: the same {before.stat().st_size} bytes"
    if before.suffix == ".json" and _without_times(before) == _without_times(again):
        return True, f"{before.name}: the same, but for the times of the steps"
    return False, f"{before.name}: DIFFERS"


def _without_times(path: Path) -> Any:
    """Return a summary without what no two runs have in common; None if it is none."""
    try:
        objects = json.loads(path.read_text("utf-8"))
        for item in objects:
            item.pop("products")
            for key in ("working_directory", "output_dir"):
                item["provenance"].pop(key)
            for step in item["steps"].values():
                step.pop("seconds")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return objects
