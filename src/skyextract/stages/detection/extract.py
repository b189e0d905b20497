"""From pixels above the threshold to sources: connect, deblend, clean.

Bertin & Arnouts (1996, A&AS 117, 393, sections 5 and 6), as SExtractor does it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I4, I8, Bools
from skyextract.datamodel.detections import Detections
from skyextract.kernels.detection import deblend, label
from skyextract.kernels.detection.clean import clean_sources
from skyextract.kernels.detection.tree import split_components
from skyextract.kernels.values import BLENDED
from skyextract.run import Run
from skyextract.settings.keywords import Extraction
from skyextract.stages.detection.footprints import shape_fields, table_column

OffFrame = Callable[[I4, I4], Bools]

CORE_LEVEL = 0.1
"""The core of a source are the pixels above this share of its peak."""
MAX_WIDTH = 1.5
"""A blend of point sources has at most so many times the area of their cores."""
MIN_BRANCH = 3
"""Isophotes in the deblending tree have this many pixels, or DETECT_MINAREA if less."""


@dataclass(frozen=True)
class Pixels:
    """Pixels above the threshold, in raster order, and the runs that they form."""

    run_y: I4
    run_first: I4
    run_last: I4
    run_pixel: I8
    x: I4
    y: I4
    filtered: F4
    value: F4
    limit: F4


@dataclass(frozen=True)
class PsfDeblending:
    """How sources are told from each other with the PSF as detection filter.

    Attributes
    ----------
    sharp : (n_pixels,) float32 or None
        Values that blends are taken apart by, in place of the filtered ones.
    core_area : float
        Pixels of a PSF above a tenth of its peak.  What is wider than its peaks would be as
        point sources, a galaxy or a saturated star, is taken apart by the filtered values.
    min_rise, min_sharp_rise : float
        A deblended source rises so far above its junction in the filtered and in the sharp
        values...
    photon_noise : float
        ... and ``sqrt(1 + photon_noise * s)`` times as far above a junction at level s.
    sharp_area : float
        Flux over peak of a point source in `sharp`, pixels; see `split_components`.
    off_frame : callable or None
        Tells of peaks at (x, y) whether they belong to a source outside; cleaning removes these.
    """

    sharp: F4 | None = None
    core_area: float = 0.0
    min_rise: float = 0.0
    min_sharp_rise: float = 0.0
    photon_noise: float = 0.0
    sharp_area: float = 0.0
    off_frame: OffFrame | None = None


def _chunks(first: I8, n: int, run: Run) -> list[tuple[int, int]]:
    """Split components into chunks with about the same number of pixels."""
    n_chunks = min(4 * run.n_threads, max(n, 1))
    goals = first[n] * np.arange(1, n_chunks) // n_chunks
    edges = np.unique(np.concatenate([[0], np.searchsorted(first[: n + 1], goals), [n]]))
    return [(int(i), int(j)) for i, j in pairwise(edges)]


def extract(
    pixels: Pixels,
    shape: tuple[int, ...],
    config: Extraction,
    run: Run,
    *,
    threshold: float,
    local: bool,
    deblending: PsfDeblending | None = None,
) -> Detections:
    """Connect the pixels above the threshold, deblend and clean.

    Parameters
    ----------
    pixels : Pixels
    shape : (int, int)
        Of the image, [y, x].
    config : Extraction
        DETECT_MINAREA, DETECT_MAXAREA, DEBLEND_*, CLEAN*.
    threshold : float
        Of the filtered values; with `local` in units of each pixel's limit.
    deblending : PsfDeblending, optional
        Without it all is as in SExtractor.
    """
    ny, nx = shape
    n_pixels = len(pixels.x)
    order = np.empty(n_pixels, np.int32)
    first = np.empty(len(pixels.run_y) + 1, np.int64)
    n = label.label_runs(
        pixels.run_y,
        pixels.run_first,
        pixels.run_last,
        pixels.run_pixel,
        config.detect_minarea,
        order,
        first,
    )
    # SExtractor's thresholds are float32
    level = float(np.float32(threshold))
    branch = np.empty(n_pixels, np.int32)
    branch_level = np.empty(n_pixels, np.float32)
    n_branches = np.ones(n, np.int32)
    members = np.empty(n_pixels, np.int32)
    n_draws = np.zeros(n, np.int64)
    chunks = _chunks(first, n, run)
    by_psf = deblending or PsfDeblending()

    def split(values: F4, min_rise: float, area: float, chunks: list[tuple[int, int]]) -> None:
        def task(chunk: tuple[int, int]) -> None:
            split_components(
                pixels.x,
                pixels.y,
                values,
                pixels.limit,
                local,
                level,
                order,
                first,
                chunk[0],
                chunk[1],
                config.deblend_nthresh,
                config.deblend_mincont,
                config.detect_type == "PHOTO",
                min(config.detect_minarea, MIN_BRANCH),
                min_rise,
                by_psf.photon_noise,
                area,
                branch,
                branch_level,
                n_branches,
            )

        run.map(task, chunks)

    values = pixels.filtered
    if by_psf.sharp is None or n == 0:
        split(values, by_psf.min_rise, 0.0, chunks)
    else:
        split(by_psf.sharp, by_psf.min_sharp_rise, by_psf.sharp_area, chunks)
        bounds = first[: n + 1]
        wide = _too_wide(by_psf.sharp, order, bounds, n_branches, branch_level, by_psf.core_area)
        points = n_branches > 1
        points[wide] = False
        split(values, by_psf.min_rise, 0.0, [(c, c + 1) for c in wide.tolist()])
        # a blend of point sources is measured in the image that shows it
        blended = order[: first[n]][np.repeat(points, np.diff(bounds))]
        values = values.copy()
        values[blended] = by_psf.sharp[blended]

    measured = (
        pixels.x, pixels.y, values, pixels.value, pixels.limit, local, level, order, first,
    )  # fmt: skip

    def count(chunk: tuple[int, int]) -> None:
        deblend.count_draws(
            *measured, chunk[0], chunk[1], branch, branch_level, n_branches, members, n_draws
        )

    run.map(count, chunks)
    draws = deblend.random_numbers(int(n_draws.sum()))
    first_draw = np.cumsum(n_draws) - n_draws
    first_source = (np.cumsum(n_branches) - n_branches).astype(np.int64)
    n_sources = int(n_branches.sum())
    start = np.full(n_sources + 1, first[n], np.int64)
    real = np.empty((n_sources, deblend.N_REAL), np.float64)
    integer = np.empty((n_sources, deblend.N_INTEGER), np.int32)

    def gather(chunk: tuple[int, int]) -> None:
        deblend.gather_components(
            *measured,
            chunk[0],
            chunk[1],
            branch,
            branch_level,
            n_branches,
            draws,
            first_draw,
            first_source,
            nx,
            ny,
            config.detect_minarea,
            members,
            start,
            real,
            integer,
        )

    run.map(gather, chunks)
    members = members[: first[n]]
    index = (pixels.y.astype(np.int64) * nx + pixels.x)[members]
    return _cleaned(
        real,
        integer,
        start,
        index,
        values[members],
        shape=(ny, nx),
        config=config,
        threshold=threshold,
        off_frame=by_psf.off_frame,
    )


def _too_wide(
    sharp: F4,
    order: I4,
    first: I8,
    n_branches: I4,
    branch_level: F4,
    core_area: float,
) -> I8:
    """Return the blended components that are wider than point sources at their peaks would be.

    Of a Gaussian whose peak is the share s of the highest, the area above `CORE_LEVEL` of that
    is ``1 + log10(s)`` times its core; a branch's junction tells the least s.
    """
    blends = np.flatnonzero(n_branches > 1)
    if not blends.size:
        return blends
    values = sharp[order[: first[-1]]]
    length = np.diff(first)
    top = np.maximum.reduceat(values, first[:-1])
    area = np.add.reduceat(values > CORE_LEVEL * np.repeat(top, length), first[:-1], dtype=np.int64)
    n = n_branches[blends]
    begin = np.cumsum(n) - n
    branch = np.arange(int(n.sum())) - np.repeat(begin - first[blends], n)
    share = branch_level[branch] / np.repeat(top[blends], n)
    cores = np.clip(1.0 + np.log10(share) / -np.log10(CORE_LEVEL), 0.0, 1.0)
    expected = 1.0 + np.add.reduceat(cores, begin) - np.maximum.reduceat(cores, begin)
    return blends[area[blends] > MAX_WIDTH * core_area * expected]


def _cleaned(
    real: F8,
    integer: I4,
    start: I8,
    pixel: I8,
    filtered: F4,
    *,
    shape: tuple[int, int],
    config: Extraction,
    threshold: float,
    off_frame: OffFrame | None,
) -> Detections:
    """Clean, number the sources, and draw the segmentation."""
    n = len(real)
    candidate = np.ones(n, np.bool_)
    if config.detect_maxarea:
        candidate = integer[:, deblend.FDNPIX] <= config.detect_maxarea
    into = np.full(n, -1, np.int32)
    if config.clean and off_frame is not None:
        candidate &= ~off_frame(integer[:, deblend.XPEAK], integer[:, deblend.YPEAK])
    finite = np.ones(n, np.bool_)
    for parameter in (deblend.X, deblend.Y, deblend.A, deblend.B):
        finite &= np.isfinite(real[:, parameter])
    if not finite.all():  # of noise that is next to nothing
        candidate = candidate & finite
        real = np.where(finite[:, None], real, 0.0)
    if config.clean:
        column = table_column(real)
        clean_sources(
            column(deblend.X),
            column(deblend.Y),
            column(deblend.A),
            column(deblend.B),
            column(deblend.CXX),
            column(deblend.CYY),
            column(deblend.CXY),
            column(deblend.ABCOR),
            np.ascontiguousarray(integer[:, deblend.FDNPIX]),
            column(deblend.FDFLUX),
            column(deblend.DTHRESH),
            column(deblend.MTHRESH),
            candidate,
            config.clean_param,
            into,
        )
    owner = np.arange(n)
    merged = np.flatnonzero(into >= 0)
    owner[merged] = into[merged]
    while (into[owner] >= 0).any():
        owner = np.where(into[owner] >= 0, into[owner], owner)

    # numbers: by the raster position of the peak
    kept = np.flatnonzero(candidate & (into < 0))
    for i in merged:
        _merge(real, integer, int(i), int(owner[i]))
    peak = integer[kept, deblend.YPEAK].astype(np.int64) * shape[1] + integer[kept, deblend.XPEAK]
    kept = kept[np.argsort(peak, kind="stable")]
    number = np.zeros(n, np.int32)
    number[kept] = np.arange(1, len(kept) + 1)
    number[merged] = number[owner[merged]]

    # each source's own pixels, then those merged into it
    sign = np.ones(n, np.int32)
    sign[merged] = -1
    wanted = np.flatnonzero(candidate)
    sequence = wanted[np.lexsort((wanted, -sign[wanted], number[wanted]))]
    length = np.diff(start)
    total = int(length[sequence].sum())
    ends = np.cumsum(length[sequence])
    source = np.repeat(np.arange(len(sequence)), length[sequence])
    take = np.arange(total) - (ends - length[sequence])[source] + start[sequence][source]
    pixel = pixel[take]
    segmentation = np.zeros(shape, np.int32)
    segmentation.ravel()[pixel] = (number * sign)[sequence][source]
    first = np.searchsorted(number[sequence], np.arange(1, len(kept) + 2))
    first_pixel = np.concatenate([[0], ends])[first].astype(np.int64)
    column = table_column(real[kept])
    count = table_column(integer[kept])
    return Detections(
        segmentation=segmentation,
        id_parent=count(deblend.PARENT),
        first=first_pixel,
        n_own=length[kept].astype(np.int32),
        pixel=pixel,
        filtered=filtered[take],
        xmin=count(deblend.XMIN),
        xmax=count(deblend.XMAX),
        ymin=count(deblend.YMIN),
        ymax=count(deblend.YMAX),
        **shape_fields(column, count),
        fdnpix=count(deblend.FDNPIX),
        dnpix=count(deblend.DNPIX),
        fdflux=column(deblend.FDFLUX),
        dflux=column(deblend.DFLUX),
        fdpeak=column(deblend.FDPEAK).astype(np.float32),
        dpeak=column(deblend.DPEAK).astype(np.float32),
        xpeak=count(deblend.XPEAK),
        ypeak=count(deblend.YPEAK),
        dthresh=column(deblend.DTHRESH).astype(np.float32),
        flags=count(deblend.FLAGS).astype(np.int16),
        threshold=threshold,
    )


def _merge(real: F8, integer: I4, source: int, into: int) -> None:
    """Add one detection's areas, fluxes, peaks and bounds to another's."""
    for k in (deblend.FDFLUX, deblend.DFLUX):
        real[into, k] += real[source, k]
    for k in (deblend.FDNPIX, deblend.DNPIX):
        integer[into, k] += integer[source, k]
    if real[source, deblend.FDPEAK] > real[into, deblend.FDPEAK]:
        real[into, deblend.FDPEAK] = real[source, deblend.FDPEAK]
        integer[into, deblend.XPEAK] = integer[source, deblend.XPEAK]
        integer[into, deblend.YPEAK] = integer[source, deblend.YPEAK]
    real[into, deblend.DPEAK] = max(real[into, deblend.DPEAK], real[source, deblend.DPEAK])
    for k in (deblend.XMIN, deblend.YMIN):
        integer[into, k] = min(integer[into, k], integer[source, k])
    for k in (deblend.XMAX, deblend.YMAX):
        integer[into, k] = max(integer[into, k], integer[source, k])
    integer[into, deblend.FLAGS] |= integer[source, deblend.FLAGS] & ~BLENDED
