"""Files of calibration frames: lists, masters, defects, linearity, crosstalk."""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import F4, F8
from skyextract.datamodel.calibrations import Linearity, Master
from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import Header, header_number, observation
from skyextract.datamodel.mosaic import mosaic_pattern
from skyextract.errors import ConfigError, ImageError
from skyextract.io.atomic import atomic_output
from skyextract.io.checksums import file_facts
from skyextract.io.fits.file import FitsFile, HeaderUnit
from skyextract.io.fits.pixels import Scaling, stored_numbers, to_float
from skyextract.io.images.dialects import exposure_seconds, translate
from skyextract.io.images.exposures import ExposureWriter
from skyextract.io.images.images import image_header, select_units
from skyextract.io.images.readback import is_product, read_product
from skyextract.io.names import parse_image_spec
from skyextract.io.textfiles import read_number_list, read_text
from skyextract.run import Run

MASTER_CARDS = (
    "SUBBIAS", "SUBTRACT_BIAS", "SUBDARK", "SUBTRACT_DARK", "FLATCOR", "ZEROCOR", "DARKCOR",
    "BIASCORR", "L1IDBIAS", "L1STATBI",
)  # fmt: skip
"""Cards that ccdproc, IRAF and pipelines leave in a frame from which the bias is gone."""

_UNUSABLE = int(Mask.BAD | Mask.NO_DATA)


_TYPE_CARDS = ("IMAGETYP", "FRAME", "OBSTYPE")
_LETTERS = {"bias": "B", "dark": "D", "flat": "F"}
"""What CALSTAT (SBFITSEXT, MaxIm) says was done."""
_DONE_CARDS = {"bias": "ZEROCOR", "dark": "DARKCOR", "flat": "FLATCOR"}
"""The cards of IRAF that say it."""


def read_frame_header(name: str) -> Header:
    """Return the header of the first image of a file, with what it inherits."""
    return _read_frame_header(name, file_facts(name)["mtime_ns"])


def translated_header(name: str, camera: str, run: Run) -> Header:
    """Return `read_frame_header` with standard cards in it, as images get them (CAMERA)."""
    header = read_frame_header(name).copy()
    translate(header, camera, run, name, told=False)
    return header


@lru_cache(maxsize=4096)
def _read_frame_header(name: str, mtime_ns: int) -> Header:  # noqa: ARG001 (it makes the key)
    spec = parse_image_spec(name)
    with FitsFile(spec.path) as file:
        unit, _ = select_units(file, spec)[0]
        header = image_header(file, unit)
        if is_product(file, unit):
            header["SKYPROD"] = "EXPOSURE"
        return header


def is_master(header: Header, kind: str) -> bool:
    """Tell whether a frame says that it is no raw one.

    Our own products, and frames whose header says that the bias was taken off, be it with the
    dark; of biases also those that were combined, and of flats those that are called masters.
    """
    if header.get("SKYPROD") == "EXPOSURE":
        return True
    combined = header.get("COMBINED") is True or (header_number(header.get("NCOMBINE")) or 0) > 1
    is_called = any("MASTER" in str(header.get(card) or "").upper() for card in _TYPE_CARDS)
    if (kind == "bias" and (combined or is_called)) or (kind == "flat" and is_called):
        return True
    if is_done(header, "bias") or is_done(header, "dark"):
        return True
    return any(_is_set(header, card) for card in MASTER_CARDS)


def is_done(header: Header, kind: str) -> bool:
    """Tell whether a frame says that its bias or dark was taken off, or its flat divided by."""
    if kind not in _LETTERS:
        return False
    letters = str(header.get("CALSTAT") or "").upper()
    return _LETTERS[kind] in letters or _is_set(header, _DONE_CARDS[kind])


def _is_set(header: Header, card: str) -> bool:
    """Tell whether a card says that something was done."""
    return header.get(card) not in (None, False, 0, "", "OMIT")


