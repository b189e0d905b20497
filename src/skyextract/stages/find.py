"""Find: background and detection, iterated, up to the sources and what they were found with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, U1
from skyextract.datamodel.beam import filter_of_beam
from skyextract.datamodel.exposure import Exposure
from skyextract.errors import ConfigError
from skyextract.record import record
from skyextract.run import return_unused_memory
from skyextract.settings.steps import Step, is_done
from skyextract.stages.background.negatives import has_negatives
from skyextract.stages.background.planes import prepare_plane
from skyextract.stages.detection.detect import detect
from skyextract.stages.detection.filters import builtin_filter, parse_filter
from skyextract.stages.detection.footprints import MIN_GROWTH, source_mask
from skyextract.stages.detection.matched import matched_filter
from skyextract.stages.detection.scan import scan_of
from skyextract.stages.detection.withpsf import PixelNoise, detect_with_psf

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from skyextract.datamodel.background import BackgroundMap
    from skyextract.datamodel.detections import Detections
    from skyextract.kernels.detection.queue import Scan
    from skyextract.run import Run
    from skyextract.settings.keywords import Config
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.detection.matched import MatchedFilter
    from skyextract.stages.measurement.sources import MeasureInputs

ABOVE, FULL = 2.0, 0.1
"""A frame may be crowded where more than this share of its pixels is so many sigma above the sky:
noise is in two of a hundred."""
EVERY = 4
"""Of so many rows one is looked at."""


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
    passes : int
        Of background and detection.
    """

    plane: Plane
    detection_plane: Plane
    detections: Detections
    taps: F4 | None
    matched: MatchedFilter | None
    claimed: U1 | None = None
    passes: int = 1


def find_sources(
    exposure: Exposure,
    config: Config,
    inputs: MeasureInputs,
    run: Run,
    *,
    detection: Exposure | None = None,
    in_place: bool = False,
    wanted: Collection[str] = (),
    crowded: Callable[[Detections], bool] | None = None,
) -> Found:
    """Detect sources: DETECT_NITER passes of background and detection.

    In a crowd there is one.  Its sources cover nearly all pixels, so that the next one would have
    few for the sky, and it is what the fits of all of them leave that shows sky and noise.

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
    crowded : callable, optional
        Tells whether detections are a crowd, beneath which others are searched.

    Raises
    ------
    ConfigError
        A threshold or a filter does not make sense.
    """
    search = _prepare(exposure, detection, config, inputs, run, wanted)
    claimed = None
    for number in range(config.extraction.detect_niter - 1):
        planes = search.planes(claimed, last=False)
        plane = planes[1]
        if number == 0 and crowded is not None and is_full(plane, run):
            found = search.found(None, planes=planes)
            if crowded(found.detections):
                return found
        del planes
        claimed = search.claim(plane, claimed)
        del plane  # before there is another: two of them were the peak of the memory
    found = search.found(claimed, in_place=in_place)
    return replace(found, passes=config.extraction.detect_niter)


def is_full(plane: Plane, run: Run) -> bool:
    """Tell whether so many pixels are above the sky that a frame may be crowded."""
    rows = plane.subtracted[::EVERY]
    limit = np.float32(ABOVE * plane.background.sigma)

    def number(band: tuple[int, int]) -> int:
        return int(np.count_nonzero(rows[slice(*band)] > limit))

    return sum(run.map(number, run.bands(len(rows)))) > FULL * rows.size


def _prepare(
    exposure: Exposure,
    detection: Exposure | None,
    config: Config,
    inputs: MeasureInputs,
    run: Run,
    wanted: Collection[str],
) -> _Search:
    """Choose the filter and the order in which rows are scanned."""
    by_psf = config.extraction.filters_by_psf
    taps = None if by_psf else _filter(config, inputs)
    psf = exposure.psf if detection is None or detection.psf is None else detection.psf
    if psf is not None and exposure.beam:
        psf = filter_of_beam(psf)
    matched = matched_filter(psf, exposure.shape) if by_psf and psf is not None else None
    filter_height = 0 if taps is None else taps.shape[0]
    scan = scan_of(config, exposure.shape[0], filter_height, wanted, inputs.sizes)
    measured = is_done(exposure.header, Step.MEASURE)
    if measured:
        run.tell(
            f"{exposure.name} was measured before: where a crowd refined its PSF, or cosmic rays "
            "were repaired, numbers differ by parts of their errors"
        )
    # An earlier measurement left its last background, which is not that it began with.
    first = None if measured else exposure.background
    return _Search(exposure, detection, config, inputs.pixel_scale, run, taps, matched, scan, first)


