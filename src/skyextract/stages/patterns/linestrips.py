"""Strips of pixels about straight lines, and the parts of them that have light."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import median
from skyextract.kernels.background.lines import group_medians
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.record import record
from skyextract.stages.patterns.linesums import Line

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8, Bools

REACH, BESIDE = 14, 8
"""Distance from a line to which its light is looked at, and from which that is sky, units of the
width."""
STEP = 32.0
"""Length of the pieces of a line, pixels."""
LIT, DARK = 0.5, 0.2
"""Share of the light of bright pieces that all have in a part that ends in the frame, and that none
has beyond it, but for those next to its ends: it..."""
FINE_STEP = 4.0
"""Length of the pieces that tell where it ends, pixels."""
SEEN = 4.0
"""... is so many times the error of a piece, at least."""
FADED, EVEN = 0.8, 0.25
"""Light of the outer quarters of a part, over that of its middle, at least, and share of the pieces
that differ by less than that from the middle: spikes fade."""


@record
class Strip:
    """Pixels about a line.

    Attributes
    ----------
    y, x : (n,) int64
    along, across : (n,) float64
        Where they are, pixels from the beginning of the line, and units from the line.
    """

    y: I8
    x: I8
    along: F8
    across: F8

    @classmethod
    def of(
        cls, shape: tuple[int, ...], start: F8, along: F8, length: float, scale: int, step: int = 1
    ) -> Strip:
        """Return the pixels within `REACH` units of a line, of every step-th row or column."""
        ny, nx = shape
        reach = scale * REACH / max(abs(along)) + 1.0
        steep = abs(along[1]) > abs(along[0])
        main, other = (1, 0) if steep else (0, 1)
        size = (nx, ny)
        ends = sorted((start[main], start[main] + length * along[main]))
        first = max(0, math.ceil(ends[0])), min(size[main] - 1, math.floor(ends[1]))
        position = np.arange(first[0], first[1] + 1, step)
        middle = start[other] + (position - start[main]) * along[other] / along[main]
        offset = np.arange(-math.ceil(reach), math.ceil(reach) + 1)
        second = np.rint(middle)[:, None].astype(np.int64) + offset
        inside = (second >= 0) & (second < size[other])
        one = np.broadcast_to(position[:, None], second.shape)[inside]
        two = second[inside]
        x, y = (two, one) if steep else (one, two)
        dx, dy = x - start[0], y - start[1]
        across = (dy * along[0] - dx * along[1]) / scale
        near = np.abs(across) <= REACH
        t = dx * along[0] + dy * along[1]
        return cls(y[near], x[near], t[near], across[near])


def medians(value: F8, group: I8, rows: Bools, n: int) -> F8:
    """Return the median of the values of each group; 0 where it has none."""
    out = np.empty(n)
    group_medians(value, group, rows, out)
    return out


def lit_part(image: F4, known: Bools, line: Line, least: float) -> Line | None:
    """Return the part of a line that has light, if this ends within the frame; None without.

    Parameters
    ----------
    known : (ny, nx) bool
    least : float
        Length of the part, at least, pixels.
    """
    start, along, length = line.within(image.shape)
    n_pieces = int(length / STEP)
    if length < least + 3.0 * STEP:
        return None
    strip = Strip.of(image.shape, start, along, length, 1)
    good = known[strip.y, strip.x]
    t, u = strip.along[good], strip.across[good]
    value = image[strip.y, strip.x][good].astype(np.float64)
    piece = np.clip((t / length * n_pieces).astype(np.int64), 0, n_pieces - 1)
    value -= medians(value, piece, np.abs(u) > BESIDE, n_pieces)[piece]
    bins = np.clip(np.rint(u).astype(np.int64) + REACH, 0, 2 * REACH)
    n = 2 * REACH + 1
    everything = np.ones(u.size, np.bool_)
    across = medians(value, piece * n + bins, everything, n_pieces * n).reshape(n_pieces, n)
    # Means of three, for a line is between pixels.
    across = (across[:, :-2] + across[:, 1:-1] + across[:, 2:]) / 3.0
    beside = np.abs(np.arange(1, n - 1) - REACH) > BESIDE
    error = MAD_TO_SIGMA * median(np.abs(across[:, beside]))
    light = across[:, ~beside].max(axis=1)
    bright = float(np.quantile(light, 0.8))
    first, last = _longest(light > LIT * bright)
    size = last - first
    if not bright > SEEN * error or size * STEP < least or size > n_pieces - 3:
        return None
    outside = np.ones(n_pieces, np.bool_)
    outside[max(0, first - 1) : last + 1] = False
    middle = median(light[first:last][size // 4 : size - size // 4])
    ends = light[first + 1 : first + 1 + size // 4], light[last - 1 - size // 4 : last - 1]
    if median(light[outside]) > max(DARK * bright, 2.5 * error):
        return None
    off = np.abs(light[first:last] - middle)
    is_even = np.mean(off < EVEN * middle + 2.0 * error) >= FADED
    if min(median(end) for end in ends) < FADED * middle or not is_even:
        return None
    low, high = (
        _end(t, u - float(np.argmax(across[k]) + 1 - REACH), value, at * length / n_pieces, turn)
        for k, at, turn in ((first, first + 1.0, -1.0), (last - 1, last - 1.0, 1.0))
    )
    x, y = (start[k] + along[k] * np.array([low, high]) for k in (0, 1))
    return Line(x, y, line.significance)


def _end(t: F8, u: F8, value: F8, inside: float, turn: float) -> float:
    """Return where light ends, within two pieces of a place inside; outwards t grows by `turn`."""
    n = round(2.0 * STEP / FINE_STEP)
    near = (np.abs(u) < 1.6) & (np.abs(t - inside - turn * STEP) <= STEP)
    place = np.clip(((t - inside) * turn / FINE_STEP).astype(np.int64), 0, n - 1)
    light = medians(value, place, near, n)
    level = median(light[: n // 4])
    gained = np.cumsum(light - 0.5 * level)
    return inside + turn * FINE_STEP * float(np.argmax(gained) + 1)


def _longest(lit: Bools) -> tuple[int, int]:
    """Return begin and end of the longest run; a single gap is none."""
    lit = lit | (np.append(lit[1:], False) & np.append(False, lit[:-1]))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lit, [False]]).astype(np.int8)))
    if not edges.size:
        return 0, 0
    runs = edges.reshape(-1, 2)
    first, last = runs[np.argmax(runs[:, 1] - runs[:, 0])]
    return int(first), int(last)
