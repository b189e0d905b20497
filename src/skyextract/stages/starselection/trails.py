"""Find and measure the stars of a trailed image, which a round filter and weight take apart.

Along a trail there are many peaks, and where it is longer than a round weight there is neither a
centre nor a width.  The weight here is elliptical and follows the object along both axes (adaptive
moments, Bernstein & Jarvis 2002, AJ 123, 583, section 3); the image then is smoothed with what
most objects agree on, which leaves one peak per trail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, U2, Bools
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.fourier import fast_size
from skyextract.kernels.psf import moments
from skyextract.kernels.psf.peaks import find_peaks_band
from skyextract.kernels.psf.trails import sum_under
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.record import record
from skyextract.stages.starselection.candidates import PEAK_THRESHOLD, Candidates
from skyextract.stages.starselection.ellipses import (
    axes_of,
    distance2,
    multiplied,
    root_of,
    solved,
    square_of,
    whitened,
)

ELONGATED = 0.5
"""(A - B) / (A + B) of the stars from which they are looked for in this way: one to three."""

MAX_JUDGED, MIN_ALIKE, SHARE_ALIKE = 40, 5, 0.5
"""So many bright objects show whether the image is trailed; number and share of those that must
agree on length, width and direction."""

MANY = 5
"""An object to which so many peaks led has all that it reaches: a huge one has hundreds."""

MAX_FAILED = 20
"""After so many peaks that led to no object, or to a distant one, and half as many that did, the
image has no trails: in stripes, patches and beside a huge object none is found, and every search
for one is long."""

SPAN_SIZE, SPAN_SHAPE = 0.12, 0.12
"""They agree within so much of the median: log10 of the size, and each part of the ellipticity."""

NARROWEST = 0.55
"""Width (sigma, pixels) across of what can be a trail: bad columns are narrower."""

MAX_CANDIDATES = 300
MAX_ITERATIONS, ACCURACY = 40, 2e-3
SAMPLES = 4
"""Pixels per sigma of the minor axis that are summed, at least: of what is wide some tell."""
REACH, CORE = 3.5, 2.0
"""Radii of the weighted sums, and of the pixels that must have data, in sigma of the ellipse."""

FEWEST = 4
"""Pixels of the sums."""

MAX_LENGTH = 100.0
"""Longest trails (sigma, pixels)."""

SAME = 2.0
"""A peak within so many sigma of a higher one is a part of it."""


HALF = 1.5
"""Half the length of a trail in sigma of the Gaussian that it matches, with some margin."""


@record
class Ellipse:
    """Covariance of the Gaussian that most objects match, square pixels."""

    xx: float
    yy: float
    xy: float

    @property
    def matrix(self) -> F8:
        """As a matrix."""
        return np.array([[self.xx, self.xy], [self.xy, self.yy]])

    @property
    def form(self) -> tuple[float, float, float]:
        """Quadratic form (xx, yy, xy) of the elliptical radius, of unit determinant."""
        root = math.sqrt(self.xx * self.yy - self.xy**2)
        return self.yy / root, self.xx / root, -self.xy / root

    @property
    def fwhm(self) -> float:
        """FWHM of a round Gaussian of the same area, pixels."""
        return 2.3548 * math.sqrt(math.sqrt(float(np.linalg.det(self.matrix))))

    @property
    def width(self) -> float:
        """Sigma along the minor axis."""
        return math.sqrt(float(np.linalg.eigvalsh(self.matrix)[0]))

    @property
    def length(self) -> float:
        """Sigma along the major axis."""
        return math.sqrt(float(np.linalg.eigvalsh(self.matrix)[1]))


def common_trail(data: F4, variance: F4, peaks: F8, width: float, min_snr: float) -> Ellipse | None:
    """Return the ellipse that most bright objects agree on; None if the image is not trailed.

    Parameters
    ----------
    data, variance : (ny, nx) float32
        Background-subtracted image and its background variance (1e30: no data).
    peaks : (4, m) float64
        Of a round filter, as in `Candidates`.
    width : float
        FWHM of that filter.
    min_snr : float
        S/N of an object, at least.
    """
    order = np.argsort(-peaks[2], kind="stable")
    found: list[_Object] = []
    n_peaks: list[int] = []
    n_failed = 0
    places = np.zeros((0, 2))
    for peak in peaks[:2, order[: 8 * MAX_JUDGED]].T:
        if (np.abs(places - peak).max(axis=1) < 2.0 * width).any():
            continue
        if _is_part(peak, [thing for thing, n in zip(found, n_peaks, strict=True) if n >= MANY]):
            continue
        start = np.eye(2) * max(width / 2.3548, 0.6) ** 2
        thing = _measure(data, variance, 0.0, peak, start)
        if thing is None or not _is_part(peak, [thing]):
            n_failed += 1
            if n_failed >= MAX_FAILED and n_failed > 2 * len(found):
                return None
            continue
        same = [k for k, other in enumerate(found) if _is_same(thing, other)]
        if not same:
            found.append(thing)
            n_peaks.append(0)
        n_peaks[same[0] if same else -1] += 1
        places = np.vstack([places, peak])
        if len(found) == MAX_JUDGED:
            break
    found = [thing for thing in found if thing.snr >= min_snr]
    if len(found) < MIN_ALIKE:
        return None
    numbers = np.array([thing.shape for thing in found])
    typical = np.median(numbers, axis=0)
    alike = np.abs(numbers[:, 0] - typical[0]) < SPAN_SIZE
    alike &= np.hypot(*(numbers[:, 1:] - typical[1:]).T) < SPAN_SHAPE
    if alike.sum() < max(MIN_ALIKE, SHARE_ALIKE * len(found)):
        return None
    if math.hypot(*typical[1:]) < ELONGATED:
        return None
    matrices = np.array([thing.covariance for thing in found])
    (xx, xy), (_, yy) = np.median(matrices[alike], axis=0)
    ellipse = Ellipse(float(xx), float(yy), float(xy))
    return ellipse if ellipse.width > NARROWEST else None


def find_trails(
    data: F4, variance: F4, mask: U2, *, ellipse: Ellipse, gain: float, min_snr: float
) -> Candidates:
    """Find the peaks of the image smoothed along its trails and measure the bright ones.

    Parameters
    ----------
    data, variance, mask, gain, min_snr
        As of `find_candidates`.
    ellipse : Ellipse
        Of most objects.
    """
    smooth, gather = _smoothed(data, variance, ellipse.matrix)
    shape = data.shape
    xy, height = np.empty((shape[0] * 4, 2), dtype=np.int64), np.empty(shape[0] * 4, np.float32)
    n = find_peaks_band(
        smooth, 0, variance, PEAK_THRESHOLD**2 * gather, 2, 0, shape[0], xy, height
    )  # fmt: skip
    n = min(n, height.size)
    xy, height = xy[:n], height[:n].astype(np.float64)
    kept = _highest(xy.astype(np.float64), height, ellipse.matrix)
    xy, height = xy[kept], height[kept]
    noise = np.sqrt(gather * variance[xy[:, 1], xy[:, 0]].astype(np.float64))
    significance = height / noise
    # A trail ends where its blur does.
    blur = 0.3 + 0.7 * np.sqrt(np.log2(np.maximum(significance, 2.0)))
    radius = HALF * ellipse.length + 2.3548 * ellipse.width * blur
    peaks = np.ascontiguousarray(np.stack([xy[:, 0], xy[:, 1], height, radius]), dtype=float)
    bright = np.flatnonzero(significance > 0.5 * min_snr)
    bright = bright[np.argsort(-height[bright], kind="stable")][:MAX_CANDIDATES]
    bright.sort()
    return _measured(data, variance, mask, gain, ellipse, peaks, bright)


@record
class _Object:
    """The Gaussian that an object matches."""

    x: float
    y: float
    covariance: F8
    flux: float
    snr: float

    @property
    def shape(self) -> tuple[float, float, float]:
        """Log10 of the size, and ellipticity along and at 45 degrees to the axes."""
        root = math.sqrt(float(np.linalg.det(self.covariance)))
        (xx, xy), (_, yy) = self.covariance
        total = xx + yy + 2.0 * root
        # (A - B) / (A + B) = sqrt(e1^2 + e2^2)
        return 0.5 * math.log10(root), float((xx - yy) / total), float(2.0 * xy / total)


def _is_same(one: _Object, other: _Object) -> bool:
    return distance2(other.covariance, one.x - other.x, one.y - other.y) < 1.0


def _is_part(peak: F8, things: Sequence[_Object]) -> bool:
    """Tell whether one of the objects reaches a peak."""
    for thing in things:
        away = distance2(thing.covariance, peak[0] - thing.x, peak[1] - thing.y)
        if away < REACH**2:
            return True
    return False


def _window(centre: F8, reach: tuple[float, float], shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return rows and columns within `reach` (x, y) of a place."""
    x_low, x_high = centre[0] - reach[0], centre[0] + reach[0] + 1.0
    y_low, y_high = centre[1] - reach[1], centre[1] + reach[1] + 1.0
    return (
        slice(max(0, math.floor(y_low)), max(0, min(shape[0], math.ceil(y_high)))),
        slice(max(0, math.floor(x_low)), max(0, min(shape[1], math.ceil(x_high)))),
    )


