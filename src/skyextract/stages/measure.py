"""Measure: background and detection, iterated, then everything that is wanted of the sources."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from skyextract.columns.request import APERCOR_COLUMNS
from skyextract.columns.unit import over_exposure
from skyextract.datamodel.arrays import F4, I8, distinct
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.noise import median
from skyextract.datamodel.psf import Psf
from skyextract.run import return_unused_memory
from skyextract.settings.keywords import of_image
from skyextract.settings.steps import Status
from skyextract.stages.detection.detect import analysis_threshold
from skyextract.stages.detection.support import Support, support
from skyextract.stages.doubts import doubts_about
from skyextract.stages.find import find_sources
from skyextract.stages.fits import SourceFits, Wanted, compared, with_psf_flags
from skyextract.stages.measured import Measured
from skyextract.stages.measurement.association import selected_rows
from skyextract.stages.measurement.flags import counts_of_flags, with_flags, with_mask_flags
from skyextract.stages.measurement.pixelcolumns import PixelColumns
from skyextract.stages.measurement.sources import MeasureInputs
from skyextract.stages.noise import (
    measure_noise,
    with_errors_of_apertures,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from skyextract.datamodel.detections import Detections
    from skyextract.run import Run
    from skyextract.settings.keywords import Config
    from skyextract.stages.crowded.hidden import Hidden
    from skyextract.stages.detection.marked import Marked
    from skyextract.stages.find import Found

__all__ = ["MeasureInputs", "measure"]


def measure(
    exposure: Exposure,
    config: Config,
    columns: frozenset[str],
    inputs: MeasureInputs,
    run: Run,
    *,
    detection: Exposure | None = None,
    keep_image: bool = True,
) -> Measured:
    """Detect sources and measure the columns.

    DETECT_NITER passes of background and detection: from the second on, the background is
    estimated without the sources and their faint wings.  Measuring does not change the background.

    Parameters
    ----------
    exposure : Exposure
        The image to measure.  Where a PSF is needed and it has none, a Gaussian of
        DEFAULT_FWHM stands in.
    columns : frozenset of str
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
    wanted = Wanted.of(columns, exposure, config, is_dual=is_dual)
    if exposure.psf is None and wanted.uses_psf:
        exposure = replace(exposure, psf=Psf.gaussian(config.characterize.default_fwhm))

    # Detections; beneath them hidden ones, where the field is crowded.
    in_place = not keep_image and not wanted.searches and not is_dual
    found = find_sources(
        exposure, config, inputs, run, detection=detection, in_place=in_place, wanted=columns,
        crowded=_crowds_of(exposure.psf) if wanted.searches else None,
    )  # fmt: skip
    found = replace(found, claimed=None)
    hidden = _search_beneath(exposure, found, config, run) if wanted.searches else None
    exposure = exposure if keep_image or is_dual else exposure.without_image()
    noise = measure_noise(found, hidden, columns, run, of_beam=exposure.beam is not None)
    if hidden is not None and hidden.wide is not None:
        found = replace(found, plane=hidden.wide, detection_plane=hidden.wide)
        exposure = replace(exposure, psf=hidden.psf)
    rests_on = _support(found, config, is_dual=is_dual)

    # What needs no PSF; hidden stars are measured where the others are taken away.
    threshold = analysis_threshold(
        config.extraction, found.plane.background.sigma, inputs.pixel_scale
    )
    needed = columns | {"FLUX_APER", "FLUXERR_APER"} if columns & APERCOR_COLUMNS else columns
    if wanted.psf and "FLUX_AUTO" in columns:
        needed |= {"KRON_RADIUS"}  # tells which of them have light beneath the sources in them
    pixels = PixelColumns(exposure, threshold, found.taps, config, needed, inputs, run)
    sources = pixels.measure(found.plane, found.detection_plane, found.detections)
    found, room = _without_labels(found, hidden)
    if wanted.psf:
        found, hidden = _with_noise_planes(found, hidden, room, run)
    del room
    found, sources = _with_hidden(pixels, found, hidden, sources, run)
    sources, errors = with_errors_of_apertures(
        sources, noise, found.plane.background, exposure.detector.gain
    )
    sources = with_mask_flags(sources, exposure, found.detections, run)

    # The PSF, then galaxies, fitted to all sources.
    about_psf = ""
    if wanted.uses_psf:
        exposure, about_psf = compared(exposure, found, config, run)
    fits = SourceFits(
        exposure, found, hidden, detection, noise.of_points, config, wanted, run, keep_image
    )
    fitted = fits.fit(sources, errors)
    exposure = fitted.exposure
    sources = with_psf_flags(
        fitted.sources, exposure, found, run, uses_psf=wanted.uses_psf,
        is_doubtful=bool(about_psf),
    )  # fmt: skip

    # Whether all this can be believed.
    sources, rows = _of_catalogue(sources, found, hidden, fitted.lost, config)
    flags, about_sky = sources["FLAGS_SKY"], _about_sky(found, hidden)
    doubts = doubts_about(
        exposure, found, flags, rests_on, about_psf, about_sky, _chains(sources, hidden), rows, run,
        detection=detection,
    )  # fmt: skip
    sources = with_flags(sources, doubts.flags)
    if exposure.exposed is not None:
        detections = found.detections
        sources = over_exposure(sources, exposure.exposed, detections.x, detections.y)
    sources = _selected(sources, hidden, rows)
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
        residual=fitted.residual,
        models=fitted.models,
        seen_twice=doubts.seen_twice,
        about_sky=about_sky,
        metrics=_metrics(sources, found, rests_on),
        run=run,
        status=Status.FALLBACK if doubts.texts else Status.COMPLETE,
        reason="; ".join(doubts.texts),
    )


