"""The matched filter of wide PSFs: products of Fourier transforms, tile by tile.

Sums over a PSF of 90 pixels, as outer products, take 6 times as long as transforms of tiles that
overlap by its width (Stockham 1966, AFIPS Spring Joint Computer Conf. 28, 229).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.detection.matched import matched_rows
from skyextract.kernels.detection.matchedwaves import significances, weighted_rows
from skyextract.kernels.detection.tilewaves import Transform, correlate_tile, stamp_waves
from skyextract.record import record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skyextract.datamodel.arrays import F4, I8
    from skyextract.kernels.detection.matched import PsfCells, Weighting
    from skyextract.run import Run

WIDE = 400
"""Taps for each pixel, of all outer products, from which on transforms are faster."""
BROKEN, BRIGHT = 1e4, 1e6
"""Pixels of more than so many times the weight of others, or so many sigma, would leave a hundredth
of one in the transforms, which have seven digits."""
_LONGEST = 768
"""Numbers of a transform, at most, where the PSF leaves room: a tile shall stay in the cache."""
_PASSES = 1.5
"""Time for all but the passes of a transform, in that of one of these."""
_MOST_LANES, _VECTOR = 96, 8
"""Columns that are transformed side by side, and numbers of a vector."""
_NO_PLANE = np.zeros((1, 1), np.float32)


def is_wide(psf: PsfCells) -> bool:
    """Tell whether the PSF has so many pixels that transforms are faster than sums."""
    n_terms, size = psf.column.shape[2:]
    return bool(2 * n_terms * size >= WIDE)


def filter_in_waves(
    images: Sequence[F4], weighting: Weighting, psf: PsfCells, unit: np.float32,
    min_share: np.float32, run: Run, out: Sequence[F4],
) -> None:  # fmt: skip
    """Do what `matched_rows` does, with all rows of images of one weight.

    They share the transforms of the PSF and of the weights.
    """
    size = psf.column.shape[3]
    y, x = (_Axis.best(edges, size) for edges in (psf.cell_y, psf.cell_x))

    def filter_rows(task: tuple[int, int, int]) -> None:
        cell, first, past = task
        rows = _Rows(images, weighting, size, first, past)
        if not rows.are_tame:
            for image, one in zip(images, out, strict=True):
                matched_rows(image, weighting, psf, unit, min_share, first, past, one)
            return
        sums = _Sums(y, x, size)
        for number, span in enumerate(pairwise(psf.cell_x.tolist())):
            own = cell, number
            model = _product(psf.column[own], psf.line[own])
            square = _product(psf.column2[own], psf.line2[own])
            rows.filter(model, square, x.tiles(*span), sums, unit, min_share, out)

    cells = enumerate(pairwise(psf.cell_y.tolist()))
    run.map(filter_rows, [(cell, *rows) for cell, span in cells for rows in y.tiles(*span)])


@record
class _Axis:
    """Tiles along one axis, and the transform of one with what the PSF reaches about it.

    Attributes
    ----------
    longest : int
        Pixels of a tile, at most.
    transform : Transform
    """

    longest: int
    transform: Transform

    @classmethod
    def best(cls, edges: I8, size: int) -> _Axis:
        """Return the tiles of cells with these edges for which transforms take the least time."""

        def time(n: int) -> float:
            tiles = int((-(-np.diff(edges) // (n + 1 - size))).sum())
            return tiles * n * (_PASSES + len(_radices(n)))

        most = max(_LONGEST, 2 * size)
        sizes = [2**i * 3**j for i in range(1, 14) for j in range(7) if size < 2**i * 3**j <= most]
        n = min(sizes, key=time)
        radices, turns = _radices(n), np.arange(n)[:, None] * np.arange(1, 4) * (-2.0j * np.pi / n)
        place, left, part = np.zeros(n, np.int64), np.arange(n), n
        for radix in radices:
            part //= radix
            place += left % radix * part
            left //= radix
        pairs = np.exp(turns).astype(np.complex64).view(np.float32)
        return cls(n + 1 - size, Transform(np.array(radices, np.int64), pairs, place))

    @property
    def n(self) -> int:
        """Numbers of a transform."""
        return int(self.transform.place.size)

    def tiles(self, first: int, past: int) -> list[tuple[int, int]]:
        """Split pixels into equal tiles."""
        n = -(-(past - first) // self.longest)
        return list(pairwise(np.linspace(first, past, n + 1).round().astype(int).tolist()))


class _Sums:
    """Sums over a PSF about the pixels of tiles, and the memory for these."""

    def __init__(self, y: _Axis, x: _Axis, size: int) -> None:
        self.y, self.x, self.size = y.transform, x.transform, size
        self.rows = np.zeros((y.n, 2 * _lanes(-(-x.n // 2))[1]), np.float32)
        n_blocks, lanes = _lanes(y.n // 2 + 1)
        self.scratch = np.zeros((n_blocks, x.n, 2 * lanes), np.float32)

    def waves(self, stamp: F4) -> F4:
        """Return the transform of a PSF."""
        waves = np.empty_like(self.scratch)
        stamp_waves(np.ascontiguousarray(stamp), self.y, self.x, self.rows, waves)
        return waves

    def about(self, plane: F4, waves: F4, first: int, shape: tuple[int, int]) -> F4:
        """Return the sums about the pixels of a tile from a column on."""
        sums = np.empty(shape, np.float32)
        correlate_tile(
            plane, first, self.size, waves, self.y, self.x, self.rows, self.scratch, sums
        )  # fmt: skip
        return sums


def _radices(n: int) -> list[int]:
    """Return factors of a number that has no others than 2 and 3, of two 2 a 4."""
    found = []
    for radix in (4, 2, 3):
        while n % radix == 0:
            found.append(radix)
            n //= radix
    return found


def _lanes(n: int) -> tuple[int, int]:
    """Split columns into blocks of few enough to stay in the cache, of whole vectors each."""
    n_blocks = -(-n // _MOST_LANES)
    return n_blocks, -(-n // (n_blocks * _VECTOR)) * _VECTOR


class _Rows:
    """Weighted pixels of some rows of images, with those that the PSF reaches about them."""

    def __init__(
        self, images: Sequence[F4], weighting: Weighting, size: int, first: int, past: int
    ) -> None:
        half = size // 2
        self.first, self.n_rows, self.n_columns, self.size = (
            first,
            past - first,
            images[0].shape[1],
            size,
        )
        n, width = self.n_rows + 2 * half, self.n_columns + 2 * half
        self.typical, self.complete = np.empty(n, np.float32), np.empty(n, np.uint8)
        self.weights = np.zeros((n, width), np.float32)
        self.signals = np.zeros((len(images), n, width), np.float32)
        for image, signal in zip(images, self.signals, strict=True):
            weighted_rows(
                image, weighting, first - half, half, self.typical, self.complete, self.weights,
                signal,
            )  # fmt: skip
        if not weighting.smooth:
            self.complete[:] = 0

    @property
    def are_tame(self) -> bool:
        """Whether no pixel is so broken that its rounding would show in all of its tile."""
        known = self.typical[self.typical > 0.0]
        if not known.size:
            return True
        least = float(known.min())
        # Not the absolute values, which are another plane; NaN is the largest and the least.
        largest = max(float(self.signals.max()), -float(self.signals.min()))
        is_tame = largest <= BRIGHT * math.sqrt(least)
        return is_tame and float(self.weights.max()) <= BROKEN * least

    def filter(
        self, model: F4, square: F4, tiles: list[tuple[int, int]], sums: _Sums, unit: np.float32,
        min_share: np.float32, out: Sequence[F4],
    ) -> None:  # fmt: skip
        """Set the significances in tiles of these columns, all of which have one PSF."""
        waves, waves2 = sums.waves(model), None
        for first, past in tiles:
            shape = self.n_rows, past - first
            below = _NO_PLANE
            has_below = self._has_gaps(first, past)
            if has_below:
                waves2 = sums.waves(square) if waves2 is None else waves2
                below = sums.about(self.weights, waves2, first, shape)
            for signal, one in zip(self.signals, out, strict=True):
                significances(
                    sums.about(signal, waves, first, shape), below, has_below, self.weights,
                    self.typical, self.complete, first, min_share, np.float32(square.sum()), unit,
                    self.first, one,
                )  # fmt: skip

    def _has_gaps(self, first: int, past: int) -> bool:
        """Tell whether pixels of a tile have some about them that are bad, or beyond the image."""
        half = self.size // 2
        return first < half or past > self.n_columns - half or not self.complete.all()


def _product(column: F4, line: F4) -> F4:
    """Return the image (size, size) whose outer products these are."""
    return column.T @ line
