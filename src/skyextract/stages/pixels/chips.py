"""Skies of parts of a frame between which lines have no data: chips, strips of light.

A mesh of the background that holds two skies has the level of neither, and the median filter of
meshes that are higher and lower by turns puts each in the place of the other.  What the sky steps
by is measured on either side of each gap and subtracted; what is left has no steps.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, Bools, has_bits
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.noise import median, robust_sigma
from skyextract.record import record

if TYPE_CHECKING:
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run

WITHOUT = np.uint16(Mask.BAD | Mask.NO_DATA)
LOST = 0.9
"""Part of a line that has no data in a gap, at least."""
MIN_LINES = 24
"""Of a part of the frame."""
MOST_PARTS = 400
"""More are no chips: bad columns."""
EDGE = 32
"""Lines beside a gap that tell the sky there, by a straight line through their medians."""
MIN_LIT = 64
"""Pixels of a line that tell its level."""
NOISE_LINES = 256
"""Lines that tell the noise of a pixel, about."""
MIN_STEP, SURE = 0.2, 5.0
"""A step is so many times the noise of a pixel, and its own error, ..."""
PIECES, ALIKE = 4, 3.0
"""... and so many times what it scatters by between pieces of the gap: nebulae are not as even."""
MEDIAN_ERROR = math.sqrt(0.5 * math.pi)
"""Error of a median, over that of a mean."""

Part = tuple[int, int]
"""The first line and the one after the last."""


@record
class _Edge:
    """The sky at a gap, extrapolated from one side, and its error."""

    level: float
    error: float


def without_steps_at_gaps(exposure: Exposure, run: Run) -> Exposure:
    """Subtract what the sky steps by across lines without data; the same if it does nowhere.

    Parameters
    ----------
    exposure : Exposure
        With its mask.
    """
    without = has_bits(exposure.mask, int(WITHOUT), run)
    if not without.any():
        return exposure
    rows, columns = (_parts(without.mean(axis=axis) >= LOST) for axis in (1, 0))
    if not 2 <= len(rows) * len(columns) <= MOST_PARTS:
        return exposure
    image = np.where(without, np.float32(np.nan), exposure.image)
    offsets, largest = _offsets(image, rows, columns)
    if largest is None:
        return exposure
    run.warn(
        f"the sky steps by up to {largest:.3g} between parts of the frame with lines without data "
        "between them (chips, strips of light?): the steps are measured and subtracted "
        "(DATA_CHECK N leaves them); where it is their light that differs fluxes do, too"
    )
    change = np.zeros_like(image)
    for j, (bottom, top) in enumerate(rows):
        for i, (left, right) in enumerate(columns):
            change[bottom:top, left:right] = offsets[j, i]
    has_sky = ~without & ((exposure.mask & np.uint16(Mask.SAT)) == 0)
    has_sky &= exposure.image < np.float32(exposure.detector.saturation)
    image = np.where(has_sky, exposure.image - change, exposure.image)
    return replace(exposure, image=image, matched=True)


def _parts(lost: Bools) -> list[Part]:
    """Return the runs of lines with data."""
    edges = np.flatnonzero(np.diff(lost, prepend=True, append=True))
    runs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    return [(first, end) for first, end in runs if end - first >= MIN_LINES]


def _offsets(image: F4, rows: list[Part], columns: list[Part]) -> tuple[F8, float | None]:
    """Return the levels of parts over the median one, and the largest step; None if all are noise.

    Least squares of the steps between neighbours.
    """
    changes = np.diff(image[:: max(1, image.shape[0] // NOISE_LINES)].astype(np.float64), axis=1)
    noise = robust_sigma(changes[np.isfinite(changes)]) / math.sqrt(2.0)
    number = np.arange(len(rows) * len(columns)).reshape(len(rows), len(columns))
    terms, steps = [], []
    largest = None
    for lines, along, across, cells in (
        (image, rows, columns, number), (image.T, columns, rows, number.T),
    ):  # fmt: skip
        for k, (before, after) in enumerate(pairwise(along)):
            for i, (left, right) in enumerate(across):
                step, error, apart = _step(lines[:, left:right], before, after, noise)
                if not math.isfinite(step) or not error > 0.0:
                    continue
                row = np.zeros(number.size)
                row[cells[k + 1, i]], row[cells[k, i]] = 1.0, -1.0
                terms.append(row / error)
                steps.append(step / error)
                if abs(step) > max(MIN_STEP * noise, SURE * error, ALIKE * apart):
                    largest = max(abs(step), largest or 0.0)
    if largest is None:
        return np.zeros(number.shape), None
    levels = np.linalg.lstsq(np.array(terms), np.array(steps), rcond=None)[0]
    return (levels - median(levels)).reshape(number.shape), largest


def _step(lines: F4, before: Part, after: Part, noise: float) -> tuple[float, float, float]:
    """Return a step between parts, its error, and by how much it differs along the gap."""
    middle = 0.5 * (before[1] - 1 + after[0])
    sides = (
        slice(max(before[1] - EDGE, before[0]), before[1]),
        slice(after[0], min(after[0] + EDGE, after[1])),
    )

    def between(values: F4) -> tuple[float, float]:
        low, high = (_edge(values[side], side, middle, noise) for side in sides)
        return high.level - low.level, math.hypot(low.error, high.error)

    step, error = between(lines)
    pieces = np.array_split(lines, max(1, min(PIECES, lines.shape[1] // MIN_LIT)), axis=1)
    steps = np.array([between(piece)[0] for piece in pieces])
    steps = steps[np.isfinite(steps)]
    return step, error, float(steps.std(ddof=1)) if steps.size > 1 else 0.0


def _edge(values: F4, lines: slice, place: float, noise: float) -> _Edge:
    """Return the sky at a place beside lines; their half that is nearer tells how sure it is."""
    lit = np.count_nonzero(np.isfinite(values), axis=1)
    known = lit >= MIN_LIT
    if np.count_nonzero(known) < MIN_LINES // 2:
        return _Edge(math.nan, math.nan)
    levels = np.nanmedian(values[known].astype(np.float64), axis=1)
    away = np.arange(lines.start, lines.stop)[known] - place
    error = MEDIAN_ERROR * noise / math.sqrt(median(lit[known]))
    near = np.argsort(np.abs(away))[: away.size // 2]
    level, of_level = _line(away, levels, error)
    other, _ = _line(away[near], levels[near], error)
    return _Edge(level, math.hypot(of_level, level - other))


def _line(away: F8, levels: F8, error: float) -> tuple[float, float]:
    """Return a straight line at 0, and its error."""
    terms = np.stack([np.ones_like(away), away], axis=1)
    fit = np.linalg.lstsq(terms, levels, rcond=None)[0]
    scatter = math.sqrt(float(np.mean((levels - terms @ fit) ** 2)))
    variance = np.linalg.inv(terms.T @ terms)[0, 0]
    return float(fit[0]), max(scatter, error) * math.sqrt(variance)
