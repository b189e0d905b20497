"""Noise that neighbouring pixels share, in the errors of fits and of apertures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8
from skyextract.datamodel.beam import POINTS
from skyextract.datamodel.noise import median
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.record import record
from skyextract.stages.background.correlation import (
    errors_of_level,
    has_correlated_errors,
    measure_correlation,
    with_correlated_errors,
)
from skyextract.stages.detection.banding import warn_of_banding
from skyextract.stages.detection.structure import warn_of_uneven_sky
from skyextract.stages.detection.support import warn_of_noise

if TYPE_CHECKING:
    from skyextract.datamodel.background import BackgroundMap
    from skyextract.datamodel.catalog import Catalog
    from skyextract.datamodel.noise import NoiseCorrelation
    from skyextract.run import Run
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.crowded.hidden import Hidden
    from skyextract.stages.find import Found


@record
class Noise:
    """Correlation of the noise, as it is in the errors.

    Attributes
    ----------
    of_points : NoiseCorrelation or None
        Of fits of the PSF and of galaxies.
    of_apertures : NoiseCorrelation or None
        With the structure of the sky that is in apertures.
    above_clouds : bool
        Apertures about point sources are measured without it.
    """

    of_points: NoiseCorrelation | None
    of_apertures: NoiseCorrelation | None
    above_clouds: bool = False


def measure_noise(
    found: Found, hidden: Hidden | None, wanted: frozenset[str], run: Run, *, of_beam: bool = False
) -> Noise:
    """Measure the correlation of the noise, and say so where it makes the threshold high.

    Where the crowd was fitted and taken away, what was left of it is no noise for these fits.  In a
    radio map neighbours share the noise as far as the beam, which is told of it.
    """
    scale = median(found.detections.noise_scale)
    if of_beam:
        correlation = noise_correlation(found, run, POINTS)
        return Noise(correlation, correlation)
    warn_of_banding(found.plane.subtracted, scale, run)
    warn_of_uneven_sky(found.detections, run)
    if hidden is None or hidden.local is not None:
        warn_of_noise(scale, run)
        correlation = noise_correlation(found, run)
        return Noise(correlation, correlation)
    warn_of_noise(hidden.noise_scale, run, 0.0 if hidden.wide is None else scale)
    if hidden.wide is None or not any(map(has_correlated_errors, wanted)):
        return Noise(None, None, hidden.sky is not None)
    on_wide = replace(found, plane=hidden.wide, detection_plane=hidden.wide)
    return Noise(None, noise_correlation(on_wide, run), hidden.sky is not None)


def with_errors_of_apertures(
    sources: Catalog, noise: Noise, background: BackgroundMap, gain: float
) -> tuple[Catalog, F8 | None]:
    """Return the sources with errors of aperture fluxes in such noise.

    Returns also FLUXERR_APER as it is where the structure of the sky is taken from apertures; None
    if there is no such column.

    Parameters
    ----------
    sources : Catalog
        Errors by SExtractor's formula.
    background : BackgroundMap
        Its noise, and how far off its level is where rounding or a black point hides it.
    gain : float
        e-/ADU; 0: unknown.
    """
    noise2, of_level = background.sigma**2, {}
    if background.level_error:
        of_level = errors_of_level(sources, background.level_error, noise2, gain)
    above = sources.get("FLUXERR_APER")
    if noise.of_apertures is not None:
        sources = with_correlated_errors(sources, noise.of_apertures, noise2, gain)
    if of_level:
        changed = {name: np.hypot(sources[name], error) for name, error in of_level.items()}
        if "FLUXERR_WIN" in changed and "SNR_WIN" in sources:
            share = sources["FLUXERR_WIN"] / changed["FLUXERR_WIN"]
            changed["SNR_WIN"] = sources["SNR_WIN"] * share
        sources = sources.with_columns(**changed)
    if above is not None and not (noise.above_clouds and not of_level):
        above = sources["FLUXERR_APER"]
    return sources, above


def noise_correlation(found: Found, run: Run, of_points: float = 1.0) -> NoiseCorrelation | None:
    """Return the correlation of the noise of the measurement image.

    None where its pixels count as independent, or another image was detected on.

    Parameters
    ----------
    of_points : float
        Noise of fits of the PSF over that of the filtered image, each over that of independent
        pixels: 1 where the PSF is the filter.
    """
    plane, detections, claimed = found.plane, found.detections, found.claimed
    scale = of_points * median(
        detections.full_noise_scale
    )  # fluxes are measured with the structure
    if found.detection_plane is not plane or scale == 1.0:
        return None
    sources = detections.segmentation != 0
    if claimed is not None:
        sources |= claimed != 0
    return measure_correlation(plane.subtracted, plane.variance_plane(run), sources, scale**2)


def point_source_variance(plane: Plane, correlation: NoiseCorrelation | None, run: Run) -> F4:
    """Return the background variance that fits of the PSF weight by: what it means for them."""
    variance = plane.variance_plane(run)
    if correlation is None:
        return variance
    with np.errstate(over="ignore"):
        factor = np.float32(correlation.point_source)
        return np.where(variance < MAX_VARIANCE, variance * factor, variance)
