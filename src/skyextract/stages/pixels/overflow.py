"""Cores of stars that are holes: they ran over the highest number of 16 bits, or were replaced.

Sums and calibrations that are kept in 16 bits begin again at 0 there, where a converter stops at
its highest value; pipelines put 0, or the sky, in place of what is saturated.  Such a core is a
hole that is dark beside a bright rim, with a wall between them; the hole of a star out of focus
has slopes.  How many ranges are missing is not told: stars that are sharp leave it open.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F4, I8, distinct, highest
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import Header, header_number
from skyextract.datamodel.noise import quantiles, sparse
from skyextract.record import record
from skyextract.run import Run
from skyextract.stages.pixels.wrapped import RANGE

WALL = 0.45
"""Part of the range that the typical wall of a hole is high; of what was replaced, of what all the
rest of the frame is above the sky."""
RIM, RIM_BESIDE_ONE = 0.25, 0.1
"""Part of the range that pixels around a hole are at least; around one of a single number, which
noise does not make."""
LOWER = 0.3
"""Part of the range that a pixel beside a hole is below the mean of its neighbours, to be of it."""
REACH, MAX_AREA = 64, 4096
"""Pixels in each direction within which there is a rim, and of a hole."""
NEAR = 4
"""Pixels between pieces of the hole of one star, at most."""
MIN_PIXELS = 4
"""In holes, of a frame."""
MAX_WALLS = 20_000
"""Pixels beneath walls, of a frame: more are no stars."""
MAX_SAME = 0.5
"""Share of one value among the pixels in holes, from which they were filled with it; ..."""
MIN_FILLED = 9
"""... so many pixels of the largest of them, at least: dead pixels are fewer."""
N_SAMPLE = 65_536
"""Pixels that tell the sky, about."""
BRIGHT = 50.0
"""The rest of the frame is so many times the noise, and the step of its values, above the sky."""

_ROWS = 64
"""Rows that are looked at together, an even number."""


@record
class _Hole:
    """Pixels of the hole of a star, which may be in pieces."""

    y: I8
    x: I8

    def is_near(self, other: _Hole) -> bool:
        """Tell whether another hole may be of the same star."""
        return all(
            a.min() - NEAR <= b.max() and b.min() - NEAR <= a.max()
            for a, b in ((self.y, other.y), (self.x, other.x))
        )

    def filled(self) -> tuple[I8, I8]:
        """Return the pixels with those between them: what ran over and is above the rim again."""
        y, x = self.y - self.y.min(), self.x - self.x.min()
        is_hole = np.zeros((y.max() + 1, x.max() + 1), np.bool_)
        is_hole[y, x] = True
        between = np.ones(is_hole.shape, np.bool_)
        for turns in range(4):
            between &= np.rot90(np.logical_or.accumulate(np.rot90(is_hole, turns)), -turns)
        y, x = np.nonzero(between)
        return y + self.y.min(), x + self.x.min()


def _joined(holes: list[_Hole], new: _Hole) -> list[_Hole]:
    """Return holes with one more, which is joined to those that it is near."""
    near = [hole for hole in holes if hole.is_near(new)]
    rest = [hole for hole in holes if not hole.is_near(new)]
    parts = [*near, new]
    both = (np.concatenate([getattr(hole, name) for hole in parts]) for name in "yx")
    return [*rest, _Hole(*both)]


@record
class _Range:
    """What pixels may be, from a level to so much above it, and the part of it that rims are."""

    lowest: float
    size: float
    rim: float = RIM

    def at(self, part: float) -> np.float32:
        """Return the level at a part of the range."""
        return np.float32(self.lowest + part * self.size)


def without_overflow(exposure: Exposure, run: Run) -> Exposure:
    """Return the exposure with such holes filled, and marked as saturated."""
    image, bits = exposure.image, (exposure.header or Header()).get("BITPIX")
    top = highest(image, run) if image.size else 0.0
    if exposure.unit == 1.0 and header_number(bits) in {None, 16.0} and top < RANGE:
        holes = _holes(image, _Range(0.0, RANGE), run)
        pixels = _with_lower_ones_beside(image, _pixels_of(holes, image))
        if pixels.size >= MIN_PIXELS and _commonest(image, pixels)[1] <= MAX_SAME:
            run.warn(
                f"{pixels.size} pixels in the cores of bright stars ran over the highest number of "
                "16 bits and begin again at 0: they are taken as saturated, with that number"
            )
            return _with_saturated(exposure, pixels, RANGE)
    return _without_replaced(exposure, top, run)


def _without_replaced(exposure: Exposure, top: float, run: Run) -> Exposure:
    """Return the exposure with cores that hold one number below the rest as saturated."""
    image = exposure.image
    grid = sparse(image.shape, N_SAMPLE)
    sample = image[grid][exposure.mask[grid] == 0]
    if sample.size < MIN_FILLED:
        return exposure
    low, sky = quantiles(sample, (0.15866, 0.5))
    step = float(np.diff(distinct(sample)).min(initial=np.inf))
    if not top - sky > BRIGHT * max(sky - low, step):
        return exposure
    holes = _holes(image, _Range(sky, top - sky, RIM_BESIDE_ONE), run)
    if max((hole.y.size for hole in holes), default=0) < MIN_FILLED:
        return exposure
    pixels = _pixels_of(holes, image)
    pixels = pixels[exposure.mask.ravel()[pixels] == 0]  # of others it is known that they are bad
    value, share = _commonest(image, pixels)
    if pixels.size < MIN_FILLED or share <= MAX_SAME:
        return exposure
    run.warn(
        f"{pixels.size} pixels in the cores of bright stars are {value:g}, in a rim of up to "
        f"{top:.6g} (saturated ones that were replaced?): they are taken as saturated"
    )
    return _with_saturated(exposure, pixels, top)


def _commonest(image: F4, pixels: I8) -> tuple[float, float]:
    """Return the commonest value of some pixels, and the share that have it."""
    if not pixels.size:
        return 0.0, 0.0
    values, numbers = np.unique(image.ravel()[pixels], return_counts=True)
    return float(values[np.argmax(numbers)]), float(numbers.max() / pixels.size)


def _with_saturated(exposure: Exposure, pixels: I8, level: float) -> Exposure:
    image, mask = exposure.image.copy(), exposure.mask.copy()
    image.ravel()[pixels] = level
    mask.ravel()[pixels] |= np.uint16(Mask.SAT)
    return replace(exposure, image=image, mask=mask)


def _has_walls(image: F4, of: _Range, run: Run) -> bool:
    """Tell whether any second row has a wall beside a high pixel."""

    def look(band: tuple[int, int]) -> bool:
        for first in range(band[0] + band[0] % 2, band[1], _ROWS):
            rows = image[first : min(first + _ROWS, band[1]) : 2]
            y, x = np.divmod(np.flatnonzero(rows > of.at(WALL)), rows.shape[1])
            beside = rows[y, np.minimum(x + 1, rows.shape[1] - 1)]
            if (rows[y, x] - beside > WALL * of.size).any():
                return True
        return False

    return any(run.map(look, run.bands(len(image))))


def _holes(image: F4, of: _Range, run: Run) -> list[_Hole]:
    """Return the holes, those of one star joined."""
    if not _has_walls(image, of, run):
        return []
    seen: set[int] = set()
    outside: set[int] = set()
    holes: list[_Hole] = []
    for start in _beneath_walls(image, of).tolist():
        if start in seen or start in outside:
            continue
        area = _low_area(image, start, outside, of.at(of.rim))
        seen |= area
        if area and _typical_wall(image, area) > WALL * of.size:
            holes = _joined(holes, _Hole(*np.divmod(np.array(sorted(area)), image.shape[1])))
    return holes


def _pixels_of(holes: list[_Hole], image: F4) -> I8:
    """Return the indices ``y * nx + x`` of pixels in holes."""
    filled = [hole.filled() for hole in holes]
    pixels = [np.zeros(0, np.int64), *(y * image.shape[1] + x for y, x in filled)]
    return distinct(np.concatenate(pixels))


def _with_lower_ones_beside(image: F4, pixels: I8) -> I8:
    """Return pixels with those beside that are far below the mean of their four neighbours."""
    if not pixels.size:
        return pixels  # without a copy of the image
    ny, nx = image.shape
    steps = np.array([-1, 1, -nx, nx])
    values = image.ravel().copy()
    new = pixels
    while new.size:
        values[new] = RANGE
        beside = distinct(new[:, None] + steps)
        y, x = np.divmod(beside, nx)
        beside = beside[(y > 0) & (y < ny - 1) & (x > 0) & (x < nx - 1)]
        mean = values[beside[:, None] + steps].mean(axis=1, dtype=np.float64)
        new = beside[mean - values[beside] > LOWER * RANGE]
        pixels = np.union1d(pixels, new)
    return pixels


def _beneath_walls(image: F4, of: _Range) -> I8:
    """Return low pixels beside high ones that have a rim in all four directions."""
    ny, nx = image.shape
    high = np.flatnonzero(image > of.at(WALL))
    steps = np.array([-1, 1, -nx, nx])
    y, x = np.divmod(high, nx)
    high = high[(x > 0) & (x < nx - 1) & (y > 0) & (y < ny - 1)]
    beside = high[:, None] + steps
    values = image.ravel()
    low = values[high][:, None] - values[beside] > WALL * of.size
    low &= values[beside] < of.at(of.rim)
    asked = distinct(beside[low])
    if asked.size > MAX_WALLS:
        return asked[:0]
    y, x = np.divmod(asked, nx)
    for dy, dx in ((0, -1), (0, 1), (-1, 0), (1, 0)):
        reach = np.arange(1, REACH + 1)
        v, u = y[:, None] + dy * reach, x[:, None] + dx * reach
        known = (v >= 0) & (v < ny) & (u >= 0) & (u < nx)
        there = image[np.clip(v, 0, ny - 1), np.clip(u, 0, nx - 1)]
        kept = (known & (there > of.at(of.rim))).any(axis=1)
        asked, y, x = asked[kept], y[kept], x[kept]
    return asked


def _low_area(image: F4, start: int, outside: set[int], rim: np.float32) -> set[int]:
    """Return the pixels below a rim that hang together; none, and more `outside`, without a rim."""
    ny, nx = image.shape
    area, new = {start}, [start]
    while new:
        pixel = new.pop()
        y, x = divmod(pixel, nx)
        if len(area) > MAX_AREA or pixel in outside or y in {0, ny - 1} or x in {0, nx - 1}:
            outside |= area
            return set()
        for v, u in ((y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x)):
            if v * nx + u not in area and image[v, u] <= rim:
                area.add(v * nx + u)
                new.append(v * nx + u)
    return area


def _typical_wall(image: F4, hole: set[int]) -> float:
    """Return the upper quartile of the differences between pixels of a hole and those beside.

    What ran over and is above the rim again is beside the hole, too.
    """
    pixels = np.array(sorted(hole))
    beside = pixels[:, None] + np.array([-1, 1, -image.shape[1], image.shape[1]])
    values = image.ravel()
    steps = (values[beside] - values[pixels][:, None])[~np.isin(beside, pixels)]
    return float(np.quantile(steps, 0.75))