def _crowds_of(psf: Psf | None) -> Callable[[Detections], bool] | None:
    """Return what tells crowds of stars of a PSF."""
    if psf is None:
        return None
    from skyextract.stages.crowded.cells import are_many

    return partial(are_many, fwhm=psf.fwhm)


def _support(found: Found, config: Config, *, is_dual: bool) -> Support:
    """Return what the background rests on."""
    back_type = of_image(config.background.back_type, 1 if is_dual else 0)
    return support(
        found.detections, found.plane.bad, found.plane.n_bad, level_given=back_type == "MANUAL"
    )


def _of_catalogue(
    sources: Catalog, found: Found, hidden: Hidden | None, lost: I8, config: Config
) -> tuple[Catalog, I8]:
    """Return the sources, and which of them have a row.

    Who shares a footprint is flagged.  Sources that faded, faint pieces of nebulous light (`lost`),
    and what association leaves out have no row.
    """
    faded = None if hidden is None else distinct(np.concatenate([hidden.faded, lost]))
    rows = selected_rows(sources, config.assoc.assocselec_type, faded)
    # In a crowd nearly all share one, and what fits tell of them is what counts.
    if hidden is not None and hidden.local is not None:
        from skyextract.stages.crowded.rows import with_shared_light_flagged

        sources = with_shared_light_flagged(sources, found.detections, hidden, rows)
    return sources, rows


def _selected(sources: Catalog, hidden: Hidden | None, rows: I8) -> Catalog:
    """Return the sources of these rows, numbered."""
    if hidden is not None:
        from skyextract.stages.crowded.likely import with_likely_fluxes

        sources = with_likely_fluxes(sources, hidden)
    if rows.size < sources.n_rows:
        sources = sources.take(rows)
        sources = sources.with_columns(NUMBER=np.arange(1, rows.size + 1, dtype=np.int32))
    return sources


def _metrics(sources: Catalog, found: Found, rests_on: Support) -> dict[str, float]:
    """Return the numbers of the JSON summary."""
    detections = found.detections
    return {
        "n_sources": sources.n_rows,
        **counts_of_flags(sources),
        "iterations": found.passes,
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


def _chains(sources: Catalog, hidden: Hidden | None) -> Marked | None:
    """Return light that the search beneath others has taken apart into sources."""
    if hidden is None:
        return None
    from skyextract.stages.chains import find_chains

    return find_chains(hidden.x, hidden.y, sources["FLUX_PSF"], hidden.psf.fwhm)


def _without_labels(found: Found, hidden: Hidden | None) -> tuple[Found, F4 | None]:
    """Let the segmentation go, which can be drawn anew, but for that of crowds.

    Its memory is given back too, to be written to, where nobody else has it.
    """
    room = None
    if hidden is None or hidden.is_of_companions:
        labels = found.detections.labels
        room = None if labels is None or hidden is not None else labels.view(np.float32)
        found = replace(found, detections=found.detections.without_segmentation())
    return_unused_memory(found.plane.subtracted.size)
    return found, room


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
    found: Found, hidden: Hidden | None, room: F4 | None, run: Run
) -> tuple[Found, Hidden | None]:
    """Return the planes with the variance of every pixel, which fits weight by."""
    plane = found.plane.with_noise(run, out=room)
    single = found.plane is found.detection_plane
    found = replace(found, plane=plane, detection_plane=plane if single else found.detection_plane)
    if hidden is not None and hidden.is_of_companions:
        hidden = replace(hidden, plane=plane)
    return found, hidden
