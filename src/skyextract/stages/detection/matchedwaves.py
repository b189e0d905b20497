"""The matched filter of wide PSFs: products of Fourier transforms, tile by tile.

Sums over a PSF of 90 pixels, as outer products, take 6 times as long as transforms of tiles that
overlap by its width (Stockham 1966, AFIPS Spring Joint Computer Conf. 28, 229).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.fourier import fast_size
from skyextract.kernels.detection.matched import matched_rows
from skyextract.kernels.detection.matchedwaves import significances, weighted_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skyextract.datamodel.arrays import C16, F4
    from skyextract.kernels.detection.matched import PsfCells, Weighting
    from skyextract.run import Run

WIDE = 640
"""Taps for each pixel, of all outer products, from which on transforms are faster."""
BROKEN = 1e10
"""Pixels of more than so many sigma, or times the weight of others, would leave a millionth of one
in the transforms."""
_TILE = 384
"""Pixels along the side of a tile, at most."""
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

    def filter_rows(task: tuple[int, int, int]) -> None:
        cell, first, past = task
        rows = _Rows(images, weighting, psf.column.shape[3], first, past)
        if not rows.are_tame:
            for image, one in zip(images, out, strict=True):
                matched_rows(image, weighting, psf, unit, min_share, first, past, one)
            return
        for number, span in enumerate(pairwise(psf.cell_x.tolist())):
            own = cell, number
            model = _product(psf.column[own], psf.line[own])
            square = _product(psf.column2[own], psf.line2[own])
            rows.filter(model, square, _tiles(*span), unit, min_share, out)

    cells = enumerate(pairwise(psf.cell_y.tolist()))
    run.map(filter_rows, [(cell, *rows) for cell, span in cells for rows in _tiles(*span)])


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
        is_tame = largest <= BROKEN * math.sqrt(least)
        return is_tame and float(self.weights.max()) <= BROKEN * least

    def filter(
        self, model: F4, square: F4, tiles: list[tuple[int, int]], unit: np.float32,
        min_share: np.float32, out: Sequence[F4],
    ) -> None:  # fmt: skip
        """Set the significances in tiles of these columns, all of which have one PSF."""
        widest = max(past - first for first, past in tiles)
        shape = fast_size(self.n_rows + self.size - 1), fast_size(widest + self.size - 1)
        waves, waves2 = _conjugate_waves(model, shape), None
        for first, past in tiles:
            below = _NO_PLANE
            has_below = self._has_gaps(first, past)
            if has_below:
                waves2 = _conjugate_waves(square, shape) if waves2 is None else waves2
                below = self._correlated(self.weights, waves2, first, past, shape)
            for signal, one in zip(self.signals, out, strict=True):
                above = self._correlated(signal, waves, first, past, shape)
                significances(
                    above, below, has_below, self.weights, self.typical, self.complete, first,
                    min_share, np.float32(square.sum()), unit, self.first, one,
                )  # fmt: skip

    def _has_gaps(self, first: int, past: int) -> bool:
        """Tell whether pixels of a tile have some about them that are bad, or beyond the image."""
        half = self.size // 2
        return first < half or past > self.n_columns - half or not self.complete.all()

    def _correlated(
        self, plane: F4, waves: C16, first: int, past: int, shape: tuple[int, int]
    ) -> F4:
        """Return the sums over the PSF about the pixels of a tile."""
        tile = np.fft.rfft2(plane[:, first : past + self.size - 1].astype(np.float64), shape)
        tile *= waves
        sums = np.fft.irfft2(tile, shape)[: self.n_rows, : past - first]
        return np.ascontiguousarray(sums, np.float32)


def _product(column: F4, line: F4) -> F4:
    """Return the image (size, size) whose outer products these are."""
    return column.T @ line


def _conjugate_waves(stamp: F4, shape: tuple[int, int]) -> C16:
    """Return the transform with which that of an image is multiplied to correlate both."""
    waves = np.fft.rfft2(stamp.astype(np.float64), shape)
    return np.asarray(np.conjugate(waves, out=waves))


def _tiles(first: int, past: int) -> list[tuple[int, int]]:
    """Split pixels into equal tiles."""
    n = -(-(past - first) // _TILE)
    return list(pairwise(np.linspace(first, past, n + 1).round().astype(int).tolist()))
