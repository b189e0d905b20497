"""Measure: background and detection, iterated, then everything that is wanted of the sources."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.columns.families import MODEL
from skyextract.columns.request import APERCOR_COLUMNS, PSF_COLUMNS
from skyextract.columns.table import COLUMNS
from skyextract.datamodel.arrays import F4, F8, I8, distinct
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import FlagsSky
from skyextract.datamodel.noise import median
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.record import record
from skyextract.run import return_freed_memory
from skyextract.settings.keywords import of_image
from skyextract.settings.steps import Status
from skyextract.stages.detection.detect import analysis_threshold
from skyextract.stages.detection.singlepixels import are_single_pixels
from skyextract.stages.detection.support import Support, support
from skyextract.stages.doubts import doubts_about
from skyextract.stages.find import find_sources
from skyextract.stages.measured import Measured
from skyextract.stages.measurement.association import selected_rows
from skyextract.stages.measurement.flags import counts_of_flags, with_flags, with_mask_flags
from skyextract.stages.measurement.pixelcolumns import PixelColumns
from skyextract.stages.measurement.sources import MeasureInputs
from skyextract.stages.noise import (
    measure_noise,
    point_source_variance,
    with_errors_of_apertures,
)

if TYPE_CHECKING:
    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.noise import NoiseCorrelation
    from skyextract.run import Run
    from skyextract.settings.keywords import Config
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.crowded.hidden import Hidden
    from skyextract.stages.find import Found
    from skyextract.stages.galaxies.columns import Galaxies
    from skyextract.stages.psf.columns import PointSources

__all__ = ["MeasureInputs", "measure"]


@record
class _Fits:
    """What is fitted to the sources, and whether sources are searched beneath others."""

    psf: bool
    galaxies: bool
    searches: bool

    @classmethod
    def planned(
        cls, exposure: Exposure, config: Config, wanted: frozenset[str], *, is_dual: bool
    ) -> _Fits:
        """Return what the wanted columns need."""
        galaxies = any(name in COLUMNS and COLUMNS[name].stage == MODEL for name in wanted)
        # Models take the aperture corrections, which come of fits of the PSF to its stars.
        corrects = exposure.psf_stars is not None and exposure.aperture_corrections is None
        psf = bool(wanted & PSF_COLUMNS) or (galaxies and corrects)
        # What an assumed PSF leaves over is no star.
        searches = exposure.has_psf and psf and not is_dual and config.extraction.crowd_niter > 0
        return cls(psf, galaxies, searches)


def measure(
    exposure: Exposure,
    config: Config,
    wanted: frozenset[str],
    inputs: MeasureInputs,
    run: Run,
    *,
    detection: Exposure | None = None,
    keep_image: bool = True,
) -> Measured:
    """Detect sources and measure the wanted columns.

    DETECT_NITER passes of background and detection: from the second on, the background is
    estimated without the sources and their faint wings.  Measuring does not change the background.

    Parameters
    ----------
    exposure : Exposure
        The image to measure.  Where a PSF is needed and it has none, a Gaussian of
        DEFAULT_FWHM stands in.
    wanted : frozenset of str
        Base columns (`columns.base_columns`); names of other stages are ignored.
    inputs : MeasureInputs
        What was read from side files.
    detection : Exposure, optional
        The image to detect on: dual-image mode, or another weight map.
    keep_image : bool
        If not, the pixels may be lost, where only the plane without background is needed.

    Raises
    ------
    ConfigError
        A threshold, a filter or a list does not make sense.
    """
    is_dual = detection is not None
    fits = _Fits.planned(exposure, config, wanted, is_dual=is_dual)
    uses_psf = config.extraction.filters_by_psf or fits.psf or fits.galaxies
    if exposure.psf is None and uses_psf:
        exposure = replace(exposure, psf=Psf.gaussian(config.characterize.default_fwhm))

    # Detections; beneath them hidden ones, where the field is crowded.
    in_place = not keep_image and not fits.searches and not is_dual
    found = find_sources(
        exposure, config, inputs, run, detection=detection, in_place=in_place, wanted=wanted
    )
    found = replace(found, claimed=None)
    hidden = _search_beneath(exposure, found, config, run) if fits.searches else None
    exposure = exposure if keep_image or is_dual else exposure.without_image()
    noise = measure_noise(found, hidden, wanted, run)
    if hidden is not None and hidden.wide is not None:
        found = replace(found, plane=hidden.wide, detection_plane=hidden.wide)
        exposure = replace(exposure, psf=hidden.psf)
    rests_on = _support(found, config, is_dual=is_dual)

    # What needs no PSF; hidden stars are measured where the others are taken away.
    threshold = analysis_threshold(
        config.extraction, found.plane.background.sigma, inputs.pixel_scale
    )
    needed = wanted | {"FLUX_APER", "FLUXERR_APER"} if wanted & APERCOR_COLUMNS else wanted
    pixels = PixelColumns(exposure, threshold, found.taps, config, needed, inputs, run)
    sources = pixels.measure(found.plane, found.detection_plane, found.detections)
    found = _without_labels(found, hidden)
    if fits.psf:
        found, hidden = _with_noise_planes(found, hidden, run)
    found, sources = _with_hidden(pixels, found, hidden, sources, run)
    sources, errors = with_errors_of_apertures(
        sources, noise, found.plane.background, exposure.detector.gain
    )
    sources = with_mask_flags(sources, exposure, found.detections, run)

    # The PSF, then galaxies, fitted to all sources.
    residual = spare = models = None
    about_psf = ""
    if uses_psf and exposure.psf and exposure.psf.source is PsfSource.FILE:
        from skyextract.stages.psf.given import with_compared_stars

        exposure, about_psf = with_compared_stars(exposure, found.plane, config, run)
    alike = noise.of_points
    seen = exposure if hidden is None else hidden.with_gain(exposure)
    if fits.psf:
        points = _fit_point_sources(
            seen, found, hidden, alike, sources, errors, config, wanted, run
        )
        residual, spare = (points.residual, None) if keep_image else (None, points.residual)
        sources = _with_point_sources(
            sources, points, seen, found, hidden, alike, spare, config, run
        )
        exposure = replace(exposure, aperture_corrections=points.corrections)
        seen = replace(seen, aperture_corrections=points.corrections)
    if fits.galaxies:
        galaxies = _fit_galaxies(seen, found, detection, alike, spare, config, wanted, run)
        sources = sources.with_columns(**galaxies.columns)
        models = galaxies.images
    if uses_psf and exposure.psf and exposure.psf.source is PsfSource.DEFAULT:
        sources = with_flags(sources, FlagsSky.DEFAULT_PSF)
    gaussian = found.plane.background.skewness is None  # single photons are single pixels
    if exposure.has_psf and gaussian and not about_psf and exposure.psf:
        plane, d = found.plane, found.detections
        single = are_single_pixels(
            plane.subtracted, plane.bad, plane.background.sigma, exposure.psf, d.x, d.y
        )
        sources = with_flags(sources, single * np.int32(FlagsSky.SHARP))
    flags = sources["FLAGS_SKY"]
    about_sky = _about_sky(found, hidden)
    doubts = doubts_about(
        exposure, found, flags, rests_on, about_psf, about_sky, run, is_dual=is_dual
    )
    sources, rows = _selected(with_flags(sources, doubts.flags), hidden, config)
    return Measured(
        exposure=replace(exposure, background=found.plane.background),
        sources=sources,
        detections=found.detections,
        rows=rows,
        plane=found.plane,
        detection_plane=found.detection_plane,
        threshold=found.detections.threshold,
        analysis_threshold=threshold,
        taps=found.taps,
        matched=found.matched,
        residual=residual,
        models=models,
        seen_twice=doubts.seen_twice,
        about_sky=about_sky,
        metrics=_metrics(sources, found.detections, rests_on, config),
        run=run,
        status=Status.FALLBACK if doubts.texts else Status.COMPLETE,
        reason="; ".join(doubts.texts),
    )


def _support(found: Found, config: Config, *, is_dual: bool) -> Support:
    """Return what the background rests on."""
    back_type = of_image(config.background.back_type, 1 if is_dual else 0)
    return support(
        found.detections, found.plane.bad, found.plane.n_bad, level_given=back_type == "MANUAL"
    )


def _selected(sources: Catalog, hidden: Hidden | None, config: Config) -> tuple[Catalog, I8]:
    """Return the sources without hidden ones that faded and those that association leaves out.

    Returns also the row of each among all detections.
    """
    faded = None
    if hidden is not None:
        from skyextract.stages.crowded.errors import insignificant

        lost = insignificant(sources, hidden.x, hidden.y, hidden.psf.fwhm)
        faded = distinct(np.concatenate([hidden.faded, lost]))
    rows = selected_rows(sources, config.assoc.assocselec_type, faded)
    if rows.size < sources.n_rows:
        sources = sources.take(rows)
        sources = sources.with_columns(NUMBER=np.arange(1, rows.size + 1, dtype=np.int32))
    return sources, rows


def _metrics(
    sources: Catalog, detections: Detections, rests_on: Support, config: Config
) -> dict[str, float]:
    """Return the numbers of the JSON summary."""
    return {
        "n_sources": sources.n_rows,
        **counts_of_flags(sources),
        "iterations": config.extraction.detect_niter,
        "noise_scale": median(detections.full_noise_scale),
        "detection_scale": median(detections.noise_scale),
        "sky_share": rests_on.sky_share,
    }


def _search_beneath(exposure: Exposure, found: Found, config: Config, run: Run) -> Hidden | None:
    """Return the sources beneath the detected ones; None where nothing is searched."""
    if found.matched is None:
        return None
    from skyextract.stages.crowded.regions import search_beneath

    return search_beneath(exposure, found.plane, found.detections, found.matched, config, run)


def _about_sky(found: Found, hidden: Hidden | None) -> str:
    """Return why fluxes have a part of the sky in them; empty if they have not."""
    if hidden is None:
        return ""
    from skyextract.stages.crowded.clouds import about_fine_sky

    return about_fine_sky(found.detections, hidden)


def _without_labels(found: Found, hidden: Hidden | None) -> Found:
    """Let the segmentation go, which can be drawn anew, but for that of crowds."""
    if hidden is None or hidden.is_of_companions:
        found = replace(found, detections=found.detections.without_segmentation())
    return_freed_memory(found.plane.subtracted.size)
    return found


def _with_hidden(
    pixels: PixelColumns, found: Found, hidden: Hidden | None, sources: Catalog, run: Run
) -> tuple[Found, Catalog]:
    """Append the hidden sources to the detections, and to the columns of these."""
    if hidden is None or found.matched is None or hidden.x.size == found.detections.n:
        return found, sources
    from skyextract.stages.crowded.rows import hidden_detections

    def columns(image: F4, part: Detections) -> Catalog:
        plane = replace(hidden.plane, subtracted=image)
        return pixels.measure(plane, plane, part)

    detections, beneath = hidden_detections(hidden, found.detections, found.matched, run, columns)
    return replace(found, detections=detections.without_segmentation()), sources.append(beneath)


def _with_noise_planes(
    found: Found, hidden: Hidden | None, run: Run
) -> tuple[Found, Hidden | None]:
    """Return the planes with the variance of every pixel, which fits weight by."""
    plane = found.plane.with_noise(run)
    single = found.plane is found.detection_plane
    found = replace(found, plane=plane, detection_plane=plane if single else found.detection_plane)
    if hidden is not None and hidden.is_of_companions:
        hidden = replace(hidden, plane=plane)
    return found, hidden


def _fit_point_sources(
    exposure: Exposure,
    found: Found,
    hidden: Hidden | None,
    correlation: NoiseCorrelation | None,
    sources: Catalog,
    errors: F8 | None,
    config: Config,
    wanted: frozenset[str],
    run: Run,
) -> PointSources:
    """Fit the PSF to all sources; in a crowd the fits go on where the search for it ended."""
    from skyextract.stages.psf.columns import measure_point_sources
    from skyextract.stages.psf.pixelphase import PSF_POSITIONS, is_undersampled

    plane, x, y, start, sky = found.plane, found.detections.x, found.detections.y, None, None
    if hidden is not None:
        plane, x, y, sky = hidden.plane, hidden.x, hidden.y, hidden.sky
        start = None if hidden.is_of_companions else (hidden.sources, hidden.models)
        # They tell which hidden sources are significant, and make the errors of crowds.
        wanted |= {"FLUX_PSF", "FLUXERR_PSF"}
    if is_undersampled(exposure):
        wanted |= PSF_POSITIONS | {"FLUX_PSF", "FLUXERR_PSF"}
    apertures = None
    if errors is not None:
        apertures = (sources["FLUX_APER"], sources["FLUXERR_APER"], errors)
    return measure_point_sources(
        exposure, plane.subtracted, point_source_variance(plane, correlation, run), x, y,
        apertures, config, wanted, run, start=start, sky=sky,
        crowded=hidden is not None and hidden.local is None,
        per_variance=_per_variance(plane, correlation),
    )  # fmt: skip


def _per_variance(plane: Plane, correlation: NoiseCorrelation | None) -> float:
    """Return 1 / variance, as fits have it, of the pixels whose gain is GAIN; 0: of all."""
    return plane.per_variance / (1.0 if correlation is None else correlation.point_source)


def _with_point_sources(
    sources: Catalog,
    points: PointSources,
    exposure: Exposure,
    found: Found,
    hidden: Hidden | None,
    correlation: NoiseCorrelation | None,
    spare: F4 | None,
    config: Config,
    run: Run,
) -> Catalog:
    """Return the sources with the columns and flags of fits of the PSF."""
    from skyextract.stages.psf.pixelphase import is_undersampled, with_pixel_phase

    sources = with_flags(sources.with_columns(**points.columns), points.flags)
    if is_undersampled(exposure) and config.extraction.noise_type == "MEASURED":
        sources = with_pixel_phase(sources, run)
    if hidden is None or found.matched is None:
        return sources
    from skyextract.stages.crowded.errors import with_errors_of_crowds

    noise2, gain = point_source_variance(hidden.plane, correlation, run), exposure.detector.gain
    return with_errors_of_crowds(sources, hidden, noise2, gain, found.matched, run, spare=spare)


def _fit_galaxies(
    exposure: Exposure,
    found: Found,
    detection: Exposure | None,
    correlation: NoiseCorrelation | None,
    spare: F4 | None,
    config: Config,
    wanted: frozenset[str],
    run: Run,
) -> Galaxies:
    """Fit models of galaxies to all sources."""
    from skyextract.stages.galaxies.columns import Images, measure_galaxies

    variance = point_source_variance(found.plane, correlation, run)
    images = Images(
        exposure, found.plane, variance, detection, found.detection_plane, spare,
        _per_variance(found.plane, correlation),
    )  # fmt: skip
    return measure_galaxies(images, found.detections, config, wanted, run)
