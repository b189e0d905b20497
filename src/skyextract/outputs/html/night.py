"""The page of a night: how seeing, sky and transparency went, each point linked to its frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

from skyextract import __version__
from skyextract.outputs.html.page import BAD, DOUBTFUL, GOOD, template
from skyextract.outputs.html.plots import (
    GREEN,
    GREY,
    ORANGE,
    PAGE_BLUE,
    PURPLE,
    SKY,
    VERMILION,
    Figure,
)  # fmt: skip
from skyextract.outputs.html.scatter import Points, scatter_svg

Row = Mapping[str, Any]

_TRENDS = (
    ("seeing", "Seeing", "FWHM (arcsec)"),
    ("ellipticity", "Ellipticity", "1 − b/a"),
    ("transparency", "Transparency", "light relative to the best of the filter"),
    ("limiting_mag", "Depth", "5σ limit (mag)"),
    ("sky_brightness", "Sky", "sky brightness (mag/arcsec²)"),
    ("pointing_offset", "Pointing", "offset (arcsec)"),
    ("n_sources", "Sources", "sources per frame"),
    ("airmass", "Airmass", "airmass"),
    ("moon_separation", "Moon", "distance from the frame (°)"),
)
_DOWN = {"limiting_mag", "sky_brightness", "airmass"}  # as astronomers draw them
_LEAST = {"limiting_mag": 0.1, "sky_brightness": 0.1, "pointing_offset": 0.5}
"""Half of the range that is shown at least, where it is not 5 % of the values."""
_INKS = (PAGE_BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY)
_KINDS = {"complete": GOOD, "partial": DOUBTFUL, "failed": BAD}


def render_night(folder: Path, rows: Sequence[Row]) -> str:
    """Return the page.

    Parameters
    ----------
    rows : sequence of mapping
        As in the table of the night, in the order of their times.
    """
    counts = {kind: sum(row["status"] == kind for row in rows) for kind in _KINDS}
    n_files = len({row["file"] for row in rows})
    worst = next((k for k in ("failed", "partial", "complete") if counts[k]), "failed")
    lines = [
        {
            **row,
            "kind": _KINDS.get(row["status"], BAD),
            "link": _link(folder, row),
            "anchor": f"f{number}",
            "name": Path(row["file"]).name,
        }
        for number, row in enumerate(rows)
    ]
    warned = [line for line in lines if line["status"] == "complete" and line["warnings"]]
    for line in warned:
        line["kind"] = DOUBTFUL
    page: str = template("night.html").render(
        rows=lines, counts=counts, n_warned=len(warned), n_files=n_files, version=__version__,
        kind=DOUBTFUL if worst == "complete" and warned else _KINDS[worst],
        folder=folder.resolve().name, figures=[_trend(lines, *trend) for trend in _TRENDS],
        span=_span(rows), filters=_filters(rows),
    )  # fmt: skip
    return page


def _span(rows: Sequence[Row]) -> str:
    """Return when the first and the last frame were begun; empty if no time is known."""
    times = [row["date_obs"][:16].replace("T", " ") for row in rows if row["mjd"] is not None]
    if not times:
        return ""
    (day, _, _), (last_day, _, clock) = (text.partition(" ") for text in (times[0], times[-1]))
    return f"{times[0]} to {clock if day == last_day else times[-1]} UT"


_TYPICAL = (
    ("seeing", "seeing {:.2f}″"), ("transparency", "transparency {:.2f}"),
    ("limiting_mag", "5σ limit {:.2f} mag"), ("sky_brightness", "sky {:.2f} mag/″²"),
)  # fmt: skip


def _filters(rows: Sequence[Row]) -> list[str]:
    """Return a line per filter: how many frames, and the medians of what is known of them."""
    lines = []
    for name in dict.fromkeys(row["filter"] for row in rows):
        mine = [row for row in rows if row["filter"] == name]
        parts = [f"{len(mine)} frame{'s' if len(mine) > 1 else ''}"]
        for key, form in _TYPICAL:
            known = [row[key] for row in mine if row[key] is not None]
            if known:
                parts.append(form.format(median(known)))
        lines.append(f"{name or 'no filter'}: {', '.join(parts)}")
    return lines


def _link(folder: Path, row: Row) -> str:
    """Return the address of the frame's report; empty if there is none."""
    name = row["report"]
    return quote(name) if name and (folder / name).is_file() else ""


def _trend(rows: Sequence[dict[str, Any]], key: str, title: str, label: str) -> Figure:
    """Draw one quantity against time; against the number of the frame if few times are known."""
    known = [row for row in rows if row[key] is not None]
    if not known:
        return Figure(title, "Not known of any frame.")
    missing = len(rows) - len(known)
    with_time = [row for row in known if row["mjd"] is not None]
    dated = 2 * len(with_time) > len(known)
    without_time = len(known) - len(with_time) if dated else 0
    known = with_time if dated else known
    start = math.floor(known[0]["mjd"]) if dated else 0
    span = known[-1]["mjd"] - known[0]["mjd"] if dated else 0.0
    in_days = dated and span > 2.0
    if not dated:
        axis = "number of the frame"
    else:
        axis = f"MJD − {start}" if in_days else f"hours since {known[0]['date_obs'][:10]} 0h (UT)"
    kinds = []
    # A filter has one colour in all diagrams, whatever they know of it.
    for number, name in enumerate(dict.fromkeys(row["filter"] for row in rows)):
        mine = [row for row in known if row["filter"] == name]
        if not mine:
            continue
        if dated:
            x = [(row["mjd"] - start) * (1.0 if in_days else 24.0) for row in mine]
        else:
            x = [float(rows.index(row) + 1) for row in mine]
        links = [row["link"] or f"#{row['anchor']}" for row in mine]
        ink = _INKS[number % len(_INKS)]
        kinds.append(Points(name or "no filter", ink, x, [row[key] for row in mine], links))
    middle = 0.5 * (min(row[key] for row in known) + max(row[key] for row in known))
    least = _LEAST.get(key, 0.05 * abs(middle))
    svg = scatter_svg(kinds, (axis, label), least, is_down=key in _DOWN)
    notes = [f"{missing} of {len(rows)} frames have none."] if missing else []
    if without_time:
        notes.append(f"{without_time} without a time of day are not shown.")
    return Figure(title, " ".join(notes), svg)
