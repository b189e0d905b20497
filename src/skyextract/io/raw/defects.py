"""Lists and masks of defects: FITS, DS9, IRAF and CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skyextract.datamodel.arrays import U1
from skyextract.datamodel.rawframe import RawFrame
from skyextract.errors import ConfigError, ImageError
from skyextract.io.fits.file import side_file
from skyextract.io.fits.pixels import Scaling, stored_numbers, to_float
from skyextract.io.images.images import select_units
from skyextract.io.names import parse_image_spec
from skyextract.io.textfiles import read_number_list, read_text
from skyextract.run import Run


def read_defects(names: Sequence[str], raw: RawFrame, run: Run) -> U1:
    """Read ISR_DEFECTS: FITS masks, DS9 regions, IRAF box lists, CSV tables.

    Positions are FITS pixels of the corrected frame.  A DS9 region counts if it is a box or a
    point in image coordinates; an IRAF line holds ``x1 x2 y1 y2``; a CSV table has columns
    x1, x2, y1, y2 or x, y, width, height (x, y the lower left pixel).  A FITS mask (not 0:
    bad) has the size of the corrected or of the raw frame.

    Returns
    -------
    (ny, nx) uint8
    """
    defects = np.zeros(raw.shape, dtype=np.uint8)
    for name in names:
        path = parse_image_spec(name).path
        with Path(path).open("rb") as stream:
            start = stream.read(2880)
        run.note_opened(path)
        if start.startswith((b"SIMPLE", b"\x1f\x8b", b"BZh")):
            defects |= _read_defect_mask(name, raw, run)
            continue
        for x1, x2, y1, y2 in _boxes(name, run):
            defects[max(y1 - 1, 0) : max(y2, 0), max(x1 - 1, 0) : max(x2, 0)] = 1
    return defects


def _read_defect_mask(name: str, raw: RawFrame, run: Run) -> U1:
    spec = parse_image_spec(name)
    with side_file(spec.path) as file:
        units = [unit for unit, _ in select_units(file, spec)]
        unit = units[raw.number if len(units) > 1 else 0] if raw.number < len(units) else units[0]
        scaling = Scaling.from_header(unit.header)
        values, bad = to_float(stored_numbers(file, unit), scaling, float("inf"), run)
    mask: U1 = ((values != 0.0) | (bad != 0)).astype(np.uint8)
    if mask.shape == raw.shape:
        return mask
    if len(raw.planes) == 1 and mask.shape == raw.planes[0].shape:
        assembled = np.zeros(raw.shape, dtype=np.uint8)
        for amplifier in raw.amplifiers:
            step_y, step_x = amplifier.step
            assembled[amplifier.place.slices] = mask[amplifier.data.slices][::step_y, ::step_x]
        return assembled
    raise ImageError(
        f"ISR_DEFECTS {name} has {mask.shape[1]} x {mask.shape[0]} pixels, {raw.name} has "
        f"{raw.shape[1]} x {raw.shape[0]} after trimming"
    )


def _boxes(name: str, run: Run) -> list[tuple[int, int, int, int]]:
    """Return the boxes (x1, x2, y1, y2) of a text file, 1-based and inclusive."""
    lines = [line.strip() for line in read_text(name, "ISR_DEFECTS", run).splitlines()]
    if any(
        line.lower().startswith(("box", "point", "image;", "global", "physical")) for line in lines
    ):
        return _ds9_boxes(lines, name)
    content = [line for line in lines if line and not line.startswith("#")]
    if content and re.match(r"[A-Za-z]", content[0]):
        return _csv_boxes(content, name)
    table = read_number_list(name, "ISR_DEFECTS", run)
    if table.size and (table.shape[1] < 4 or not np.isfinite(table[:, :4]).all()):
        raise ConfigError(f"ISR_DEFECTS {name}: lines of x1 x2 y1 y2 expected")
    return [_ordered(*(int(v) for v in row[:4])) for row in table]


def _ordered(x1: int, x2: int, y1: int, y2: int) -> tuple[int, int, int, int]:
    return min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)


def _ds9_boxes(lines: Sequence[str], name: str) -> list[tuple[int, int, int, int]]:
    boxes = []
    for line in lines:
        if re.match(r"(fk[45]|icrs|galactic|ecliptic|wcs)\b", line, re.IGNORECASE):
            raise ConfigError(f"ISR_DEFECTS {name}: regions must be in image coordinates")
        for shape, text in re.findall(r"\b(box|point)\s*\(([^)]*)\)", line, re.IGNORECASE):
            try:
                numbers = [float(word) for word in text.split(",")]
            except ValueError:
                raise ConfigError(f"ISR_DEFECTS {name}: {line!r} is not understood") from None
            is_point = shape.lower() == "point"
            if len(numbers) < (2 if is_point else 4) or not np.isfinite(numbers).all():
                raise ConfigError(f"ISR_DEFECTS {name}: {line!r} is not understood")
            width, height = (1.0, 1.0) if is_point else numbers[2:4]
            angle = numbers[4] % 180.0 if len(numbers) > 4 and not is_point else 0.0
            if angle == 90.0:
                width, height = height, width
            elif angle:
                raise ConfigError(f"ISR_DEFECTS {name}: {line!r}: a rotated box")
            # Pixels whose centre lies in the box.
            x1, y1 = (
                int(np.ceil(centre - 0.5 * length - 1e-9))
                for centre, length in ((numbers[0], width), (numbers[1], height))
            )
            x2, y2 = (
                int(np.ceil(centre + 0.5 * length - 1e-9)) - 1
                for centre, length in ((numbers[0], width), (numbers[1], height))
            )
            boxes.append((x1, max(x1, x2), y1, max(y1, y2)))
    return boxes


def _csv_boxes(lines: Sequence[str], name: str) -> list[tuple[int, int, int, int]]:
    boxes = []
    rows = csv.DictReader(lines, skipinitialspace=True)
    fields = {str(f).strip().lower() for f in rows.fieldnames or ()}
    corners = {"x1", "x2", "y1", "y2"} <= fields
    if not corners and not {"x", "y", "width", "height"} <= fields:
        raise ConfigError(f"ISR_DEFECTS {name}: columns x1,x2,y1,y2 or x,y,width,height expected")
    for number, row in enumerate(rows, start=2):
        try:
            box = {str(k).strip().lower(): int(float(str(v))) for k, v in row.items() if k}
        except (ValueError, OverflowError):
            raise ConfigError(f"ISR_DEFECTS {name}: line {number} is no box") from None
        if corners:
            boxes.append(_ordered(box["x1"], box["x2"], box["y1"], box["y2"]))
        else:
            x, y = box["x"], box["y"]
            boxes.append((x, x + box["width"] - 1, y, y + box["height"] - 1))
    return boxes
