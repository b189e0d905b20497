"""Clean: merge spurious detections into their neighbours, number the sources, draw them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I4, I8, Bools, blank, each_of
from skyextract.datamodel.detections import Detections
from skyextract.kernels.detection import shape
from skyextract.kernels.detection.clean import clean_sources
from skyextract.kernels.detection.footprints import lay_out
from skyextract.kernels.detection.queue import Scan
from skyextract.kernels.values import BLENDED
from skyextract.record import record
from skyextract.run import Run
from skyextract.settings.keywords import Extraction
from skyextract.stages.detection.measurements import column, measured_fields

OffFrame = Callable[[I4, I4], Bools]

_UNENDING = Scan(0, 0, 0, 0, 0, 0)
_FEW = 256
"""Sources, at least, that are worth a thread."""


@record
class Candidates:
    """Sources before cleaning.

    Attributes
    ----------
    real, integer : (n, N_REAL), (n, N_INTEGER)
        Measurements, see `kernels.detection.shape`.
    start : (n + 1,) int64
    pixel, filtered : (n_pixels,)
        Pixels ``y * nx + x`` of source i, ``pixel[start[i]:start[i + 1]]``, and their values.
    profiles : (n, N_REAL) or None
        Measurements that wings follow from, if they are others.
    """

    real: F8
    integer: I4
    start: I8
    pixel: I8
    filtered: F4
    profiles: F8 | None = None

    def spared(self, kept: Bools) -> Candidates:
        """Return the sources, of which these are never spurious."""
        profiles = self.real.copy()
        profiles[kept, shape.MTHRESH] = np.inf
        return replace(self, profiles=profiles)


def clean(
    candidates: Candidates,
    image_shape: tuple[int, int],
    config: Extraction,
    run: Run,
    *,
    threshold: float,
    off_frame: OffFrame | None,
    plateau: Bools | None = None,
    scan: Scan | None = None,
) -> Detections:
    """Clean, number the sources, and draw the segmentation.

    Parameters
    ----------
    image_shape : (int, int)
        [y, x].
    config : Extraction
        CLEAN, CLEAN_PARAM, DETECT_MAXAREA.
    threshold : float
        Of the detections, for the record.
    off_frame : callable or None
        Tells of peaks at (x, y) whether they belong to a source outside; cleaning removes these.
    plateau : (2 k + 1, 2 k + 1) bool or None
        Distances [dy, dx], -k to k, of two peaks that may be of one source.
    scan : Scan or None
        How SExtractor would go through the image: the sources are numbered as it does.  None:
        in the order of their peaks along the rows.
    """
    real, integer = candidates.real, candidates.integer
    wanted, finite = _wanted(real, integer, config, off_frame)
    if not finite.all():
        real = np.where(finite[:, None], real, 0.0)
    into, order = np.empty(len(real), np.int32), np.empty(len(real), np.int32)
    beta = config.clean_param if config.clean else 0.0
    profiles = real if candidates.profiles is None else candidates.profiles
    n_kept = clean_sources(profiles, integer, wanted, beta, scan or _UNENDING, into, order)
    if config.clean and plateau is not None:
        _join_plateaus(real, integer, wanted, plateau, image_shape, into)
    owner = _owners(into)
    # Before any has the rows of what it takes in.
    late = None if scan is None else _late(candidates, integer, into, image_shape[1], scan.late)
    merged = np.flatnonzero(into >= 0)
    for i in merged:
        _merge(real, integer, int(i), int(owner[i]))

    if scan is not None:
        kept = order[:n_kept].astype(np.int64)
    else:
        kept = np.flatnonzero(wanted & (into < 0))
        row, peak_column = integer[kept, shape.YPEAK], integer[kept, shape.XPEAK]
        peak = row.astype(np.int64) * image_shape[1] + peak_column
        kept = kept[np.argsort(peak, kind="stable")]
    number = np.zeros(len(real), np.int32)
    number[kept] = np.arange(1, len(kept) + 1)
    number[merged] = number[owner[merged]]

    # Each source's own pixels, then those merged into it.
    sign = np.where(into >= 0, -1, 1).astype(np.int32)
    sequence = np.flatnonzero(wanted)
    sequence = sequence[np.lexsort((sequence, -sign[sequence], number[sequence]))]
    ends = np.concatenate([[0], np.cumsum(np.diff(candidates.start)[sequence])])
    first = np.searchsorted(number[sequence], np.arange(1, len(kept) + 2))
    pixel, filtered = np.empty(ends[-1], np.int64), np.empty(ends[-1], np.float32)
    segmentation = blank(image_shape, np.int32, run)
    label = (number * sign)[sequence]

    def part(span: tuple[int, int]) -> None:
        some, there = slice(*span), slice(ends[span[0]], ends[span[1]])
        lay_out(
            candidates.start, candidates.pixel, candidates.filtered, sequence[some], label[some],
            pixel[there], filtered[there], segmentation.reshape(-1),
        )  # fmt: skip

    run.map(part, run.bands(sequence.size, least=_FEW))
    real, integer = real[kept], integer[kept]
    return Detections(
        labels=segmentation,
        id_parent=column(integer, shape.PARENT),
        first=ends[first].astype(np.int64),
        n_own=np.diff(candidates.start)[kept].astype(np.int32),
        pixel=pixel,
        filtered=filtered,
        **measured_fields(real, integer),
        dthresh=column(real, shape.DTHRESH).astype(np.float32),
        flags=column(integer, shape.FLAGS).astype(np.int16),
        threshold=threshold,
        late=late,
    )


def _wanted(
    real: F8, integer: I4, config: Extraction, off_frame: OffFrame | None
) -> tuple[Bools, Bools]:
    """Return which sources are to be kept or merged, and which were measured.

    Noise that is next to nothing leads to sources that could not be.
    """
    finite: Bools = np.all(np.isfinite(real[:, [shape.X, shape.Y, shape.A, shape.B]]), axis=1)
    wanted: Bools = finite.copy()
    if config.detect_maxarea:
        wanted &= integer[:, shape.FDNPIX] <= config.detect_maxarea
    if config.clean and off_frame is not None:
        wanted &= ~off_frame(integer[:, shape.XPEAK], integer[:, shape.YPEAK])
    return wanted, finite


def _join_plateaus(
    real: F8, integer: I4, wanted: Bools, plateau: Bools, image_shape: tuple[int, int], into: I4
) -> None:
    """Merge peaks of one detection that lie on the plateau of a brighter one, in place."""
    rows = np.flatnonzero(wanted & (into < 0))
    if not rows.size:
        return
    half = plateau.shape[0] // 2
    # A number for each place, so that places beyond a border are none of the image.
    width = image_shape[1] + 2 * half
    place = (integer[rows, shape.YPEAK].astype(np.int64) + half) * width
    place += integer[rows, shape.XPEAK] + half
    order = np.argsort(place, kind="stable")
    ordered = place[order]
    peak = real[:, shape.FDPEAK]
    brightest = peak[rows].copy()
    for dy, dx in np.argwhere(plateau) - half:
        # Of several peaks at one place the last one counts.
        at = np.searchsorted(ordered, place + dy * width + dx, side="right") - 1
        is_there = (at >= 0) & (ordered[at] == place + dy * width + dx)
        other = rows[order[at]]
        one = is_there & (integer[other, shape.PARENT] == integer[rows, shape.PARENT])
        one &= peak[other] > brightest
        into[rows[one]] = other[one]
        brightest[one] = peak[other[one]]


def _owners(into: I4) -> I8:
    """Return the source that each one ends in, which may be itself."""
    owner = np.where(into >= 0, into, np.arange(len(into)))
    while (into[owner] >= 0).any():
        owner = np.where(into[owner] >= 0, into[owner], owner)
    return owner


def _late(candidates: Candidates, integer: I4, into: I4, width: int, n_rows: int) -> I8:
    """Return the pixels of merged detections that SExtractor blanks after it gave them back.

    They are given back when the later one of two detections is complete; by then the last rows
    that it was read in are not yet blanked.
    """
    merged = np.flatnonzero(into >= 0)
    if not merged.size or n_rows == 0:
        return np.zeros(0, np.int64)
    first = np.flatnonzero(np.diff(integer[:, shape.PARENT], prepend=-1))
    last_row = np.maximum.reduceat(integer[:, shape.YMAX], first)[
        np.cumsum(np.diff(integer[:, shape.PARENT], prepend=integer[0, shape.PARENT]) != 0)
    ]
    read = np.maximum(last_row[merged], last_row[into[merged]])
    of, place = each_of(np.diff(candidates.start)[merged])
    pixel = candidates.pixel[place + candidates.start[merged][of]]
    return np.asarray(pixel[pixel // width > read[of] - n_rows])


def _merge(real: F8, integer: I4, source: int, into: int) -> None:
    """Add one detection's areas, fluxes, peaks and bounds to another's."""
    for k in (shape.FDFLUX, shape.DFLUX):
        real[into, k] += real[source, k]
    for k in (shape.FDNPIX, shape.DNPIX):
        integer[into, k] += integer[source, k]
    if real[source, shape.FDPEAK] > real[into, shape.FDPEAK]:
        real[into, shape.FDPEAK] = real[source, shape.FDPEAK]
        integer[into, shape.XPEAK] = integer[source, shape.XPEAK]
        integer[into, shape.YPEAK] = integer[source, shape.YPEAK]
    real[into, shape.DPEAK] = max(real[into, shape.DPEAK], real[source, shape.DPEAK])
    for k in (shape.XMIN, shape.YMIN):
        integer[into, k] = min(integer[into, k], integer[source, k])
    for k in (shape.XMAX, shape.YMAX):
        integer[into, k] = max(integer[into, k], integer[source, k])
    integer[into, shape.FLAGS] |= integer[source, shape.FLAGS] & ~BLENDED
