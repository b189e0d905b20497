"""Detection: filter, threshold, connect, deblend, clean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyextract.detections import Detections
from skyextract.errors import ConfigError
from skyextract.kernels import deblend, label
from skyextract.kernels import filter as filters
from skyextract.kernels.clean import clean_sources
from skyextract.kernels.tree import split_components
from skyextract.keywords import Extraction
from skyextract.run import Run
from skyextract.stages.footprints import grow_footprints, table_column
from skyextract.stages.matched import MatchedFilter, centred_off_frame, filter_matched

F4 = NDArray[np.float32]

_NO_BAD = np.zeros((1, 1), np.uint8)
_NO_PLANE = np.zeros((1, 1), np.float32)
_NO_TAPS = np.ones((1, 1), np.float32)

OffFrame = Callable[[NDArray[np.int32], NDArray[np.int32]], NDArray[np.bool_]]

SMALLEST_BRANCH = 3
"""Isophotes in the deblending tree have this many pixels, or DETECT_MINAREA if less."""

_LEAST_RISE = 2.0
"""With the PSF as filter, a deblended source rises so many sigma above its junction."""


@dataclass(frozen=True)
class _Pixels:
    """Pixels above the threshold, in raster order, and the runs that they form."""

    run_y: NDArray[np.int32]
    run_first: NDArray[np.int32]
    run_last: NDArray[np.int32]
    run_pixel: NDArray[np.int64]
    x: NDArray[np.int32]
    y: NDArray[np.int32]
    filtered: F4
    value: F4
    limit: F4


def detection_threshold(config: Extraction, sigma: float, pixel_scale: float = 0.0) -> float:
    """Return DETECT_THRESH in image units; the background noise `sigma` is one such unit.

    Parameters
    ----------
    sigma : float
        Background noise, image units.
    pixel_scale : float
        Arcseconds, for a threshold given as surface brightness and zero point.

    Raises
    ------
    ConfigError
        If the threshold is not positive.
    """
    return _threshold(config.detect_thresh, config.thresh_type, sigma, pixel_scale, "DETECT_THRESH")


def analysis_threshold(config: Extraction, sigma: float, pixel_scale: float = 0.0) -> float:
    """Return ANALYSIS_THRESH in image units, as `detection_threshold`."""
    return _threshold(
        config.analysis_thresh, config.thresh_type, sigma, pixel_scale, "ANALYSIS_THRESH"
    )


def _threshold(
    values: tuple[float, ...], kind: str, sigma: float, pixel_scale: float, name: str
) -> float:
    if len(values) > 1:
        difference = values[0] - values[1]
        if abs(difference) > 70.0:
            raise ConfigError(f"{name} = {values[0]},{values[1]}: too far apart")
        if pixel_scale <= 0.0:
            raise ConfigError(f"{name} in mag/arcsec2 needs a pixel scale (PIXEL_SCALE or a WCS)")
        return float(pixel_scale**2 * 10.0 ** (-0.4 * difference))
    threshold = values[0] * (1.0 if kind == "ABSOLUTE" else sigma)
    if not threshold > 0.0:
        raise ConfigError(f"{name} = {values[0]}: must be positive")
    return threshold


def detect(
    image: F4,
    config: Extraction,
    run: Run,
    *,
    sigma: float,
    taps: F4 | None = None,
    psf: MatchedFilter | None = None,
    variance: F4 | None = None,
    smooth: bool = False,
    bad: NDArray[np.uint8] | None = None,
    gain: float = 0.0,
    pixel_scale: float = 0.0,
    grow: bool = True,
) -> Detections:
    """Detect, deblend and clean sources as SExtractor does.

    With the PSF as filter, cleaning also removes the wings of sources centred off the frame.

    Parameters
    ----------
    image : (ny, nx) float32
        Background-subtracted detection image, 0 at bad pixels.
    config : Extraction
        DETECT_*, THRESH_*, DEBLEND_*, CLEAN* keywords.
    sigma : float
        Background noise of the frame (`BackgroundMap.sigma`): the unit of the threshold
        without a variance map.
    taps : (height, width) float32 or None
        Convolution kernel; None: no filter, or the PSF.
    psf : MatchedFilter or None
        PSF to filter with (FILTER_NAME PSF).  A relative threshold then is the significance
        of a point source; filtered values are in image units, see `filter_matched`.
        Footprints are the detections grown by the core of the PSF, if `grow`.
    variance : (ny, nx) float32 or None
        Background variance in image units squared.  With `taps`: from a weight map; a
        relative threshold then is in units of the noise of each pixel.  With `psf`: the
        noise to weight by, None for `sigma` everywhere.
    smooth : bool
        The variance is that of the background mesh.
    bad : (ny, nx) uint8 or None
        Pixels without signal (not 0).
    gain : float
        e-/ADU, 0 if unknown.  With `psf`: a deblended source must rise above its neighbour
        by more than the photon noise.
    pixel_scale : float
        Arcseconds, for a threshold in mag/arcsec2.

    Raises
    ------
    ConfigError
        If the threshold is not positive.
    """
    if psf is not None:
        unit = psf.unit(sigma)
        threshold = detection_threshold(config, unit, pixel_scale)
        plane = filter_matched(
            image, psf, run, sigma=sigma, variance=variance, smooth=smooth, bad=bad
        )
        pixels = _above_threshold(
            plane, image, None, bad=None, variance=None, threshold=threshold, run=run
        )
        found = _extract(
            pixels,
            image.shape,
            config,
            run,
            threshold=threshold,
            local=False,
            rise=_LEAST_RISE * unit,
            photon_noise=1.0 / (gain * sigma**2) if gain > 0.0 else 0.0,
            off_frame=partial(
                centred_off_frame, image=image, psf=psf, sigma=sigma, variance=variance, bad=bad
            ),
        )
        if grow:
            found = grow_footprints(found, plane, image, max(1, round(psf.core_radius)))
    else:
        relative = len(config.detect_thresh) == 1 and config.thresh_type != "ABSOLUTE"
        local = variance is not None and relative
        threshold = detection_threshold(config, 1.0 if local else sigma, pixel_scale)
        pixels = _above_threshold(
            image,
            image,
            taps,
            bad=bad,
            variance=variance if local else None,
            threshold=threshold,
            run=run,
        )
        found = _extract(pixels, image.shape, config, run, threshold=threshold, local=local)
    index = pixels.y.astype(np.int64) * image.shape[1] + pixels.x
    return replace(found, unclaimed=index[found.segmentation.ravel()[index] == 0])


def filter_image(image: F4, taps: F4, bad: NDArray[np.uint8] | None, run: Run) -> F4:
    """Return the image as the detection filter makes it (check image FILTERED)."""
    out = np.empty(image.shape, np.float32)

    def rows(band: tuple[int, int]) -> None:
        filters.filter_rows(
            image, taps, _NO_BAD if bad is None else bad, bad is not None, band[0], band[1], out
        )

    run.map(rows, run.bands(image.shape[0]))
    return out


def _above_threshold(
    source: F4,
    image: F4,
    taps: F4 | None,
    *,
    bad: NDArray[np.uint8] | None,
    variance: F4 | None,
    threshold: float,
    run: Run,
) -> _Pixels:
    """Filter and threshold in bands of rows."""
    ny, nx = image.shape

    def rows(band: tuple[int, int]) -> tuple[NDArray[Any], ...]:
        # room for the worst case: memory that is not written to is never taken
        most = (band[1] - band[0]) * nx
        runs = np.empty((3, (band[1] - band[0]) * ((nx + 1) // 2)), np.int32)
        values = np.empty((3, most), np.float32)
        n_runs, n = filters.threshold_rows(
            source,
            image,
            _NO_TAPS if taps is None else taps,
            taps is not None,
            _NO_BAD if bad is None else bad,
            bad is not None,
            _NO_PLANE if variance is None else variance,
            variance is not None,
            np.float32(threshold),
            band[0],
            band[1],
            runs[0],
            runs[1],
            runs[2],
            values[0],
            values[1],
            values[2],
        )
        return runs[:, :n_runs].copy(), values[: 2 if variance is None else 3, :n].copy()

    found = run.map(rows, run.bands(ny))
    runs = np.concatenate([part[0] for part in found], axis=1)
    values = np.concatenate([part[1] for part in found], axis=1)
    run_y, run_first, run_last = (np.ascontiguousarray(row) for row in runs)
    length = (run_last - run_first + 1).astype(np.int64)
    run_pixel = np.concatenate([np.zeros(1, np.int64), np.cumsum(length)])
    n = int(run_pixel[-1])
    x = (np.arange(n) - np.repeat(run_pixel[:-1] - run_first, length)).astype(np.int32)
    y = np.repeat(run_y, length)
    limit = values[2] if variance is not None else np.zeros(1, np.float32)
    return _Pixels(run_y, run_first, run_last, run_pixel, x, y, values[0], values[1], limit)


def _chunks(first: NDArray[np.int64], n: int, run: Run) -> list[tuple[int, int]]:
    """Split components into chunks with about the same number of pixels."""
    n_chunks = min(4 * run.n_threads, max(n, 1))
    goals = first[n] * np.arange(1, n_chunks) // n_chunks
    edges = np.unique(np.concatenate([[0], np.searchsorted(first[: n + 1], goals), [n]]))
    return [(int(i), int(j)) for i, j in pairwise(edges)]


def _extract(
    pixels: _Pixels,
    shape: tuple[int, ...],
    config: Extraction,
    run: Run,
    *,
    threshold: float,
    local: bool,
    rise: float = 0.0,
    photon_noise: float = 0.0,
    off_frame: OffFrame | None = None,
) -> Detections:
    """Connect, deblend and clean.

    Deblended sources must rise above their junction by `rise`, and more where a level s
    adds the share ``photon_noise * s`` to the variance.  Cleaning removes those whose peak
    `off_frame` tells to belong to a source outside.
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

    def split(chunk: tuple[int, int]) -> None:
        split_components(
            pixels.x,
            pixels.y,
            pixels.filtered,
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
            min(config.detect_minarea, SMALLEST_BRANCH),
            rise,
            photon_noise,
            branch,
            branch_level,
            n_branches,
        )
        deblend.count_draws(
            pixels.x,
            pixels.y,
            pixels.filtered,
            pixels.value,
            pixels.limit,
            local,
            level,
            order,
            first,
            chunk[0],
            chunk[1],
            branch,
            branch_level,
            n_branches,
            members,
            n_draws,
        )

    run.map(split, chunks)
    draws = deblend.random_numbers(int(n_draws.sum()))
    first_draw = np.cumsum(n_draws) - n_draws
    first_source = (np.cumsum(n_branches) - n_branches).astype(np.int64)
    n_sources = int(n_branches.sum())
    start = np.full(n_sources + 1, first[n], np.int64)
    real = np.empty((n_sources, deblend.N_REAL), np.float64)
    integer = np.empty((n_sources, deblend.N_INTEGER), np.int32)

    def gather(chunk: tuple[int, int]) -> None:
        deblend.gather_components(
            pixels.x,
            pixels.y,
            pixels.filtered,
            pixels.value,
            pixels.limit,
            local,
            level,
            order,
            first,
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
        pixels.filtered[members],
        shape=(ny, nx),
        config=config,
        threshold=threshold,
        off_frame=off_frame,
    )


