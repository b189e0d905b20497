"""Parts of a frame of any form that no light reached: beyond a round field, behind trees or a dome.

They are far below the rest, have less noise than its photons, hardly a star, and end within some
pixels: vignetting, nebulae and galaxies do not.  What is dimmed at their edge belongs to them: a
mesh of the background that holds it is no sky.  Rectangles are `deadparts`.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, AnyArray, Bools
from skyextract.datamodel.noise import median, robust_sigma
from skyextract.record import record
from skyextract.stages.pixels.deadparts import FAR, LESS_NOISE, Patches

SIDE = 4
"""Pixels on a side of the blocks whose medians tell the edge."""
HALF, LIT = 0.5, 0.9
"""Shares of the light beside: below the one a block is dark, from the other on it is lit."""
ALL, NOISE = 0.97, 0.6
"""What is dimmed at an edge goes to this share, or so many sigma of a pixel below the light."""
WIDE = 8
"""Blocks within which the light comes back..."""
HOLE = 5
"""Holes of twice as many blocks in the dark are stars, where its stars are counted."""
SHARP = 0.7
"""... along this part of the edge."""
CELL = 8
"""Blocks on a side of the cells that tell the light beside."""
FEWER = 0.25
"""Rows of stars, over those in as much of the rest, at most: another gain leaves them all..."""
MIN_STARS = 5
"""... and so many are expected."""
MIN_PART, MAX_PART = 0.005, 0.65
"""Of the frame."""
MAX_SAMPLE = 400_000
"""Pixels that are looked at for stars."""


@record
class Unlit:
    """Pixels without light.

    Attributes
    ----------
    dark : (ny, nx) bool
    step : float
        Their level below that of the rest.
    """

    dark: Bools
    step: float


def unlit(image: F4, without: Bools, patches: Patches | None) -> Unlit | None:
    """Return what no light reached; None if nothing looks like it.

    Parameters
    ----------
    image : (ny, nx) float32
    without : (ny, nx) bool
        Pixels without data.
    patches : Patches or None
        Level and noise in some places, of `look_at`.
    """
    if patches is None:
        return None
    y, x = (axis[:, 0] // SIDE for axis in (patches.rows, patches.columns))
    seeds = patches.low & ~without[np.ix_(patches.rows[:, 0], patches.columns[:, 0])]
    if not seeds.any():
        return None
    low = median(patches.level[seeds])
    level = _medians(image, without)
    ny, nx = level.shape
    light = _light_beside(level, low + HALF * (patches.typical - low))
    share = (level - low) / np.maximum(light - low, 1e-30)
    dark = _connected(share < HALF, seeds, np.minimum(y, ny - 1), np.minimum(x, nx - 1))
    if not MIN_PART <= dark.mean() <= MAX_PART:
        return None
    inner = dark
    margin = 1.0 - np.maximum(1.0 - ALL, NOISE * patches.usual / (light - low))
    for _ in range(WIDE):
        dark = dark | (_grown(dark) & (share < margin))
    dark = _grown(dark)  # of the blocks beside, less than half of the pixels may be dark
    wide = _times_grown(inner, WIDE)
    edge = _grown(wide) & ~wide & np.isfinite(share)
    if not edge.any() or np.mean(share[edge] > LIT) < SHARP:
        return None
    whole = np.repeat(np.repeat(dark, SIDE, axis=0), SIDE, axis=1)
    rest = image.shape[0] - whole.shape[0], image.shape[1] - whole.shape[1]
    whole = np.pad(whole, ((0, rest[0]), (0, rest[1])), mode="edge")
    # Stars of a part with another gain are holes in it.
    core = ~_times_grown(~_times_grown(inner, HOLE), HOLE + WIDE)
    inside = np.repeat(np.repeat(core, SIDE, axis=0), SIDE, axis=1)
    if not _lacks_stars(image, inside, whole, without):
        return None
    return Unlit(whole & ~without, patches.typical - low)


def _medians(image: F4, without: Bools) -> F8:
    """Return the medians of blocks; NaN where they are not whole."""
    ny, nx = (size // SIDE for size in image.shape)

    def blocks(plane: AnyArray) -> AnyArray:
        part = plane[: ny * SIDE, : nx * SIDE].reshape(ny, SIDE, nx, SIDE)
        return part.swapaxes(1, 2).reshape(ny, nx, SIDE * SIDE)

    values = np.partition(blocks(image), SIDE * SIDE // 2, axis=2)[:, :, SIDE * SIDE // 2]
    level: F8 = np.where(blocks(without).any(axis=2), np.nan, values).astype(np.float64)
    return level


def _light_beside(level: F8, limit: float) -> F8:
    """Return the level of the lit sky about each block: the brightest of 3 x 3 cells.

    That of a cell is the lower quartile of its lit blocks: stars may be in most of them.  Where no
    cell is lit it is that of all.
    """
    ny, nx = level.shape
    n_y, n_x = math.ceil(ny / CELL), math.ceil(nx / CELL)
    room = np.full((n_y * CELL, n_x * CELL), np.nan)
    room[:ny, :nx] = np.where(level > limit, level, np.nan)
    cells = np.sort(room.reshape(n_y, CELL, n_x, CELL).swapaxes(1, 2).reshape(n_y, n_x, -1), axis=2)
    number = np.count_nonzero(np.isfinite(cells), axis=2)
    middle = np.take_along_axis(cells, (number // 4)[..., None] % CELL**2, axis=2)[..., 0]
    middle[number < CELL] = -np.inf
    padded = np.pad(middle, 1, constant_values=-np.inf)
    around = np.max([padded[j : j + n_y, i : i + n_x] for j in range(3) for i in range(3)], axis=0)
    known = np.isfinite(middle)
    whole = median(middle[known]) if known.any() else math.inf
    around[~np.isfinite(around)] = whole
    return np.repeat(np.repeat(around, CELL, axis=0), CELL, axis=1)[:ny, :nx]


def _grown(dark: Bools) -> Bools:
    """Return blocks and those at their sides."""
    grown = dark.copy()
    grown[1:] |= dark[:-1]
    grown[:-1] |= dark[1:]
    grown[:, 1:] |= dark[:, :-1]
    grown[:, :-1] |= dark[:, 1:]
    return grown


def _times_grown(dark: Bools, times: int) -> Bools:
    for _ in range(times):
        dark = _grown(dark)
    return dark


def _connected(dark: Bools, seeds: Bools, y: I8, x: I8) -> Bools:
    """Return the dark blocks that are connected with seeds, along rows and columns in turns."""
    found = np.zeros_like(dark)
    at = np.ix_(y, x)
    found[at] = seeds & dark[at]
    while True:
        before = np.count_nonzero(found)
        for along in (found, found.T):
            open_ = dark if along is found else dark.T
            _flood(along, open_)
        if np.count_nonzero(found) == before:
            return found


def _flood(found: Bools, open_: Bools) -> None:
    """Fill the runs of open pixels along rows that hold a found one, in place."""
    for row, free in zip(found, open_, strict=True):
        if row.any():
            run = np.cumsum(np.diff(free, prepend=False) & free)
            row[...] = free & np.isin(run, np.unique(run[row]))


def _lacks_stars(image: F4, inside: Bools, dark: Bools, without: Bools) -> bool:
    """Tell whether the dark has less noise than the rest, all of it, and hardly a star.

    Stars are runs of bright pixels along rows, which a bright one has not many more of.
    """
    step = max(1, image.size // MAX_SAMPLE)
    rows = image[::step].astype(np.float64)
    inner = np.zeros_like(dark)
    inner[: inside.shape[0], : inside.shape[1]] = inside
    counts, noises = [], []
    for part in (inner[::step] & ~without[::step], ~(dark | without)[::step]):
        values = rows[part]
        if not values.size:
            return False
        # Levels differ within the light: the noise is that of neighbours.
        both = part[:, 1:] & part[:, :-1]
        noise = robust_sigma(np.diff(rows, axis=1)[both]) / math.sqrt(2.0) if both.any() else 0.0
        far = rows > median(values) + FAR * max(noise, 1e-30)
        pairs = far[:, 1:] & far[:, :-1] & both
        pairs[:, 1:] &= ~pairs[:, :-1]  # the first of each run (numpy reads before it writes)
        counts.append((int(np.count_nonzero(pairs)), int(both.sum())))
        noises.append(noise)
    (n_dark, of_dark), (n_rest, of_rest) = counts
    expected = n_rest * of_dark / max(of_rest, 1)
    is_quiet = noises[0] < LESS_NOISE * noises[1]
    return is_quiet and expected >= MIN_STARS and n_dark < FEWER * expected
