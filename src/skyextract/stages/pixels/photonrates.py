"""Rates of single photons: counts over an exposure map, as X-ray telescopes give.

Most pixels are 0, and the others are once, twice, three times the least value about them, which
varies over the frame as one over the exposure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.flags import Mask
from skyextract.datamodel.noise import median, quantiles
from skyextract.kernels.values import MAX_VARIANCE

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, Bools
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run

CELL, N_CELLS, MIN_CELLS = 16, 200, 20
"""Pixels along a side of a cell, and cells that are looked at, at most and at least."""
ZEROS = 0.3
"""Share of zeros among the pixels of a cell, at least."""
MIN_PIXELS = 8
"""Pixels of a cell above 0, at least."""
HIGHEST, OFF = 3.5, 0.15
"""Multiples of the least value that are looked at, and by which part they may be off whole ones,
as the exposure varies within a cell."""
WHOLE = 0.95
"""Share of the values that are whole multiples, at least."""
TWICE = 0.01
"""Share that are twice the least or more: there are no multiples else."""
OFF_MAP = 0.02
"""... with a map of the exposure, which varies as they do."""
SAMPLE = 50_000
"""Pixels that tell whether a map is that of the exposure."""
VARIES = 1.1
"""Ratio of the least values of a tenth of the cells to another tenth: else they are counts in
some unit."""


def with_counts_of_rates(exposure: Exposure, without: Bools, run: Run) -> Exposure:
    """Return rates of single photons as counts, whose noise is known; the same if they are none.

    The unit is the typical rate of one photon: fluxes of the catalogue are divided by `exposed`,
    the exposure at their place.

    Parameters
    ----------
    exposure : Exposure
        A weight map that is the exposure is taken for the counts, and is no weight any more.
    without : (ny, nx) bool
        Pixels that are no data.
    """
    photon = _photon_of_map(exposure, without)
    is_map = photon is not None
    if photon is None:
        photon = _photon_of_cells(exposure, without)
    if photon is None:
        return exposure
    unit = np.float32(median(photon[~without]))
    counts = np.where(without, np.float32(0.0), np.rint(exposure.image / photon)) * unit
    exposed = unit / photon
    mask, weight, variance = exposure.mask, exposure.weight, exposure.variance
    if variance is not None:
        variance = variance * exposed**2
    if weight is not None and is_map:
        mask = mask | np.where(weight >= MAX_VARIANCE, np.uint16(Mask.NO_DATA), np.uint16(0))
        weight = None
    elif weight is not None:
        weight = np.where(weight < MAX_VARIANCE, weight * exposed**2, weight)
    message = (
        "pixels are rates of single photons, counts over an exposure that varies over the frame "
        f"(typically {float(unit):.3g} for one): they are measured as counts, and fluxes are "
        "divided by the exposure at their place"
    )
    run.warn(message)
    detector = replace(exposure.detector, gain=1.0 / float(unit))
    return replace(
        exposure, image=counts, mask=mask, variance=variance, weight=weight, exposed=exposed,
        detector=detector,
    )  # fmt: skip


def _photon_of_map(exposure: Exposure, without: Bools) -> F4 | None:
    """Return the rate of one photon where the weight map is the exposure; None where it is not."""
    if exposure.weight is None:
        return None
    step = max(1, int(np.sqrt(exposure.image.size / SAMPLE)))
    sample = (slice(step // 2, None, step),) * 2
    known = ~without[sample] & (exposure.weight[sample] < MAX_VARIANCE)
    variance, values = exposure.weight[sample][known], exposure.image[sample][known]
    if np.count_nonzero(values == 0.0) < ZEROS * known.size or (values < 0.0).any():
        return None
    products = values[values > 0.0].astype(np.float64) / variance[values > 0.0]
    if products.size < MIN_CELLS * MIN_PIXELS:
        return None
    one = float(products.min())
    one = median(products[products < 1.5 * one])
    if not _are_whole(products / one, OFF_MAP) or _is_even(variance.astype(np.float64)):
        return None
    typical = np.float32(one * median(variance))
    return np.where(exposure.weight < MAX_VARIANCE, np.float32(one) * exposure.weight, typical)


def _photon_of_cells(exposure: Exposure, without: Bools) -> F4 | None:
    """Return the rate of one photon that the pixels themselves show; None of other images."""
    some = [values for _, values in _cells(exposure, without, N_CELLS)]
    if len(some) < MIN_CELLS:
        return None
    least = np.array([values.min() for values in some])
    multiples = np.concatenate([values / one for values, one in zip(some, least, strict=True)])
    if not _are_whole(multiples, OFF) or _is_even(least):
        return None
    ny, nx = (size // CELL for size in exposure.shape)
    grid = np.full((ny, nx), np.nan)
    for k, values in _cells(exposure, without, ny * nx):
        # That of the middle, not the least of the cell.
        grid[divmod(k, nx)] = median(values[values < 1.5 * values.min()])
    return _smooth(grid, exposure.shape)


def _smooth(grid: F8, shape: tuple[int, int]) -> F4:
    """Return a plane through the values of cells; lines of cells without any have the next ones."""
    lines = [
        _through(grid[row], np.isfinite(grid[row]), shape[1])
        for row in range(grid.shape[0])
        if np.isfinite(grid[row]).any()
    ]
    known: Bools = np.asarray(np.isfinite(grid).any(axis=1))
    columns = np.full((grid.shape[0], shape[1]), np.nan)
    columns[known] = lines
    plane = [_through(column, known, shape[0]) for column in columns.T]
    return np.ascontiguousarray(np.stack(plane, axis=1), np.float32)


def _through(values: F8, known: Bools, n: int) -> F8:
    """Return values of n pixels between those of cells, in straight lines, also at the ends."""
    at = (np.flatnonzero(known) + 0.5) * CELL - 0.5
    values = values[known]
    if at.size > 1:
        first, last = 2.0 * values[0] - values[1], 2.0 * values[-1] - values[-2]
        values = np.concatenate([[first], values, [last]])
        at = np.concatenate([[2.0 * at[0] - at[1]], at, [2.0 * at[-1] - at[-2]]])
    out: F8 = np.interp(np.arange(float(n)), at, values)
    return out


def _are_whole(multiples: F8, off: float) -> bool:
    """Tell whether values are whole multiples, and not all of them once."""
    low = multiples[multiples < HIGHEST]
    whole = np.abs(low / np.maximum(np.rint(low), 1.0) - 1.0) < off
    return bool(np.mean(whole) > WHOLE and np.mean(low > 1.5) > TWICE)


def _is_even(values: F8) -> bool:
    """Tell that values are the same all over: these are counts in some unit."""
    low, high = quantiles(values, (0.1, 0.9))
    return bool(high < VARIES * low)


def _cells(exposure: Exposure, without: Bools, most: int) -> list[tuple[int, F8]]:
    """Return number and pixels above 0 of cells that are mostly 0; empty if hardly one is."""
    ny, nx = (size // CELL for size in exposure.shape)
    step = max(1, ny * nx // most)
    found: list[tuple[int, F8]] = []
    for n, k in enumerate(range(step // 2, ny * nx, step)):
        part = tuple(slice(CELL * at, CELL * (at + 1)) for at in divmod(k, nx))
        image, bad = exposure.image[part], without[part]
        zero = np.count_nonzero((image == 0.0) & ~bad)
        if n > 3 * MIN_CELLS and len(found) < n // 8:
            return []  # most frames have no zeros
        if zero < ZEROS * bad.size:
            continue
        values = image[(image > 0.0) & ~bad].astype(np.float64)
        if values.size >= MIN_PIXELS and not (image[~bad] < 0.0).any():
            found.append((k, values))
    return found