def _cleaned(
    real: NDArray[np.float64],
    integer: NDArray[np.int32],
    start: NDArray[np.int64],
    pixel: NDArray[np.int64],
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
        x=column(deblend.X),
        y=column(deblend.Y),
        x2=column(deblend.X2),
        y2=column(deblend.Y2),
        xy=column(deblend.XY),
        singular=count(deblend.SINGULAR) != 0,
        a=column(deblend.A),
        b=column(deblend.B),
        theta=column(deblend.THETA),
        cxx=column(deblend.CXX),
        cyy=column(deblend.CYY),
        cxy=column(deblend.CXY),
        fdnpix=count(deblend.FDNPIX),
        dnpix=count(deblend.DNPIX),
        fdflux=column(deblend.FDFLUX),
        dflux=column(deblend.DFLUX),
        fdpeak=column(deblend.FDPEAK).astype(np.float32),
        dpeak=column(deblend.DPEAK).astype(np.float32),
        xpeak=count(deblend.XPEAK),
        ypeak=count(deblend.YPEAK),
        dthresh=column(deblend.DTHRESH).astype(np.float32),
        abcor=column(deblend.ABCOR),
        flags=count(deblend.FLAGS).astype(np.int16),
        threshold=threshold,
    )


def _merge(real: NDArray[np.float64], integer: NDArray[np.int32], source: int, into: int) -> None:
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
    integer[into, deblend.FLAGS] |= integer[source, deblend.FLAGS] & ~deblend.MERGED
