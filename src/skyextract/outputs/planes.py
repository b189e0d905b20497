"""Image planes of the products, made of the results: variance, check images, PSF."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, AnyArray
from skyextract.datamodel.psf import Psf
from skyextract.io.images.checkimages import aperture_plane, object_planes
from skyextract.outputs.result import Result
from skyextract.run import Run
from skyextract.settings.resolve import Settings
from skyextract.stages.background.interpolate import background_image, rms_image

if TYPE_CHECKING:
    from skyextract.stages.galaxies.columns import ModelImages


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
        if kind == "IDENTICAL":
            planes[kind] = exposure.image
        elif kind == "BACKGROUND":
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
            measures = not {"FLUX_APER", "FLUXERR_APER"}.isdisjoint(measured.sources)
            diameters = settings.config.measurement.phot_apertures if measures else ()
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
        elif kind in ("PSFS", "-PSFS"):
            rest = subtracted if measured.residual is None else measured.residual
            planes[kind] = rest if kind == "-PSFS" else subtracted - rest
        elif kind == "RESIDUALS":
            left = measured.residual if measured.models is None else measured.models.residual
            planes[kind] = subtracted if left is None else left
        elif measured.models is not None:
            planes[kind] = _model_plane(kind, measured.models, subtracted)
    return planes


def _model_plane(kind: str, models: ModelImages, subtracted: F4) -> F4:
    """Return the check image of models, or with a minus what they leave of the image."""
    drawn = getattr(models, kind.removeprefix("-").lower())
    assert drawn is not None
    plane: F4 = subtracted - drawn if kind.startswith("-") else drawn
    return plane


def psf_plane(psf: Psf | None) -> AnyArray:
    """Return the PSF at the middle of the field; a blank pixel if there is none."""
    if psf is None:
        return np.zeros((1, 1), dtype=np.float32)
    return psf.stamp(psf.x_zero, psf.y_zero)
