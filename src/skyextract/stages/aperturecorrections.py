"""Aperture corrections of an exposure whose sources are not measured."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from skyextract.datamodel.exposure import Exposure
from skyextract.record import record
from skyextract.stages.crowded.regions import companions_alone
from skyextract.stages.find import find_sources
from skyextract.stages.noise import noise_correlation, point_source_variance
from skyextract.stages.pointsources.columns import measure_point_sources

if TYPE_CHECKING:
    from skyextract.run import Run
    from skyextract.settings.keywords import Config
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.measurement.sources import MeasureInputs


@record
class CorrectedApertures:
    """An exposure with its aperture corrections.

    Attributes
    ----------
    exposure : Exposure
    plane : Plane
        The image as it was searched for the neighbours of the PSF stars.
    """

    exposure: Exposure
    plane: Plane


def correct_apertures(
    exposure: Exposure,
    config: Config,
    inputs: MeasureInputs,
    run: Run,
    *,
    detection: Exposure | None = None,
) -> CorrectedApertures:
    """Measure the aperture corrections that go with the PSF of an exposure.

    The curve of growth of the PSF stars takes the other sources away: they are detected, and
    the PSF is fitted to all.  `measure` does the same with its own fits where the exposure has
    no corrections yet.

    Parameters
    ----------
    exposure : Exposure
        Characterized.  A default PSF has no stars, and gets no corrections.
    config, inputs, run, detection
        As in `measure`.
    """
    detected = find_sources(exposure, config, inputs, run, detection=detection)
    corrections = None
    if exposure.has_psf:
        plane, found = detected.plane, detected.detections
        variance = point_source_variance(plane, noise_correlation(detected, run), run)
        x, y = found.x, found.y
        searches = detection is None and config.extraction.crowd_niter > 0
        if searches and not exposure.denoised and detected.matched is not None:
            hidden = companions_alone(exposure, plane, found, detected.matched, run)
            x, y = (x, y) if hidden is None else (hidden.x, hidden.y)
        corrections = measure_point_sources(
            exposure, plane.subtracted, variance,
            x, y, None, config, frozenset({"FLUX_PSF"}), run,
        ).corrections  # fmt: skip
    return CorrectedApertures(replace(exposure, aperture_corrections=corrections), detected.plane)
