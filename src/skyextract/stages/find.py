"""Find: background and detection, iterated, up to the sources and what they were found with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from skyextract.datamodel.arrays import F4, U1
from skyextract.datamodel.exposure import Exposure
from skyextract.errors import ConfigError
from skyextract.record import record
from skyextract.run import return_freed_memory
from skyextract.settings.steps import Step, is_done
from skyextract.stages.background.negatives import has_negatives
from skyextract.stages.background.planes import prepare_plane
from skyextract.stages.detection.detect import detect
from skyextract.stages.detection.filters import builtin_filter, parse_filter
from skyextract.stages.detection.footprints import MIN_GROWTH, source_mask
from skyextract.stages.detection.matched import matched_filter
from skyextract.stages.detection.scan import scan_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from skyextract.datamodel.detections import Detections
    from skyextract.run import Run
    from skyextract.settings.keywords import Config
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.detection.matched import MatchedFilter
    from skyextract.stages.measurement.sources import MeasureInputs


@record
class Found:
    """Detections, and what they were found with.

    Attributes
    ----------
    plane, detection_plane : Plane
        Measurement and detection image; the same in single-image mode.
    detections : Detections
    taps : (h, w) float32 or None
        Detection filter, if it is a convolution kernel.
    matched : MatchedFilter or None
        Detection filter, if it is the PSF.
    claimed : (ny, nx) uint8 or None
        Pixels of sources of earlier passes (not 0).
    """

    plane: Plane
    detection_plane: Plane
    detections: Detections
    taps: F4 | None
    matched: MatchedFilter | None
    claimed: U1 | None = None


def find_sources(
    exposure: Exposure,
    config: Config,
    inputs: MeasureInputs,
    run: Run,
    *,
    detection: Exposure | None = None,
    in_place: bool = False,
    wanted: Collection[str] = (),
) -> Found:
    """Detect sources: DETECT_NITER passes of background and detection.

    Parameters
    ----------
    exposure : Exposure
        The image to measure, with a PSF if that is the filter.
    detection : Exposure, optional
        The image to detect on, as in `measure`; without a PSF it is filtered by that of
        `exposure`.
    in_place : bool
        The last plane takes the memory of the exposure's pixels, which are lost.
    wanted : collection of str
        Columns: where the filter is not the PSF, SExtractor's order of the rows depends on them.

    Raises
    ------
    ConfigError
        A threshold or a filter does not make sense.
    """
    extraction = config.extraction
    by_psf = extraction.filters_by_psf
    taps = None if by_psf else _filter(config, inputs)
    matched = None
    psf = exposure.psf if detection is None or detection.psf is None else detection.psf
    if by_psf and psf is not None:
        matched = matched_filter(psf, exposure.shape)

    filter_height = 0 if taps is None else taps.shape[0]
    scan = scan_of(config, exposure.shape[0], filter_height, wanted, inputs.sizes)

    negatives = False
    # An earlier measurement left its last background, which is not that it began with.
    measured = is_done(exposure.header, Step.MEASURE)
    first = None if measured else exposure.background
    if measured:
        run.tell(
            f"{exposure.name} was measured before: where a crowd refined its PSF, or cosmic rays "
            "were repaired, numbers differ by parts of their errors"
        )

    def search(plane: Plane, pixels: F4, claimed: U1 | None, *, last: bool) -> Detections:
        return_freed_memory(pixels.size)
        variance = plane.variance
        if matched is not None:
            variance = plane.filter_variance(matched.core_radius, run)
        return detect(
            pixels,
            # What the background is estimated without are pixels, whosever they are.
            extraction if last else replace(extraction, deblend_nthresh=1, clean=False),
            run,
            sigma=plane.background.sigma,
            taps=taps,
            psf=matched,
            variance=variance,
            mesh=plane.background if matched and plane.variance is None else None,
            bad=plane.holes,
            claimed=claimed,
            skewness=plane.background.skewness,
            gain=(detection or exposure).detector.gain,
            pixel_scale=inputs.pixel_scale,
            grow=last,
            scan=scan,
            structured=not negatives,
        )

    def find(claimed: U1 | None, *, last: bool) -> tuple[Plane, Plane, Detections]:
        plane = prepare_plane(
            exposure, config, run, index=0 if detection is None else 1, sources=claimed,
            known=None if last else first, in_place=in_place and last,
        )  # fmt: skip
        detection_plane = plane
        if detection is not None:
            detection_plane = prepare_plane(
                detection, config, run, sources=claimed,
                known=None if last else detection.background,
            )  # fmt: skip
        found = search(detection_plane, detection_plane.subtracted, claimed, last=last)
        return plane, detection_plane, found

    def claim(claimed: U1 | None) -> U1:
        nonlocal negatives
        _, plane, found = find(claimed, last=False)
        growth = max(MIN_GROWTH, matched.core_radius if matched else 0.0)
        mask = source_mask(found, plane.background.sigma, run, growth)
        negatives = has_negatives(plane.subtracted, plane.background.sigma, run)
        if negatives:
            found = search(plane, -plane.subtracted, claimed, last=False)
            mask |= source_mask(found, plane.background.sigma, run, growth)
        return mask

    claimed = None
    for _ in range(extraction.detect_niter - 1):
        claimed = claim(claimed)
    plane, detection_plane, found = find(claimed, last=True)
    return Found(plane, detection_plane, found, taps, matched, claimed)


def _filter(config: Config, inputs: MeasureInputs) -> F4 | None:
    """Return the convolution kernel of FILTER and FILTER_NAME, which is not PSF."""
    extraction = config.extraction
    if not extraction.filter:
        return None
    if inputs.filter is not None:
        return parse_filter(inputs.filter, extraction.filter_name)
    builtin = builtin_filter(extraction.filter_name)
    if builtin is None:
        raise ConfigError(f"FILTER_NAME = {extraction.filter_name}: no file, no built-in filter")
    return builtin
