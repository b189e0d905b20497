"""Sums of an image along all straight lines across it.

The fast discrete Radon transform: sums along lines of 2n columns are those of two lines of n
columns, one behind the other (M. L. Brady 1998, SIAM J. Comput. 27, 107).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import median
from skyextract.kernels.background.lines import join_halves, stand_out
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.record import record
from skyextract.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from skyextract.datamodel.arrays import F4, F8, Bools

SKY = 16
"""Side of the meshes of the sky in a coarse image, cells."""
_BLOCK = 1 << 18
"""Pixels that are binned together, in the cache."""
ASIDE = (3, 12)
"""Displacements of the lines beside, in cells, that tell what a line has in common with these."""
MIN_CELLS = 0.3
"""Cells of a line with data, at least, as a share of the longer side of the image."""


@record
class Line:
    """A straight line across an image.

    Attributes
    ----------
    x, y : (2,) float64
        Where it begins and ends, pixels.
    significance : float
        Of its sum, in units of the scatter of those of other lines.
    """

    x: F8
    y: F8
    significance: float

    def within(self, shape: tuple[int, ...]) -> tuple[F8, F8, float]:
        """Return beginning, direction and length of the part that is in an image."""
        start = np.array([self.x[0], self.y[0]])
        step = np.array([self.x[1], self.y[1]]) - start
        low, high = 0.0, 1.0
        for k, size in enumerate((shape[1], shape[0])):
            if step[k] == 0.0:
                continue
            ends = sorted(((0.0 - start[k]) / step[k], (size - 1.0 - start[k]) / step[k]))
            low, high = max(low, ends[0]), min(high, ends[1])
        length = float(np.hypot(*step))
        return start + low * step, step / length, length * (high - low)


def brightest_lines(image: F4, known: Bools, least: float, most: int, run: Run) -> list[Line]:
    """Return lines along which an image is brighter than beside them, the brightest first.

    Parameters
    ----------
    image : (ny, nx) float32
        Without its mean; 0 where nothing is known.
    known : (ny, nx) bool
    least : float
        Significance from which on they count.
    most : int
        Number of lines, at most.
    """
    both: NDArray[np.complex64] = np.empty(image.shape, np.complex64)
    both.real, both.imag = image, known

    def rising(turn: tuple[bool, bool]) -> list[Line]:
        steep, down = turn
        turned = both.T if steep else both
        turned = turned[::-1] if down else turned
        lines = []
        for line in _brightest(turned, least, most):
            x, y = line.x, line.y
            if down:
                y = turned.shape[0] - 1.0 - y
            x, y = (y, x) if steep else (x, y)
            lines.append(Line(x, y, line.significance))
        return lines

    turns = [(steep, down) for steep in (False, True) for down in (False, True)]
    found = [line for lines in run.map(rising, turns) for line in lines]
    found.sort(key=lambda line: -line.significance)
    return found[:most]


def _brightest(both: NDArray[np.complex64], least: float, most: int) -> Iterator[Line]:
    """Yield the brightest of the lines that rise by up to one row per column."""
    ny, nx = both.shape
    sums, n_columns = line_sums(both)
    value: F4 = np.empty(sums.shape, np.float32)
    enough = np.empty(sums.shape, np.bool_)
    n_cells = np.float32(MIN_CELLS * max(ny, nx))
    stand_out(sums.view(np.float32), n_cells, ASIDE[0], ASIDE[1], value, enough)
    sample = value[enough][:: max(1, value.size // 100_000)]
    if not sample.size:
        return
    scatter = MAD_TO_SIGMA * median(np.abs(sample))
    if scatter <= 0.0:
        return
    for _ in range(most):
        at = int(np.argmax(value))
        rise, start = divmod(at, value.shape[1])
        if value[rise, start] < least * scatter:
            return
        x = np.array([0.0, nx - 1.0])
        y = start - n_columns + rise * x / max(1, n_columns - 1)
        yield Line(x, y, float(value[rise, start]) / scatter)
        _blank(value, rise, start, n_columns)


def _blank(value: F4, rise: int, start: int, n_columns: int) -> None:
    """Set lines to 0 that are near to this one all along it, or cross it at a small angle."""
    reach = max(8, n_columns // 16)
    for other in range(max(0, rise - reach), min(value.shape[0], rise + reach + 1)):
        turned = other - rise
        low = start - max(turned, 0) - 4
        high = start - min(turned, 0) + 5
        value[other, max(low, 0) : max(high, 0)] = 0.0


def line_sums(image: NDArray[np.complex64]) -> tuple[NDArray[np.complex64], int]:
    """Return sums along lines from the first to the last column.

    Returns
    -------
    (n, ny + n) complex64
        Of the line that begins in row ``j - n`` and rises by ``i`` rows over the n columns.
    n : int
        The number of columns, up to the next power of two.
    """
    ny, nx = image.shape
    n = 1 << max(1, nx - 1).bit_length()
    part = np.zeros((n, ny + n), np.complex64)
    part[:nx, n:] = np.transpose(image)
    other = np.empty_like(part)
    n_rises = 1
    while n_rises < n:
        join_halves(part.view(np.float32), n_rises, other.view(np.float32))
        part, other = other, part
        n_rises *= 2
    return part, n


def coarse_image(image: F4, known: Bools, cell: int, run: Run) -> tuple[F4, Bools]:
    """Return means of cells less the median of their mesh, and which have data in all pixels."""
    coarse, whole = _binned(image, known, cell, run)
    return coarse - _sky(coarse, whole), whole


def _binned(image: F4, known: Bools, cell: int, run: Run) -> tuple[F4, Bools]:
    """Return means of cells, and which of them have data in all pixels."""
    n_y, n_x = (size // cell for size in image.shape)

    def rows(band: tuple[int, int]) -> tuple[F4, Bools]:
        # First along whole rows, then column by column of the cells: numpy takes several times as
        # long for sums of few neighbours in memory.
        part = np.s_[band[0] * cell : band[1] * cell, : n_x * cell]
        total = image[part].reshape(-1, cell, n_x * cell).sum(axis=1)
        have = np.logical_and.reduce(known[part].reshape(-1, cell, n_x * cell), axis=1)
        sums, all_have = total[:, ::cell].copy(), have[:, ::cell].copy()
        for k in range(1, cell):
            sums += total[:, k::cell]
            all_have &= have[:, k::cell]
        return sums * np.float32(1.0 / cell**2), all_have

    step = max(1, _BLOCK // (cell * image.shape[1]))
    bands = [(first, min(first + step, n_y)) for first in range(0, n_y, step)]
    means, wholes = zip(*run.map(rows, bands), strict=True)
    whole = np.concatenate(wholes)
    return np.where(whole, np.concatenate(means), np.float32(0.0)), whole


def _sky(coarse: F4, whole: Bools) -> F4:
    """Return the median of the mesh that each cell is in."""
    ny, nx = coarse.shape
    padded = np.full((-(-ny // SKY) * SKY, -(-nx // SKY) * SKY), np.nan, np.float32)
    padded[:ny, :nx] = np.where(whole, coarse, np.float32(np.nan))
    rows, columns = padded.shape[0] // SKY, padded.shape[1] // SKY
    parts = padded.reshape(rows, SKY, columns, SKY).transpose(0, 2, 1, 3)
    meshes = parts.reshape(rows, columns, SKY**2)
    ordered = np.sort(meshes, axis=2)
    number = np.count_nonzero(~np.isnan(meshes), axis=2)
    level = np.take_along_axis(ordered, (number // 2)[..., None], axis=2)[..., 0]
    level = np.where(number > 0, level, np.float32(0.0))
    return np.repeat(np.repeat(level, SKY, axis=0), SKY, axis=1)[:ny, :nx]
