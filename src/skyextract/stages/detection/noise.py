"""The noise of a filtered image: what it is, over what the variance and independent pixels give.

Neighbouring pixels of resampled, drizzled or compressed frames, and rows of CMOS detectors,
share their noise; so do the remains of nebulae and of stars too faint or too many to be
found.  The filter averages independent noise away, but not these.  So the noise of the
filtered image is measured where no sources are known; the propagated variance gives its
shape (weights, gaps, borders), the measurement its scale.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, U1, AnyArray
from skyextract.datamodel.noise import median
from skyextract.kernels.detection.quantiles import cell_quantiles
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.run import Run
from skyextract.stages.background.coarse import skewed_quantile

MIN_CELL = 128
"""Cells of the image in which the scale is measured have this size in pixels, or more..."""
MIN_AREAS = 200
"""... so that they hold as many areas of the filter, which have independent noise."""
MAX_CELL_SAMPLE = 6000
"""Pixels per cell that are looked at, about..."""
MIN_FRAME_SAMPLE = 1 << 20
"""... and of the frame, if it has so many."""
MIN_CELL_SHARE = 0.2
"""Share of the pixels of a cell that must be free of sources and defects."""
MIN_SAMPLE = 300
"""Free pixels without which the noise of the frame is not measured at all."""
TOLERANCE = 0.05
"""A frame whose noise is so close to what its variance says has the noise its variance says:
the measurement is not better than that, and faint sources add as much."""
LOCAL = 2.0
"""The scale is taken as varying over the frame if it does so by more than the error of a
cell by this factor."""

FAR, MANY_FAR, RARE = 5.0, 5e-5, 2e-5
"""Sigma below the sky beyond which more pixels than the second share are no normal noise: then the
third share is beyond it, in units of a noise that is larger."""
MIN_RARE, TAIL_SAMPLE = 4, 1 << 22
"""Pixels without which the tail tells nothing, and those that are looked at, about."""

_NO_SOURCES = np.zeros((1, 1), np.uint8)
_LOW, _HIGH, _MIDDLE = 2.275, 15.866, 50.0
"""Percentages of a normal distribution below -2, -1 and 0 sigma."""
_QUANTILE_ERROR = 1.42
"""Error of (median - quantile at -2 sigma) / 2 in units of sigma / sqrt(n)."""


def measure_scale(
    filtered: F4,
    unit: float,
    filter_area: float,
    claimed: U1 | None,
    run: Run,
    *,
    skewness: float = 0.0,
) -> F4:
    """Measure the noise of a filtered image where no sources are, in units of the expected.

    From the distance of the quantiles at -2 and 0 sigma (-1 sigma if no sources are known yet),
    which sources that nobody has found hardly touch, in cells; the median of 3 x 3 cells.

    Parameters
    ----------
    filtered : (ny, nx) float32
        See `filter_matched`; 0 where there is no information.
    unit : float
        Its noise if the variance is right and the pixels are independent.
    filter_area : float
        Area of the filter in pixels: one over its sum of squares.
    claimed : (ny, nx) uint8 or None
        Pixels of known sources (not 0).
    skewness : float
        Of the filtered noise; few photons have no lower tail like that of a normal distribution.

    Returns
    -------
    (n_y, n_x) float32
        Scale in equal cells of the frame; (1, 1) where it is the same everywhere; NaN, (1, 1),
        if there are too few free pixels to tell.
    """
    ny, nx = filtered.shape
    cell = max(float(MIN_CELL), math.sqrt(2.0 * MIN_AREAS * filter_area))
    n_y, n_x = max(1, round(ny / cell)), max(1, round(nx / cell))
    edge_y = np.linspace(0, ny, n_y + 1).round().astype(int)
    edge_x = np.linspace(0, nx, n_x + 1).round().astype(int)
    step = _step(ny * nx, n_y * n_x, filter_area)
    n_free = np.zeros((n_y, n_x), np.int64)
    # With all sources in it the median is not that of the noise.
    upper, z = (_MIDDLE, 0.0) if claimed is not None else (_HIGH, -1.0)
    width = (skewed_quantile(z, skewness) - skewed_quantile(-2.0, skewness)) * unit

    shares = np.array([_LOW, upper]) / 100.0
    quantiles = np.full((n_y, n_x, 2), np.nan)

    def row(j: int) -> None:
        cell_quantiles(
            filtered, _NO_SOURCES if claimed is None else claimed, claimed is not None,
            int(edge_y[j]), int(edge_y[j + 1]), edge_x, step, float(unit), shares, n_free[j],
            quantiles[j],
        )  # fmt: skip

    run.map(row, range(n_y))
    size = np.outer(_counts(edge_y, step), _counts(edge_x, step))
    enough = n_free >= np.maximum(MIN_CELL_SHARE * size, MIN_SAMPLE)
    scale = np.where(enough, (quantiles[..., 1] - quantiles[..., 0]) / width, np.nan)
    n_areas = np.maximum(n_free * step**2 / (2.0 * filter_area), 1.0)
    error = np.where(enough, _QUANTILE_ERROR / np.sqrt(n_areas), np.nan)
    known = np.isfinite(scale) & (scale > 0.0)
    if not known.any():
        return np.full((1, 1), np.nan, np.float32)
    mean = median(scale[known])
    spread = MAD_TO_SIGMA * median(np.abs(scale[known] / mean - 1.0))
    if known.sum() < 4 or spread < LOCAL * median(error[known]):
        return np.full((1, 1), mean if abs(mean - 1.0) > TOLERANCE else 1.0, np.float32)
    return _smooth(np.where(known, scale, np.nan)).astype(np.float32)


def _step(n_pixels: int, n_cells: int, filter_area: float) -> int:
    """Return every which row and column of an image is looked at.

    Pixels that the filter has in common with their neighbours tell hardly anything new.  Where
    there are few all are taken, which costs no time.
    """
    several = math.sqrt(n_pixels / n_cells / MAX_CELL_SAMPLE)
    alike, many = int(math.sqrt(filter_area) / 2.0), math.isqrt(n_pixels // MIN_FRAME_SAMPLE)
    return max(1, int(several), min(round(several), alike, many))


def _counts(edges: I8, step: int) -> I8:
    """Return how many of every `step`-th pixel lie between edges."""
    return -(-np.diff(edges) // step)


def scale_of_tail(plane: F4, claimed: U1, unit: float) -> float:
    """Return how much wider the tail below the sky is than that of normal noise; 1 where it is not.

    Where noise was taken off but for what passed for light (a denoised image), or structure of the
    sky was taken off that was not, the quantiles that tell the noise tell nothing of its tail.
    This is as long above the sky as below, where it would be sources.

    Parameters
    ----------
    plane : (ny, nx) float32
        Filtered image in sigma times `unit`.
    claimed : (ny, nx) uint8
        Pixels of known sources (not 0).
    unit : float
    """
    step = max(1, math.isqrt(plane.size // TAIL_SAMPLE))
    rows = plane[::step]
    low = rows[rows < np.float32(-FAR * unit)]
    if low.size < MANY_FAR * rows.size:
        return 1.0
    free = rows[claimed[::step] == 0]
    number = round(RARE * free.size)
    if number < MIN_RARE or np.count_nonzero(free < np.float32(-FAR * unit)) < MANY_FAR * free.size:
        return 1.0
    return max(1.0, float(-np.partition(free, number)[number]) / (FAR * unit))


def in_sigma(filtered: F4, scale: F4, run: Run) -> None:
    """Divide a filtered image by the scale of its noise, in place.

    Parameters
    ----------
    scale : (n_y, n_x) float32
        In equal cells; interpolated between their centres.
    """
    if scale.shape == (1, 1):
        if scale[0, 0] != 1.0:
            filtered *= np.float32(1.0) / scale[0, 0]
        return
    ny, nx = filtered.shape
    below, above, part = _nodes(ny, scale.shape[0])
    left, right, share = _nodes(nx, scale.shape[1])
    inverse = 1.0 / scale.astype(np.float64)
    lines = ((1.0 - share) * inverse[:, left] + share * inverse[:, right]).astype(np.float32)

    def rows(band: tuple[int, int]) -> None:
        for y in range(*band):
            t = np.float32(part[y])
            filtered[y] *= (np.float32(1.0) - t) * lines[below[y]] + t * lines[above[y]]

    run.map(rows, run.bands(ny))


def scale_at(scale: F4, shape: tuple[int, ...], x: AnyArray, y: AnyArray) -> F8:
    """Return the scale at pixels (x, y) of an image of this shape [y, x]."""
    ny, nx = shape
    below, above, part = _between(np.asarray(y, np.float64), ny, scale.shape[0])
    left, right, share = _between(np.asarray(x, np.float64), nx, scale.shape[1])
    inverse = 1.0 / scale.astype(np.float64)
    low = (1.0 - share) * inverse[below, left] + share * inverse[below, right]
    high = (1.0 - share) * inverse[above, left] + share * inverse[above, right]
    value: F8 = 1.0 / ((1.0 - part) * low + part * high)
    return value


def _nodes(size: int, n: int):  # type: ignore[no-untyped-def]
    return _between(np.arange(size, dtype=np.float64), size, n)


def _between(position: F8, size: int, n: int):  # type: ignore[no-untyped-def]
    """Return the cells below and above positions along an axis, and the share of the latter."""
    t = np.clip((position + 0.5) * n / size - 0.5, 0.0, n - 1.0)
    below = t.astype(np.int64)
    return below, np.minimum(below + 1, n - 1), t - below


def _smooth(scale: F8) -> F8:
    """Return the median of 3 x 3 cells; that of all for a cell none of whose neighbours counts."""
    padded = np.pad(scale, 1, constant_values=np.nan)
    ny, nx = scale.shape
    around = np.array([padded[j : j + ny, i : i + nx] for j in range(3) for i in range(3)])
    whole = float(np.nanmedian(scale))
    empty = np.isnan(around).all(0)
    around[:, empty] = whole
    smooth: F8 = np.nanmedian(around, axis=0)
    return smooth
