"""Sky of few photons or of skewed noise, or of noise below the step of the pixel values.

The mode of a histogram with a handful of values says little, and that of the skewed noise of
few photons lies below its mean.  Here the mean is unbiased, and so is the standard deviation:
pixels are left out only beyond what the noise itself reaches, on the side of the sources by
the quantile of a distribution as skewed as that of the photons.

After a division by a flat field photons show no steps any more, but their noise is as skewed as
before.  Sources skew a histogram, too, but their light is on neighbouring pixels; noise that is
each pixel's own leaves the product of the square of one and its neighbour at zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, U1, Bools, distinct
from skyextract.datamodel.noise import median, medians, quantile_of_sorted
from skyextract.kernels.background.skewness import block_moments
from skyextract.run import Run

MAX_STEPS = 2.0
"""Noise below so many steps of the pixel values is coarse."""
MAX_VALUES = 200
"""More different values than this in a sample are no steps."""
MIN_VALUE_SHARE = 1e-3
"""Values that make up less of the sample than this tell no step."""
CLIP = 4.0
"""Pixels are clipped at this many sigma, or as rarely as a normal distribution is."""
FIRST_SHARE = 98.0
"""Percentage of the pixels that the first estimate is made of."""
MAX_SKEWNESS = 4.0
N_CLIPS = 30
MIN_RMS = 0.15
"""A noise below so many steps is not seen: it counts as that of rounding, 0.29 steps."""
ONE_VALUE, TWO_VALUES = 0.95, 0.998
"""Shares of the sky that one value, or two neighbouring ones, hold if the noise is below a quarter
of a step: the mean of the rounded pixels then is off by up to 0.1 steps and more."""
MIN_GOOD = 0.25
"""Share of good pixels in a mesh that counts."""

MIN_PIXELS = 16
"""Meshes of fewer say nothing of their noise."""

MIN_SKEWNESS = 0.2
"""Skewness of the noise from which its mean is taken, not its mode: that of 25 photons."""
MAX_SHARED = 0.1
"""Share of the skewness that neighbouring pixels may have in common: of stars 0.4 and more."""

_ROWS = 5
"""Rows whose values are looked at for steps of their own."""
WHOLE = 0.1
"""So near to whole numbers of steps are half of the differences of values that have steps."""
_SAMPLE = 40_000
_BLOCK, _BLOCKS = 40, 3
_MIN_BLOCK = 500
_WILD = 5.0
"""Skewness is measured in 3 x 3 blocks of 40 x 40 pixels, within 5 sigma of their mean."""


Good = Callable[[slice], Bools]
"""Tells which pixels of some rows of an image say something about the sky."""

_BLOCK_PIXELS = 1 << 18
"""Few, for threads wait for each other at every step, and all in the cache."""


def sample_good(image: F4, good: Good, run: Run) -> F4:
    """Return every nth of the good pixels, some 40,000 of them, or all if they are fewer.

    Rows are looked at block by block, in the cache: no plane of the good pixels is made.
    """
    ny, nx = image.shape
    counts = np.empty(ny, np.int64)
    n_rows = max(1, _BLOCK_PIXELS // nx)

    def count(band: tuple[int, int]) -> None:
        for first in range(*band, n_rows):
            rows = slice(first, min(first + n_rows, band[1]))
            found = good(rows)
            whole = np.count_nonzero(found) == found.size  # quicker than row by row
            counts[rows] = nx if whole else np.count_nonzero(found, axis=1)

    run.map(count, run.bands(ny))
    ends = np.cumsum(counts)
    order = np.arange(0, int(ends[-1]), max(1, int(ends[-1]) // _SAMPLE))
    y = np.searchsorted(ends, order, side="right")
    x = order - (ends - counts)[y]
    partly = np.flatnonzero(counts[y] < nx)
    for group in np.split(partly, np.flatnonzero(np.diff(y[partly])) + 1) if partly.size else ():
        row = int(y[group[0]])
        x[group] = np.flatnonzero(good(slice(row, row + 1)))[x[group]]
    sample: F4 = image[y, x]
    return sample


def typical_noise(rms: F4, image: F4, good: Good, run: Run) -> float:
    """Return the median noise of the meshes; of those that have any where most have none."""
    sigma = median(rms)
    if sigma > 0.0:
        return sigma
    positive = rms[rms > 0.0]
    if positive.size:
        return median(positive)
    pixels = sample_good(image, good, run)
    others = 100.0 * float(np.mean(pixels != median(pixels)))
    message = "the image is constant: its background noise is set to 1"
    if others > 0.0:
        message = (
            f"all but {others:.2g} % of the pixels have one value: too few photons to tell the "
            "noise of the background, which is set to 1"
        )
    run.warn(message)
    return 1.0


def value_step(sample: F4) -> float:
    """Return the step of the values in a `sample_good` of an image; 0 if there is none to see."""
    if sample.size < 2 or not _may_repeat(sample, int(0.25 * MIN_VALUE_SHARE * sample.size)):
        return 0.0
    ordered = np.sort(sample)
    most = quantile_of_sorted(ordered, 0.01 * FIRST_SHARE)
    core = ordered[: np.searchsorted(ordered, ordered.dtype.type(most), side="right")]
    values, counts = _counted(core)
    # Pixels that were repaired have values between the steps, each of its own.
    values = values[counts >= max(2, MIN_VALUE_SHARE * core.size)]
    if values.size > MAX_VALUES or values.size > 0.05 * core.size:
        return 0.0
    if values.size == 1:
        # Nearly all pixels are one value; a step is what most of the others come back to.
        values, counts = _counted(ordered)
        again = counts > 1
        n_others = ordered.size - counts.max()
        if counts[again].sum() - counts.max() < 0.5 * n_others:
            return 0.0
        values = values[again]
    return float(np.diff(values).min()) if values.size > 1 else 0.0


def row_step(image: F4, good: Good) -> float:
    """Return the step of the values within single rows; 0 if there is none to see.

    Tiles of compressed images, rows for the most part, have steps and offsets of their own
    (Pence, Seaman & White 2009, PASP 121, 414): of all values together none is seen.
    """

    def step_of(row: int) -> float:
        values = image[row][good(slice(row, row + 1))[0]]
        step = value_step(values)
        if not step > 0.0:
            return 0.0
        # Rates of photons over an exposure map have values as near to each other as chance will.
        steps = np.diff(distinct(values)).astype(np.float64) / step
        return step if np.mean(np.abs(steps - np.rint(steps)) < WHOLE) > 0.5 else 0.0

    rows = [(2 * k + 1) * image.shape[0] // (2 * _ROWS) for k in range(_ROWS)]
    if not step_of(rows[_ROWS // 2]) > 0.0:  # nearly all images
        return 0.0
    return median(np.array([step_of(row) for row in rows]))


def _may_repeat(sample: F4, least: int) -> bool:
    """Tell whether a value may be there so many times; of continuous ones none is.

    Their last bits, in which few are alike, are counted in a tenth of the time of sorting.
    """
    bits = np.ascontiguousarray(sample, dtype=np.float32).view(np.uint32) & np.uint32(0xFFFF)
    return bool(np.bincount(bits).max() >= least)


def _counted(ordered: F4) -> tuple[F4, I8]:
    """Return the different values of sorted ones, and how many there are of each."""
    last = np.ones(ordered.size, np.bool_)
    last[:-1] = ordered[1:] != ordered[:-1]
    ends = np.flatnonzero(last)
    return ordered[ends], np.diff(ends, prepend=-1)


def is_unresolved(sky: F4, step: float) -> bool:
    """Tell whether rounding hides where between two steps the sky is.

    Not of single photons, the variance of whose number is their mean.
    """
    sky = sky[:: max(1, sky.size // _SAMPLE)]
    values, counts = np.unique(sky, return_counts=True)
    share = counts / max(sky.size, 1)
    two = np.where(np.diff(values) < 1.5 * step, share[1:] + share[:-1], 0.0)
    if not share.size or (share.max() < ONE_VALUE and two.max(initial=0.0) < TWO_VALUES):
        return False
    return not counts_photons(sky, step)


def counts_photons(sky: F4, step: float) -> bool:
    """Tell whether the values are numbers of photons, the variance of which is their mean."""
    sky = sky[:: max(1, sky.size // _SAMPLE)]
    values, counts = np.unique(sky, return_counts=True)
    if not counts.size:
        return False
    core = sky[np.abs(sky - values[counts.argmax()]) < 1.5 * step].astype(np.float64) / step
    return bool(abs(core.mean() - core.var()) <= 0.1)


def own_skewness(skewness: float, shared: float) -> float:
    """Return the skewness of the noise if each pixel has its own, else 0."""
    return skewness if abs(shared) < MAX_SHARED * skewness else 0.0


def skewness_in_blocks(
    image: F4,
    good: Good,
    sources: U1 | None = None,
    *,
    side: int = _BLOCK,
    n: int = _BLOCKS,
    wild: float = _WILD,
    run: Run | None = None,
) -> tuple[float, float, float]:
    """Return the skewness of pixels in n x n blocks, and what neighbours share of it, 0 of none.

    The third is the correlation of neighbours.

    Parameters
    ----------
    image : (ny, nx) float32
    good : callable
        Tells pixels that say something about the sky.
    sources : (ny, nx) uint8 or None
        Pixels that are left out.
    side : int
        Of a block, pixels.
    wild : float
        Sigma beyond which pixels are left out.
    run : Run, optional
        Lends its threads.
    """
    spans = _spread(image.shape[1], side, n)

    def of_rows(rows: slice) -> list[tuple[float, float, float] | None]:
        free = good(rows)
        if sources is not None:
            free &= sources[rows] == 0
        return [_third_moments(image[rows], free, columns, wild) for columns in spans]

    found = (run or Run()).map(of_rows, _spread(image.shape[0], side, n))
    moments = [of_block for of_band in found for of_block in of_band if of_block is not None]
    if not moments:
        return 0.0, 0.0, 0.0
    skewness, shared, correlation = medians(np.array(moments).T).tolist()
    return skewness, shared, correlation


def _third_moments(
    image: F4, good: Bools, columns: slice, wild: float
) -> tuple[float, float, float] | None:
    """Return skewness, what neighbours share of it, and their correlation; None for few pixels."""
    ordered = np.sort(image[:, columns][good[:, columns]])
    if ordered.size < _MIN_BLOCK:
        return None
    out = np.empty(3)
    if not block_moments(image, good, columns.start, columns.stop, ordered, wild, out):
        return None
    return float(out[0]), float(out[1]), float(out[2])


def _spread(size: int, side: int, n: int) -> list[slice]:
    length = min(side, size)
    first = np.linspace(0, size - length, n).astype(int)
    return [slice(int(i), int(i) + length) for i in distinct(first)]


def clipped_moments(values: F8, step: float) -> tuple[float, float, float]:
    """Return mean, standard deviation and skewness of the sky among pixel values.

    Parameters
    ----------
    values : (n,) float64
        At least one.
    step : float
        Of the values: what one photon or one unit of the converter makes.
    """
    part = values[values <= np.percentile(values, FIRST_SHARE)]
    n_before = -1
    mean = sigma = 0.0
    for _ in range(N_CLIPS):
        mean, sigma = float(part.mean()), max(float(part.std()), 0.05 * step)
        if part.size == n_before:
            break
        n_before = part.size
        skewness = min(step / sigma, MAX_SKEWNESS)
        reach = max(skewed_quantile(CLIP, skewness) * sigma, step)
        part = values[(values <= mean + reach) & (values >= mean - max(CLIP * sigma, step))]
    sigma = float(part.std())
    skewness = float(((part - mean) ** 3).mean() / sigma**3) if sigma > 0.0 else 0.0
    return mean, sigma, skewness


def coarse_meshes(
    image: F4, good: Bools, width: int, height: int, step: float, *, photons: bool
) -> tuple[F4, F4, float]:
    """Return mean and standard deviation of the sky in meshes, and its skewness over all.

    Parameters
    ----------
    photons : bool
        The values are numbers of photons: what is rare has little noise, and no rounding hides it.

    Returns
    -------
    level, rms : (n_mesh_y, n_mesh_x) float32
        NaN where a mesh has too few good pixels.
    skewness : float
        Not negative.
    """
    ny, nx = image.shape
    shape = (-(-ny // height), -(-nx // width))
    level, rms, skewness = np.full((3, *shape), np.nan)
    for j in range(shape[0]):
        for i in range(shape[1]):
            part = np.s_[j * height : (j + 1) * height, i * width : (i + 1) * width]
            values = image[part][good[part]].astype(np.float64)
            if values.size and values.size >= MIN_GOOD * good[part].size:
                level[j, i], rms[j, i], skewness[j, i] = clipped_moments(values, step)
    known = np.isfinite(skewness)
    typical = median(skewness[known]) if known.any() else 0.0
    least, unseen = MIN_RMS * step, step / math.sqrt(12.0)
    rate = float(np.mean(level[known])) if photons and known.any() else 0.0
    if rate > 0.0:  # meshes may be without any
        least = unseen = math.sqrt(rate * step)
        least *= 0.5
    rms[rms < least] = unseen
    return level.astype(np.float32), rms.astype(np.float32), max(typical, 0.0)


def skewed_quantile(z: float, skewness: float) -> float:
    """Return the value, in sigma, that a skewed distribution exceeds as often as a normal does z.

    Of a Pearson type III distribution with mean 0 and variance 1, by the transformation of
    Wilson & Hilferty (1931, PNAS 17, 684).

    Parameters
    ----------
    skewness : float
        Third standardised moment, >= 0.
    """
    if not skewness > 1e-6 or not math.isfinite(skewness):
        return z
    root = max(1.0 + skewness * z / 6.0 - skewness**2 / 36.0, 0.0)
    return 2.0 / skewness * (root**3 - 1.0)
