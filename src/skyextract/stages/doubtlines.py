"""Lines about the sources that may make their list doubtful, with the numbers of the catalogue."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.arrays import I2, I8, U2, Bools
from skyextract.datamodel.flags import FlagsSky, Mask
from skyextract.datamodel.psf import PsfSource
from skyextract.record import record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from skyextract.datamodel.exposure import Exposure

MIN_SHARP, TOLD_SHARP, MANY_SHARP = 5, 0.01, 0.1
"""Sources that are sharper than the PSF: number and share that are told of, and share above which
the list of sources is doubtful."""
MIN_REPAIRED, MANY_REPAIRED = 5, 0.1
"""Number and share of sources upon repaired cosmic rays above which the list is doubtful, ..."""
MIN_TORN, MANY_TORN = 5, 0.4
"""Number and share of the PSF stars that no point describes from which they are torn."""
MAX_SHARED = 0.1
"""Error of the light in the reference aperture from which all fluxes of the PSF are doubtful."""
MIN_JOINED = 0.8
"""... if so many of their pixels have another one beside: tracks, not single pixels."""


@record
class Line:
    """What is said of the sources; of those in `rows`, which it counts, if these are given."""

    text: str
    is_doubt: bool = True
    rows: Bools | None = None


def lines_of(*found: Any) -> list[Line]:
    """Return what is said of what checks found.

    It has `doubt`; `rows` and `are_many` where it is about some of the sources.
    """
    return [
        Line(what.doubt, getattr(what, "are_many", True), getattr(what, "rows", None))
        for what in found
        if what is not None
    ]


def of_catalogue(lines: Iterable[Line], rows: I8) -> list[str]:
    """Return what is said of sources with the numbers of the catalogue, not of all detections.

    Parameters
    ----------
    lines : iterable of Line
        `3 of 40 sources ...`; empty ones are left out, and those of no row of the catalogue.
    rows : (m,) int64
        Those of the catalogue among all sources.
    """
    found = []
    for line in lines:
        text, counted = line.text, line.rows
        if counted is not None:
            n = int(np.count_nonzero(counted[rows]))
            all_of_it = f"{np.count_nonzero(counted)} of {counted.size} sources"
            text = text.replace(all_of_it, f"{n} of {rows.size} sources", 1) if n else ""
        found.append(text)
    return [text for text in found if text]


def about_sharp(flags: I2) -> Line:
    """Return what is to be said of sources that are sharper than the PSF."""
    sharp = (flags & int(FlagsSky.SHARP)) != 0
    n = int(np.count_nonzero(sharp))
    if n < max(MIN_SHARP, TOLD_SHARP * flags.size):
        return Line("")
    message = (
        f"{n} of {flags.size} sources are sharper than the PSF allows (hot pixels, cosmic rays?; "
        "SHARP in FLAGS_SKY)"
    )
    return Line(message, n > MANY_SHARP * flags.size, sharp)


def about_torn(flags: I2) -> str:
    """Tell that the PSF describes few of the stars that it was made of; empty if it does.

    Each of them looks different: pixels were copied or left out (resampling by the nearest pixel),
    lines displaced, or second images of the stars lie in the first.
    """
    stars = (flags & int(FlagsSky.PSF_STAR)) != 0
    torn = int(np.count_nonzero(stars & ((flags & int(FlagsSky.NO_POINT)) != 0)))
    n_stars = int(np.count_nonzero(stars))
    message = ""
    if torn >= max(MIN_TORN, MANY_TORN * n_stars):
        message = (
            f"the PSF does not describe {torn} of the {n_stars} stars that it was made of: each "
            "has another shape (resampling by the nearest pixel, displaced lines, second images?)"
        )
    return message


def about_covered(exposure: Exposure) -> str:
    """Tell that stars do not show how much light the PSF lacks in its wings; empty if they do.

    Neighbours cover the stars that the PSF was made of: its wings are what was left between them.
    Or few stars are wide: the noise of their reference aperture is a part of all fluxes.
    """
    psf, corrections = exposure.psf, exposure.aperture_corrections
    if psf is None or psf.source is not PsfSource.MEASURED or corrections is None:
        return ""
    message = ""
    error = float(corrections["ERROR"][0])
    if error > MAX_SHARED:
        message = (
            f"fluxes of the PSF may be off by {100.0 * error:.0f} %, all alike: the light of its "
            f"{psf.n_stars} stars within the reference aperture (APERCOR_DIAMETER) is no better "
            "known"
        )
    elif exposure.psf_stars is not None and math.isnan(error):
        message = (
            f"none of the {psf.n_stars} PSF stars is free of neighbours out to its wings: fluxes "
            "of the PSF may be off by some per cent, all alike"
        )
    return message


def about_repairs(flags: I2, mask: U2) -> Line:
    """Return what is to be said of sources upon repaired cosmic rays, if they are many."""
    repaired = (flags & int(FlagsSky.COSMIC_RAY)) != 0
    n = int(np.count_nonzero(repaired))
    if n < max(MIN_REPAIRED, MANY_REPAIRED * flags.size):
        return Line("")
    cosmic = np.pad((mask & np.uint16(Mask.CR)) != 0, 1)
    y, x = np.nonzero(cosmic)
    beside = [cosmic[y + dy, x + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    if np.mean(np.any(beside, axis=0)) < MIN_JOINED:
        return Line("")
    message = (
        f"{n} of {flags.size} sources have repaired cosmic rays in their pixels: some are what is "
        "left of tracks (2 in FLAGS_SKY)"
    )
    return Line(message, rows=repaired)
