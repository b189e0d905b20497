"""Measure: background and detection, iterated, then everything that is wanted of the sources."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np

from skyextract.columns.families import MODEL
from skyextract.columns.request import APERCOR_COLUMNS, PSF_COLUMNS
from skyextract.columns.table import COLUMNS
from skyextract.datamodel.arrays import F4, I4, I8
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Flags, FlagsSky, Mask
from skyextract.datamodel.imageunit import FLUX
from skyextract.datamodel.noise import median
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.record import record
from skyextract.run import return_freed_memory
from skyextract.settings.keywords import of_image
from skyextract.settings.steps import Status
from skyextract.stages.background.correlation import with_correlated_errors
from skyextract.stages.detection.detect import (
    analysis_threshold,
    filter_as_found,
    filter_image,
)
from skyextract.stages.detection.support import support, warn_of_noise
from skyextract.stages.detection.twins import Twins, find_twins
from skyextract.stages.find import find_sources, noise_correlation, point_source_variance
from skyextract.stages.measurement.pixelcolumns import PixelColumns
from skyextract.stages.measurement.sources import MeasureInputs

if TYPE_CHECKING:
    from skyextract.datamodel.background import BackgroundMap
    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.noise import NoiseCorrelation
    from skyextract.run import Run
    from skyextract.settings.keywords import Config
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.crowded.search import Hidden
    from skyextract.stages.detection.matched import MatchedFilter
    from skyextract.stages.galaxies.columns import ModelImages
    from skyextract.stages.psf.columns import PointSources

__all__ = [
    "CorrectedApertures",
    "MeasureInputs",
    "Measured",
    "correct_apertures",
    "measure",
]


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


@record
class Measured:
    """Sources of an image, and what they were measured with.

    Attributes
    ----------
    exposure : Exposure
        With the background, the PSF that was used and the aperture corrections.
    sources : Catalog
        NUMBER, FLAGS, FLAGS_SKY and the columns that were wanted.
    detections : Detections
        All detections, also those that ASSOCSELEC_TYPE leaves out of `sources`.
    rows : (n,) int64
        Row in `detections` of each source.
    plane, detection_plane : Plane
        Measurement and detection image; the same in single-image mode.
    threshold, analysis_threshold : float
        Image units.
    taps : (h, w) float32 or None
        Detection filter, if it is a convolution kernel.
    matched : MatchedFilter or None
        Detection filter, if it is the PSF.
    residual : (ny, nx) float32 or None
        Image less background and all fitted point sources.
    models : ModelImages or None
        Images of fitted galaxies, and what they leave.
    twins : Twins or None
        What is seen twice.
    metrics : dict
        n_sources, iterations, noise_scale (of the filtered image, over that of independent
        pixels), detection_scale (the same as detection has it), sky_share (of pixels with data).
    status : Status
        FALLBACK where there is no source, hardly any sky beside them, or all seen twice.
    reason : str
        Why it is FALLBACK.
    """

    exposure: Exposure
    sources: Catalog
    detections: Detections
    rows: I8
    plane: Plane
    detection_plane: Plane
    threshold: Annotated[float, FLUX]
    analysis_threshold: Annotated[float, FLUX]
    taps: F4 | None
    matched: MatchedFilter | None
    residual: Annotated[F4 | None, FLUX]
    models: ModelImages | None
    twins: Twins | None
    metrics: dict[str, float]
    run: Run
    status: Status = Status.COMPLETE
    reason: str = ""

    @property
    def background(self) -> BackgroundMap:
        """Background of the measurement image."""
        return self.plane.background

    @property
    def variance(self) -> F4:
        """Background variance of every pixel of the measurement image."""
        return self.plane.variance_plane(self.run)

    @property
    def shapes(self) -> Catalog:
        """Positions, ellipses, Kron radii and flags of the sources, for drawings."""
        d, rows = self.detections, self.rows
        columns = {
            "X_IMAGE": d.x[rows] + 1.0, "Y_IMAGE": d.y[rows] + 1.0, "A_IMAGE": d.a[rows],
            "B_IMAGE": d.b[rows], "THETA_IMAGE": d.theta[rows], "FLAGS": self.sources["FLAGS"],
        }  # fmt: skip
        if "KRON_RADIUS" in self.sources:
            columns["KRON_RADIUS"] = self.sources["KRON_RADIUS"]
        return Catalog(columns)

    def filtered(self) -> F4:
        """Return the detection image as the filter made it (check image FILTERED)."""
        plane = self.detection_plane
        if self.matched is not None:
            return filter_as_found(
                plane.subtracted, self.matched, self.detections, self.run,
                sigma=plane.background.sigma, variance=plane.variance_plane(self.run),
                smooth=plane.variance is None, bad=plane.holes,
            )  # fmt: skip
        if self.taps is None:
            return plane.subtracted
        return filter_image(plane.subtracted, self.taps, plane.holes, self.run)


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
    extraction = config.extraction
    fits_psf = bool(wanted & PSF_COLUMNS)
    fits_models = any(name in COLUMNS and COLUMNS[name].stage == MODEL for name in wanted)
    uses_psf = extraction.filters_by_psf or fits_psf or fits_models
    if exposure.psf is None and uses_psf:
        exposure = replace(exposure, psf=Psf.gaussian(config.characterize.default_fwhm))
    # What an assumed PSF leaves over is no star.
    searches = exposure.has_psf and fits_psf and detection is None and extraction.crowd_niter > 0
    in_place = not keep_image and not searches and detection is None
    detected = find_sources(exposure, config, inputs, run, detection=detection, in_place=in_place)
    exposure = exposure.without_image() if in_place else exposure
    plane, detection_plane, found = detected.plane, detected.detection_plane, detected.detections
    taps, matched = detected.taps, detected.matched
    hidden = None
    if searches and matched is not None:
        from skyextract.stages.crowded.search import find_hidden

        hidden = find_hidden(exposure, plane, found, matched, config, run)
        if hidden is not None and hidden.wide is not None:
            plane = detection_plane = hidden.wide
            exposure = replace(exposure, psf=hidden.psf)
    # Where the crowd was fitted and taken away, what was left of it is no noise for these fits.
    correlation = noise_correlation(detected, run) if hidden is None else None
    of_apertures = correlation
    if hidden is not None and hidden.wide is not None:
        detected = replace(detected, plane=plane, detection_plane=plane)
        of_apertures = noise_correlation(detected, run)
    del detected

    found_scale = median(found.noise_scale)
    if hidden is None:
        warn_of_noise(found_scale, run)
    else:
        warn_of_noise(hidden.noise_scale, run, 0.0 if hidden.wide is None else found_scale)

    # What needs no PSF; stars hidden beneath others are measured where those are taken away.
    threshold = analysis_threshold(extraction, plane.background.sigma, inputs.pixel_scale)
    needed = wanted | {"FLUX_APER", "FLUXERR_APER"} if wanted & APERCOR_COLUMNS else wanted
    pixels = PixelColumns(exposure, threshold, taps, config, needed, inputs, run)
    sources = pixels.measure(plane, detection_plane, found)
    if hidden is not None and hidden.x.size > found.n and matched is not None:
        found, beneath = _measure_beneath(hidden, found, matched, pixels, run)
        sources = sources.append(beneath)
    if of_apertures is not None:
        sources = with_correlated_errors(
            sources, of_apertures, plane.background.sigma**2, exposure.detector.gain
        )
    sources = _with_mask_flags(sources, exposure, found)

    back_type = of_image(config.background.back_type, 0 if detection is None else 1)
    rests_on = support(found, plane.bad, level_given=back_type == "MANUAL")
    found = found.without_segmentation() if hidden is None else found
    return_freed_memory()
    if fits_psf:
        whole, plane = plane is detection_plane, plane.with_noise(run)
        detection_plane = plane if whole else detection_plane

    # The PSF, then galaxies, fitted to all sources.
    residual = models = None
    if fits_psf:
        # The errors of crowds need that of the flux, for those of the positions, too.
        needed = wanted if hidden is None else wanted | {"FLUXERR_PSF"}
        points = _fit_point_sources(
            exposure, plane, found, hidden, correlation, sources, config, needed, run
        )
        sources = _with_flags(sources.with_columns(**points.columns), points.flags)
        if hidden is not None and matched is not None:
            from skyextract.stages.crowded.errors import with_errors_of_crowds

            sources = with_errors_of_crowds(sources, hidden, exposure.detector.gain, matched, run)
        residual = points.residual
        exposure = replace(exposure, aperture_corrections=points.corrections)
    if fits_models:
        from skyextract.stages.galaxies.columns import Images, measure_galaxies

        noise = point_source_variance(plane, correlation, run)
        images = Images(exposure, plane, noise, detection, detection_plane)
        galaxies = measure_galaxies(images, found, config, wanted, run)
        sources = sources.with_columns(**galaxies.columns)
        models = galaxies.images
    if uses_psf and exposure.psf and exposure.psf.source is PsfSource.DEFAULT:
        sources = _with_flags(sources, FlagsSky.DEFAULT_PSF)

    rows = _selected(sources, config)
    if hidden is not None:
        rows = np.setdiff1d(rows, hidden.faded)
    if rows.size < found.n:
        sources = sources.take(rows)
        sources = sources.with_columns(NUMBER=np.arange(1, rows.size + 1, dtype=np.int32))
    twins = find_twins(found.x, found.y, found.dflux)
    doubts = [doubt.doubt for doubt in (rests_on, twins) if doubt is not None and doubt.doubt]
    if uses_psf:
        from skyextract.stages.psf.given import doubts_unless_compared

        doubts += doubts_unless_compared(exposure, plane, config, run)
    for doubt in doubts:
        run.warn(doubt)
    return Measured(
        exposure=replace(exposure, background=plane.background),
        sources=sources,
        detections=found,
        rows=rows,
        plane=plane,
        detection_plane=detection_plane,
        threshold=found.threshold,
        analysis_threshold=threshold,
        taps=taps,
        matched=matched,
        residual=residual,
        models=models,
        twins=twins,
        metrics={
            "n_sources": int(rows.size),
            "iterations": extraction.detect_niter,
            "noise_scale": median(found.full_noise_scale),
            "detection_scale": median(found.noise_scale),
            "sky_share": rests_on.sky_share,
        },
        run=run,
        status=Status.FALLBACK if doubts else Status.COMPLETE,
        reason="; ".join(doubts),
    )


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
    from skyextract.stages.psf.columns import measure_point_sources

    detected = find_sources(exposure, config, inputs, run, detection=detection)
    corrections = None
    if exposure.has_psf:
        plane, found = detected.plane, detected.detections
        variance = point_source_variance(plane, noise_correlation(detected, run), run)
        corrections = measure_point_sources(
            exposure, plane.subtracted, variance,
            found.x, found.y, None, config, frozenset({"FLUX_PSF"}), run,
        ).corrections  # fmt: skip
    return CorrectedApertures(replace(exposure, aperture_corrections=corrections), detected.plane)


def _measure_beneath(
    hidden: Hidden, found: Detections, matched: MatchedFilter, pixels: PixelColumns, run: Run
) -> tuple[Detections, Catalog]:
    """Return all detections, with the hidden ones, and the columns of these."""
    from skyextract.stages.crowded.rows import hidden_detections

    def columns(image: F4, part: Detections) -> Catalog:
        plane = replace(hidden.plane, subtracted=image)
        return pixels.measure(plane, plane, part)

    return hidden_detections(hidden, found, matched, run, columns)


def _fit_point_sources(
    exposure: Exposure,
    plane: Plane,
    found: Detections,
    hidden: Hidden | None,
    correlation: NoiseCorrelation | None,
    sources: Catalog,
    config: Config,
    wanted: frozenset[str],
    run: Run,
) -> PointSources:
    """Fit the PSF to all sources; in a crowd the fits go on where the search for it ended."""
    from skyextract.stages.psf.columns import measure_point_sources

    x, y, start = found.x, found.y, None
    if hidden is not None:
        plane, x, y = hidden.plane, hidden.x, hidden.y
        start = (hidden.sources, hidden.models)
    return measure_point_sources(
        exposure, plane.subtracted, point_source_variance(plane, correlation, run), x, y,
        (sources["FLUX_APER"], sources["FLUXERR_APER"]) if wanted & APERCOR_COLUMNS else None,
        config, wanted, run, start=start,
    )  # fmt: skip


def _with_mask_flags(sources: Catalog, exposure: Exposure, found: Detections) -> Catalog:
    """Return the sources with what the mask planes in the footprints mean in both flags."""
    planes = np.zeros(found.n, dtype=np.uint16)
    if found.n and exposure.mask.any():
        planes = np.bitwise_or.reduceat(exposure.mask.ravel()[found.pixel], found.first[:-1])
    cosmic = (planes & np.uint16(Mask.CR)) != 0
    bad = (planes & np.uint16(Mask.BAD | Mask.INTRP | Mask.NO_DATA)) != 0
    flags = np.where(planes & np.uint16(Mask.SAT), int(Flags.SATURATED), 0) | sources["FLAGS"]
    known = sources["FLAGS_SKY"]
    if exposure.variance is not None:
        known = known & ~int(FlagsSky.NO_VARIANCE)
    ours = np.where(cosmic, int(FlagsSky.COSMIC_RAY), 0) | np.where(bad, int(FlagsSky.BAD_PIXEL), 0)
    ours |= known
    return sources.with_columns(FLAGS=flags.astype(np.int16), FLAGS_SKY=ours.astype(np.int16))


def _with_flags(sources: Catalog, bits: I4 | FlagsSky) -> Catalog:
    """Return the sources with further bits of FLAGS_SKY."""
    return sources.with_columns(FLAGS_SKY=(sources["FLAGS_SKY"] | bits).astype(np.int16))


def _selected(sources: Catalog, config: Config) -> I8:
    """Return the rows that ASSOCSELEC_TYPE keeps; all without an association."""
    if "NUMBER_ASSOC" in sources and config.assoc.assocselec_type != "ALL":
        wanted = config.assoc.assocselec_type != "-MATCHED"
        return np.flatnonzero((sources["NUMBER_ASSOC"] > 0) == wanted)
    return np.arange(sources.n_rows)
