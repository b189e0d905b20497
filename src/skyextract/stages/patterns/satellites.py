"""Trails of satellites across a frame: fitted as straight lines of one width, and subtracted.

A bright trail is one footprint with all stars upon it, a net of trails with most stars of a frame;
of a faint one detection finds pieces, as round as stars.  Its light is summed along all lines
across the frame (`linesums`), which shows trails far below the noise of a pixel, and is the same
all along it: spikes of stars, which fade, and galaxies, which end, are none.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import has_bits
from skyextract.datamodel.flags import NO_SKY, Mask
from skyextract.datamodel.noise import median
from skyextract.kernels.values import MAD_TO_SIGMA, MAX_VARIANCE
from skyextract.record import record
from skyextract.stages.patterns.linestrips import BESIDE, REACH, STEP, Strip, lit_part, medians
from skyextract.stages.patterns.linesums import Line, brightest_lines, coarse_image

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8, Bools
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run

LEAST_SIZE, CELLS = 256, 300
"""Shorter side of frames that are looked at, pixels, and longer side of their coarse images."""
CLIP = 2.0
"""Highest and lowest value of a coarse image, in sigma."""
SIGNIFICANT, MOST = 8.0, 40
"""Significance of lines, and number of them, that are looked at..."""
TRAILS = 32
"""... and that are taken for trails: more may be orders of a spectrum, or a grid."""
TILT = 0.02
"""Rise over the length up to which lines may be rows or columns of the detector..."""
LEVEL_WIDTH, LEVELS = 2.0, 4
"""... unless they are so wide, pixels, and no more than these: sky lines of a spectrum, banding."""
GRID = 8
"""After so many rows or columns that are no trails none is: a pattern of them, or a grid."""
SCALES = (1, 2, 4)
"""Pixels per unit of width: trails of satellites that are out of focus are wide."""
WIDER, WIDEST_CELL = 4, 16
"""Cells of so many cells show these, up to that many pixels."""
PARTS = 8
"""Parts of a trail whose places make its course."""
MAX_BEND = (0.5, 1e-3)
"""Sagitta, at most: pixels, and share of the length, which distortion makes; orders of a spectrum,
and chains of sources, bend more."""
SEEN_BENT = 12.0
"""Light of a part in units of its error from which on a trail is a parabola; a line below."""
STEADY = (0.5, 1.8)
"""Light of a piece in units of the typical one; errors are added..."""
MIN_STEADY = 0.8
"""... and share of the pieces that have as much."""
MAX_STEP = 0.5
"""Sky on one side less that on the other, at most, in units of the light of a trail."""
SURE, SURE_PIECE = 12.0, 2.5
"""Light of a trail, and of a typical piece, in units of the error, at least."""
MIN_PEAK, MIN_WIDE = 0.3, 1.0
"""Brightness of a trail, and of one that is wide or along rows or columns, in sigma of a pixel, at
least: fainter ones do no harm, or are what spikes of many stars have in common."""
MIN_WIDTH, MAX_WIDTH = 4.0, 10.0
"""Full width at half maximum, units: narrower wide ones are a matter of narrow strips."""
GAPS, _SIXTH = (1.1, 0.05), 0.15866
"""Light that the darkest sixth of the pixels lacks, in units of the noise and of that of the trail,
at most."""
SMOOTH = 5
"""Pieces whose median is the brightness of the middle one."""
CLEAR = 15.0
"""Peak of a profile in units of its error below which it is smoothed."""
FINE = 2
"""Samples of a profile per pixel."""


@record
class Trail:
    """The light of a trail.

    Attributes
    ----------
    start, along : (2,) float64
        x and y of its first point, pixels; its direction, of unit length.
    bend : (3,) float64
        Its distance from the straight line, as a parabola in the share of its length.
    length : float
        Pixels.
    scale : int
        Pixels per unit of `bend` and of the profile.
    profile : (n,) float64
        Across it, in steps of 1 / `FINE` units about its middle, 1 at its peak.
    light : (m,) float64
        Peak brightness in pieces of equal length, image units.
    """

    start: F8
    along: F8
    bend: F8
    length: float
    scale: int
    profile: F8
    light: F8

    @property
    def peak(self) -> float:
        """Typical brightness, image units."""
        return median(self.light)

    @property
    def width(self) -> float:
        """Full width at half maximum, pixels."""
        return self.scale * float(np.count_nonzero(self.profile > 0.5)) / FINE


def without_trails(exposure: Exposure, run: Run) -> Exposure:
    """Subtract the trails that cross a frame; the same if none does.

    Parameters
    ----------
    exposure : Exposure
        With its mask.  Pixels at or above saturation stay as they are.
    """
    image, mask = exposure.image, exposure.mask
    if min(image.shape) < LEAST_SIZE:
        return exposure
    known = ~has_bits(mask, int(NO_SKY), run)
    if exposure.weight is not None:
        known &= exposure.weight < MAX_VARIANCE
    left, trails = taken_off(image, known, run)
    if not trails:
        return exposure
    if len(trails) > TRAILS:
        message = (
            f"{len(trails)} straight lines of steady light cross the frame (a train of satellites, "
            f"orders of a spectrum, a grid?): more than {TRAILS} are not subtracted, and stars "
            "upon them may be lost"
        )
        run.warn(message)
        return exposure
    peaks = sorted(trail.peak for trail in trails)
    lines = "a trail" if len(trails) == 1 else f"{len(trails)} trails"
    steps = np.abs([trail.along for trail in trails])
    are_level = (steps.min(axis=1) <= TILT * steps.max(axis=1)).any()
    what = "satellites, bands of rows or columns?" if are_level else "satellites?"
    message = (
        f"{lines} across the frame ({what}) subtracted, up to {peaks[-1]:.3g} image units "
        "bright: sources there have that noise (DATA_CHECK N leaves them)"
    )
    run.warn(message)
    has_sky = (mask & np.uint16(Mask.SAT | Mask.NO_DATA)) == 0
    has_sky &= image < np.float32(exposure.detector.saturation)
    return replace(exposure, image=np.where(has_sky, left, image))


def taken_off(image: F4, known: Bools, run: Run, *, levels: bool = True) -> tuple[F4, list[Trail]]:
    """Return an image without its trails, and these; the image itself where there are none.

    Parameters
    ----------
    known : (ny, nx) bool
        Pixels that show the sky.
    levels : bool
        Those along rows or columns, too, if they are few.
    """
    trails: list[Trail] = []
    cell = max(2, 1 << math.ceil(math.log2(max(image.shape) / CELLS)))
    left, n_level = image, 0
    none: list[Line] = []
    for size in (cell, WIDER * cell):
        if size > max(cell, WIDEST_CELL):
            break
        for line in _lines(left, known, size, run):
            if _is_level(line) and not (levels and sum(map(_is_level, none)) < GRID):
                continue
            if left is image and any(_are_near(line, other, size) for other in none):
                continue  # finer cells showed it, too
            trail = _of_any_width(left, known, line, SCALES if size == cell else SCALES[1:])
            if trail is None:
                none.append(line)
                continue
            n_level += int(_is_level(line))
            if n_level > LEVELS:
                return taken_off(image, known, run, levels=False)
            left = left.copy() if left is image else left
            subtract(left, trail)
            trails.append(trail)
    return left, trails


def _of_any_width(image: F4, known: Bools, line: Line, scales: tuple[int, ...]) -> Trail | None:
    """Return the trail along a line in the finest of the scales that has one; None without."""
    few = max(1, min(image.shape) // LEAST_SIZE)
    for scale in scales:
        # Some of the pixels of a wide strip show whether it is worth while.
        if scale == 1 or fitted(image, known, line, scale, few * scale) is not None:
            trail = fitted(image, known, line, scale)
            if trail is not None:
                return trail
    part = None if 1 not in scales else lit_part(image, known, line, LEAST_SIZE)
    return None if part is None or _is_level(part) else fitted(image, known, part)


def _is_level(line: Line) -> bool:
    """Tell whether a line is along rows or columns."""
    dx, dy = abs(line.x[1] - line.x[0]), abs(line.y[1] - line.y[0])
    return bool(min(dx, dy) <= TILT * max(dx, dy))


def _are_near(one: Line, other: Line, most: float) -> bool:
    """Tell whether the ends of two lines are no farther from each other."""
    away = np.hypot(one.x - other.x, one.y - other.y)
    return bool(away.max() <= most)


def _lines(image: F4, known: Bools, cell: int, run: Run) -> list[Line]:
    """Return the lines that are brighter than what is beside, in pixels of the image."""
    coarse, whole = coarse_image(image, known, cell, run)
    noise = MAD_TO_SIGMA * median(np.abs(coarse[whole])) if whole.any() else 0.0
    if not noise > 0.0:
        return []
    clipped = np.clip(coarse / np.float32(noise), -CLIP, CLIP).astype(np.float32)
    clipped = np.where(whole, clipped - clipped[whole].mean(), np.float32(0.0))
    found = []
    for line in brightest_lines(clipped, whole, SIGNIFICANT, MOST, run):
        x, y = (cell * (v + 0.5) - 0.5 for v in (line.x, line.y))
        found.append(Line(x, y, line.significance))
    return found


def fitted(image: F4, known: Bools, line: Line, scale: int = 1, step: int = 1) -> Trail | None:
    """Fit a trail to an image; None where the light along a line is none.

    Widths are in units of `scale` pixels; every `step`-th row or column is used.
    """
    start, along, length = line.within(image.shape)
    if length < LEAST_SIZE:
        return None
    strip = Strip.of(image.shape, start, along, length, scale, step)
    good = known[strip.y, strip.x]
    t, u = strip.along[good], strip.across[good]
    value = image[strip.y, strip.x][good].astype(np.float64)
    if value.size < 4 * REACH * STEP:
        return None
    n_pieces = max(PARTS, int(length / STEP))
    piece = np.clip((t / length * n_pieces).astype(np.int64), 0, n_pieces - 1)
    value = value - medians(value, piece, np.abs(u) > BESIDE, n_pieces)[piece]
    noise = MAD_TO_SIGMA * median(np.abs(value[np.abs(u) > BESIDE]))
    bend = np.zeros(3)
    for _ in range(3):
        course = _course(t / length, u - np.polyval(bend, t / length), value, noise)
        if course is None:
            return None
        bend = bend + course
    u = u - np.polyval(bend, t / length)
    profile = _profile(u, value, noise)
    if profile is None:
        return None
    light, error = _light(u, value, piece, profile, n_pieces, noise)
    trail = Trail(start, along, bend, length, scale, profile, light)
    if _is_level(line):
        is_wide = trail.width > LEVEL_WIDTH and trail.peak > MIN_WIDE * noise
        if not is_wide or _has_gaps(u, value, piece, trail, noise):
            return None
    is_alone = _has_two_sides(u, value, piece, trail.peak, n_pieces)
    return trail if is_alone and _is_trail(trail, error, noise) else None


def _has_gaps(u: F8, value: F8, piece: I8, trail: Trail, noise: float) -> bool:
    """Tell whether a sixth of the pixels of a trail is far darker: sources set along a row."""
    share = np.interp(u, (np.arange(trail.profile.size) - BESIDE * FINE) / FINE, trail.profile)
    core = share > 0.5
    rest = value[core] - trail.light[piece[core]] * share[core]
    return float(np.quantile(rest, _SIXTH)) < -(GAPS[0] * noise + GAPS[1] * trail.peak)


def _has_two_sides(u: F8, value: F8, piece: I8, peak: float, n_pieces: int) -> bool:
    """Tell whether the sky is alike on both sides of a line: no edge, no slope."""
    sides = [side * u > BESIDE for side in (-1.0, 1.0)]
    left, right = (medians(value, piece, side, n_pieces) for side in sides)
    number = [np.bincount(piece[side], minlength=n_pieces) for side in sides]
    both = np.minimum(*number) > STEP
    if float(np.mean(both)) < MIN_STEADY:
        return False
    return median(np.abs(left - right)[both]) < MAX_STEP * peak


def _is_trail(trail: Trail, error: F8, noise: float) -> bool:
    """Tell whether light is steady along a line, and sure."""
    peak, width = trail.peak, trail.width / trail.scale
    seen = np.isfinite(error)
    if trail.scale > 1 and not (width > MIN_WIDTH and peak > MIN_WIDE * noise):
        return False
    if trail.scale * abs(trail.bend[0]) / 4.0 > MAX_BEND[0] + MAX_BEND[1] * trail.length:
        return False
    if not (peak > MIN_PEAK * noise and width <= MAX_WIDTH and seen.any()):
        return False
    if not peak > SURE_PIECE * median(error[seen]):
        return False
    total = float(np.sum(trail.light[seen])) / math.sqrt(float(np.sum(error[seen] ** 2)))
    steady = trail.light > STEADY[0] * peak - error
    steady &= trail.light < STEADY[1] * peak + 2.0 * error
    return total > SURE and float(np.mean(steady[seen])) >= MIN_STEADY


def _course(share: F8, u: F8, value: F8, noise: float) -> F8 | None:
    """Return where light is, beside a line, as a parabola in the share of its length."""
    part = np.clip((share * PARTS).astype(np.int64), 0, PARTS - 1)
    bins = np.clip(np.rint(u).astype(np.int64) + REACH, 0, 2 * REACH)
    n = 2 * REACH + 1
    everything = np.ones(u.size, np.bool_)
    across = medians(value, part * n + bins, everything, PARTS * n).reshape(PARTS, n)
    mean = np.median(across, axis=0)
    offset = np.arange(n) - float(REACH)
    middle = np.abs(offset) < BESIDE
    peak = offset[middle][np.argmax(np.convolve(mean, np.ones(3), "same")[middle])]
    near = np.abs(offset - peak) <= 4.0
    weight = np.clip(across[:, near], 0.0, None)
    total = weight.sum(axis=1)
    if not (total > 0.0).sum() >= PARTS // 2 or not mean.max() > 0.1 * noise:
        return None
    place = np.where(total > 0.0, weight @ offset[near] / np.maximum(total, 1e-30), peak)
    centre = (np.arange(PARTS) + 0.5) / PARTS
    scatter = float(np.std(across[:, ~middle])) * math.sqrt(near.sum())
    degree = 2 if np.median(total) > SEEN_BENT * scatter else 1
    fit = np.polyfit(centre, place, degree, w=np.minimum(total, np.median(total)) + 1e-30)
    return np.append(np.zeros(2 - degree), fit)


def _profile(u: F8, value: F8, noise: float) -> F8 | None:
    """Return the profile across a trail, 1 at its peak, 0 where nothing is left of it."""
    n = 2 * BESIDE * FINE + 1
    bins = np.rint(u * FINE).astype(np.int64) + BESIDE * FINE
    inside = (bins >= 0) & (bins < n)
    profile = medians(value[inside], bins[inside], np.ones(int(inside.sum()), np.bool_), n)
    number = np.bincount(bins[inside], minlength=n)
    if not number.all() and number.any():  # along rows all pixels are at one phase
        has = np.flatnonzero(number)
        profile = np.interp(np.arange(n), has, profile[has])
    error = 1.25 * noise / np.sqrt(np.maximum(number, 1))
    smooth = np.convolve(profile, (0.25, 0.5, 0.25), "same")
    if not profile.max() > CLEAR * median(error):
        profile = smooth
    peak = float(profile.max())
    if not peak > 0.0:
        return None
    centre = int(np.argmax(profile))
    is_light = smooth > error
    first, last = centre, centre
    while first > 0 and is_light[first - 1]:
        first -= 1
    while last < n - 1 and is_light[last + 1]:
        last += 1
    kept = np.zeros(n)
    kept[first : last + 1] = profile[first : last + 1] / peak
    return kept


def _light(u: F8, value: F8, piece: I8, profile: F8, n_pieces: int, noise: float) -> tuple[F8, F8]:
    """Return the peak brightness of each piece of a trail, and its error; inf where unseen."""
    share = np.interp(u, (np.arange(profile.size) - BESIDE * FINE) / FINE, profile)
    core = share > 0.5
    ratio = np.where(core, value / np.maximum(share, 0.1), 0.0)
    light = medians(ratio, piece, core, n_pieces)
    number = np.bincount(piece[core], minlength=n_pieces)
    error = np.where(number > 0, 1.6 * noise / np.sqrt(np.maximum(number, 1)), np.inf)
    padded = np.pad(light, SMOOTH // 2, mode="edge")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, SMOOTH), axis=1)
    return np.asarray(smooth, np.float64), error


def subtract(image: F4, trail: Trail) -> None:
    """Take the light of a trail off an image, in place."""
    strip = Strip.of(image.shape, trail.start, trail.along, trail.length, trail.scale)
    share = strip.along / trail.length
    u = strip.across - np.polyval(trail.bend, share)
    profile = np.interp(
        u, (np.arange(trail.profile.size) - BESIDE * FINE) / FINE, trail.profile, 0.0, 0.0
    )
    middle = (np.arange(trail.light.size) + 0.5) / trail.light.size
    light = np.interp(share, middle, trail.light) * profile
    image[strip.y, strip.x] -= light.astype(np.float32)
