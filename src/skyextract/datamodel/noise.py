"""Noise: of a sample of the pixels, and how that of a pixel goes with its neighbours'."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from skyextract.datamodel.arrays import F4, F8, AnyArray
from skyextract.kernels.values import MAD_TO_SIGMA, MAX_VARIANCE
from skyextract.record import record

MAX_SAMPLE = 1_000_000
"""About as many pixels tell what is typical of an image."""

_QUICKLY_SORTED = 2000
"""Up to so many numbers, sorting all of them is quicker than to part them."""


def sparse(shape: tuple[int, ...], most: int = MAX_SAMPLE) -> tuple[slice, slice]:
    """Return the slices [y, x] of a grid of about `most` pixels, or of all if they are fewer."""
    step = slice(None, None, max(1, math.isqrt(shape[0] * shape[1] // most)))
    return step, step


def median(values: AnyArray) -> float:
    """Return the median of all numbers of an array, NaN of nothing and with a NaN.

    That of `numpy.median`, which imports `numpy.ma` when it is called first.
    """
    n = values.size
    if n == 0:
        return math.nan
    low, high = (n - 1) // 2, n // 2
    ordered = values.flatten()  # not by numpy's functions: these take longer than a short sort
    if n <= _QUICKLY_SORTED:
        ordered.sort()
    else:
        # At one place: for two, numpy has no vector instructions and takes ten times as long.
        ordered.partition(high)
        ordered[-1] = ordered[high:].max()
        ordered[low] = ordered[: low + 1].max()
    if math.isnan(ordered[-1]):  # NaN comes last
        return math.nan
    if ordered.dtype.kind != "f":
        return 0.5 * (float(ordered[low]) + float(ordered[high]))
    return float((ordered[low] + ordered[high]) / 2)


def medians(rows: F4 | F8) -> AnyArray:
    """Return the median of each row, (n, m >= 1); NaN with a NaN.

    Those of `numpy.median`, which takes longer for its checks than for short rows.
    """
    n = rows.shape[1]
    ordered = rows.copy()
    ordered.sort(axis=1)
    middles: AnyArray = (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / rows.dtype.type(2)
    middles[np.isnan(ordered[:, -1])] = math.nan  # which comes last
    return middles


def quantile_of_sorted(ordered: AnyArray, share: float) -> float:
    """Return the value below which a share of sorted numbers lies, interpolated between two.

    That of `numpy.quantile`, which parts them once more.
    """
    at = share * (ordered.size - 1)
    low = min(int(at), max(ordered.size - 2, 0))
    first, second = float(ordered[low]), float(ordered[min(low + 1, ordered.size - 1)])
    return first + (at - low) * (second - first)


def quantiles(values: AnyArray, shares: Sequence[float]) -> list[float]:
    """Return quantiles of numbers, which are not NaN; the shares of them rise.

    Those that `quantile_of_sorted` has of all, for a fraction of the time of sorting.
    """
    part, before, found = values, 0, []
    for share in shares:
        at = share * (values.size - 1)
        low = min(int(at), max(values.size - 2, 0))
        high = min(low + 1, values.size - 1)
        # At one place, as in `median`.
        part = np.partition(part, high - before)
        last = int(np.argmax(part[: low - before + 1]))
        part[[last, low - before]] = part[[low - before, last]]
        first, second = float(part[low - before]), float(part[high - before])
        found.append(first + (at - low) * (second - first))
        part, before = part[low - before :], low  # the next one is in there
    return found


def pixel_noise(image: AnyArray) -> float:
    """Return the noise of a pixel from the differences of neighbours in a row."""
    steps = np.diff(image.astype(np.float64), axis=1)
    return robust_sigma(steps.ravel()) / math.sqrt(2.0)


def robust_sigma(values: F4 | F8) -> float:
    """Return 1.48 times the median absolute deviation; NaN of nothing."""
    if not len(values):
        return math.nan
    return MAD_TO_SIGMA * median(np.abs(values - median(values)))


def typical_noise(variance: F4) -> float:
    """Return the noise of the median pixel with information; 0 if there is none."""
    sample = variance[sparse(variance.shape, 10_000)]
    good = sample[(sample > 0.0) & (sample < MAX_VARIANCE)]
    return math.sqrt(median(good)) if good.size else 0.0


@record
class NoiseCorrelation:
    """Autocovariance of the background noise, in units of the background variance.

    Attributes
    ----------
    lags : (2 k + 1, 2 k + 1) float64
        Covariance of two pixels by their distance [dy, dx], -k to k; 1 at the centre and 0
        elsewhere where the variance is right and the pixels are independent.
    point_source : float
        Variance of the flux of a matched filter, over that of independent pixels.
    """

    lags: F8
    point_source: float = 1.0

    def aperture(self, area: F8) -> F8:
        """Return the variance of a sum over a circle, over that of independent pixels.

        The sum over lags d of the covariance times the area that the circle has in common
        with itself moved by d.

        Parameters
        ----------
        area : (...) float64
            Pixels; not more than 1 counts as a single pixel.
        """
        half = self.lags.shape[0] // 2
        area = np.maximum(np.asarray(area, np.float64), 1.0)
        radius = np.sqrt(area / math.pi)
        factor = np.zeros_like(area)
        for j, i in np.argwhere(self.lags).tolist():
            t = np.minimum(math.hypot(i - half, j - half) / (2.0 * radius), 1.0)
            common = (np.arccos(t) - t * np.sqrt(1.0 - t * t)) * 2.0 / math.pi
            factor += self.lags[j, i] * common
        # what anticorrelated noise leaves is never nothing
        positive: F8 = np.maximum(factor, 0.1)
        return positive


@record
class NoisyLines:
    """By how much the noise of columns (nx,) and of rows (ny,) is higher, float32: 1 and more."""

    columns: F4
    rows: F4

    def divide(self, filtered: F4) -> None:
        """Divide a filtered image by it, in place."""
        for x in np.flatnonzero(self.columns > 1.0):
            filtered[:, x] /= self.columns[x]
        for y in np.flatnonzero(self.rows > 1.0):
            filtered[y] /= self.rows[y]
