"""Image planes of the products, made of the results: variance, check images, PSF."""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F4, AnyArray
from skyextract.datamodel.psf import Psf
from skyextract.io.images.checkimages import aperture_plane, object_planes
from skyextract.outputs.result import Result
from skyextract.run import Run
from skyextract.settings.resolve import Settings
from skyextract.stages.background.estimate import background_image, rms_image


def total_variance(result: Result, run: Run) -> F4 | None:
    """Return the variance of an image without a plane of its own: the sky's and the photons'."""
    exposure, plane = result.exposure, result.plane
    if exposure.variance is not None or plane is None:
        return None
    variance = plane.variance_plane(run).copy()
    if exposure.detector.gain > 0.0:
        above = exposure.image - background_image(plane.background, run)
        variance += np.maximum(above, np.float32(0.0)) / np.float32(exposure.detector.gain)
    return variance


def check_planes(
    result: Result, kinds: frozenset[str], settings: Settings, run: Run
) -> dict[str, AnyArray]:
    """Compute the check images of the given types."""
    exposure, measured = result.exposure, result.measured
    assert measured is not None
    level = background_image(measured.background, run)
    subtracted = exposure.image - level
    segmentation = measured.detections.segmentation
    planes: dict[str, AnyArray] = {}
    for kind in kinds:
        if kind == "BACKGROUND":
            planes[kind] = level
        elif kind == "BACKGROUND_RMS":
            planes[kind] = rms_image(measured.background, run)
        elif kind == "MINIBACKGROUND":
            planes[kind] = measured.background.level
        elif kind == "MINIBACK_RMS":
            planes[kind] = measured.background.rms
        elif kind == "-BACKGROUND":
            planes[kind] = subtracted
        elif kind == "SEGMENTATION":
            planes[kind] = np.abs(segmentation)
        elif kind in ("OBJECTS", "-OBJECTS"):
            planes[kind] = object_planes(subtracted, segmentation)[kind == "-OBJECTS"]
        elif kind == "APERTURES":
            diameters = settings.config.measurement.phot_apertures
            sigma = measured.background.sigma
            planes[kind] = aperture_plane(subtracted, measured.shapes, diameters, sigma)
        elif kind == "MASK":
            planes[kind] = exposure.mask
        elif kind == "VARIANCE":
            planes[kind] = measured.variance
        elif kind == "FILTERED":
            planes[kind] = measured.filtered()
        elif kind == "PSF":
            planes[kind] = psf_plane(exposure.psf)
        elif kind == "RESIDUALS":
            planes[kind] = measured.residual if measured.residual is not None else subtracted
    return planes


def psf_plane(psf: Psf | None) -> AnyArray:
    """Return the PSF at the middle of the field; a blank pixel if there is none."""
    if psf is None:
        return np.zeros((1, 1), dtype=np.float32)
    return psf.stamp(psf.x_zero, psf.y_zero)
