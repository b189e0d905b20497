"""The night: one row per image extension, made of the summaries."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skyextract.errors import ConfigError, ExitStatus, ImageError, OutputError
from skyextract.io.atomic import atomic_output
from skyextract.io.names import without_image
from skyextract.io.nights import Row, checked_row, read_night, update_night, write_night
from skyextract.jobs import NIGHT
from skyextract.messages import RESULT, encoded
from skyextract.settings.extras import is_installed, require
from skyextract.sky.moon import Site, moon_of

log = logging.getLogger("skyextract")


def night_row(summary: Mapping[str, Any], table: Path, folder: Path) -> Row:
    """Return the row of a summary object; what is unknown is None.

    Parameters
    ----------
    table : Path
        The report's name is relative to it.
    folder : Path
        Of the products.

    Raises
    ------
    KeyError, TypeError
        It is no summary.
    """
    steps, frame = summary["steps"], summary.get("frame") or {}
    character, astrometry, photometry = (
        steps[name] for name in ("characterize", "astrometry", "photometry")
    )
    measured = character.get("psf_source") in ("MEASURED", "FILE")
    fitted = photometry.get("source") == "FITTED"
    report = summary["products"].get("REPORT_NAME")
    row: Row = {"file": summary["image"], "extension": summary["extension"]}
    row |= {
        name: frame.get(name)
        for name in ("object", "filter", "date_obs", "mjd", "exposure_time", "airmass")
    }
    row |= _moon(frame)
    failure = without_image(summary.get("error", ""), summary["image"])
    warnings = [failure] if failure else []
    warnings += [text for text in summary["warnings"] if text not in warnings]
    return checked_row(
        row
        | {
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
            "warnings": "; ".join(warnings) or None,
            "report": None if report is None else os.path.relpath(folder / report, table.parent),
        }
    )


def _moon(frame: Mapping[str, Any]) -> Row:
    """Return what is known of the moon: without a pointing or a time of day nothing."""
    names = ("moon_separation", "moon_illumination", "moon_altitude")
    mjd, ra, dec, site = (frame.get(name) for name in ("mjd", "ra", "dec", "site"))
    if mjd is None or ra is None or dec is None:
        return dict.fromkeys(names)
    moon = moon_of(mjd, ra, dec, Site(**site) if site else None)
    return dict(zip(names, (moon.separation, moon.illumination, moon.altitude), strict=True))


def merged(rows: Sequence[Row], new: Iterable[Row]) -> list[Row]:
    """Return rows with others added, each frame once, in the order of their times.

    The transparency of each is found again: its zero point for one second against the best of
    the filter.
    """
    frames = {_identity(row): dict(row) for row in rows}
    for row in new:
        if row["extension"] is not None:  # a file that failed before has no extensions
            frames.pop((os.path.normpath(row["file"]), None, None), None)
        frames[_identity(row)] = dict(row)
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


def _identity(row: Row) -> tuple[str, int | None, float | None]:
    """Return what tells a frame from others, in whichever folder its name is given."""
    if row["mjd"] is None or row["extension"] is None:
        return os.path.normpath(row["file"]), row["extension"], None
    return Path(row["file"]).name, row["extension"], row["mjd"]


def note_frames(table: Path, new: Sequence[Row]) -> None:
    """Add the extensions of an image to the table of the night.

    Raises
    ------
    OutputError
        The table cannot be written.
    """
    update_night(table, lambda rows: merged(rows, new))


def page_name(table: Path) -> Path:
    """Return the page that belongs to a table of the night."""
    return table.with_suffix(".html")


def refresh_page(table: Path) -> None:
    """Draw the page of a table of the night, beside it.

    Raises
    ------
    OutputError
        The page cannot be written.
    """
    from skyextract.outputs.html.night import render_night

    rows = read_night(table)
    with atomic_output(page_name(table)) as stream:
        stream.write(encoded(render_night(table.parent, rows)))


def draw_page(table: Path) -> None:
    """Draw the page as far as that can be done: the table stands, whatever becomes of it."""
    if not is_installed("jinja2"):
        log.info("%s: no page of it without jinja2", table)
        return
    try:
        refresh_page(table)
    except OutputError as error:
        log.error("%s", error)


def make_night(folder: Path) -> ExitStatus:
    """Make night.ecsv and night.html of the summaries in a folder.

    Raises
    ------
    ConfigError
        No such folder, or what draws the page is not installed.
    ImageError
        It holds no summary.
    """
    if not folder.is_dir():
        raise ConfigError(f"--night {folder}: no such folder")
    require("--night", "report", "jinja2")
    table = folder / NIGHT
    rows = [row for path in sorted(folder.glob("*.json")) for row in _read(path, table)]
    if not rows:
        raise ImageError(f"--night {folder}: no summary of skyextract in it")
    frames = merged([], rows)
    write_night(table, frames)
    refresh_page(table)
    log.log(RESULT, "%s and %s: %d frames", table, page_name(table), len(frames))
    return ExitStatus.OK


def _read(path: Path, table: Path) -> list[Row]:
    """Return the rows of a summary; none, with a warning, if the file is no summary."""
    try:
        objects = json.loads(path.read_text("utf-8"))
        return [night_row(item, table, path.parent) for item in objects]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        log.warning("%s: is no summary, left out", path)
        return []
