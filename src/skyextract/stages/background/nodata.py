"""Pixels that are no data though nothing says so: padding, and what the converter clipped.

Coadds, mosaics and cut-outs are filled up with 0, the sky level, -32768 or any other number;
a background mesh or a noise that takes them for sky is wrong.  Noise never gives an area of
one exact value, except where it does not resolve the steps of an integer image: there the
area is full of holes, and the values beside it are those next to its own.  Dead pixels: `dead`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import (
    F4,
    I8,
    U1,
    U2,
    Bools,
    has_bits,
    highest,
    n_from,
    n_set,
    widened,
)
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.noise import quantiles, sparse
from skyextract.kernels.background.constant import constant_runs, fill_equal
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.run import Run
from skyextract.settings.keywords import Detector as DetectorConfig
from skyextract.stages.background.badcolumns import bad_columns
from skyextract.stages.background.chips import without_steps_at_gaps
from skyextract.stages.background.dead import dead_pixels
from skyextract.stages.background.deadparts import dead_parts, look_at
from skyextract.stages.background.filledlines import filled_lines
from skyextract.stages.background.fringes import without_fringes
from skyextract.stages.background.lineoffsets import without_line_offsets
from skyextract.stages.background.overflow import without_overflow
from skyextract.stages.background.pixelcopies import MANY_COPIED, about_copies, share_of_copies
from skyextract.stages.background.satellites import without_trails
from skyextract.stages.background.strips import edge_strips
from skyextract.stages.background.unlit import unlit
from skyextract.stages.background.wrapped import without_wrapping

MIN_RUN = 32
"""So many equal pixels in a row or column are looked at: noise that has two values of equal
chance makes one such run in 1e9 pixels."""
MIN_AREA = 64
MAX_VALUES = 8
"""Values per image that can be padding, those with the most runs."""
MAX_SEEDS = 100_000
MAX_EQUAL = 0.5
"""Where fewer neighbours than this share are equal, the noise resolves the pixel values; an
area whose value is amid them then is padding."""
MIN_PAIRS = 50
"""Neighbours outside an area that tell whether it does."""
MAX_AROUND = 0.7
"""Padding has a border: of the pixels around one beside it, less than this share is padding.
An area that noise has left between its other values is all around them."""
MIN_SIDE = 0.05
"""A value amid those beside it has this share of them on either side."""
FILLED, MIN_FILLED, MIN_EXPECTED = 2.0, 16, 0.4
"""Pixels of one value, over those that the parabola through the logarithms of the numbers of the
two values on either side gives, which are noise; with so many of each of these, and that part of
the frame: noise makes no runs of a value that is rarer."""
MIN_STEPS = 3.0
"""Else an area is padding if its value is so many steps from all values beside it."""
MIN_PILE = 8
"""Pixels of the highest value that are a pile-up..."""
PILE_FACTOR = 3.0
"""... if they are so many times those in the tenth of the range below."""
MIN_CLIP = 10.0
"""A clipping level is so many times the noise above the sky."""
MOST_MEANT = 0.5
"""Share of the frame without weight from which the map may be that of another image, or be wrong:
what is less is told, and no warning."""
MIN_SHARE = 1e-3
"""Share of the frame from which on NaN and pixels without weight are worth a line."""
MAX_CLIPPED_SHARE = 0.02
"""A highest value that covers more of the frame than this is padding, not saturation."""

_SAMPLE = 100_000


def check_data(exposure: Exposure, config: DetectorConfig, run: Run) -> Exposure:
    """Mark areas of one exact value NO_DATA and dead pixels BAD; find the level that clips pixels.

    Parameters
    ----------
    exposure : Exposure
        As it was read.  A clipping level is looked for if SATUR_LEVEL is not set and no pixel
        reaches what a card gives as saturation.
    config : Detector
        DATA_CHECK, SATUR_LEVEL.

    Returns
    -------
    Exposure
        The same if nothing was found.
    """
    if not config.data_check:
        return exposure
    exposure = without_wrapping(exposure, run)
    exposure = _clipped(_without_default_level(exposure, config, run), config, run)
    exposure = without_overflow(exposure, run)
    without = has_bits(exposure.mask, int(Mask.NO_DATA), run)
    n_known = n_set(without, run)
    areas = _padding(exposure, without, run)
    strips = edge_strips(exposure.image, without)
    for strip in strips:
        without[strip.part] = True
    patches = look_at(exposure.image, without)
    dead = dead_parts(exposure.image, without, patches)
    for part in dead:
        without[part.part] = True
    outside = unlit(exposure.image, without, patches)
    if outside is not None:
        without |= outside.dark
    n_weightless = 0
    if exposure.weight is not None:
        n_weightless = int(np.count_nonzero((exposure.weight >= MAX_VARIANCE) & ~without))
    parts = [f"{_percent(n, without)} are exactly {value:g}" for value, n in areas]
    if strips:
        names = ", ".join(map(str, strips))
        run.warn(
            f"{names} are {strips[0].step:.4g} below the image beside, with a sharp edge: overscan "
            "or bias of a raw frame? They take no part; isr corrects raw frames (--steps isr)"
        )
    if dead:
        names = "; ".join(map(str, dead))
        run.warn(
            f"{names} are {dead[0].step:.4g} below the image beside, with less noise and sharp "
            "edges: a dead amplifier or detector? They take no part"
        )
    if outside is not None:
        share = _percent(int(np.count_nonzero(outside.dark)), without)
        run.warn(
            f"{share} of the frame are {outside.step:.4g} below the rest, with less noise, no "
            "stars and a sharp edge: no light reached them (a round field, trees, a dome?). They "
            "take no part"
        )
    if n_known > MIN_SHARE * without.size:
        parts.append(f"{_percent(n_known, without)} have no value")
    if n_weightless > MIN_SHARE * without.size:
        parts.append(f"{_percent(n_weightless, without)} have no weight")
    if parts:
        total = int(np.count_nonzero(without)) + n_weightless
        message = f"{_percent(total, without)} of the frame are no data: {', '.join(parts)}"
        # What a map says of a smaller part is what it was given for.
        meant = total == n_weightless and n_weightless < MOST_MEANT * without.size
        (run.tell if meant else run.warn)(message)
    if areas or strips or dead or outside is not None:
        image = exposure.image.copy()
        image[without] = 0.0
        mask = exposure.mask | np.where(without, np.uint16(Mask.NO_DATA), np.uint16(0))
        mask[without] &= ~np.uint16(Mask.SAT)
        exposure = replace(exposure, image=image, mask=mask)
    equal = share_of_copies(exposure.image, without, exposure.mask)
    if equal:
        doubts = (*exposure.doubts, about_copies(equal))
        exposure = replace(exposure, doubts=doubts, copied=equal > MANY_COPIED)
    exposure = without_line_offsets(_without_filled(exposure, run), run)
    exposure = _without_dead(_without_columns(exposure, run), run)
    exposure = without_steps_at_gaps(exposure, run)
    return without_trails(without_fringes(exposure, run), run)


def _without_dead(exposure: Exposure, run: Run) -> Exposure:
    """Mark dead pixels, which are interpolated where cosmic rays are repaired."""
    dead = dead_pixels(exposure, run)
    if not dead.size:
        return exposure
    run.warn(
        f"dead pixels, far below the sky and what is beside, are masked (DATA_CHECK): {dead.size}"
    )
    return _with_bad(exposure, dead)


def _without_filled(exposure: Exposure, run: Run) -> Exposure:
    """Mark columns and rows that were interpolated before."""
    n_lines, pixels = filled_lines(exposure, run)
    if not pixels.size:
        return exposure
    run.tell(
        "columns and rows, or parts of them, that were interpolated before are masked "
        f"(DATA_CHECK): {n_lines}"
    )
    return _with_bad(exposure, pixels)


def _without_columns(exposure: Exposure, run: Run) -> Exposure:
    """Mark columns that are offset or noisy, which are interpolated, too."""
    n_columns, pixels = bad_columns(exposure, run)
    if not pixels.size:
        return exposure
    run.warn(
        f"columns, or parts of them, that are offset or noisy are masked (DATA_CHECK): {n_columns}"
    )
    return _with_bad(exposure, pixels)


def _with_bad(exposure: Exposure, pixels: I8) -> Exposure:
    mask = exposure.mask.copy()
    mask.ravel()[pixels] |= np.uint16(Mask.BAD)
    return replace(exposure, mask=mask)


def _percent(n: int, frame: Bools) -> str:
    percent = 100.0 * n / frame.size
    return f"{percent:.2g} %" if percent < 99.0 else f"{percent:.4g} %"


def _padding(exposure: Exposure, without: Bools, run: Run) -> list[tuple[float, int]]:
    """Add areas of one exact value to `without`; return values and numbers of pixels."""
    image = exposure.image
    found = run.map(lambda band: _runs(exposure, band), run.bands(image.shape[0]))
    seeds = np.concatenate(found)[:MAX_SEEDS]
    if not seeds.size:
        return []
    values, counts = np.unique(image.ravel()[seeds], return_counts=True)
    areas = []
    stack = np.empty(image.size, np.int64)
    for k in np.argsort(-counts, kind="stable")[:MAX_VALUES]:
        area = np.zeros(image.shape, np.uint8)
        n = fill_equal(image, values[k], seeds, stack, area)
        if n >= MIN_AREA and _is_padding(exposure, area, float(values[k]), n):
            without |= area.view(np.bool_)
            areas.append((float(values[k]), n))
    return areas


def _runs(exposure: Exposure, band: tuple[int, int]) -> I8:
    seeds = np.empty(MAX_SEEDS, np.int64)
    n = constant_runs(
        exposure.image, exposure.mask, int(Mask.NO_DATA | Mask.SAT), MIN_RUN, *band, seeds
    )
    return seeds[:n]


def _is_padding(exposure: Exposure, area: U1, value: float, n: int) -> bool:
    """Tell whether an area of one value is padding, by the pixels beside it."""
    image = exposure.image
    inside = area.view(np.bool_)
    usable = (exposure.mask & np.uint16(Mask.NO_DATA | Mask.SAT)) == 0
    beside = widened(inside, 4) & ~inside & usable
    if not beside.any():
        return False
    if _share_around(inside, beside) > MAX_AROUND:
        return False
    if value > image[beside].max() and n < MAX_CLIPPED_SHARE * image.size:
        return False  # the clipped core of a star
    values = image[beside]
    below = np.count_nonzero(values < value) / values.size
    if MIN_SIDE < below < 1.0 - MIN_SIDE:
        expected = _of_noise(image[usable], value)
        if n <= FILLED * expected and expected > MIN_EXPECTED * image.size:
            return False
        outside = usable & ~inside
        pairs = outside[:, 1:] & outside[:, :-1]
        n_pairs = int(np.count_nonzero(pairs))
        equal = np.count_nonzero(image[:, 1:][pairs] == image[:, :-1][pairs])
        if n_pairs >= MIN_PAIRS and equal < MAX_EQUAL * n_pairs:
            return True
    values = np.unique(values)
    if values.size < 2:
        return False
    step = float(np.diff(values).min())
    return float(np.abs(values - value).min()) >= MIN_STEPS * step


def _of_noise(pixels: F4, value: float) -> float:
    """Return how many pixels of a value the numbers of those beside it make of normal noise.

    The logarithm of a normal histogram is a parabola, whatever the noise is in steps.
    """
    logs = []
    for side in (-1, 1):
        beside = value
        for _ in range(2):
            rest = pixels[pixels < beside] if side < 0 else pixels[pixels > beside]
            if not rest.size:
                return 0.0
            beside = float(rest.max() if side < 0 else rest.min())
            logs.append(math.log(np.count_nonzero(rest == np.float32(beside))))
    if min(logs) < math.log(MIN_FILLED):
        return 0.0
    below, far, above, beyond = logs
    return math.exp((4.0 * (below + above) - far - beyond) / 6.0)


def _share_around(area: Bools, beside: Bools) -> float:
    """Return the share of the area among the 7 x 7 pixels around the typical one beside it."""
    padded = np.pad(area, 3, mode="reflect") if min(area.shape) > 3 else np.pad(area, 3)
    edge = beside & widened(area, 1)
    y, x = np.nonzero(edge)
    step = max(1, y.size // _SAMPLE)
    y, x = y[::step], x[::step]
    inside = sum(padded[y + v, x + u].astype(np.int64) for v in range(7) for u in range(7))
    return float(np.median(inside)) / 49.0


def _without_default_level(exposure: Exposure, config: DetectorConfig, run: Run) -> Exposure:
    """Drop the default SATUR_LEVEL, of 16-bit cameras, where the sky itself is above it."""
    level = exposure.detector.saturation
    if level != DetectorConfig().satur_level or config.satur_level != level:
        return exposure
    part = sparse(exposure.shape)
    sample = exposure.image[part][(exposure.mask[part] & _LOST) == 0]
    if not sample.size or not float(np.median(sample)) >= level:
        return exposure
    run.warn(f"the sky is above SATUR_LEVEL {level:g}: no saturation level is known")
    detector = replace(exposure.detector, saturation=math.inf)
    mask = exposure.mask & ~np.uint16(Mask.SAT)
    return replace(exposure, detector=detector, mask=mask)


_LOST = np.uint16(Mask.NO_DATA | Mask.BAD)


def _clipped(exposure: Exposure, config: DetectorConfig, run: Run) -> Exposure:
    """Take the level of a pile-up at the highest value as saturation, if no lower one is known.

    A card that no pixel reaches was true before a bias was taken off, or of another camera.
    """
    card = exposure.detector.saturation
    is_known = card != DetectorConfig().satur_level
    if config.satur_level != DetectorConfig().satur_level:
        return exposure
    top = highest(exposure.image, run) if exposure.image.size else 0.0
    if is_known and not top < card:
        return exposure
    level = clipping_level(exposure.image, exposure.mask, top, run)
    if level is not None:
        # What is known as bad tells nothing of the converter.
        bad = (exposure.mask & np.uint16(Mask.BAD)) != 0
        if bad[exposure.image >= np.float32(level)].any():
            lowest = np.float32(exposure.image[~bad].min(initial=0.0))
            rest = np.where(bad, lowest, exposure.image)
            level = clipping_level(rest, exposure.mask, highest(rest, run), run)
    if level is None:
        return exposure
    clipped = exposure.image >= np.float32(level)
    mask = exposure.mask & ~np.uint16(Mask.SAT)
    mask |= np.where(clipped, np.uint16(Mask.SAT), np.uint16(0))
    given = f"the card says {card:g}" if is_known else "no card gives it"
    run.warn(
        f"{np.count_nonzero(clipped)} pixels are clipped at {level:g}, the highest value: this is "
        f"taken as saturation ({given}, and SATUR_LEVEL is not set)"
    )
    detector = replace(exposure.detector, saturation=level)
    return replace(exposure, mask=mask, detector=detector)


def clipping_level(image: F4, mask: U2, level: float, run: Run) -> float | None:
    """Return the level at which the pixels of an image are clipped; None if they are not.

    That is `level`, their highest value.

    Of stars that are cut off many more pixels have the highest value than one of the tenth
    of the range below it; of stars that are not, one or two.
    """
    step = max(1, image.size // _SAMPLE)
    good = (mask.ravel()[::step] & np.uint16(Mask.NO_DATA)) == 0
    sample = image.ravel()[::step][good]
    if not sample.size:
        return None
    low, sky = quantiles(sample, (0.15866, 0.5))
    if not level - sky > MIN_CLIP * (sky - low) or level <= sky:
        return None
    n_top, n_near = n_from(image, (level, level - 0.1 * (level - sky)), run).tolist()
    if n_top < MIN_PILE or n_top > MAX_CLIPPED_SHARE * image.size:
        return None
    return level if n_top > PILE_FACTOR * (n_near - n_top) else None