@record
class _Search:
    """What stays the same from pass to pass.

    Attributes
    ----------
    exposure, detection : Exposure
        The image to measure; that to detect on, None if it is the same.
    taps, matched
        The filter, as in `Found`.
    scan : Scan
        SExtractor's order of the rows.
    first : BackgroundMap or None
        Of the exposure, known before.
    """

    exposure: Exposure
    detection: Exposure | None
    config: Config
    pixel_scale: float
    run: Run
    taps: F4 | None
    matched: MatchedFilter | None
    scan: Scan | None
    first: BackgroundMap | None

    def planes(
        self, claimed: U1 | None, *, last: bool, in_place: bool = False
    ) -> tuple[Plane, Plane]:
        """Take the background off both images; the last time it is estimated anew."""
        plane = prepare_plane(
            self.exposure, self.config, self.run, index=0 if self.detection is None else 1,
            sources=claimed, known=None if last else self.first, in_place=in_place,
        )  # fmt: skip
        if self.detection is None:
            return plane, plane
        return plane, prepare_plane(
            self.detection, self.config, self.run, sources=claimed,
            known=None if last else self.detection.background,
        )  # fmt: skip

    def detect(self, plane: Plane, pixels: F4, claimed: U1 | None, *, last: bool) -> Detections:
        """Detect sources in pixels of the plane, or in their negative."""
        return_unused_memory(pixels.size)
        extraction, matched, background = self.config.extraction, self.matched, plane.background
        if not last:
            # What the background is estimated without are pixels, whosever they are.
            extraction = replace(extraction, deblend_nthresh=1, clean=False)
        if matched is None:
            return detect(
                pixels, extraction, self.run, sigma=background.sigma, taps=self.taps,
                variance=plane.variance, bad=plane.holes, pixel_scale=self.pixel_scale,
                scan=self.scan,
            )  # fmt: skip
        exposure = self.detection or self.exposure
        noise = PixelNoise(
            sigma=background.sigma,
            variance=plane.filter_variance(matched.core_radius, self.run),
            mesh=background if plane.variance is None else None,
            skewness=background.skewness,
            gain=exposure.detector.gain,
            structured=not self.exposure.beam,
            tailed=bool(exposure.denoised),
        )
        return detect_with_psf(
            pixels, matched, noise, extraction, self.run, bad=plane.holes, claimed=claimed,
            mask=exposure.mask if last else None, pixel_scale=self.pixel_scale, grow=last,
        )  # fmt: skip

    def found(
        self, claimed: U1 | None, *, in_place: bool = False,
        planes: tuple[Plane, Plane] | None = None,
    ) -> Found:  # fmt: skip
        """Return the sources of the last pass, on `planes` if they are given."""
        plane, seen = planes or self.planes(claimed, last=True, in_place=in_place)
        detections = self.detect(seen, seen.subtracted, claimed, last=True)
        return Found(plane, seen, detections, self.taps, self.matched, claimed)

    def claim(self, plane: Plane, claimed: U1 | None) -> U1:
        """Return the pixels of sources, also of those below the sky.

        Parameters
        ----------
        plane : Plane
            To detect on.
        claimed : (ny, nx) uint8 or None
            Pixels of sources of earlier passes.
        """
        run, matched = self.run, self.matched
        pixels, sigma = plane.subtracted, plane.background.sigma
        growth = max(MIN_GROWTH, matched.core_radius if matched else 0.0)
        mask = source_mask(self.detect(plane, pixels, claimed, last=False), sigma, run, growth)
        if has_negatives(pixels, sigma, run):
            found = self.detect(plane, -pixels, claimed, last=False)
            mask |= source_mask(found, sigma, run, growth)
        return mask


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
