"""Waves: patterns whose power in the plane of frequencies is in few of them, in square tiles.

Stars, galaxies and noise have about as much power in all directions of the plane of frequencies;
fringes and interference have theirs in narrow peaks.  What is above the median of all directions
is theirs, and a Wiener filter (Wiener 1949; gain 1 - noise / power) takes it out of the rest.
Tiles overlap by half, and sines over them make their squares a sum of 1.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import C8, F4, F8, Bools, widened
from skyextract.datamodel.noise import median, medians
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.record import record
from skyextract.stages.patterns.waveblocks import Blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skyextract.run import Run

TILE = 128
"""Side of a tile, pixels: fringes bend slowly against that."""
SHORTEST = 4.3
"""Least wavelength, pixels: below it waves are too short for bins, and no harm to stars."""
BIN = 2
"""Pixels on a side that are one while waves are measured."""
SIGNIFICANT = 5.0
"""Waves of so many times the power of others are taken: of noise none has that."""
PEAK = 1.5
"""Fringes have so many times the power of waves that are twice as long."""
STARS, MARGIN = 3.0, 1
"""Bins of so many sigma, and so many beside them, are stars."""
WIDE, WIDE_STARS, WIDE_MARGIN = 5, 4.0, 3
"""Means of so many bins on a side are looked at for wide ones, and the same of these."""
SAMPLE = 200_000
"""Bins that tell the noise, about."""
_CIRCLE = math.log(2.0)
"""Median of the power of noise, over its mean."""
_LOW = 4
"""Rings of frequencies, in waves per tile, below this are too few to have a median of their own
where a pattern is in them: they have no more noise than the rings next to them."""


@record
class Frequencies:
    """The waves that fit into a tile.

    Attributes
    ----------
    side : int
        Of a tile, pixels (of the binned image).
    most : int
        Frequencies go from - `most` to `most` waves per tile on either axis.
    number : (2 most + 1, 2 most + 1) float64
        Waves per tile of each.
    ring : (2 most + 1, 2 most + 1) int64
        The same, rounded.
    order : (n,) int64
        All of them, in a line, ring by ring...
    begin : (most + 2,) int64
        ... and where in it each ring begins, and the last one ends.
    window : (side, side) float32
        Weight of the pixels of a tile.
    """

    side: int
    most: int
    number: F8
    ring: NDArray[np.int64]
    order: NDArray[np.int64]
    begin: NDArray[np.int64]
    window: F4

    @classmethod
    def of_tile(cls, side: int) -> Frequencies:
        """Return those of a tile of TILE pixels, in `side` bins."""
        most = math.ceil(TILE / SHORTEST)
        k = np.arange(-most, most + 1)
        number = np.hypot(k[:, None], k)
        sine = np.sin(np.pi * (np.arange(side) + 0.5) / side)
        window = (sine[:, None] * sine).astype(np.float32)
        ring = np.rint(number).astype(np.int64)
        order = np.argsort(ring, axis=None, kind="stable")
        begin = np.searchsorted(ring.ravel()[order], np.arange(most + 2))
        return cls(side, most, number, ring, order, begin, window)

    def amplitudes(self, tiles: F4) -> C8:
        """Return the amplitudes of all waves in tiles, (n, 2 most + 1, 2 most + 1)."""
        waves = np.fft.rfft2(tiles * self.window)
        n, most = self.most, self.most + 1
        right = np.concatenate([waves[:, -n:, :most], waves[:, :most, :most]], axis=1)
        return np.concatenate([np.conj(right[:, ::-1, :0:-1]), right], axis=2)

    def tiles(self, amplitudes: C8) -> F4:
        """Return tiles of these amplitudes, weighted by the window."""
        n, right = self.most, amplitudes[:, :, self.most :]
        waves = np.zeros((len(right), self.side, self.side // 2 + 1), np.complex64)
        waves[:, : n + 1, : n + 1] = right[:, n:]
        waves[:, -n:, : n + 1] = right[:, :n]
        return np.fft.irfft2(waves, s=(self.side, self.side)).astype(np.float32) * self.window

    def above_others(self, power: F4, longest: float, *, low: bool) -> F4:
        """Return the power about each frequency over the median of all directions; 0 outside.

        Parameters
        ----------
        power : (n, 2 most + 1, 2 most + 1) float32
        longest : float
            Wavelength, pixels.
        low : bool
            Long waves have no more noise than those that are next to them.
        """
        n = len(power)
        others = self._medians(power) / np.float32(_CIRCLE)
        if low:
            next_to = others[:, _LOW : 2 * _LOW].min(axis=1)
            others[:, :_LOW] = np.minimum(others[:, :_LOW], next_to[:, None])
        others = others[:, np.minimum(self.ring, self.most)]
        # Rows and columns with offsets of their own have power at all waves across them.
        middle = slice(self.most - 1, self.most + 2)
        for axis in (1, 2):
            band = np.moveaxis(power, axis, 1)[:, :, middle]
            usual = medians(band.reshape(n, -1)) / np.float32(_CIRCLE)
            on_axis = np.moveaxis(others, axis, 1)[:, :, middle]
            np.maximum(on_axis, usual[:, None, None], out=on_axis)
        mean = _mean_about(power)
        inside = (self.number >= TILE / longest) & (self.number <= TILE / SHORTEST)
        known = inside & (others > 0.0)
        ratio: F4 = np.where(known, mean / np.where(known, others, 1.0), 0.0).astype(np.float32)
        return ratio

    def _medians(self, power: F4) -> F4:
        """Return the median of each ring of frequencies, (n, most + 1)."""
        by_ring = power.reshape(len(power), -1)[:, self.order]
        medians = np.empty((len(power), self.most + 1), np.float32)
        for k, (first, past) in enumerate(pairwise(self.begin.tolist())):
            middle = first + (past - first) // 2
            by_ring[:, first:past].partition((past - first) // 2, axis=1)
            medians[:, k] = by_ring[:, middle]
            if (past - first) % 2 == 0:
                medians[:, k] += by_ring[:, first:middle].max(axis=1)
                medians[:, k] *= np.float32(0.5)
        return medians


def strongest(tile: F4, known: Bools, frequencies: Frequencies, longest: float) -> float:
    """Return the greatest power of a wave over that of other directions.

    Parameters
    ----------
    tile : (side, side) float32
        0 where it is not known.
    known : (side, side) bool
        Pixels of the sky.
    """
    tile = np.where(known, tile - tile[known].mean(), np.float32(0.0))
    tile = tile / (np.abs(tile).max() or np.float32(1.0))
    power = np.abs(frequencies.amplitudes(tile[None])) ** 2
    ratio = frequencies.above_others(power, longest, low=False)[0]
    # Clouds and galaxies have the more power, the longer the wave.
    mean = _mean_about(power)[0]
    half = np.rint(0.5 * np.arange(-frequencies.most, frequencies.most + 1)).astype(np.int64)
    half += frequencies.most
    return float(ratio[mean > PEAK * mean[half[:, None], half]].max(initial=0.0))


def _mean_about(power: F4) -> F4:
    """Return means of 3 x 3 frequencies."""
    size = power.shape[1]
    wide = np.pad(power, ((0, 0), (1, 1), (1, 1)), mode="edge")
    total = np.zeros_like(power)
    for a in range(3):
        for b in range(3):
            total += wide[:, a : a + size, b : b + size]
    return total / np.float32(9.0)


@record
class Tiles:
    """A binned image in tiles that overlap by half, with half a tile more on all sides.

    Attributes
    ----------
    data : (n_y, n_x) float32
        0 where it is not known.
    known : (n_y, n_x) bool
    blocks : Blocks
    frame : (slice, slice)
        Where the image is in it.
    frequencies, fine_ones : Frequencies
        Of tiles of bins, and of pixels.
    run : Run
    """

    data: F4
    known: Bools
    blocks: Blocks
    frame: tuple[slice, slice]
    frequencies: Frequencies
    fine_ones: Frequencies
    run: Run

    @classmethod
    def of(cls, image: F4, known: Bools, run: Run) -> Tiles:
        """Return the tiles of an image; its pixels outside `known` do not count."""
        half = TILE // (2 * BIN)
        bins, whole = binned(image, known, BIN)
        shape = tuple((-(-size // half) + 2) * half for size in bins.shape)
        frame = (slice(half, half + bins.shape[0]), slice(half, half + bins.shape[1]))
        data, there = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
        data[frame], there[frame] = bins, whole
        fine_ones = Frequencies.of_tile(TILE)
        return cls(
            data,
            there,
            Blocks.of(there, half),
            frame,
            Frequencies.of_tile(TILE // BIN),
            fine_ones,
            run,
        )

    def level(self, waves: F4) -> F4:
        """Return the sky without waves, in bins: medians of half tiles, about a parabola.

        Lines go from one to the next.
        """
        rest = np.where(self.known, self.data - waves, np.float32(np.nan))
        return self.blocks.level(rest)

    def stars(self, waves: F4, level: F4, *, wide: bool) -> tuple[Bools, float]:
        """Return the bins with stars, when waves and sky are taken off, and the noise of bins.

        Sources that are wide and faint show in a mean, but waves that are left do, too.
        """
        rest = np.where(self.known, self.data - waves - level, np.float32(0.0))
        step = max(1, rest.size // SAMPLE)
        middle, noise = level_and_noise(rest[self.known][::step])
        found = widened(np.abs(rest - middle) > STARS * noise, MARGIN)
        if wide:
            mean = _box_mean(np.where(found, np.float32(0.0), rest), WIDE)
            middle, sigma = level_and_noise(mean[self.known & ~found][::step])
            found |= widened(mean > middle + WIDE_STARS * sigma, WIDE_MARGIN)
        return found & self.known, noise

    def filtered(self, waves: F4, stars: Bools, level: F4) -> F4:
        """Return the waves of the image, in bins; where stars are it has those that are given."""
        return self._sum(waves, stars, level, 1)

    def fine(self, waves: F4, stars: Bools, level: F4, shape: tuple[int, ...]) -> F4:
        """Return the waves of the image in its pixels."""
        total = self._sum(waves, stars, level, BIN)
        y, x = (part.start * BIN for part in self.frame)
        return np.ascontiguousarray(total[y : y + shape[0], x : x + shape[1]])

    def _sum(self, waves: F4, stars: Bools, level: F4, zoom: int) -> F4:
        """Filter the rows of tiles, and add them up on a grid that is `zoom` times as fine."""
        half, (n_y, n_x) = self.frequencies.side // 2, self.data.shape
        total = np.zeros((n_y * zoom, n_x * zoom), np.float32)
        sky = self.known & ~stars

        def row(k: int) -> None:
            rows = slice(k * half, (k + 2) * half)
            parts = [slice(j * half, (j + 2) * half) for j in range(n_x // half - 1)]
            old = np.stack([waves[rows, at] for at in parts])
            tiles = np.where(
                np.stack([sky[rows, at] for at in parts]),
                np.stack([self.data[rows, at] - level[rows, at] for at in parts]), old,
            )  # fmt: skip
            found = self._filter(tiles, zoom)
            for j, at in enumerate(parts):
                total[zoom * rows.start : zoom * rows.stop, zoom * at.start : zoom * at.stop] += (
                    found[j]
                )

        # Every second row of tiles: they have no pixel in common.
        for first in (0, 1):
            self.run.map(row, range(first, n_y // half - 1, 2))
        return total

    def _filter(self, tiles: F4, zoom: int) -> F4:
        """Return the waves in tiles, in bins or (`zoom` BIN) in pixels."""
        amplitudes = self.frequencies.amplitudes(tiles)
        ratio = self.frequencies.above_others(np.abs(amplitudes) ** 2, TILE, low=True)
        clear = ratio > SIGNIFICANT
        gain = np.where(clear, 1.0 - 1.0 / np.where(clear, ratio, 1.0), 0.0).astype(np.float32)
        if zoom == 1:
            return self.frequencies.tiles(amplitudes * gain)
        k = np.arange(-self.frequencies.most, self.frequencies.most + 1) / TILE
        # The middle of a bin is half a pixel from its first one, and its mean flattens waves.
        of_bin = BIN * np.exp(-1j * np.pi * k) / np.cos(np.pi * k)
        return self.fine_ones.tiles(
            amplitudes * gain * np.outer(of_bin, of_bin).astype(np.complex64)
        )


def level_and_noise(values: F4) -> tuple[float, float]:
    """Return median and noise of most values."""
    middle = median(values)
    return middle, MAD_TO_SIGMA * median(np.abs(values - middle))


def _box_mean(image: F4, n: int) -> F4:
    """Return the mean of n x n bins about each; beyond the edge there is nothing."""
    half = n // 2
    for axis in (0, 1):
        width = [(0, 0), (0, 0)]
        width[axis] = (half + 1, half)
        sums = np.cumsum(np.pad(image, width), axis=axis, dtype=np.float64)
        ahead = [slice(None), slice(None)]
        behind = [slice(None), slice(None)]
        ahead[axis], behind[axis] = slice(n, None), slice(None, -n)
        image = ((sums[tuple(ahead)] - sums[tuple(behind)]) / n).astype(np.float32)
    return image


def binned(image: F4, known: Bools, side: int) -> tuple[F4, Bools]:
    """Return means of `side` x `side` pixels, and which of them have data in all."""
    ny, nx = (size // side * side for size in image.shape)
    cells = (ny // side, side, nx // side, side)
    whole = np.asarray(known[:ny, :nx].reshape(cells).all(axis=(1, 3)))
    mean = image[:ny, :nx].reshape(cells).mean(axis=(1, 3), dtype=np.float32)
    return np.where(whole, mean, np.float32(0.0)), whole
