"""Rows or columns with levels of their own, banding of a readout: measured and subtracted.

The noise of a line's level is shared by all its pixels: the filter that finds sources does not
average it away.  It is no noise of the rest of the frame, though, and the hundreds of pixels of a
line that are sky tell it well (as an overscan would: it is what remains of one in many cameras).
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from skyextract.datamodel.arrays import F4, F8, U2, Bools, distinct, widened
from skyextract.datamodel.flags import NO_SKY, Mask
from skyextract.datamodel.noise import median, pixel_noise, robust_sigma
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.stages.patterns.linegroups import scatter_of_groups

if TYPE_CHECKING:
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run

_Plane = TypeVar("_Plane", F4, F8)

SAMPLE, PIXELS = 64, 512
"""Triples of lines, and pixels of each, about, that tell whether lines have levels of their own."""
BLOCK = 32
"""Pixels along a line that go into the same half of its level: noise that neighbours share does
not pass for one of lines."""
MIN_PART, MAX_PART = 0.15, 5.0
"""They differ by this part of the noise of a pixel; by more than the second is no readout: a
spectrum, pixels of one value..."""
MIN_SHARED = 0.5
"""... their halves agree in this share of their variance..."""
APART = 2.0
"""... and they do by so many times more than lines the other way."""
AS_NEXT = 0.65
"""Lines differ from the next one by this part of what they do from the next but one, at least: 1
where each has its own level, .5 and .6 of waves of 12 and 6 pixels."""
UNEVEN = 0.2
"""What halves of lines' differences share, in the mean, over the square of what they do not, from
which on groups of lines are looked for."""
MIN_SIDE = 256
MESH, MOST_MESHES = 64, 4
"""Pixels within which the sky is level, and times that, across wide groups of lines, at most."""
ROUNDS, CLIP = 3, 3.0
"""Sky, levels and sources are measured in turns; pixels of so many sigma are of sources."""
WIDE = 5
"""Means of so many pixels on a side show wide sources."""
MIN_KNOWN = 0.15
"""Part of a line (or of its part that one amplifier reads) that is sky; else it stays as it is."""
ROWS = 32
"""Rows of the sky that are made at a time: they stay in a processor's cache."""
AGREEING = 1.5
"""Differences of the two halves of a line, in units of their noise, that are one level..."""
MOST_PARTS = 4
"""... or are of amplifiers side by side with levels of their own, so many at most."""


def without_line_offsets(exposure: Exposure, run: Run) -> Exposure:
    """Subtract the levels that rows or columns have of their own; the same if they have none.

    Parameters
    ----------
    exposure : Exposure
        With its mask.  Pixels at or above saturation stay as they are.
    """
    image, mask = exposure.image, exposure.mask
    if min(image.shape) < MIN_SIDE:
        return exposure
    banding = _banding(image, mask, run)
    if banding is None:
        return exposure
    name, which, size, noise = banding
    known = (mask & np.uint16(NO_SKY)) == 0
    if exposure.weight is not None:
        known &= exposure.weight < MAX_VARIANCE
    if which == "rows":
        offsets = measure_offsets(image, known, size)
    else:
        # Row after row in memory, which takes a third of the time.
        turned = [np.ascontiguousarray(plane.T) for plane in (image, known)]
        offsets = measure_offsets(turned[0], turned[1], size).T
    scatter = robust_sigma((offsets if which == "rows" else offsets.T)[:, 0])
    run.warn(
        f"{name} differ by {scatter:.3g}, {scatter / noise:.0%} of the noise of a pixel (banding): "
        "their levels are measured and subtracted (DATA_CHECK N leaves them)"
    )
    has_sky = (mask & np.uint16(Mask.SAT | Mask.NO_DATA)) == 0
    has_sky &= image < np.float32(exposure.detector.saturation)
    return replace(exposure, image=np.where(has_sky, image - offsets, image))