def _sums(
    data: F4, variance: F4, inverse_gain: float, centre: F8, weight: F8
) -> tuple[float, F8, F8, float] | None:
    """Return flux, mean, covariance of the image under a Gaussian, and the flux's variance.

    Of a wide one over some of the pixels.
    """
    minor = axes_of(weight[0, 0], weight[0, 1], weight[1, 1])[0][0]
    step = max(1, int(math.sqrt(max(minor, 0.0)) / SAMPLES))
    sums = np.empty(7)
    n = sum_under(data, variance, inverse_gain, centre, weight, REACH, step, sums)
    if n < FEWEST or not sums[0] > 0.0:
        return None
    flux = float(sums[0])
    mx, my, xx, yy, xy = (sums[1:6] / flux).tolist()
    xx, yy, xy = xx - mx * mx, yy - my * my, xy - mx * my
    shape = np.array([[xx, xy], [xy, yy]])
    return step**2 * flux, np.array([mx, my]), shape, step**2 * float(sums[6])


def _measure(data: F4, variance: F4, inverse_gain: float, start: F8, weight: F8) -> _Object | None:
    """Iterate centre and ellipse of the weight until they are those of the object."""
    centre = start.astype(np.float64)
    for _ in range(MAX_ITERATIONS):
        sums = _sums(data, variance, inverse_gain, centre, weight)
        if sums is None:
            return None
        flux, mean, covariance, spread = sums
        # In the frame where the weight is round and of unit width: one half if both are equal.
        root = root_of(weight)
        (low, high), angle = axes_of(*whitened(covariance, root))
        low, high = (min(max(v / max(1.0 - v, 1e-3), 0.5), 2.0) for v in (low, high))
        step = np.clip(2.0 * np.array(solved(root, *mean)), -1.0, 1.0)
        weight = multiplied(root, low, high, angle)
        centre += root[0] * step[0], root[1] * step[0] + root[2] * step[1]
        size, _ = axes_of(weight[0, 0], weight[0, 1], weight[1, 1])
        if not 0.3**2 < size[0] <= size[1] < MAX_LENGTH**2:
            return None
        if not (-1.0 < centre[0] < data.shape[1] and -1.0 < centre[1] < data.shape[0]):
            return None
        if max(abs(low - 1.0), abs(high - 1.0)) < ACCURACY and np.abs(step).max() < ACCURACY:
            snr = flux / math.sqrt(spread) if spread > 0.0 else 0.0
            return _Object(float(centre[0]), float(centre[1]), weight, 2.0 * flux, snr)
    return None


