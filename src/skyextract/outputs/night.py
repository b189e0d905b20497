"""The night: one row per image extension, made of the summaries."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skyextract.errors import ConfigError, ExitStatus, ImageError
from skyextract.io.names import expand_name
from skyextract.io.nights import Row, update_night, write_night

log = logging.getLogger("skyextract")

TABLE, PAGE = "night.ecsv", "night.html"


def night_row(summary: Mapping[str, Any], folder: Path) -> Row:
    """Return the row of a summary object; what is unknown is None.

    Parameters
    ----------
    folder : Path
        Where the table stands; the report's name is relative to it.
    """
    steps, frame = summary["steps"], summary.get("frame") or {}
    character, astrometry, photometry = (
        steps[name] for name in ("characterize", "astrometry", "photometry")
    )
    measured = character.get("psf_source") in ("MEASURED", "FILE")
    fitted = photometry.get("source") == "FITTED"
    row: Row = {"file": summary["image"], "extension": summary["extension"]}
    row |= {
        name: frame.get(name)
        for name in ("object", "filter", "date_obs", "mjd", "exposure_time", "airmass")
    }
    told = [summary["error"]] if "error" in summary else []
    told += [text for text in summary["warnings"] if text not in told]
    return row | {
        "seeing": character.get("fwhm_arcsec") if measured else None,
        "fwhm": character.get("fwhm_pix") if measured else None,
        "ellipticity": character.get("ellipticity") if measured else None,
        "sky_brightness": photometry.get("sky_brightness"),
        "zero_point": photometry.get("zero_point") if fitted else None,
        "zero_point_error": photometry.get("zero_point_error") if fitted else None,
        "zero_point_1s": photometry.get("zero_point_1s") if fitted else None,
        "transparency": None,
        "limiting_mag": photometry.get("limiting_mag_5sigma"),
        "pointing_offset": astrometry.get("shift_arcsec"),
        "n_sources": steps["measure"].get("n_sources"),
        "status": summary["status"],
        "warnings": "; ".join(told) or None,
        "report": _report(summary, folder),
    }


def _report(summary: Mapping[str, Any], folder: Path) -> str | None:
    """Return the page of a frame, relative to the night's folder; None if there is none."""
    pattern = summary["provenance"]["config"].get("REPORT_NAME", {}).get("value", "").strip('"')
    if not pattern or pattern.upper() in ("NONE", "STDOUT"):
        return None
    return os.path.relpath(expand_name(pattern, summary["image"], folder), folder)


def merged(rows: Sequence[Row], new: Iterable[Row]) -> list[Row]:
    """Return rows with others added, each frame once, in the order of their times.

    The transparency of each is found again: its zero point for one second against the best of
    the filter.
    """
    frames = {(row["file"], row["extension"]): dict(row) for row in rows}
    for row in new:
        if row["extension"] is not None:  # a file that failed before has no extensions
            frames.pop((row["file"], None), None)
        frames[row["file"], row["extension"]] = dict(row)
    best: dict[str | None, float] = {}
    for row in frames.values():
        if row["zero_point_1s"] is not None:
            best[row["filter"]] = max(best.get(row["filter"], -99.0), row["zero_point_1s"])
    for row in frames.values():
        loss = None if row["zero_point_1s"] is None else row["zero_point_1s"] - best[row["filter"]]
        row["transparency"] = None if loss is None else 10.0 ** (0.4 * loss)

    def order(row: Row) -> tuple[bool, float, str, int]:
        extension = -1 if row["extension"] is None else row["extension"]
        return row["mjd"] is None, row["mjd"] or 0.0, row["file"], extension

    return sorted(frames.values(), key=order)


def note_frames(path: Path, summaries: Sequence[Mapping[str, Any]]) -> None:
    """Add the extensions of an image to the table of the night.

    Raises
    ------
    OutputError
        The table cannot be written.
    """
    new = [night_row(summary, path.parent) for summary in summaries]
    update_night(path, lambda rows: merged(rows, new))


def make_night(folder: Path) -> ExitStatus:
    """Make night.ecsv and night.html of the summaries in a folder.

    Raises
    ------
    ConfigError
        No such folder, or what draws the page is not installed.
    ImageError
        It holds no summary.
    """
    from skyextract.io.atomic import atomic_output
    from skyextract.outputs.html.night import render_night
    from skyextract.outputs.html.plots import prepare_drawing

    if not folder.is_dir():
        raise ConfigError(f"--night {folder}: no such folder")
    prepare_drawing("--night")
    summaries = [item for path in sorted(folder.glob("*.json")) for item in _read(path)]
    if not summaries:
        raise ImageError(f"--night {folder}: no summary of skyextract in it")
    rows = merged([], [night_row(summary, folder) for summary in summaries])
    write_night(folder / TABLE, rows)
    with atomic_output(folder / PAGE) as stream:
        stream.write(render_night(folder, rows).encode())
    return ExitStatus.OK


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the summary objects of a file; none, with a warning, if it is no summary."""
    try:
        objects = json.loads(path.read_text("utf-8"))
        for item in objects:
            night_row(item, path.parent)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        log.warning("%s: is no summary, left out", path)
        return []
    return list(objects)
