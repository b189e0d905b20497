"""The overscan level of an amplifier, by row (or column), and its noise."""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8
from skyextract.datamodel.noise import median
from skyextract.datamodel.rawframe import Amplifier
from skyextract.errors import ImageError
from skyextract.kernels.isr import overscan as kernels
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.record import record
from skyextract.settings.keywords import Isr
from skyextract.stages.isr.leaks import without_leaks

_CLIP = 3.0
"""Lines that lie this far off (sigma) do not count in the polynomial."""

_TRAIL_LINES, _TRAIL = 128, 0.5
"""Lines that tell the level of each column, and sigma by which one has to be off."""

_SAMPLE = 1 << 14
"""So many pixels tell which ones lie far off."""


@record
class Overscan:
    """Overscan of one amplifier, in the order of its place in the assembled frame.

    Attributes
    ----------
    rows, columns : (height,), (width,) float64
        Levels in ADU, to be added.
    level : float
        Median of the overscan; NaN without one.
    noise : float
        Standard deviation of its pixels (robust, ADU); NaN without one.
    variance : float
        Variance of the level that is subtracted, ADU^2.
    n_leaked : int
        Lines into which light had leaked, which have the level of those about them.
    leaked : float
        How far they lay above that at most, ADU.
    """

    rows: F8
    columns: F8
    level: float = math.nan
    noise: float = math.nan
    variance: float = 0.0
    n_leaked: int = 0
    leaked: float = 0.0


def measure_overscan(plane: F4, amplifier: Amplifier, isr: Isr) -> Overscan:
    """Measure the overscan of an amplifier.

    ROW_MEDIAN takes the median of each row of an overscan beside the data (of each column of
    one above or below), but where light leaked into it; POLY fits a Legendre polynomial to these
    medians; MEDIAN and MEAN take one number.

    Parameters
    ----------
    plane : (ny, nx) float32
        Raw plane of the amplifier.
    isr : Isr
        ISR_OVERSCAN, ISR_OVERSCAN_DEGREE.

    Raises
    ------
    ImageError
        The overscan has no value, or does not cover the rows of the data.
    """
    data, bias = amplifier.data, amplifier.bias
    rows, columns = np.zeros(data.height), np.zeros(data.width)
    if bias is None or isr.isr_overscan == "NONE":
        return Overscan(rows, columns)
    beside = bias.x1 <= data.x0 or bias.x0 >= data.x1
    pixels = np.ascontiguousarray(plane[bias.slices] if beside else plane[bias.slices].T)
    lines = np.empty(len(pixels))
    kernels.line_medians(pixels, lines)
    known = np.isfinite(lines)
    if not known.any():
        raise ImageError(f"amplifier {amplifier.name}: no overscan pixel of {bias} has a value")
    if not known.all():
        lines[~known] = _median(pixels)
    level = float(np.median(lines))
    noise = _noise(pixels, lines, level)
    if isr.isr_overscan in ("MEDIAN", "MEAN"):
        of_medians = isr.isr_overscan == "MEDIAN"
        rows += _median(pixels) if of_medians else float(np.mean(_finite(pixels)))
        variance = _median_factor(of_medians) * noise**2 / pixels.size
        return Overscan(rows, columns, level, noise, variance)
    first, last = (data.y0, data.y1) if beside else (data.x0, data.x1)
    start, end = (bias.y0, bias.y1) if beside else (bias.x0, bias.x1)
    if start > first or end < last:
        raise ImageError(
            f"amplifier {amplifier.name}: BIASSEC {bias} does not cover the "
            f"{'rows' if beside else 'columns'} of TRIMSEC {data}; use ISR_OVERSCAN MEDIAN"
        )
    lines = lines[first - start : last - start]
    variance = _median_factor(pixels.shape[1] > 2) * noise**2 / pixels.shape[1]
    if isr.isr_overscan == "POLY":
        lines = _smooth(lines, isr.isr_overscan_degree)
        variance *= (isr.isr_overscan_degree + 1) / len(lines)
    part = plane[data.slices]
    found = without_leaks(lines, part if beside else part.T, noise)
    lines = found.lines
    step_y, step_x = amplifier.step
    if beside:
        rows += lines[::step_y]
    else:
        columns += lines[::step_x]
    return Overscan(rows, columns, level, noise, variance, found.number, found.largest)


def _median_factor(of_medians: bool) -> float:
    """Return the variance of a median against that of a mean."""
    return math.pi / 2.0 if of_medians else 1.0


def _noise(pixels: F4, lines: F8, level: float) -> float:
    """Return the robust scatter about the level of each line; quantisation is in it."""
    width = pixels.shape[1]
    narrow = width < 4  # two or three pixels are too close to their own median
    if not narrow:
        pixels = _without_trail(pixels, lines)
    centred = np.empty(pixels.size, np.float32)
    n = kernels.deviations(pixels, np.full(len(lines), level) if narrow else lines, centred)
    step = n // _SAMPLE | 1  # odd: pixels of all columns
    mad = MAD_TO_SIGMA * median(np.abs(centred[:n:step]))
    scatter = kernels.scatter_within(centred[:n], max(5.0 * mad, 1.0))
    return scatter * (1.0 if narrow else math.sqrt(width / (width - 1.0)))


def _without_trail(pixels: F4, lines: F8) -> F4:
    """Return the pixels without a level of each column: charge that was deferred trails there."""
    rows = slice(None, None, max(1, len(lines) // _TRAIL_LINES))
    some = pixels[rows] - lines[rows, None]
    if len(some) < _TRAIL_LINES // 2 or not np.isfinite(some).all():
        return pixels
    # Lines side by side in memory: numpy sorts these in vectors.
    ordered = np.sort(np.ascontiguousarray(some.T), axis=1)
    trail = 0.5 * (ordered[:, (len(some) - 1) // 2] + ordered[:, len(some) // 2])
    # (what is smaller would add a few per cent)
    limit = float(np.abs(trail).max()) / (_TRAIL * MAD_TO_SIGMA)
    is_seen = _median_is_below(np.abs(some - trail), limit)
    return pixels - trail.astype(np.float32) if is_seen else pixels


def _median_is_below(values: F8, limit: float) -> bool:
    """Tell whether the median is below a limit; to count is done sooner than to sort."""
    number = int(np.count_nonzero(values < limit))
    if 2 * number == values.size:
        return median(values) < limit
    return 2 * number > values.size


def _finite(pixels: F4) -> F8:
    return pixels[np.isfinite(pixels)].astype(np.float64)


def _median(pixels: F4) -> float:
    return median(_finite(pixels))


def _smooth(lines: F8, degree: int) -> F8:
    """Fit a Legendre polynomial along the lines, leaving out what lies far off."""
    x = np.linspace(-1.0, 1.0, len(lines))
    degree = min(degree, len(lines) - 1)
    good = np.ones(len(lines), dtype=np.bool_)
    fit = lines
    for _ in range(5):
        fit = np.polynomial.Legendre.fit(x[good], lines[good], degree, domain=(-1, 1))(x)
        residual = lines - fit
        sigma = MAD_TO_SIGMA * float(np.median(np.abs(residual[good])))
        kept = np.abs(residual) <= _CLIP * sigma if sigma > 0.0 else good
        if (kept == good).all() or kept.sum() <= degree + 1:
            break
        good = kept
    return np.asarray(fit)
