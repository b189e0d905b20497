"""The sky between waves: medians of blocks of pixels, about a parabola."""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.record import record

MIN_BLOCK = 0.25
"""Part of a block that has data, to have a level of its own."""


@record
class Blocks:
    """Square blocks of an image, and what of them is known.

    Attributes
    ----------
    side : int
        Pixels.
    full : (n_y, n_x) bool
        Those that have a level of their own.
    number : (n,) int64
        Known pixels of these.
    row, column : (n,) float64
        The middle of them, in blocks: that of what is there, of a block that is cut.
    """

    side: int
    full: Bools
    number: I8
    row: F8
    column: F8

    @classmethod
    def of(cls, known: Bools, side: int) -> Blocks:
        """Return the blocks of `side` x `side` pixels."""
        n_y, n_x = (size // side for size in known.shape)
        parts = known.reshape(n_y, side, n_x, side)
        number = np.count_nonzero(parts, axis=(1, 3))
        full = number > MIN_BLOCK * side**2
        axis_y, axis_x = (np.arange(n * side, dtype=np.float64) / side for n in (n_y, n_x))
        most = np.maximum(number, 1)
        row = (parts.sum(axis=3) * axis_y.reshape(n_y, side, 1)).sum(axis=1) / most
        column = (parts.sum(axis=1) * axis_x.reshape(n_x, side)).sum(axis=2) / most
        return cls(side, full, number[full], row[full], column[full])

    def level(self, image: F4) -> F4:
        """Return a smooth image: medians of the blocks, about a parabola.

        Lines go from one to the next.

        Parameters
        ----------
        image : (ny, nx) float32
            Not a number where it is not known.
        """
        side = self.side
        n_y, n_x = self.full.shape
        by_block = image.reshape(n_y, side, n_x, side).swapaxes(1, 2)[self.full]
        medians = _medians_of_known(by_block.reshape(len(self.number), -1), self.number)
        terms = np.stack(_parabola(self.row, self.column), axis=-1)
        factors = np.linalg.lstsq(terms, medians, rcond=None)[0]
        left = np.full((n_y, n_x), np.nan)
        left[self.full] = medians - terms @ factors
        left = _filled(left, 0.0)
        y, x = ((np.arange(n * side) + 0.5) / side - 0.5 for n in (n_y, n_x))
        rows = np.stack([np.interp(x, np.arange(n_x), values) for values in left])
        below = np.clip(np.floor(y).astype(np.int64), 0, max(n_y - 2, 0))
        part = np.clip(y - below, 0.0, 1.0)[:, None]
        smooth = rows[below] * (1.0 - part) + rows[below + 1] * part
        axis_y, axis_x = (np.arange(n * side, dtype=np.float64) / side for n in (n_y, n_x))
        one, *others = _parabola(axis_y[:, None], axis_x[None])
        bent = one * factors[0]
        for term, factor in zip(others, factors[1:], strict=True):
            bent += term * factor
        smooth += bent
        level: F4 = smooth.astype(np.float32)
        return level


def _medians_of_known(values: F4, number: I8) -> F4:
    """Return medians of rows (n, k), of so many values of each; the others are not a number."""
    values.sort(axis=1)
    row = np.arange(len(values))
    upper = values[row, number // 2]
    lower = values[row, (number - 1) // 2]
    return np.where(number % 2 == 1, upper, (lower + upper) * np.float32(0.5))


def _parabola(y: F8, x: F8) -> tuple[F8, ...]:
    """Return the terms 1, y, x, y^2, x y, x^2 of places; of axes each has the shape it needs."""
    return np.ones(np.broadcast_shapes(y.shape, x.shape)), y, x, y * y, x * y, x * x


def _filled(medians: F8, usual: float) -> F8:
    """Return levels, each unknown one the mean of those beside it, from there on."""
    known = np.isfinite(medians)
    if not known.any():
        return np.full(medians.shape, usual)
    while not known.all():
        wide = np.pad(np.where(known, medians, 0.0), 1)
        there = np.pad(known.astype(np.float64), 1)
        ny, nx = medians.shape
        around = [(slice(a, a + ny), slice(b, b + nx)) for a in range(3) for b in range(3)]
        number = sum((there[part] for part in around), np.zeros(medians.shape))
        total = sum((wide[part] for part in around), np.zeros(medians.shape))
        new = ~known & (number > 0.0)
        medians = np.where(new, total / np.maximum(number, 1.0), medians)
        known = known | new
    return medians
