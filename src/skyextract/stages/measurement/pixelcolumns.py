"""The columns that need no PSF, measured on an image that is given with its noise."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from skyextract.datamodel.psf import PsfSource
from skyextract.record import record
from skyextract.stages.measurement.frame import late_of_nobody, masked_pixels, prepare_frame
from skyextract.stages.measurement.sources import DetectionImage, MeasureInputs, measure_sources

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4
    from skyextract.datamodel.catalog import Catalog
    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run
    from skyextract.settings.keywords import Config
    from skyextract.stages.background.planes import Plane


@record
class PixelColumns:
    """The columns that need no PSF, and what they are measured with.

    Attributes
    ----------
    threshold : float
        For the analysis, image units.
    taps : (h, w) float32 or None
        Detection filter, if it is a convolution kernel.
    """

    exposure: Exposure
    threshold: float
    taps: F4 | None
    config: Config
    wanted: frozenset[str]
    inputs: MeasureInputs
    run: Run

    def measure(self, plane: Plane, detection_plane: Plane, found: Detections) -> Catalog:
        """Measure the detections; what it prepares for that is not kept."""
        unclaimed = None if self.config.measurement.mask_type == "NONE" else found.unclaimed
        with masked_pixels(plane, unclaimed) as pixels, late_of_nobody(found):
            if detection_plane is plane:
                return self._measure(plane, pixels, plane, pixels, found)
            with masked_pixels(detection_plane, unclaimed) as detected:
                return self._measure(plane, pixels, detection_plane, detected, found)

    def _measure(
        self, plane: Plane, pixels: F4, detection_plane: Plane, detected: F4, found: Detections
    ) -> Catalog:
        config, taps = self.config, self.taps
        image = DetectionImage(
            pixels=detected,
            noise=detection_plane.background.sigma,
            low_weight=detection_plane.bad if detection_plane.relative else None,
            reach=(1, 1) if taps is None else (taps.shape[0] // 2 + 1, taps.shape[1] // 2 + 1),
        )
        return measure_sources(
            prepare_frame(self.exposure, plane, pixels, config, threshold=self.threshold),
            found, plane.background, image, config, self.wanted,
            _with_seeing(self.inputs, self.exposure, config), self.run,
            low_weight=plane.bad if plane.relative else None,
        )  # fmt: skip


def _with_seeing(inputs: MeasureInputs, exposure: Exposure, config: Config) -> MeasureInputs:
    """Take the seeing from the PSF where SEEING_FWHM is 0 and the PSF is not a default."""
    if config.detector.seeing_fwhm > 0.0 or inputs.seeing > 0.0 or exposure.psf is None:
        return inputs
    if exposure.psf.source is PsfSource.DEFAULT:
        return inputs
    return replace(inputs, seeing=exposure.psf.fwhm * inputs.pixel_scale)
