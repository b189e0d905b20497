"""Where the summaries of an image go: a file, standard output, the table of the night."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from json.encoder import encode_basestring_ascii as _quoted
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from skyextract.errors import OutputError
from skyextract.io.atomic import Outputs
from skyextract.io.streams import Stream
from skyextract.jobs import JSON_LINES, Job
from skyextract.messages import LABELLED

if TYPE_CHECKING:
    from skyextract.io.nights import Row

log = logging.getLogger("skyextract")

_encode = json.JSONEncoder().encode


def write_summaries(
    job: Job,
    objects: Sequence[dict[str, Any]],
    open_output: Callable[[Path], AbstractContextManager[BinaryIO]],
) -> None:
    """Write the summary file, and the lines of --json, as far as they are wanted."""
    if "SUMMARY_NAME" in job.products:
        with open_output(job.products["SUMMARY_NAME"]) as stream:
            stream.write((_indented(objects, "\n") + "\n").encode())
    if JSON_LINES in job.products:
        with open_output(job.products[JSON_LINES]) as stream:
            stream.write("".join(json.dumps(item) + "\n" for item in objects).encode())


def _indented(value: Any, line: str) -> str:
    """Return what `json.dumps(value, indent=1)` does, which takes three times as long.

    Parameters
    ----------
    line : str
        A line break and the blanks before what `value` belongs to.
    """
    inner = line + " "
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dict) and value:
        items = [f"{_quoted(key)}: {_indented(item, inner)}" for key, item in value.items()]
        return f"{{{inner}{f',{inner}'.join(items)}{line}}}"
    if isinstance(value, list | tuple) and value:
        items = [_indented(item, inner) for item in value]
        return f"[{inner}{f',{inner}'.join(items)}{line}]"
    return _encode(value)


def lines_again(job: Job, objects: Sequence[dict[str, Any]]) -> tuple[Stream, ...]:
    """Return the lines of --json of an image that was done before; none if they are not wanted."""
    with Outputs() as outputs:
        known = {key: path for key, path in job.products.items() if key == JSON_LINES}
        write_summaries(replace(job, products=known), objects, outputs.open)
        outputs.commit()
        return tuple(outputs.streams)


def night_rows(job: Job, objects: Sequence[dict[str, Any]]) -> list[Row]:
    """Return what the table of the night says of an image; nothing if none is kept."""
    if job.night is None:
        return []
    from skyextract.outputs.night import night_row

    return [night_row(item, job.night, job.folder) for item in objects]


def note_night(job: Job, rows: Sequence[Row]) -> bool:
    """Add an image to the table of the night, if one is kept.

    Returns
    -------
    bool
        Whether that went well; an error is told.  The products of the image stay.
    """
    if job.night is None:
        return True
    from skyextract.outputs.night import note_frames

    try:
        note_frames(job.night, rows)
    except OutputError as error:
        log.error(LABELLED, f"{job.label}: ", str(error))
        return False
    return True