def _smoothed(data: F4, variance: F4, covariance: F8) -> tuple[F4, float]:
    """Return the image convolved with a Gaussian, and the sum of the squares of its values."""
    half = math.ceil(2.5 * math.sqrt(float(max(covariance[0, 0], covariance[1, 1]))))
    axis = np.arange(-half, half + 1.0)
    taps = np.exp(-0.5 * square_of(covariance, axis, axis[:, None]))
    taps /= taps.sum()
    shape = fast_size(data.shape[0] + half), fast_size(data.shape[1] + half)
    clean = np.where(variance < MAX_VARIANCE, data, np.float32(0.0)).astype(np.float64)
    kernel = np.zeros(shape)
    kernel[: 2 * half + 1, : 2 * half + 1] = taps[: shape[0], : shape[1]]
    kernel = np.roll(kernel, (-half, -half), axis=(0, 1))
    transform = np.fft.rfft2(clean, shape) * np.fft.rfft2(kernel)
    smooth = np.fft.irfft2(transform, shape)[: data.shape[0], : data.shape[1]]
    return np.ascontiguousarray(smooth, dtype=np.float32), float((taps**2).sum())


def _highest(xy: F8, height: F8, covariance: F8) -> Bools:
    """Tell which peaks, sorted by y, have no higher one within `SAME` sigma of the ellipse."""
    keep = np.ones(height.size, dtype=np.bool_)
    inverse = np.linalg.inv(covariance)
    reach = SAME * math.sqrt(float(covariance[1, 1]))
    for shift in range(1, height.size):
        away = xy[shift:] - xy[:-shift]
        if not (away[:, 1] < reach).any():
            break
        near = np.einsum("ki,ij,kj->k", away, inverse, away) < SAME**2
        lower = height[shift:] < height[:-shift]
        keep[shift:][near & lower] = False
        keep[:-shift][near & ~lower] = False
    return keep