def _banding(image: F4, mask: U2, run: Run) -> tuple[str, str, int, float] | None:
    """Return what differs in words, "rows" or "columns", lines of a group, and noise of a pixel."""
    planes = [(image, mask), (image.T, mask.T)]
    scatters = run.map(lambda of_lines: _scatter(*of_lines), planes)
    across = dict(zip(("rows", "columns"), scatters, strict=True))
    noise = pixel_noise(image[:: max(1, image.shape[0] // SAMPLE), : 2 * PIXELS])
    which = max(across, key=lambda name: across[name][0])
    least = max(MIN_PART * noise, APART * min(lines for lines, _ in across.values()))
    if least < across[which][0] < MAX_PART * noise:
        return which, which, 1, noise
    if not any(uneven for _, uneven in across.values()):
        return None
    groups = {"rows": scatter_of_groups(image, mask), "columns": scatter_of_groups(image.T, mask.T)}
    which = max(groups, key=lambda name: groups[name][1])
    size, scatter = groups[which]
    least = max(MIN_PART * noise, APART * min(lines for _, lines in groups.values()))
    if not least < scatter < MAX_PART * noise:
        return None
    return f"{which} in groups of {size}", which, size, noise


def _scatter(image: F4, mask: U2) -> tuple[float, bool]:
    """Return by how much rows differ from their neighbours, in the mean; 0 if that is noise.

    Also whether some of them do, from the next one: groups of rows would.

    Both halves of a row, blocks by turns, have its level, and the noise of their own.  Rows that
    differ from those next to them but not from the next ones but one are of two sensors, not noise.
    """
    first = np.linspace(0, image.shape[0] - 3, min(SAMPLE, image.shape[0] // 3)).astype(np.int64)
    n_blocks = image.shape[1] // BLOCK
    some = np.linspace(0, n_blocks - 1, min(n_blocks, PIXELS // BLOCK)).astype(np.int64)
    blocks = distinct(some)
    columns = (blocks[:, None] * BLOCK + np.arange(BLOCK)).reshape(-1, BLOCK)
    halves = []
    rows = first[:, None] + np.arange(3)
    usable = (mask[rows[:, 1]] & np.uint16(NO_SKY)) == 0
    whole = usable[:, columns.ravel()].mean(axis=1) > 0.5
    if np.count_nonzero(whole) < SAMPLE // 4:
        return 0.0, False
    rows = rows[whole]
    for half in (columns[::2].ravel(), columns[1::2].ravel()):
        values = image[rows[:, :, None], half]
        away = (values[:, 1] - values[:, 0], values[:, 2] - values[:, 0])
        middle = half.size // 2
        # (squares of the largest units are no single precision)
        halves.append([np.partition(d, middle, axis=1)[:, middle].astype(float) for d in away])
    found, uneven = [], []
    for one, other in zip(*halves, strict=True):
        uneven.append(np.mean(one * other) > UNEVEN * np.mean((one - other) ** 2))
        both, noise = robust_sigma(one + other) / 2.0, robust_sigma(one - other) / 2.0
        shared = both**2 - noise**2
        found.append(math.sqrt(shared / 2.0) if shared > MIN_SHARED * both**2 else 0.0)
    # Waves, fringes along the lines, change little from one line to the next.
    return (min(found) if found[0] > AS_NEXT * found[1] else 0.0), bool(uneven[0])


def measure_offsets(image: F4, known: Bools, size: int = 1) -> F4:
    """Return the levels that rows have of their own, per pixel, 0 in the mean.

    Parameters
    ----------
    image : (ny, nx) float32
    known : (ny, nx) bool
        Pixels with data.
    size : int
        Rows of a group, if they differ in groups: so many of these are wider than a mesh.
    """
    n_parts, mesh = 1, min(max(size // 2, 1), MOST_MESHES) * MESH
    while True:
        offsets, rest, sky = _offsets(image, known, n_parts, mesh)
        if 2 * n_parts > MOST_PARTS or _agree(*_levels(rest, sky, 2 * n_parts)):
            return offsets
        n_parts *= 2


def _offsets(image: F4, known: Bools, n_parts: int, mesh: int) -> tuple[F4, F4, Bools]:
    """Return the levels of parts of rows, the image without them and sky, and pixels of sky."""
    # Before sources are known: a line whose level is 3 sigma off would be one.
    rest = np.where(known, image - _smooth(image, known, mesh), np.float32(np.nan))
    offsets, sky = _spread(_medians(rest, n_parts), image.shape), known
    for _ in range(ROUNDS):
        rest = image - offsets
        rest -= _smooth(rest, sky, mesh)
        sky = known & ~_sources(rest, known)
        rest += offsets
        levels, _ = _levels(rest, sky, n_parts)
        offsets = _spread(levels - _running_mean(levels, mesh), image.shape)
        rest -= offsets
    return offsets, rest, sky


def _medians(rest: F4, n_parts: int) -> F8:
    """Return medians of equal parts of rows, (ny, n_parts); 0 of parts that are not known, NaN."""
    edges = np.linspace(0, rest.shape[1], n_parts + 1).astype(np.int64)
    out = np.zeros((rest.shape[0], n_parts))
    for k, (left, right) in enumerate(pairwise(edges)):
        seen = np.isfinite(rest[:, left:right]).any(axis=1)
        out[seen, k] = np.nanmedian(rest[seen, left:right], axis=1)
    return out


def _levels(rest: F4, sky: Bools, n_parts: int) -> tuple[F8, F8]:
    """Return means of the sky in equal parts of rows, (ny, n_parts), and their errors.

    Parts without sky have the level 0 and no error, NaN.
    """
    edges = np.linspace(0, rest.shape[1], n_parts + 1).astype(np.int64)
    values = np.where(sky, rest, np.float32(0.0))
    number = np.add.reduceat(sky, edges[:-1], axis=1, dtype=np.int64)
    total = np.add.reduceat(values, edges[:-1], axis=1, dtype=np.float64)
    square = np.add.reduceat(np.square(values), edges[:-1], axis=1, dtype=np.float64)
    enough = number >= MIN_KNOWN * np.diff(edges)
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.where(enough, total / number, 0.0)
        scatter = np.sqrt(np.maximum(square / number - level**2, 0.0))
        return level, np.where(enough, scatter / np.sqrt(number), np.nan)


def _agree(levels: F8, error: F8) -> bool:
    """Tell whether both halves of what has one level have the same."""
    away = (levels[:, 1::2] - levels[:, ::2]) / np.hypot(error[:, 1::2], error[:, ::2])
    return robust_sigma(away[np.isfinite(away)]) < AGREEING


def _spread(levels: F8, shape: tuple[int, ...]) -> F4:
    """Return levels of parts of rows in all their pixels."""
    edges = np.linspace(0, shape[1], levels.shape[1] + 1).astype(np.int64)
    return np.repeat(levels.astype(np.float32), np.diff(edges), axis=1)


def _running_mean(levels: F8, mesh: int) -> F8:
    """Return the means of the levels within a mesh about each row."""
    half = min(mesh, len(levels)) // 2
    sums = np.cumsum(np.pad(levels, ((half + 1, half), (0, 0)), mode="symmetric"), axis=0)
    mean: F8 = (sums[2 * half + 1 :] - sums[: -2 * half - 1]) / (2 * half + 1)
    return mean


def _smooth(image: F4, sky: Bools, height: int) -> F4:
    """Return the sky: medians of meshes of this height, and lines between these."""
    middles = []
    for size, mesh in zip(image.shape, (height, MESH), strict=True):
        edges = np.linspace(0, size, max(2, size // mesh) + 1).astype(np.int64)
        middles.append((edges, np.asarray(0.5 * (edges[1:] + edges[:-1] - 1.0), np.float64)))
    (rows, y), (columns, x) = middles
    levels = np.full((y.size, x.size), np.nan)
    for j, (bottom, top) in enumerate(pairwise(rows)):
        for i, (left, right) in enumerate(pairwise(columns)):
            part = (slice(bottom, top), slice(left, right))
            values = image[part][sky[part]]
            if values.size > MIN_KNOWN * sky[part].size:
                levels[j, i] = median(values)
    levels = np.where(np.isnan(levels), np.nanmedian(levels), levels)
    # Beyond the middle of the last mesh the line goes on.
    across = _lines_between(levels.T, x, np.empty((image.shape[1], y.size))).T
    return _lines_between(np.ascontiguousarray(across), y, np.empty(image.shape, np.float32))


def _lines_between(levels: F8, at: F8, out: _Plane) -> _Plane:
    """Set `out` (size, m) to the levels (n, m) at all pixels of their first axis."""
    place = np.arange(len(out), dtype=np.float64)
    below = np.clip(np.searchsorted(at, place) - 1, 0, at.size - 2)
    part = ((place - at[below]) / (at[below + 1] - at[below]))[:, None]
    for first in range(0, len(out), ROWS):
        rows = slice(first, first + ROWS)
        low, share = below[rows], part[rows]
        out[rows] = levels[low] * (1.0 - share) + levels[low + 1] * share
    return out


def _sources(rest: F4, known: Bools) -> Bools:
    """Return the pixels of sources, narrow and wide ones, and those beside them."""
    noise = robust_sigma(rest[known][:: max(1, rest.size // 200_000)])
    values = np.where(known, rest, np.float32(0.0))
    stars = np.abs(values) > CLIP * noise
    for axis in (0, 1):
        values = _box(values, axis)
    wide = robust_sigma(values[known][:: max(1, rest.size // 200_000)])
    return widened(stars | (np.abs(values) > CLIP * wide), WIDE // 2)


def _box(values: F4, axis: int) -> F4:
    """Return means of WIDE pixels along an axis."""
    pad = [(0, 0), (0, 0)]
    pad[axis] = (WIDE // 2, WIDE // 2)
    wide, size = np.pad(values, pad, mode="edge"), values.shape[axis]
    shifted = [wide[k : k + size] if axis == 0 else wide[:, k : k + size] for k in range(WIDE)]
    total: F4 = shifted[0] + shifted[1]
    for other in shifted[2:]:
        total += other
    total /= np.float32(WIDE)
    return total
