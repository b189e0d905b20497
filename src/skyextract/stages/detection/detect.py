"""Detection: filter, threshold, connect, deblend, clean.

`detect` does it as SExtractor does; what all ways of detection share stands here, too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, I4, I8, U1, whole
from skyextract.datamodel.detections import Detections
from skyextract.errors import ConfigError
from skyextract.kernels.detection import filter as filters
from skyextract.kernels.detection.pixels import Pixels, Runs
from skyextract.kernels.detection.queue import Scan
from skyextract.run import Run
from skyextract.settings.keywords import Extraction, of_image
from skyextract.stages.detection.extract import extract

if TYPE_CHECKING:
    pass

_PART = 1 << 16
"""Pixels above the threshold that one thread looks at, at least."""
_NO_BAD = np.zeros((1, 1), np.uint8)
_NO_PLANE = np.zeros((1, 1), np.float32)
_NO_TAPS = np.ones((1, 1), np.float32)


def detection_threshold(config: Extraction, sigma: float, pixel_scale: float = 0.0) -> float:
    """Return DETECT_THRESH in image units; the background noise `sigma` is one such unit.

    Parameters
    ----------
    sigma : float
        Background noise, image units.
    pixel_scale : float
        Arcseconds, for a threshold given as surface brightness and zero point.

    Raises
    ------
    ConfigError
        If the threshold is not positive.
    """
    kind = of_image(config.thresh_type, 0)
    return _threshold(config.detect_thresh, kind, sigma, pixel_scale, "DETECT_THRESH")


def analysis_threshold(config: Extraction, sigma: float, pixel_scale: float = 0.0) -> float:
    """Return ANALYSIS_THRESH in image units, as `detection_threshold`."""
    kind = of_image(config.thresh_type, 1)
    return _threshold(config.analysis_thresh, kind, sigma, pixel_scale, "ANALYSIS_THRESH")


def _threshold(
    values: tuple[float, ...], kind: str, sigma: float, pixel_scale: float, name: str
) -> float:
    if len(values) > 1:
        difference = values[0] - values[1]
        if abs(difference) > 70.0:
            raise ConfigError(f"{name} = {values[0]},{values[1]}: too far apart")
        if pixel_scale <= 0.0:
            raise ConfigError(f"{name} in mag/arcsec2 needs a pixel scale (PIXEL_SCALE or a WCS)")
        return float(pixel_scale**2 * 10.0 ** (-0.4 * difference))
    threshold = values[0] * (1.0 if kind == "ABSOLUTE" else sigma)
    if not threshold > 0.0:
        raise ConfigError(f"{name} = {values[0]}: must be positive")
    return threshold


def detect(
    image: F4,
    config: Extraction,
    run: Run,
    *,
    sigma: float,
    taps: F4 | None = None,
    variance: F4 | None = None,
    bad: U1 | None = None,
    pixel_scale: float = 0.0,
    scan: Scan | None = None,
) -> Detections:
    """Detect, deblend and clean sources as SExtractor does.

    Parameters
    ----------
    image : (ny, nx) float32
        Background-subtracted detection image, 0 at bad pixels.
    config : Extraction
        DETECT_*, THRESH_*, DEBLEND_*, CLEAN* keywords.
    sigma : float
        Background noise of the frame (`BackgroundMap.sigma`): the unit of the threshold
        without a variance map.
    taps : (height, width) float32 or None
        Convolution kernel; None: no filter.
    variance : (ny, nx) float32 or None
        Background variance from a weight map, image units squared: a relative threshold is in
        units of the noise of each pixel.
    bad : (ny, nx) uint8 or None
        Pixels without signal (not 0).
    pixel_scale : float
        Arcseconds, for a threshold in mag/arcsec2.
    scan : Scan or None
        The sources are in SExtractor's order, see `scan_of`.

    Raises
    ------
    ConfigError
        If the threshold is not positive.
    """
    relative = len(config.detect_thresh) == 1 and of_image(config.thresh_type, 0) != "ABSOLUTE"
    local = variance is not None and relative
    threshold = detection_threshold(config, 1.0 if local else sigma, pixel_scale)
    pixels, runs = above_threshold(
        image, image, run, taps=taps, bad=bad, variance=variance if local else None,
        threshold=threshold,
    )  # fmt: skip
    found = extract(pixels, runs, image.shape, config, run, threshold=threshold, scan=scan)
    return with_unclaimed(found, pixels, run)


def with_unclaimed(found: Detections, pixels: Pixels, run: Run) -> Detections:
    """Add the pixels above the threshold that no source has."""
    labels, width = found.segmentation.ravel(), found.segmentation.shape[1]

    def part(span: tuple[int, int]) -> I8:
        index = pixels.y[slice(*span)].astype(np.int64)
        index *= width
        index += pixels.x[slice(*span)]
        unclaimed: I8 = index[labels[index] == 0]
        return unclaimed

    spans = run.bands(len(pixels.x), least=_PART)
    return replace(found, unclaimed=np.concatenate(run.map(part, spans)))


def filter_image(image: F4, taps: F4, bad: U1 | None, run: Run) -> F4:
    """Return the image as the detection filter makes it (check image FILTERED)."""
    out = whole(image.shape, np.float32)
    kernel = _row_filter(taps, bad)

    def rows(band: tuple[int, int]) -> None:
        filters.filter_rows(image, kernel, *band, out)

    run.map(rows, run.bands(image.shape[0]))
    return out


def above_threshold(
    source: F4,
    image: F4,
    run: Run,
    *,
    threshold: float,
    taps: F4 | None = None,
    bad: U1 | None = None,
    variance: F4 | None = None,
) -> tuple[Pixels, Runs]:
    """Filter and threshold in bands of rows.

    Parameters
    ----------
    source : (ny, nx) float32
        What is filtered and compared to the threshold.
    image : (ny, nx) float32
        What the pixels have their values of.
    threshold : float
        In the unit of the filtered source, or of the noise of each pixel.
    taps, bad
        As of `detect`.
    variance : (ny, nx) float32 or None
        The threshold is in units of its square root.
    """
    ny, nx = image.shape
    kernel = _row_filter(taps, bad)
    local = variance is not None

    def rows(band: tuple[int, int]) -> tuple[I4, F4]:
        # room for the worst case: memory that is not written to is never taken
        n_rows = band[1] - band[0]
        runs = np.empty((3, n_rows * ((nx + 1) // 2)), np.int32)
        values = np.empty((3, n_rows * nx), np.float32)
        n_runs, n = filters.threshold_rows(
            source, image, kernel, _NO_PLANE if variance is None else variance, local,
            np.float32(threshold), *band, runs, values,
        )  # fmt: skip
        return runs[:, :n_runs], values[: 3 if local else 2, :n]

    found = run.map(rows, run.bands(ny))
    ends = np.cumsum([[0, 0], *((own.shape[1], some.shape[1]) for own, some in found)], axis=0)
    all_runs = np.empty((3, ends[-1, 0]), np.int32)
    values = np.empty((3 if local else 2, ends[-1, 1]), np.float32)
    x, y = np.empty((2, ends[-1, 1]), np.int32)

    def join(k: int) -> None:
        of_runs, of_pixels = (slice(*ends[k : k + 2, axis]) for axis in (0, 1))
        all_runs[:, of_runs], values[:, of_pixels] = found[k]
        own_y, own_first, own_last = all_runs[:, of_runs]
        length = own_last - own_first + 1
        begin = np.cumsum(length, dtype=np.int32) - length
        x[of_pixels] = np.repeat(own_first - begin, length)
        x[of_pixels] += np.arange(length.sum(), dtype=np.int32)
        y[of_pixels] = np.repeat(own_y, length)

    run.map(join, range(len(found)))
    run_y, run_first, run_last = all_runs
    run_pixel = np.zeros(run_y.size + 1, np.int64)
    np.cumsum(run_last - run_first + 1, out=run_pixel[1:])
    limit = values[2] if local else np.zeros(1, np.float32)
    return (
        Pixels(x, y, values[0], values[1], limit, local),
        Runs(run_y, run_first, run_last, run_pixel),
    )


def _row_filter(taps: F4 | None, bad: U1 | None) -> filters.RowFilter:
    """Return the convolution of a detection filter, for kernels."""
    return filters.RowFilter(
        _NO_TAPS if taps is None else taps,
        taps is not None,
        _NO_BAD if bad is None else bad,
        bad is not None,
    )
