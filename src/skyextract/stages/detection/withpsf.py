"""Detection with the PSF as filter: what counts is the significance of a point source."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, U1, U2
from skyextract.datamodel.detections import Detections
from skyextract.datamodel.noise import median
from skyextract.kernels.detection.pixels import Pixels
from skyextract.record import record
from skyextract.run import Run, return_unused_memory
from skyextract.settings.keywords import Extraction
from skyextract.stages.background.coarse import skewed_quantile
from skyextract.stages.detection.detect import above_threshold, detection_threshold, with_unclaimed
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
    from skyextract.datamodel.noise import NoisyLines

MIN_PROMINENCE, MIN_NARROW_PROMINENCE = 2.0, 3.0
"""A deblended source rises so many sigma above its junction: in the filtered and in the less
smoothed image."""
STRUCTURED = 1.5
"""Noise of the filtered image over that of independent pixels, from which it is structure that
light scattered about a bright source may have, too."""


@record
class PixelNoise:
    """What is known of the noise of the pixels in which sources are searched.

    Attributes
    ----------
    sigma : float
        Background noise of the frame (`BackgroundMap.sigma`), image units.
    variance : (ny, nx) float32 or None
        Background variance to weight by, image units squared; None: that of `mesh`, or `sigma`
        everywhere.
    mesh : BackgroundMap or None
        Without `variance`: the noise to weight by is that of the background mesh.
    skewness : float or None
        Of the noise of the pixels (`BackgroundMap.skewness`).  A relative threshold is raised to
        where it is passed as rarely as in normal noise.  Few photons leave no lower tail to
        measure; their noise counts as no less than that of the variance.
    gain : float
        e-/ADU, 0 if unknown.  A deblended source must rise above its neighbour by more than the
        photon noise.
    structured : bool
        The sky may have structure; that of wings of sources below the sky is none.
    tailed : bool
        Where sources are claimed the noise is that of its tail below the sky, where this is
        longer than that of normal noise.
    """

    sigma: float
    variance: F4 | None = None
    mesh: BackgroundMap | None = None
    skewness: float | None = None
    gain: float = 0.0
    structured: bool = True
    tailed: bool = False


@record
class _FilteredNoise:
    """The noise of the filtered image over that of independent pixels, in equal cells.

    Attributes
    ----------
    full, scale : (n_y, n_x) float32
        With structure of the sky and without.
    fine : float
        As `Detections.fine_scale`.
    around : BackgroundMap or None
        The structure that was taken off.
    lines : NoisyLines or None
        Columns and rows with noise of their own.
    """

    full: F4
    scale: F4
    fine: float = 1.0
    around: BackgroundMap | None = None
    lines: NoisyLines | None = None


def detect_with_psf(
    image: F4,
    psf: MatchedFilter,
    noise: PixelNoise,
    config: Extraction,
    run: Run,
    *,
    bad: U1 | None = None,
    claimed: U1 | None = None,
    mask: U2 | None = None,
    pixel_scale: float = 0.0,
    grow: bool = True,
) -> Detections:
    """Detect, deblend and clean sources with the PSF as filter (FILTER_NAME PSF).

    A relative threshold is the significance of a point source, with NOISE_TYPE MEASURED by the
    noise that the filtered image has where no sources are, in noisy columns and rows by theirs,
    without structure of the sky that is finer than the meshes of the background; filtered values
    are that significance times `MatchedFilter.unit`.  Cleaning also removes the wings of sources
    centred off the frame.

    Parameters
    ----------
    image : (ny, nx) float32
        Background-subtracted detection image, 0 at bad pixels.
    noise : PixelNoise
    config : Extraction
        DETECT_*, THRESH_*, DEBLEND_*, CLEAN*, NOISE_TYPE keywords.
    bad : (ny, nx) uint8 or None
        Pixels without signal (not 0).
    claimed : (ny, nx) uint8 or None
        Pixels of known sources (not 0), where the noise is not measured; without them there is
        no structure of the sky.
    mask : (ny, nx) uint16 or None
        In the light that is scattered about saturated pixels, stars need no share of the flux of
        all of it.
    pixel_scale : float
        Arcseconds, for a threshold in mag/arcsec2.
    grow : bool
        Footprints are the detections grown by the core of the PSF.

    Raises
    ------
    ConfigError
        If the threshold is not positive.
    """
    threshold = detection_threshold(config, psf.unit(noise.sigma), pixel_scale)
    plane = filter_matched(
        image, psf, run, sigma=noise.sigma, variance=noise.variance, bad=bad, mesh=noise.mesh
    )
    one = np.ones((1, 1), np.float32)
    filtered = _FilteredNoise(one, one)
    if config.noise_type == "MEASURED":
        plane, filtered, raised = _in_measured_sigma(
            plane, image, psf, noise, claimed, threshold / psf.unit(noise.sigma), run
        )
        threshold *= raised
    pixels, runs = above_threshold(plane, image, run, threshold=threshold)
    deblending = _deblending(
        image, pixels, psf, noise, filtered.scale, config, run, bad=bad, mask=mask
    )
    found = extract(
        pixels, runs, image.shape, config, run, threshold=threshold, deblending=deblending
    )
    del deblending
    found = with_unclaimed(found, pixels, run)
    del pixels, runs
    if grow:
        return_unused_memory(image.size)
        found = grow_footprints(found, plane, image, max(1, round(psf.core_radius)), run)
    return replace(
        found, noise_scale=filtered.scale, full_noise_scale=filtered.full,
        fine_scale=filtered.fine, around=filtered.around, noisy_lines=filtered.lines,
    )  # fmt: skip


def _in_measured_sigma(
    plane: F4,
    image: F4,
    psf: MatchedFilter,
    noise: PixelNoise,
    claimed: U1 | None,
    sigmas: float,
    run: Run,
) -> tuple[F4, _FilteredNoise, float]:
    """Return the filtered image in units of its own noise, that noise, and what raises a threshold.

    The latter is for a threshold of so many `sigmas`, in noise that is skewed.
    """
    unit = psf.unit(noise.sigma)
    # what a Gaussian filter leaves of it
    skewness = 4.0 / 3.0 * math.sqrt(psf.square) * (noise.skewness or 0.0)
    measured = partial(
        _noise_scale, psf=psf, sigma=noise.sigma, claimed=claimed, skewness=skewness,
        least=0.0 if noise.skewness is None else 1.0, run=run,
    )  # fmt: skip
    full = scale = measured(plane)
    structure = around = None
    if claimed is not None and noise.structured:
        of_pixels = partial(
            noise_of_pixels, image, sigma=noise.sigma, variance=noise.variance, mesh=noise.mesh,
            run=run,
        )  # fmt: skip
        structure = sky_structure(
            plane, claimed, scale, psf, unit, measured, None if noise.tailed else of_pixels, run
        )
    if structure is not None:
        around, scale = structure.around, structure.scale
        plane = without_structure(plane, around, run)
    in_sigma(plane, scale, run)
    lines = None
    if claimed is not None:
        wide = scale_of_tail(plane, claimed, unit) if noise.tailed else 1.0
        if wide > 1.0:
            plane *= np.float32(1.0 / wide)
            scale = scale * np.float32(wide)
            full = np.maximum(full, np.float32(median(scale)))
        lines = noisy_lines(plane, claimed, unit, 1.0 / psf.square, run)
        if lines is not None:
            lines.divide(plane)
    fine = median(scale) if structure is None else structure.fine
    raised = skewed_quantile(sigmas, skewness) / sigmas
    return plane, _FilteredNoise(full, scale, fine, around, lines), raised


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


def _deblending(
    image: F4,
    pixels: Pixels,
    psf: MatchedFilter,
    noise: PixelNoise,
    scale: F4,
    config: Extraction,
    run: Run,
    *,
    bad: U1 | None,
    mask: U2 | None,
) -> PsfDeblending:
    """Return what deblending and cleaning take where the PSF is the filter."""
    sigma, gain, mean_scale = noise.sigma, noise.gain, median(scale)
    edges = noise.variance if noise.mesh is None else Edges(noise.mesh, psf.edge_reach, run)
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
            centred_off_frame, image=image, psf=psf, sigma=sigma, variance=edges, bad=bad
        ),
        plateau=psf.plateau(),
        mask=mask if has_halos else None,
    )


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
    """Return the image as the PSF filtered it for detection; arguments as of `filter_matched`."""
    plane = filter_matched(image, psf, run, sigma=sigma, variance=variance, smooth=smooth, bad=bad)
    if found.around is not None:
        plane = without_structure(plane, found.around, run)
    in_sigma(plane, found.noise_scale, run)
    if found.noisy_lines is not None:
        found.noisy_lines.divide(plane)
    return plane
