"""Sources on one line at equal steps: the flashing lights of an aircraft, a tumbling satellite.

Each is as round and as sharp as a star.  How many sources lie there by chance is told from those
beside the line.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.datamodel.noise import median
from skyextract.stages.chance import log_choices
from skyextract.stages.detection.tracks import Tracks
from skyextract.stages.detection.twins import on_grid

MOST = 300
"""The brightest sources, among which they are looked for."""
MIN_STEP = 12.0
"""Pixels from one to the next, at least."""
MIN_FLASHES = 5
ALIKE = 1.0
"""Difference of their magnitudes from the median, at most."""
TOLERANCE = 2.0
"""Distance from the place that the others tell, pixels."""
BESIDE = 60.0
"""Distance to the line of what tells the number by chance, pixels."""
FALSE_ALARM = 1e-4
"""Probability that a field shows as many by chance."""
MOST_LINES = 4
"""More are a pattern of another kind."""
_CELL = 2.0
"""Pixels of the map of sources."""
_TABLE = 1 << 16
"""Numbers that its cells have in a table of those with a source, a power of two."""


class _Places:
    """Finds the source at a place."""

    def __init__(self, x: F8, y: F8) -> None:
        self.x, self.y = x, y
        row, column = np.rint(y / _CELL), np.rint(x / _CELL)
        # A source itself counts more in its cell than what is beside.
        near = [(0, 0), *((j, i) for j in (-1, 0, 1) for i in (-1, 0, 1) if j or i)]
        keys = np.concatenate([self._key(row + j, column + i) for j, i in near])
        self.keys, first = np.unique(keys, return_index=True)
        self.source = first % x.size
        self.is_taken = np.zeros(_TABLE, np.bool_)
        self.is_taken[self._slot(self.keys)] = True

    @staticmethod
    def _key(row: F8, column: F8) -> I8:
        return np.asarray(row * float(1 << 26) + column, dtype=np.int64)

    @staticmethod
    def _slot(key: I8) -> I8:
        return (key + (key >> 26) * 4099) & (_TABLE - 1)

    def at(self, x: F8, y: F8) -> I8:
        """Return the source within the tolerance of each place, -1 where there is none."""
        key = self._key(np.rint(y / _CELL), np.rint(x / _CELL))
        found = np.full(x.size, -1)
        # Nearly all cells are empty, which a table tells sooner than a search.
        some = np.flatnonzero(self.is_taken[self._slot(key)])
        x, y, key = x[some], y[some], key[some]
        place = np.minimum(np.searchsorted(self.keys, key), self.keys.size - 1)
        source = self.source[place]
        near = np.hypot(self.x[source] - x, self.y[source] - y) < TOLERANCE
        near &= self.keys[place] == key
        found[some[near]] = source[near]
        return found


def find_flashes(x: F8, y: F8, flux: F8) -> Tracks | None:
    """Look for sources that lie on one line at equal steps and are about as bright.

    Parameters
    ----------
    x, y : (n,) float64
        Pixels.
    flux : (n,) float64

    Returns
    -------
    Tracks or None
        None where there are none, or where sources lie on a grid.
    """
    rows = np.zeros(x.size, np.bool_)
    order = np.argsort(-flux, kind="stable")
    order = order[flux[order] > 0.0][:MOST]
    # From left to right each line is followed once.
    order = order[np.argsort(x[order], kind="stable")]
    n_lines = 0
    while order.size > MIN_FLASHES and n_lines <= MOST_LINES:
        sources = np.stack([x[order], y[order], -2.5 * np.log10(flux[order])])
        line = _longest(sources)
        if line is None:
            break
        if not n_lines and on_grid(sources[:, np.argsort(sources[2], kind="stable")]):
            return None
        n_lines += 1
        rows[order[line]] = True
        order = np.delete(order, line)
    if not 0 < n_lines <= MOST_LINES:
        return None
    lines = "a line" if n_lines == 1 else f"{n_lines} lines"
    message = (
        f"{np.count_nonzero(rows)} of {rows.size} sources lie at equal steps on {lines} (flashes "
        "of an aircraft or a satellite?; TRACK in FLAGS_SKY)"
    )
    return Tracks(rows, n_lines, message)


def _longest(sources: F8) -> I8 | None:
    """Return those at equal steps that chance explains least; None if it may explain all."""
    x, y, mag = sources
    places = _Places(x, y)
    first, second = np.nonzero(np.triu(np.abs(mag - mag[:, None]) < ALIKE, 1))
    sx, sy = x[second] - x[first], y[second] - y[first]
    step2 = sx * sx + sy * sy
    longest = math.hypot(float(np.ptp(x)), float(np.ptp(y))) / (MIN_FLASHES - 1)
    fits = (step2 > MIN_STEP**2) & (step2 < longest**2)
    first, second, sx, sy = (each[fits] for each in (first, second, sx, sy))
    n_pairs = first.size
    if not n_pairs:
        return None
    # Three in a row, and one of the next two, begin a line.
    third = places.at(x[second] + sx, y[second] + sy)
    begins = (third >= 0) & (np.abs(mag[third] - mag[first]) < ALIKE)
    first, second, third = first[begins], second[begins], third[begins]
    sx, sy = 0.5 * (x[third] - x[first]), 0.5 * (y[third] - y[first])
    fourth, fifth = (places.at(x[third] + k * sx, y[third] + k * sy) for k in (1, 2))
    begins = (fourth >= 0) | (fifth >= 0)
    best, found = math.log(FALSE_ALARM / n_pairs), None
    known: set[tuple[int, ...]] = set()
    for start in zip(*(rows[begins].tolist() for rows in (first, second, third)), strict=True):
        if start in known:
            continue  # the end of a line that has been followed
        members, slots = _followed(places, mag, list(start))
        following = members.tolist()
        known.update(zip(following, following[1:], following[2:], strict=False))
        if members.size >= MIN_FLASHES:
            chance = _log_chance(sources, members, slots)
            if chance < best:
                best, found = chance, members
    if found is None:
        return None
    # The line may have begun before.
    back, _ = _followed(places, mag, found[:-4:-1].tolist())
    return back if back.size > found.size else found


def _followed(places: _Places, mag: F8, members: list[int]) -> tuple[I8, int]:
    """Return what follows three at equal steps, with gaps of one, and the number of steps."""
    number = [0, 1, 2]
    while True:
        k, px, py = (np.array(v, np.float64) for v in
                     (number, places.x[members], places.y[members]))  # fmt: skip
        off = k - k.mean()
        power = float(off @ off)
        slope_x, slope_y = float(off @ px) / power, float(off @ py) / power
        for ahead in (1, 2):
            far = number[-1] + ahead - float(k.mean())
            at_x, at_y = float(px.mean()) + slope_x * far, float(py.mean()) + slope_y * far
            row = int(places.at(np.array([at_x]), np.array([at_y]))[0])
            if row >= 0 and row not in members and (
                abs(mag[row] - median(mag[members])) < ALIKE
            ):  # fmt: skip
                members.append(row)
                number.append(number[-1] + ahead)
                break
        else:
            return np.array(members), number[-1] + 1


def _log_chance(sources: F8, members: I8, slots: int) -> float:
    """Return the logarithm of the probability that sources lie so by chance."""
    x, y, mag = sources
    x0, y0 = x[members[0]], y[members[0]]
    length = math.hypot(x[members[-1]] - x0, y[members[-1]] - y0)
    cos, sin = (x[members[-1]] - x0) / length, (y[members[-1]] - y0) / length
    along, across = (x - x0) * cos + (y - y0) * sin, (y - y0) * cos - (x - x0) * sin
    beside = (along > -BESIDE) & (along < length + BESIDE) & (np.abs(across) < BESIDE)
    beside &= np.abs(mag - median(mag[members])) < ALIKE
    beside[members] = False
    area = 2.0 * BESIDE * (length + 2.0 * BESIDE)
    mean = (np.count_nonzero(beside) + 1.0) * math.pi * TOLERANCE**2 / area
    # Two of them made the line.
    n, m = len(members) - 2, slots - 2
    return log_choices(m, n) + n * math.log(min(mean, 1.0))