def read_master(
    name: str, kind: str, number: int, exposure_keys: Sequence[str], run: Run
) -> Master:
    """Read a master calibration frame.

    Parameters
    ----------
    name : str
        File, maybe with an extension in brackets.
    kind : str
        bias, dark, flat or fringe.
    number : int
        Of the detector, from 0; a file with one image serves all.
    exposure_keys : sequence of str
        EXPOTIME_KEY.

    Raises
    ------
    ImageError
        Not readable, or a flat without a positive level.
    """
    spec = parse_image_spec(name)
    with FitsFile(spec.path) as file:
        run.note_opened(spec.path)
        units = [
            unit
            for unit, _ in select_units(file, spec)
            if spec.extension is not None or unit.name not in ("UNCERT", "MASK", "VARIANCE")
        ]
        if not units:
            raise ImageError(f"{name}: no image")
        if len(units) > 1 and number >= len(units):
            raise ImageError(f"{name}: {len(units)} images, none for detector {number + 1}")
        unit = units[number if len(units) > 1 else 0]
        try:
            exposure = _read_planes(file, unit, run)
        except ImageError as error:
            raise ImageError(f"{name}: {error}") from None
    image = exposure.image
    bad = (exposure.mask & np.uint16(_UNUSABLE)) != 0
    variance = exposure.variance
    if bad.any():
        image = np.where(bad, np.float32(np.nan), image)
    if variance is not None:
        variance = np.where(np.isfinite(variance), variance, np.float32(0.0))
    facts = exposure.history.get("master", {})
    if kind == "flat":
        level = flat_level(image, exposure.header, name)
        image = image / level
        variance = None if variance is None else variance / level**2
    header = observation(exposure.header)
    times = [exposure_seconds(header, key) for key in ("DARKTIME", *exposure_keys)]
    known = [time for time in times if time is not None and time >= 0.0]
    return Master(
        kind, image, variance, known[0] if known else float("nan"), header, name,
        int(facts.get("n_frames", 0)), facts,
    )  # fmt: skip


