"""Sources that are pieces of one line: a satellite, smear of a frame transfer, bleeding, spikes.

Where such light is about as bright as the noise, detection finds pieces of it.  They lie on a line
and are elongated along it.  How many sources do so by chance is told from strips beside the line.
Where it is brighter, a source is a line by itself: long, and no wider than others.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, I8, Bools, distinct
from skyextract.datamodel.noise import median
from skyextract.kernels.detection.lines import pairs_along
from skyextract.record import record
from skyextract.stages.chance import log_as_many

ELONGATED = 1.2
"""Ratio of the axes of a piece, at least."""
MAX_TURN = 20.0
"""Angle between a piece and its line, deg."""
MOST = 400
"""Sources, the most elongated, that lines are looked for with."""
ACROSS = 1.5
"""Distance from the line, pixels."""
BESIDE = (6.0, 40.0)
"""Distances of what tells the number by chance."""
APART = 12.0
"""Pieces nearer to each other along the line, pixels, are one."""
MIN_PIECES, MIN_LENGTH = 5, 100.0
"""Pieces, and pixels from the first to the last, at least."""
THIN, WIDE = 10.0, 3.0
"""A source of that length is a line by itself from this ratio of the axes on, if the shorter one
is not longer than so many times that of the others."""
TILT, JOINED = 0.01, 2.5
"""Error of its direction, rad, and the ratio of axes from which others are further pieces of it:
stars upon it are less elongated."""
MOST_LONG = 0.2
"""Share of the sources above which such are what all are: a frame that follows something else."""
EDGE = 4.0
"""Semi-minor axes from a source to an edge that may cut it."""
FALSE_ALARM = 1e-4
"""Probability that a field shows a line by chance."""
MANY = 0.1
"""Share of the sources above which they are doubtful."""

_CELLS = 180, 4.0
"""Directions, and width of the cells of distances, pixels."""
_CANDIDATES, _MOST_LINES = 6, 30


@record
class Tracks:
    """Sources on lines.

    Attributes
    ----------
    rows : (n,) bool
    n_lines : int
    doubt : str
        What is there, in one line.
    """

    rows: Bools
    n_lines: int
    doubt: str

    @property
    def are_many(self) -> bool:
        """The list of sources is doubtful."""
        return int(np.count_nonzero(self.rows)) > MANY * self.rows.size


def find_tracks(x: F8, y: F8, a: F8, b: F8, theta: F8, bad: Bools) -> Tracks | None:
    """Look for sources that are pieces of lines.

    Parameters
    ----------
    x, y : (n,) float64
        Pixels.
    a, b, theta : (n,) float64
        Axes, pixels, and direction of the longer one, deg from x towards y.
    bad : (ny, nx) bool
        Pixels without data: what their edge, or that of the frame, cuts is elongated along it.

    Returns
    -------
    Tracks or None
        None where there are none.
    """
    rows = np.zeros(x.size, np.bool_)
    ratio = a / np.maximum(b, 1e-3)
    pieces = np.flatnonzero(ratio > ELONGATED)
    pieces = pieces[~_is_cut(x[pieces], y[pieces], b[pieces], bad)]
    lone = _lines_alone(x, y, a, b, np.deg2rad(theta))
    n_lines = len(lone)
    for line in lone:
        rows |= line
    pieces = pieces[~rows[pieces]]
    if pieces.size >= MIN_PIECES:
        pieces = pieces[np.argsort(-ratio[pieces], kind="stable")]
    while pieces.size >= MIN_PIECES and n_lines < _MOST_LINES:
        on_line = _longest(x[pieces], y[pieces], np.deg2rad(theta[pieces]))
        if on_line is None:
            break
        rows[pieces[on_line]] = True
        pieces = pieces[~on_line]
        n_lines += 1
    if not n_lines:
        return None
    lines = "a line" if n_lines == 1 else f"{n_lines} lines"
    message = (
        f"{np.count_nonzero(rows)} of {rows.size} sources are pieces of {lines} (a satellite, "
        "smear, bleeding, spikes?; TRACK in FLAGS_SKY)"
    )
    return Tracks(rows, n_lines, message)


def _lines_alone(x: F8, y: F8, a: F8, b: F8, theta: F8) -> list[Bools]:
    """Return for each line that a source is by itself the sources on it, longest first."""
    long = np.flatnonzero((math.sqrt(12.0) * a > MIN_LENGTH) & (a > THIN * b))
    if not 0 < long.size <= MOST_LONG * x.size:
        return []
    long = long[b[long] < WIDE * median(b)]
    found: list[Bools] = []
    on_any = np.zeros(x.size, np.bool_)
    for i in long[np.argsort(-a[long], kind="stable")]:
        if not on_any[i]:
            sin, cos = math.sin(theta[i]), math.cos(theta[i])
            across = np.abs((y - y[i]) * cos - (x - x[i]) * sin)
            along = np.abs((x - x[i]) * cos + (y - y[i]) * sin)
            on_line = across < ACROSS + b[i] + TILT * along
            on_line &= (a > JOINED * b) & _turn(np.full(x.size, theta[i]), theta)
            found.append(on_line)
            on_any |= on_line
    return found


def _is_cut(x: F8, y: F8, b: F8, bad: Bools) -> Bools:
    """Tell which sources are beside pixels without data, or the edge of the frame."""
    cut = np.zeros(x.size, np.bool_)
    ny, nx = bad.shape
    for k in range(8):
        reach = EDGE * b
        column = np.rint(x + reach * math.cos(0.25 * math.pi * k)).astype(np.int64)
        row = np.rint(y + reach * math.sin(0.25 * math.pi * k)).astype(np.int64)
        inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
        cut |= ~inside | bad[np.clip(row, 0, ny - 1), np.clip(column, 0, nx - 1)]
    return cut


def _longest(x: F8, y: F8, theta: F8) -> Bools | None:
    """Return the pieces of the line that chance explains least; None if it may explain all."""
    n = min(x.size, MOST)
    least = math.cos(math.radians(MAX_TURN)) ** 2
    pairs = np.empty((2, n * (n - 1) // 2), np.int64)
    n_pairs = pairs_along(x[:n], y[:n], np.cos(theta[:n]), np.sin(theta[:n]), least, *pairs)
    first, second = pairs[:, :n_pairs]
    if n_pairs < MIN_PIECES * (MIN_PIECES - 1) // 2:
        return None
    direction = np.arctan2(y[second] - y[first], x[second] - x[first])
    middle = float(x.mean()), float(y.mean())
    best, found = math.log(FALSE_ALARM / n_pairs), None
    for inside in _fullest_cells(x - middle[0], y - middle[1], first, second, direction):
        members = distinct(np.concatenate([first[inside], second[inside]]))
        chance, on_line = _judged(x, y, theta, members)
        if chance < best:
            best, found = chance, on_line
    return found


def _turn(direction: F8, theta: F8) -> Bools:
    """Tell which directions are along these, either way."""
    turn = np.abs((direction - theta + 0.5 * math.pi) % math.pi - 0.5 * math.pi)
    along: Bools = turn < math.radians(MAX_TURN)
    return along


def _fullest_cells(x: F8, y: F8, first: I8, second: I8, direction: F8) -> list[Bools]:
    """Return the pairs in the fullest cells of direction and distance of their line."""
    step = math.pi / _CELLS[0]
    k = np.rint(direction / step).astype(np.int64) % _CELLS[0]
    sin, cos = np.sin(k * step), np.cos(k * step)
    away = 0.5 * ((y[first] + y[second]) * cos - (x[first] + x[second]) * sin)
    row = np.rint(away / _CELLS[1]).astype(np.int64)
    key = k * (2 * int(np.abs(row).max()) + 1) + row
    cells, number = np.unique(key, return_counts=True)
    full = cells[np.argsort(-number, kind="stable")[:_CANDIDATES]]
    return [key == cell for cell in full]


def _judged(x: F8, y: F8, theta: F8, members: I8) -> tuple[float, Bools]:
    """Fit a line to members; return the logarithm of the chance of its pieces, and these."""
    nothing = np.zeros(x.size, np.bool_)
    on_line = nothing.copy()
    on_line[members] = True
    for reach in (2.0 * ACROSS, ACROSS, ACROSS):
        if np.count_nonzero(on_line) < MIN_PIECES:
            return 0.0, nothing
        px, py = x[on_line], y[on_line]
        cx, cy = median(px), median(py)
        xx, yy, xy = ((u * v).sum() for u, v in
                      ((px - cx, px - cx), (py - cy, py - cy), (px - cx, py - cy)))  # fmt: skip
        direction = 0.5 * math.atan2(2.0 * xy, xx - yy)
        sin, cos = math.sin(direction), math.cos(direction)
        across = (y - cy) * cos - (x - cx) * sin
        across -= median(across[on_line])
        aligned = _turn(np.full(x.size, direction), theta)
        on_line = aligned & (np.abs(across) < reach)
    along = np.sort(((x - cx) * cos + (y - cy) * sin)[on_line])
    if along.size < MIN_PIECES or along[-1] - along[0] < MIN_LENGTH:
        return 0.0, nothing
    n_pieces = 1 + int(np.count_nonzero(np.diff(along) > APART))
    if n_pieces < MIN_PIECES:
        return 0.0, nothing
    distance = np.abs(across[aligned])
    low, high = BESIDE
    beside = int(np.count_nonzero((distance > low) & (distance < high)))
    mean = (beside + 1.0) * ACROSS / (high - low)
    n = n_pieces - 2  # two of them made the line
    if mean >= 0.5 * n:
        return 0.0, nothing
    return log_as_many(n, mean), on_line
