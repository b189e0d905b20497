"""The loop of detection and background: sources are masked, and both are done again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyextract.background import BackgroundMap
from skyextract.detections import Detections
from skyextract.kernels.matched import grow_discs
from skyextract.keywords import Background, Extraction
from skyextract.run import Run
from skyextract.stages.background import (
    BAD_WEIGHT,
    estimate_background,
    rms_image,
    subtract_background,
)
from skyextract.stages.detect import detect
from skyextract.stages.matched import MatchedFilter

F4 = NDArray[np.float32]

_LEAST_GROWTH = 2.0
"""Every isophote is masked with so many pixels more, at least."""
_MOST_MASKED = 0.5
_MOST_GROWTH = 100.0
_FAINT = 0.1
"""Wings are masked out to where they fall below this share of the background noise."""


@dataclass(frozen=True)
class Found:
    """Result of `detect_and_background`.

    Attributes
    ----------
    detections : Detections
    background : BackgroundMap
        Background of the detection image.
    subtracted : (ny, nx) float32
        Image minus background, 0 at pixels without data.
    iterations : int
        Passes made.
    """

    detections: Detections
    background: BackgroundMap
    subtracted: F4
    iterations: int


def detect_and_background(
    image: F4,
    background_config: Background,
    config: Extraction,
    run: Run,
    *,
    mask: NDArray[np.uint16] | None = None,
    weight: F4 | None = None,
    variance: F4 | None = None,
    taps: F4 | None = None,
    psf: MatchedFilter | None = None,
    gain: float = 0.0,
    pixel_scale: float = 0.0,
    background: BackgroundMap | None = None,
    weight_threshold: float = BAD_WEIGHT,
) -> Found:
    """Estimate the background and detect sources, DETECT_NITER times.

    From the second pass on the footprints of the sources found before, grown to take in
    their faint wings, are left out of the background.  DETECT_NITER 1 is SExtractor.

    Parameters
    ----------
    image : (ny, nx) float32
        Image with its background.
    background_config, config
        BACK_* and detection keywords.
    mask : (ny, nx) uint16 or None
        Mask planes.
    weight : (ny, nx) float32 or None
        Variance map in any unit, for the choice of good background pixels.
    variance : (ny, nx) float32 or None
        Absolute background variance for detection, see `detect`.  With `psf` and None it is
        the square of the background rms.
    taps, psf, gain, pixel_scale
        See `detect`.
    background : BackgroundMap or None
        A background known already, for the first pass.
    """

    def estimate(sources: NDArray[np.uint8] | None) -> BackgroundMap:
        return estimate_background(
            image,
            mask,
            weight,
            background_config,
            run,
            sources=sources,
            weight_threshold=weight_threshold,
        )

    if background is None:
        background = estimate(None)
    for iteration in range(1, config.detect_niter + 1):
        subtracted = subtract_background(image, mask, background, run)
        noise = variance
        if psf is not None and variance is None:
            noise = np.square(rms_image(background, run))
        detections = detect(
            subtracted,
            config,
            run,
            sigma=background.sigma,
            taps=taps,
            psf=psf,
            variance=noise,
            mask=mask,
            gain=gain,
            pixel_scale=pixel_scale,
        )
        if iteration < config.detect_niter:
            background = estimate(source_mask(detections, background.sigma))
    return Found(detections, background, subtracted, config.detect_niter)


def source_mask(detections: Detections, sigma: float) -> NDArray[np.uint8]:
    """Return a mask (1) of the sources' footprints and the faint wings around them.

    A source's wings are taken to fall with the inverse cube of the radius (as those of a
    Moffat profile with beta 1.5; most are steeper) from the detection threshold at its
    isophotal radius, and are masked out to a tenth of the noise.  In crowded fields they are
    masked less far, so that half of the image is left, if the footprints alone permit it.

    Parameters
    ----------
    detections : Detections
    sigma : float
        Background noise, image units.
    """
    footprints = np.ascontiguousarray((detections.segmentation != 0).view(np.uint8))
    footprints.ravel()[detections.unclaimed] = 1
    if detections.n == 0:
        return footprints
    source = np.repeat(np.arange(detections.n), np.diff(detections.first))
    above = detections.filtered > detections.dthresh[source]
    radius = np.sqrt(np.bincount(source[above], minlength=detections.n) / np.pi)
    edge = detections.dthresh / (_FAINT * sigma)
    # a source barely above the threshold has no wings to speak of
    peak = detections.fdpeak / detections.dthresh
    factor = np.maximum(np.minimum(edge, peak), 1.0) ** (1.0 / 3.0)
    wings = np.maximum(radius * factor, radius + _LEAST_GROWTH)
    for share in (1.0, 0.5, 0.25):
        reach = radius + share * (wings - radius) - np.sqrt(detections.fdnpix / np.pi)
        mask = footprints.copy()
        grow_discs(
            detections.segmentation,
            detections.pixel,
            detections.first,
            np.clip(reach, 0.0, _MOST_GROWTH).astype(np.float64),
            mask,
        )
        if np.count_nonzero(mask) <= _MOST_MASKED * mask.size:
            return mask
    return footprints
