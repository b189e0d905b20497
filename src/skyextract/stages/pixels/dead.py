"""Dead pixels that nothing says are dead: far below the sky, alone or in narrow groups.

Neither stars nor noise make such pixels, and a few of them are most of the noise of a filtered
image.  What is smooth on the scale of a few pixels (oversubtracted light, the negative stars of a
difference image), what is wide, and the ringing of resampled pixels beside bright ones stay.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, U2, Bools, distinct
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.noise import median
from skyextract.record import record
from skyextract.run import Run

MIN_DEPTH = 9.0
"""Dead pixels are so many times the noise below the sky; ..."""
MAX_BESIDE, NOISE_BESIDE = 0.25, 4.0
"""... those about them are less deep than this share of it, or so many times the noise."""
WIDTH = 4
"""Groups are so narrow, along a row or a column, that they are interpolated over."""
MAX_SHARE = 0.05
"""Where more pixels than this share are so deep, the noise is not what it seems."""
RINGING = 3.0
"""Beside a pixel that is brighter than so many times the depth, resampling may have made it..."""
COMMON = 5
"""... but not if so many deep pixels have exactly the same value."""

_CELL, _STEP = 32, 2
"""Size of the meshes of sky and noise, and step of the pixels that are looked at there."""
_ROWS = 8
"""Rows of meshes that are looked at together."""
_MIN_SAMPLE = 64
_FAR = 3
"""Pixels at this distance tell about the noise and about bright pixels beside."""
_LOST = np.uint16(Mask.NO_DATA | Mask.BAD | Mask.SAT)


@record
class _Sky:
    """Level and noise of the meshes, (rows, columns)."""

    level: F8
    noise: F8


def dead_pixels(exposure: Exposure, run: Run) -> I8:
    """Return the indices ``y * nx + x`` of dead pixels that no mask plane has."""
    image, mask = exposure.image, exposure.mask
    none = np.zeros(0, np.int64)
    sky = _sky_of_meshes(image, mask, run)
    if sky is None:
        return none
    deep = _deep_pixels(image, mask, sky, run)
    if not deep.size or deep.size > MAX_SHARE * image.size:
        return none
    # A frame of pixels without data: what is narrow has pixels with data on both sides.
    closed = np.pad((mask & _LOST) != 0, WIDTH, constant_values=True)
    values = np.pad(image, WIDTH, mode="edge")
    y, x = np.divmod(deep, image.shape[1])
    level, noise = (plane[y // _CELL, x // _CELL] for plane in (sky.level, sky.noise))
    depth = level - image[y, x]
    own = np.zeros(1)
    if exposure.variance is not None:
        own = np.sqrt(np.maximum(exposure.variance[y, x], 0.0))
    y, x = y + WIDTH, x + WIDTH
    taken = closed.copy()
    taken[y, x] = True
    kept = _is_narrow(taken, y, x)
    noise = _noise_about(values, taken, y, x, level, noise)
    # A plane may say that pixels are noisy, and these are low as often as they are high.
    kept &= depth > MIN_DEPTH * np.maximum(noise, own)
    beside = np.maximum(MAX_BESIDE * depth, NOISE_BESIDE * noise)
    kept &= _is_no_ringing(values, closed, y, x, level)
    while True:
        taken = closed.copy()
        taken[y[kept], x[kept]] = True
        sharp = kept & (_deepest_beside(values, taken, y, x, level) < beside)
        if np.array_equal(sharp, kept):
            return deep[kept]
        kept = sharp


def _sky_of_meshes(image: F4, mask: U2, run: Run) -> _Sky | None:
    """Return median and noise, from the side below it, of meshes; None without sky.

    The noise is no less than half of the typical one, nor than the step of the values.
    """
    side = _CELL // _STEP
    ny, nx = (math.ceil(n / _CELL) for n in image.shape)
    level, noise = np.full((2, ny, nx), np.nan)

    def estimate(first: int) -> None:
        part = slice(first, min(first + _ROWS, ny))
        rows = slice(part.start * _CELL, part.stop * _CELL, _STEP)
        sample = image[rows, ::_STEP]
        lost = mask[rows] & _LOST
        n_rows = part.stop - part.start
        room = np.empty((n_rows * side, nx * side), np.float32)
        if sample.shape != room.shape:
            room.fill(np.inf)
        filled = room[: sample.shape[0], : sample.shape[1]]
        filled[:] = sample
        if lost.any():  # seldom
            filled[lost[:, ::_STEP] != 0] = np.inf
        cells = room.reshape(n_rows, side, nx, side).swapaxes(1, 2).reshape(n_rows * nx, -1)
        cells.sort(axis=1)
        if (cells[:, -1] < np.inf).all():
            n = np.full(len(cells), cells.shape[1])
        else:
            n = np.count_nonzero(cells < np.inf, axis=1)
        good = np.flatnonzero(n >= _MIN_SAMPLE)
        half, low, lowest = (
            cells[good, np.rint(share * (n[good] - 1)).astype(int)].astype(np.float64)
            for share in (0.5, 0.1587, 0.1)
        )
        level[part].ravel()[good] = half
        noise[part].ravel()[good] = np.maximum(half - low, (half - lowest) / 1.2816)

    run.map(estimate, range(0, ny, _ROWS))
    known = np.isfinite(level)
    if not known.any():
        return None
    floor = max(0.5 * median(noise[known]), _step_of_values(image))
    level[~known] = -np.inf
    return _Sky(level, np.where(known, np.maximum(noise, floor), 1.0))


def _step_of_values(image: F4) -> float:
    """Return the least difference of two values in a sample of the pixels."""
    values = distinct(image.ravel()[:: max(1, image.size // 10_000)])
    return float(np.diff(values).min()) if values.size > 1 else 0.0


def _deep_pixels(image: F4, mask: U2, sky: _Sky, run: Run) -> I8:
    """Return the pixels with data that are far below the sky of their mesh."""
    limit = (sky.level - MIN_DEPTH * sky.noise).astype(np.float32)

    def look(j: int) -> I8:
        rows = slice(j * _CELL, (j + 1) * _CELL)
        below = image[rows] < np.repeat(limit[j], _CELL)[: image.shape[1]]
        if below.any():
            below &= (mask[rows] & _LOST) == 0
        deep: I8 = np.flatnonzero(below) + j * _CELL * image.shape[1]
        return deep

    return np.concatenate(run.map(look, range(len(limit))))


def _is_narrow(taken: Bools, y: I8, x: I8) -> Bools:
    """Tell which pixels lie in runs of at most `WIDTH` taken pixels, along a row or a column."""

    def run(dy: int, dx: int) -> I8:
        length = np.ones(y.size, np.int64)
        for sign in (-1, 1):
            going = np.ones(y.size, np.bool_)
            for k in range(1, WIDTH + 1):
                going &= taken[y + sign * k * dy, x + sign * k * dx]
                length += going
        return length

    narrow: Bools = (run(0, 1) <= WIDTH) | (run(1, 0) <= WIDTH)
    return narrow


def _noise_about(values: F4, taken: Bools, y: I8, x: I8, level: F8, noise: F8) -> F8:
    """Return the noise of the mesh, or that of the pixels below the sky beside, if it is more."""
    squares, n = np.zeros((2, y.size))
    for dy in range(-_FAR, _FAR + 1):
        for dx in range(-_FAR, _FAR + 1):
            below = level - values[y + dy, x + dx]
            counts = (below > 0.0) & ~taken[y + dy, x + dx]
            squares += np.where(counts, below, 0.0) ** 2
            n += counts
    higher: F8 = np.maximum(noise, np.where(n >= COMMON, np.sqrt(squares / np.maximum(n, 1)), 0.0))
    return higher


def _is_no_ringing(values: F4, closed: Bools, y: I8, x: I8, level: F8) -> Bools:
    """Tell which pixels are no negative lobe of a pixel beside that is far brighter."""
    value = values[y, x]
    brightest = np.full(y.size, -np.inf)
    for dy in range(-_FAR, _FAR + 1):
        for dx in range(-_FAR, _FAR + 1):
            inside = ~closed[y + dy, x + dx]
            beside = np.where(inside, values[y + dy, x + dx], -np.inf)
            brightest = np.maximum(brightest, beside)
    _, which, number = np.unique(value, return_inverse=True, return_counts=True)
    common: Bools = number[which.ravel()] >= COMMON
    return common | (brightest - level < RINGING * (level - value))


def _deepest_beside(values: F4, taken: Bools, y: I8, x: I8, level: F8) -> F8:
    """Return how deep the deepest of the 8 neighbours is that are not taken."""
    deepest = np.zeros(y.size)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            beside = np.where(taken[y + dy, x + dx], 0.0, level - values[y + dy, x + dx])
            deepest = np.maximum(deepest, beside)
    return deepest