def _measured(
    data: F4, variance: F4, mask: U2, gain: float, ellipse: Ellipse, peaks: F8, rows: I8
) -> Candidates:  # fmt: skip
    """Measure the bright ones of the peaks."""
    n = rows.size
    values = {
        name: np.zeros(n)
        for name in ("x", "y", "fwhm", "ellipticity", "angle", "flux", "snr", "broadening")
    }
    flags = np.zeros(n, dtype=np.int64)
    inverse_gain = 1.0 / gain if gain > 0 else 0.0
    for k, peak in enumerate(rows):
        thing = _measure(data, variance, inverse_gain, peaks[:2, peak], ellipse.matrix)
        if thing is None or not _is_near(thing, peaks[:2, peak], ellipse):
            flags[k] = moments.NOT_CONVERGED
            values["x"][k], values["y"][k] = peaks[:2, peak]
            values["fwhm"][k] = ellipse.fwhm
            continue
        size, e1, e2 = thing.shape
        values["x"][k], values["y"][k] = thing.x, thing.y
        values["fwhm"][k], values["ellipticity"][k] = 2.3548 * 10.0**size, math.hypot(e1, e2)
        values["angle"][k] = 0.5 * math.atan2(e2, e1)
        values["flux"][k], values["snr"][k] = thing.flux, thing.snr
        centre = np.array([thing.x, thing.y])
        wide = _sums(data, variance, inverse_gain, centre, 4.0 * thing.covariance)
        values["broadening"][k] = 2.0 * wide[0] / thing.flux if wide else 0.0
        flags[k] = _flags(variance, mask, thing)
    return Candidates(**values, height=peaks[2, rows], flags=flags, peaks=peaks)


def _is_near(thing: _Object, peak: F8, ellipse: Ellipse) -> bool:
    return distance2(ellipse.matrix, thing.x - peak[0], thing.y - peak[1]) < SAME**2


def _flags(variance: F4, mask: U2, thing: _Object) -> int:
    """Return why an object must not be used, as of `kernels.psf.moments`."""
    flag = 0
    ny, nx = variance.shape
    reach = (CORE * math.sqrt(thing.covariance[0, 0]), CORE * math.sqrt(thing.covariance[1, 1]))
    rows, columns = _window(np.array([thing.x, thing.y]), reach, (ny, nx))
    dx = np.arange(columns.start, columns.stop) - thing.x
    dy = np.arange(rows.start, rows.stop)[:, None] - thing.y
    core = square_of(thing.covariance, dx, dy) < CORE**2
    if not (reach[0] < thing.x < nx - 1 - reach[0] and reach[1] < thing.y < ny - 1 - reach[1]):
        flag |= moments.AT_EDGE
    if (variance[rows, columns][core] > MAX_VARIANCE).any():
        flag |= moments.MASKED
    if (mask[rows, columns][core] & np.uint16(Mask.SAT)).any():
        flag |= moments.ABOVE_SATURATION
    return flag
