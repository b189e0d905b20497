"""What an earlier run has done already: --skip-done."""

from __future__ import annotations

import json
import os
from typing import Any

from skyextract.errors import ExitStatus
from skyextract.io.checksums import sha256
from skyextract.io.names import parse_image_spec
from skyextract.io.streams import Stream, is_pipe
from skyextract.jobs import Job, came_since
from skyextract.outputs.summaries import lines_again
from skyextract.record import record
from skyextract.settings.resolve import Settings


@record
class Earlier:
    """An image that an earlier run has done.

    Attributes
    ----------
    job : Job
    summary : list of dict
        An object per extension.
    """

    job: Job
    summary: list[dict[str, Any]]

    @property
    def status(self) -> ExitStatus:
        """The exit status that it had."""
        return ExitStatus(self.summary[0]["exit_status"])

    def again(self) -> tuple[Stream, ...]:
        """Return what goes to standard output again: the lines of --json, if they are wanted."""
        return lines_again(self.job, self.summary)


def done_before(job: Job, settings: Settings) -> Earlier | None:
    """Return what an earlier run has done of an image; None if it is to be done (again).

    Done is an image whose summary was written with the same settings by the same version and
    tells of no failure, whose products are all there as it left them, and newer than everything
    that was read, or would be read now: an additional header, another file that a glob matches.
    """
    name = job.products.get("SUMMARY_NAME")
    if name is None or any(is_pipe(spec.path) for spec in (job.measurement, job.detection) if spec):
        return None
    try:
        objects = json.loads(name.read_text("utf-8"))
        made = objects[0]["provenance"]
        products = {job.folder / product for product in objects[0]["products"].values()}
        inputs = {item["path"]: item["sha256"] for item in made["inputs"]}
        as_wanted = (
            made["config_sha256"] == settings.fingerprint()
            and made["images"] == job.images
            and all(item["status"] != "failed" for item in objects)
        )
        if not as_wanted:
            return None
        times = [product.stat().st_mtime_ns for product in products]
        if max(times) > name.stat().st_mtime_ns:  # the summary is the last that is written
            return None
        oldest = min(times)
        if not all(_is_older(path, checksum, oldest) for path, checksum in inputs.items()):
            return None
        if came_since(settings, job, inputs, oldest):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
    return Earlier(job, objects)


def _is_older(path: str, checksum: str | None, moment: int) -> bool:
    """Tell whether a file is as it was: not changed since, nor replaced by an older one.

    What came from a pipe has no checksum, and nobody knows what comes next.
    """
    if checksum is None:
        return False
    facts = os.stat(parse_image_spec(path).path)  # noqa: PTH116
    if facts.st_mtime_ns > moment:
        return False
    return facts.st_ctime_ns <= moment or sha256(path) == checksum
