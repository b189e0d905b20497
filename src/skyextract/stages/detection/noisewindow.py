"""A rectangle within a frame whose sky has less noise than that around: a window of its own.

Guide cells, and windows that are read at another rate, are exposed for another time than the rest
of the frame; where their sky was matched or subtracted nothing but the noise tells it, and stars in
them are too faint.  Vignetting and nebulae change the noise smoothly, and parts from edge to edge
are steps (`noisesteps`): the window has an edge along either axis, and all of them are sharp.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.datamodel.header import Header, header_number
from skyextract.datamodel.noise import median, robust_sigma
from skyextract.record import record
from skyextract.stages.background.gain import COMBINED_KEYS
from skyextract.stages.pixels.deadparts import connected

CELL, MOST_CELLS = 16, 48
"""Pixels on a side of the cells, and cells along an axis at most: more lie apart; ..."""
LEAST_CELLS = 16
"""... so many at least."""
LESS = math.log(0.75)
"""Variance of the noise in it over that typical of the frame, at most, logarithm."""
MIN_CELLS, MAX_PART = 20, 0.4
"""Cells of a window at least, and part of the frame that it is at most."""
FILLED = 0.85
"""Part of the cells in the rectangle that have less noise: means of neighbours round corners."""
NEAR, BESIDE, LINES = 8, 32, 512
"""Pixels on either side of an edge that are as those farther off, up to the second of these; lines
across it that are looked at, at most."""
SHARP = 0.35
"""Of the step: how far the noise near the edge may depart from that farther off, and two errors."""
PARTS, STRAIGHT = 3, 8
"""Along an edge, in each of which it is seen within so many pixels."""


@record
class NoiseWindow:
    """Pixels [y0:y1, x0:x1], 0-based, whose noise is `ratio` times that around.

    Attributes
    ----------
    are_many : bool
        Whether fluxes in it are not to be believed: of sums of several exposures more may cover
        it, as they may a part that an edge of the frame bounds (a panel, a corner).
    """

    y0: int
    y1: int
    x0: int
    x1: int
    ratio: float
    are_many: bool

    def covers(self, x: F8, y: F8) -> Bools:
        """Tell which 0-based places lie in it, or as near to it as the edges are known."""
        across = (x > self.x0 - NEAR) & (x < self.x1 + NEAR)
        inside: Bools = across & (y > self.y0 - NEAR) & (y < self.y1 + NEAR)
        return inside

    @property
    def doubt(self) -> str:
        """What is said, in one line."""
        where = f"x {self.x0 + 1} to {self.x1}, y {self.y0 + 1} to {self.y1}"
        message = (
            f"the sky has {self.ratio:.0%} of the noise around in a rectangle with sharp edges, "
            f"{where}: a window of another exposure or gain (a guide cell, a patch)? Fluxes in it "
            "may not be on the scale of the others (NO_POINT in FLAGS_SKY)"
        )
        if not self.are_many:
            message = (
                f"the sky has {self.ratio:.0%} of the noise around in a rectangle with sharp "
                f"edges, {where}: more of the exposures cover it, or it is a window of another one"
            )
        return message


def find_noise_window(image: F4, bad: Bools, header: Header | None) -> NoiseWindow | None:
    """Find the largest rectangle with less noise than the rest of the frame; None without any.

    Parameters
    ----------
    image : (ny, nx) float32
        Image units; only differences of neighbouring pixels count.
    bad : (ny, nx) bool
        Pixels without data.
    header : Header or None
        Says whether it is a sum of several exposures.
    """
    if min(image.shape) < LEAST_CELLS * CELL:
        return None
    y, x = (
        np.linspace(0, size - CELL, min(size // CELL, MOST_CELLS)).astype(np.int64)
        for size in image.shape
    )
    variances = _log_variances(image, bad, y, x)
    low = _mean_of_neighbours(variances)
    found = [
        window
        for group in connected(low < LESS, MIN_CELLS)
        if (window := _rectangle(image, bad, group, low, (y, x))) is not None
    ]
    if not found:
        return None
    y0, y1, x0, x1, ratio = max(found, key=lambda box: (box[1] - box[0]) * (box[3] - box[2]))
    n_frames = max(header_number((header or Header()).get(key)) or 0.0 for key in COMBINED_KEYS)
    is_within = min(y0, x0) > 0 and y1 < image.shape[0] and x1 < image.shape[1]
    return NoiseWindow(y0, y1, x0, x1, ratio, is_within and n_frames < 2.0)


def _log_variances(image: F4, bad: Bools, y: I8, x: I8) -> F8:
    """Return the logarithm of the noise's variance in cells, over the typical one; 0 if unknown."""
    offset = np.arange(CELL)
    rows, columns = y[:, None] + offset, x[:, None] + offset
    at = rows[:, None, :, None], columns[None, :, None, :]
    change = np.abs(np.diff(image[at], axis=3)).reshape(y.size, x.size, -1)
    change.partition(change.shape[2] // 2, axis=2)
    noise = change[:, :, change.shape[2] // 2].astype(np.float64)
    known = ~bad[at].any(axis=(2, 3)) & (noise > 0.0)
    if np.count_nonzero(known) < 0.5 * known.size:
        return np.zeros(known.shape)
    typical = median(noise[known])
    return np.where(known, 2.0 * np.log(np.where(known, noise, typical) / typical), 0.0)


def _mean_of_neighbours(values: F8) -> F8:
    """Return the mean of 3 x 3 cells."""
    padded = np.pad(values, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    mean: F8 = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9.0
    return mean


def _rectangle(
    image: F4, bad: Bools, group: Bools, low: F8, places: tuple[I8, I8]
) -> tuple[int, int, int, int, float] | None:
    """Return [y0, y1, x0, x1] of a group of cells and the ratio of noises, if it is a window."""
    inside = group & (low < 0.5 * median(low[group]))
    spans: list[tuple[int, int, I8]] = []
    for axis, at in ((1, places[0]), (0, places[1])):
        share = inside.sum(axis=axis)
        lines = np.flatnonzero(share >= 0.5 * share.max())
        spans.append((int(lines[0]), int(lines[-1]) + 1, at))
    (top, bottom, y), (left, right, x) = spans
    box = inside[top:bottom, left:right]
    if box.size < MIN_CELLS or box.size > MAX_PART * low.size or box.mean() < FILLED:
        return None
    rows = slice(int(y[top]), int(y[bottom - 1]) + CELL)
    columns = slice(int(x[left]), int(x[right - 1]) + CELL)
    across = _edges(image[rows], bad[rows], columns, int(np.diff(x).max()))
    along = _edges(image[:, columns].T, bad[:, columns].T, rows, int(np.diff(y).max()))
    if across is None or along is None:
        return None
    ratio = math.exp(0.25 * (across[2] + along[2]))
    return along[0], along[1], across[0], across[1], ratio


def _edges(image: F4, bad: Bools, span: slice, step: int) -> tuple[int, int, float] | None:
    """Return first and one after last column of the window, and its variance, as a logarithm.

    None if it has no edge along this axis, or one that is not sharp.
    """
    every = max(1, image.shape[0] // LINES)
    lines, size = np.abs(np.diff(image[::every], axis=0)), image.shape[1]
    hole = bad[::every]
    lines[hole[1:] | hole[:-1]] = np.nan
    reach = step + CELL
    first = _edge(lines, span.start, reach, -1) if span.start > reach else (0, None)
    last = _edge(lines, span.stop, reach, 1) if span.stop < size - reach else (size, None)
    if first is None or last is None:
        return None
    steps = [each for each in (first[1], last[1]) if each is not None]
    return (first[0], last[0], sum(steps) / len(steps)) if steps else None


def _edge(lines: F4, about: int, reach: int, side: int) -> tuple[int, float] | None:
    """Return the column at which the noise steps, and the logarithm of variances in and out.

    The window is on its right for a `side` of -1, and on its left for 1.
    """
    low, high = max(about - reach - BESIDE, 0), min(about + reach + BESIDE, lines.shape[1])
    parts = np.array_split(lines[:, low:high], PARTS)
    logs = [_log_of_columns(part) for part in (lines[:, low:high], *parts)]
    if any(values is None for values in logs):
        return None
    found = [_split(values[::side]) for values in logs if values is not None]
    k, height, is_sharp = found[0]
    if not is_sharp or any(abs(each[0] - k) > STRAIGHT for each in found[1:]):
        return None
    return (high - k if side < 0 else low + k), -height


def _log_of_columns(part: F4) -> F8 | None:
    """Return the logarithm of the variance in each column; None where too few have data."""
    n = np.isfinite(part).sum(axis=0)
    enough = n > 0.5 * part.shape[0]
    if part.shape[0] < CELL or np.count_nonzero(enough) < 4 * NEAR:
        return None
    part = np.sort(np.where(enough, part, 0.0), axis=0)  # nan is last
    noise = part[n // 2, np.arange(n.size)].astype(np.float64)
    known = noise > 0.0
    if np.count_nonzero(known) < 4 * NEAR:
        return None
    values: F8 = 2.0 * np.log(np.where(known, noise, median(noise[known])))
    return values


def _split(values: F8) -> tuple[int, float, bool]:
    """Return how many of the values, from within to without, are in the window.

    With the step, and whether it is one, and sharp.
    """
    # With the least squares.
    n = np.arange(1, values.size)
    sums = np.cumsum(values)[:-1]
    gain = (sums - n * values.mean()) ** 2 / (n * (values.size - n))
    k = int(gain.argmax()) + 1
    inner, outer = values[:k][-BESIDE:], values[k:][:BESIDE]
    own, beyond = float(inner.mean()), float(outer.mean())
    height = beyond - own
    error = robust_sigma(np.diff(values)) / math.sqrt(2.0 * NEAR)
    most = SHARP * height + 2.0 * error
    is_sharp = (
        min(k, values.size - k) >= 2 * NEAR
        and height > -LESS
        and inner[-NEAR:].mean() < own + most
        and outer[:NEAR].mean() > beyond - most
    )
    return k, height, bool(is_sharp)
