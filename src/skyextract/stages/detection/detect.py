"""Detection: filter, threshold, connect, deblend, clean."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, I4, I8, U1, U2, whole
from skyextract.datamodel.detections import Detections
from skyextract.datamodel.noise import median
from skyextract.errors import ConfigError
from skyextract.kernels.detection import filter as filters
from skyextract.kernels.detection.pixels import Pixels, Runs
from skyextract.kernels.detection.queue import Scan
from skyextract.run import Run, return_unused_memory
from skyextract.settings.keywords import Extraction, of_image
from skyextract.stages.background.coarse import skewed_quantile
from skyextract.stages.detection.extract import PsfDeblending, extract
from skyextract.stages.detection.footprints import grow_footprints
from skyextract.stages.detection.localmeans import noise_of_pixels
from skyextract.stages.detection.matched import (
    MatchedFilter,
    filter_matched,
    narrow_taps,
    smooth_pixels,
)
from skyextract.stages.detection.noise import in_sigma, measure_scale, scale_at, scale_of_tail
from skyextract.stages.detection.noisylines import noisy_lines
from skyextract.stages.detection.offframe import Edges, centred_off_frame
from skyextract.stages.detection.structure import sky_structure, without_structure

if TYPE_CHECKING:
    from skyextract.datamodel.background import BackgroundMap

_PART = 1 << 16
"""Pixels above the threshold that one thread looks at, at least."""
_NO_BAD = np.zeros((1, 1), np.uint8)
_NO_PLANE = np.zeros((1, 1), np.float32)
_NO_TAPS = np.ones((1, 1), np.float32)

MIN_PROMINENCE, MIN_NARROW_PROMINENCE = 2.0, 3.0
"""With the PSF as filter, a deblended source rises so many sigma above its junction: in the
filtered and in the less smoothed image."""


STRUCTURED = 1.5
"""Noise of the filtered image over that of independent pixels, from which it is structure that
light scattered about a bright source may have, too."""


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
    kind = of_image(config.thresh_type, 0)
    return _threshold(config.detect_thresh, kind, sigma, pixel_scale, "DETECT_THRESH")


def analysis_threshold(config: Extraction, sigma: float, pixel_scale: float = 0.0) -> float:
    """Return ANALYSIS_THRESH in image units, as `detection_threshold`."""
    kind = of_image(config.thresh_type, 1)
    return _threshold(config.analysis_thresh, kind, sigma, pixel_scale, "ANALYSIS_THRESH")


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
    mesh: BackgroundMap | None = None,
    bad: U1 | None = None,
    claimed: U1 | None = None,
    skewness: float | None = None,
    gain: float = 0.0,
    pixel_scale: float = 0.0,
    grow: bool = True,
    scan: Scan | None = None,
    structured: bool = True,
    tailed: bool = False,
    mask: U2 | None = None,
) -> Detections:
    """Detect, deblend and clean sources as SExtractor does.

    With the PSF as filter, cleaning also removes the wings of sources centred off the frame.

    Parameters
    ----------
    image : (ny, nx) float32
        Background-subtracted detection image, 0 at bad pixels.
    config : Extraction
        DETECT_*, THRESH_*, DEBLEND_*, CLEAN*, NOISE_TYPE keywords.
    sigma : float
        Background noise of the frame (`BackgroundMap.sigma`): the unit of the threshold
        without a variance map.
    taps : (height, width) float32 or None
        Convolution kernel; None: no filter, or the PSF.
    psf : MatchedFilter or None
        PSF to filter with (FILTER_NAME PSF).  A relative threshold then is the significance
        of a point source, with NOISE_TYPE MEASURED by the noise that the filtered image has
        where no sources are, in noisy columns and rows by theirs, without structure of the sky
        that is finer than the meshes of the background; filtered values are that significance
        times `MatchedFilter.unit`.
        Footprints are the detections grown by the core of the PSF, if `grow`.
    variance : (ny, nx) float32 or None
        Background variance in image units squared.  With `taps`: from a weight map; a
        relative threshold then is in units of the noise of each pixel.  With `psf`: the
        noise to weight by, None for `sigma` everywhere, or for that of `mesh`.
    mesh : BackgroundMap or None
        With `psf`, without `variance`: the noise to weight by is that of the background mesh.
    bad : (ny, nx) uint8 or None
        Pixels without signal (not 0).
    claimed : (ny, nx) uint8 or None
        Pixels of known sources (not 0), where the noise is not measured; without them there is
        no structure of the sky.
    skewness : float or None
        Of the noise of the pixels (`BackgroundMap.skewness`).  With `psf`: a relative threshold
        is raised to where it is passed as rarely as in normal noise.  Few photons leave
        no lower tail to measure; their noise counts as no less than that of the variance.
    gain : float
        e-/ADU, 0 if unknown.  With `psf`: a deblended source must rise above its neighbour
        by more than the photon noise.
    pixel_scale : float
        Arcseconds, for a threshold in mag/arcsec2.
    scan : Scan or None
        Without `psf`: the sources are in SExtractor's order, see `scan_of`.
    structured : bool
        The sky may have structure; that of wings of sources below the sky is none.
    tailed : bool
        With `claimed`: the noise is that of its tail below the sky, where this is longer than that
        of normal noise.
    mask : (ny, nx) uint16 or None
        With `psf`: in the light that is scattered about saturated pixels, stars need no share
        of the flux of all of it.

    Raises
    ------
    ConfigError
        If the threshold is not positive.
    """
    if psf is None:
        relative = len(config.detect_thresh) == 1 and of_image(config.thresh_type, 0) != "ABSOLUTE"
        local = variance is not None and relative
        threshold = detection_threshold(config, 1.0 if local else sigma, pixel_scale)
        pixels, runs = _above_threshold(
            image, image, _row_filter(taps, bad), run,
            variance=variance if local else None, threshold=threshold,
        )  # fmt: skip
        found = extract(pixels, runs, image.shape, config, run, threshold=threshold, scan=scan)
        return _with_unclaimed(found, pixels, run)
    unit = psf.unit(sigma)
    threshold = detection_threshold(config, unit, pixel_scale)
    plane = filter_matched(image, psf, run, sigma=sigma, variance=variance, bad=bad, mesh=mesh)
    edges = variance if mesh is None else Edges(mesh, psf.edge_reach, run)
    full_scale = scale = np.ones((1, 1), np.float32)
    structure = around = None
    if config.noise_type == "MEASURED":
        # what a Gaussian filter leaves of it
        skewed = 4.0 / 3.0 * math.sqrt(psf.square) * (skewness or 0.0)
        sigmas = threshold / unit
        threshold *= skewed_quantile(sigmas, skewed) / sigmas
        measured = partial(
            _noise_scale, psf=psf, sigma=sigma, claimed=claimed, skewness=skewed,
            least=0.0 if skewness is None else 1.0, run=run,
        )  # fmt: skip
        full_scale = scale = measured(plane)
        if claimed is not None and structured:
            of_pixels = partial(
                noise_of_pixels, image, sigma=sigma, variance=variance, mesh=mesh, run=run
            )
            structure = sky_structure(
                plane, claimed, scale, psf, unit, measured, None if tailed else of_pixels, run
            )
        if structure is not None:
            around, scale = structure.around, structure.scale
            plane = without_structure(plane, around, run)
    in_sigma(plane, scale, run)
    if config.noise_type == "MEASURED" and claimed is not None and tailed:
        wide = scale_of_tail(plane, claimed, unit)
        if wide > 1.0:
            plane *= np.float32(1.0 / wide)
            scale = scale * np.float32(wide)
            full_scale = np.maximum(full_scale, np.float32(median(scale)))
    lines = None
    if config.noise_type == "MEASURED" and claimed is not None:
        lines = noisy_lines(plane, claimed, unit, 1.0 / psf.square, run)
        if lines is not None:
            lines.divide(plane)
    pixels, runs = _above_threshold(
        plane, image, _row_filter(None, None), run, variance=None, threshold=threshold
    )
    deblending = _psf_deblending(
        image, pixels, psf, scale, config, run, sigma=sigma, variance=edges, bad=bad, gain=gain,
        mask=mask,
    )  # fmt: skip
    found = extract(
        pixels, runs, image.shape, config, run, threshold=threshold, deblending=deblending
    )
    del deblending
    found = _with_unclaimed(found, pixels, run)
    del pixels, runs
    if grow:
        return_unused_memory(image.size)
        found = grow_footprints(found, plane, image, max(1, round(psf.core_radius)), run)
    return replace(
        found, noise_scale=scale, around=around, full_noise_scale=full_scale, noisy_lines=lines,
        fine_scale=median(scale) if structure is None else structure.fine,
    )  # fmt: skip


def _noise_scale(
    plane: F4, *, psf: MatchedFilter, sigma: float, claimed: U1 | None, skewness: float,
    least: float, run: Run,
) -> F4:  # fmt: skip
    """Return the noise of the filtered image over that of independent pixels, `least` or more."""
    scale = measure_scale(plane, psf.unit(sigma), 1.0 / psf.square, claimed, run, skewness=skewness)
    if not np.isfinite(scale).all():
        run.warn(
            "too few pixels are free of sources to measure the noise of the filtered "
            "image: DETECT_THRESH is in sigma of independent pixels"
        )
        return np.ones((1, 1), np.float32)
    return np.maximum(scale, np.float32(least))


def _psf_deblending(
    image: F4, pixels: Pixels, psf: MatchedFilter, scale: F4, config: Extraction, run: Run, *,
    sigma: float, variance: F4 | Edges | None, bad: U1 | None, gain: float, mask: U2 | None,
) -> PsfDeblending:  # fmt: skip
    """Return what deblending and cleaning take where the PSF is the filter."""
    mean_scale = median(scale)
    # Without a gain the noise of bright light, which has peaks, is not known.
    has_halos = config.deblend_mincont < 1.0 and mean_scale < STRUCTURED and gain > 0.0
    taps, narrow_area = narrow_taps(psf)
    narrow = None
    # A ring that is hardly smoothed has many peaks, of noise; through the filter it has one.
    if config.deblend_nthresh > 1 and not psf.is_ring:
        narrow = smooth_pixels(image, taps, pixels.x, pixels.y, run, bad)
        if scale.size > 1 or mean_scale != 1.0:
            narrow /= scale_at(scale, image.shape, pixels.x, pixels.y).astype(np.float32)
    return PsfDeblending(
        narrow=narrow,
        core_area=math.pi * psf.core_radius**2,
        min_prominence=MIN_PROMINENCE * psf.unit(sigma),
        min_narrow_prominence=MIN_NARROW_PROMINENCE * sigma * float((taps**2).sum()),
        photon_noise=1.0 / (gain * sigma**2 * mean_scale) if gain > 0.0 else 0.0,
        narrow_area=narrow_area,
        wide_area=1.0 / psf.square,
        off_frame=partial(
            centred_off_frame, image=image, psf=psf, sigma=sigma, variance=variance, bad=bad
        ),
        plateau=psf.plateau(),
        mask=mask if has_halos else None,
    )


def _with_unclaimed(found: Detections, pixels: Pixels, run: Run) -> Detections:
    """Add the pixels above the threshold that no source has."""
    labels, width = found.segmentation.ravel(), found.segmentation.shape[1]

    def part(span: tuple[int, int]) -> I8:
        index = pixels.y[slice(*span)].astype(np.int64)
        index *= width
        index += pixels.x[slice(*span)]
        unclaimed: I8 = index[labels[index] == 0]
        return unclaimed

    spans = run.bands(len(pixels.x), least=_PART)
    return replace(found, unclaimed=np.concatenate(run.map(part, spans)))


def filter_image(image: F4, taps: F4, bad: U1 | None, run: Run) -> F4:
    """Return the image as the detection filter makes it (check image FILTERED)."""
    out = whole(image.shape, np.float32)
    kernel = _row_filter(taps, bad)

    def rows(band: tuple[int, int]) -> None:
        filters.filter_rows(image, kernel, *band, out)

    run.map(rows, run.bands(image.shape[0]))
    return out


def filter_as_found(
    image: F4,
    psf: MatchedFilter,
    found: Detections,
    run: Run,
    *,
    sigma: float,
    variance: F4 | None,
    smooth: bool,
    bad: U1 | None,
) -> F4:
    """Return the image as the PSF filtered it for detection; arguments as of `detect`."""
    plane = filter_matched(image, psf, run, sigma=sigma, variance=variance, smooth=smooth, bad=bad)
    if found.around is not None:
        plane = without_structure(plane, found.around, run)
    in_sigma(plane, found.noise_scale, run)
    if found.noisy_lines is not None:
        found.noisy_lines.divide(plane)
    return plane


def _above_threshold(
    source: F4,
    image: F4,
    kernel: filters.RowFilter,
    run: Run,
    *,
    variance: F4 | None,
    threshold: float,
) -> tuple[Pixels, Runs]:
    """Filter and threshold in bands of rows."""
    ny, nx = image.shape
    local = variance is not None

    def rows(band: tuple[int, int]) -> tuple[I4, F4]:
        # room for the worst case: memory that is not written to is never taken
        n_rows = band[1] - band[0]
        runs = np.empty((3, n_rows * ((nx + 1) // 2)), np.int32)
        values = np.empty((3, n_rows * nx), np.float32)
        n_runs, n = filters.threshold_rows(
            source, image, kernel, _NO_PLANE if variance is None else variance, local,
            np.float32(threshold), *band, runs, values,
        )  # fmt: skip
        return runs[:, :n_runs], values[: 3 if local else 2, :n]

    found = run.map(rows, run.bands(ny))
    ends = np.cumsum([[0, 0], *((own.shape[1], some.shape[1]) for own, some in found)], axis=0)
    all_runs = np.empty((3, ends[-1, 0]), np.int32)
    values = np.empty((3 if local else 2, ends[-1, 1]), np.float32)
    x, y = np.empty((2, ends[-1, 1]), np.int32)

    def join(k: int) -> None:
        of_runs, of_pixels = (slice(*ends[k : k + 2, axis]) for axis in (0, 1))
        all_runs[:, of_runs], values[:, of_pixels] = found[k]
        own_y, own_first, own_last = all_runs[:, of_runs]
        length = own_last - own_first + 1
        begin = np.cumsum(length, dtype=np.int32) - length
        x[of_pixels] = np.repeat(own_first - begin, length)
        x[of_pixels] += np.arange(length.sum(), dtype=np.int32)
        y[of_pixels] = np.repeat(own_y, length)

    run.map(join, range(len(found)))
    run_y, run_first, run_last = all_runs
    run_pixel = np.zeros(run_y.size + 1, np.int64)
    np.cumsum(run_last - run_first + 1, out=run_pixel[1:])
    limit = values[2] if local else np.zeros(1, np.float32)
    return (
        Pixels(x, y, values[0], values[1], limit, local),
        Runs(run_y, run_first, run_last, run_pixel),
    )


def _row_filter(taps: F4 | None, bad: U1 | None) -> filters.RowFilter:
    """Return the convolution of a detection filter, for kernels."""
    return filters.RowFilter(
        _NO_TAPS if taps is None else taps,
        taps is not None,
        _NO_BAD if bad is None else bad,
        bad is not None,
    )