def flat_level(image: F4, header: Header | None, name: str) -> F4:
    """Return the median of a flat, of a colour mosaic that of the colour of each pixel.

    The colours of the lamp, or of the twilight, are not those of the sky: a flat of one level would
    change the electrons of each colour by what it is brighter or fainter in the lamp.

    Returns
    -------
    () or (ny, nx) float32

    Raises
    ------
    ImageError
        No pixel has a value above 0, or most have not.
    """
    pattern = mosaic_pattern(header or {}, image.shape)
    if not pattern:
        return np.array(_median_light(image, name), np.float32)
    n = math.isqrt(len(pattern))
    colours, cell = np.array(list(pattern)).reshape(n, n), np.empty((n, n), np.float32)
    for colour in np.unique(colours):
        parts = [image[y::n, x::n].ravel() for y, x in np.argwhere(colours == colour)]
        cell[colours == colour] = _median_light(np.concatenate(parts), name)
    ny, nx = image.shape
    return np.tile(cell, (-(-ny // n), -(-nx // n)))[:ny, :nx]


def _median_light(image: F4, name: str) -> float:
    """Return the median of the pixels of a flat that have a positive value."""
    good = image[np.isfinite(image) & (image > 0.0)]
    if good.size < 0.5 * np.isfinite(image).sum() or not good.size:
        raise ImageError(f"{name}: the flat is zero or negative")
    return float(np.median(good))


def _read_planes(file: FitsFile, unit: HeaderUnit, run: Run) -> Exposure:
    """Read image, mask and variance: our own product, or a frame of ccdproc with UNCERT."""
    if is_product(file, unit):
        return read_product(file, unit, Detector(), run)
    header = image_header(file, unit)
    image, mask = to_float(
        stored_numbers(file, unit), Scaling.from_header(header), float("inf"), run
    )
    variance = None
    for other in file.units:
        if other.name == "UNCERT" and other.shape == unit.shape and other.index > unit.index:
            scaling = Scaling.from_header(other.header)
            variance, _ = to_float(stored_numbers(file, other), scaling, float("inf"), run)
            if "Std" in str(other.header.get("UTYPE", "StdDevUncertainty")):
                variance = variance * variance
            break
    return Exposure(image, mask, variance, header=header, path=file.path)


def write_masters(
    path: Path, masters: Sequence[Master], cards: Mapping[str, Any], inputs: Sequence[str]
) -> None:
    """Write the masters of all detectors of a camera into one exposure file."""
    with ExposureWriter(path, partial(atomic_output, inputs=inputs)) as writer:
        for number, master in enumerate(masters):
            bad = ~np.isfinite(master.image)
            variance = master.variance
            exposure = Exposure(
                image=np.where(bad, np.float32(0.0), master.image),
                mask=np.where(bad, np.uint16(_UNUSABLE), np.uint16(0)),
                variance=None if variance is None else np.where(
                    np.isfinite(variance), variance, np.float32(np.inf)
                ),
                header=master.header,
                path=str(path),
                extension=number,
            )  # fmt: skip
            writer.add(exposure, cards, {"master": master.facts})


def read_facts(path: Path) -> list[dict[str, Any]]:
    """Return what the PROVENANCE of a kept master says, per detector; empty if it is none."""
    from skyextract.io.fits.rows import read_table

    try:
        with FitsFile(str(path)) as file:
            found = []
            for unit in file.units:
                if unit.name == "PROVENANCE":
                    text = "\n".join(str(t) for t in read_table(file, unit).columns["JSON"])
                    found.append(json.loads(text)["history"]["master"])
            return found
    except (ImageError, KeyError, ValueError):
        return []


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Let one process at a time make masters in a folder; the others then find them made."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def read_linearity(words: Sequence[str], run: Run) -> Linearity:
    """Read ISR_LINEARITY: coefficients of x^2, x^3 ..., or one file.

    A file of two columns is a table of measured and true signal (ADU); one of three has the
    number of the amplifier in front.  A file whose first line names columns ``amp c2 c3 ...``
    holds polynomials.

    Raises
    ------
    ConfigError
        Not numbers, or a table whose measured signal does not rise.
    """
    numbers = [header_number(word) if re.match(r"[+-]?[\d.]", word) else None for word in words]
    coefficients = [number for number in numbers if number is not None]
    if len(coefficients) == len(words) and not Path(words[0]).is_file():
        return Linearity(np.array([coefficients]), np.zeros((1, 2, 0)))
    if len(words) != 1:
        raise ConfigError(f"ISR_LINEARITY {','.join(words)}: numbers, or one file")
    text = read_text(words[0], "ISR_LINEARITY", run)
    lines = [line.split("#", 1)[0] for line in text.splitlines()]
    content = [line.replace(",", " ").split() for line in lines if line.strip()]
    named = bool(content) and re.match(r"[A-Za-z]", content[0][0]) is not None
    try:
        rows = np.array([[float(word) for word in line] for line in content[named:]])
    except ValueError:
        rows = np.empty((0, 0))
    if rows.ndim != 2 or rows.size == 0:
        raise ConfigError(f"ISR_LINEARITY {words[0]}: not a table of numbers")
    if named and content[0][0].lower() == "amp" and "c2" in (w.lower() for w in content[0]):
        ordered = rows[np.argsort(rows[:, 0], kind="stable")]
        return Linearity(np.ascontiguousarray(ordered[:, 1:]), np.zeros((len(rows), 2, 0)))
    return Linearity(np.zeros((1, 0)), _response_tables(rows, words[0]))


def _response_tables(rows: F8, name: str) -> F8:
    """Return (n, 2, m) tables of measured and true signal, the short ones filled at the end."""
    if rows.shape[1] not in (2, 3):
        raise ConfigError(f"ISR_LINEARITY {name}: columns [amplifier,] measured, true expected")
    keys = rows[:, 0] if rows.shape[1] == 3 else np.zeros(len(rows))
    tables = [rows[keys == key][:, -2:].T for key in np.unique(keys)]
    length = max(table.shape[1] for table in tables)
    result = np.zeros((len(tables), 2, length))
    for filled, table in zip(result, tables, strict=True):
        if table.shape[1] < 2 or not (np.diff(table[0]) > 0.0).all():
            raise ConfigError(f"ISR_LINEARITY {name}: the measured signal must rise")
        m = table.shape[1]
        slope = (table[:, -1] - table[:, -2]) / (table[0, -1] - table[0, -2])
        filled[:, :m] = table
        filled[:, m:] = table[:, -1:] + slope[:, None] * np.arange(1, length - m + 1)
    return result


def read_crosstalk(name: str, run: Run) -> F8:
    """Read a crosstalk matrix: row a, column b is the fraction of b that appears in a.

    Raises
    ------
    ConfigError
        Not a square table of numbers.
    """
    matrix = read_number_list(name, "ISR_CROSSTALK", run)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all():
        raise ConfigError(f"ISR_CROSSTALK {name}: not a square matrix of numbers")
    return matrix
