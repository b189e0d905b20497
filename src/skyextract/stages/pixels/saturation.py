"""At which level pixels saturate: what cards and settings say, and what the pixels show."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F4, U2, highest, n_from
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.noise import quantiles, sparse
from skyextract.run import Run
from skyextract.settings.keywords import Detector as DetectorConfig
from skyextract.stages.pixels.piledup import foot_of_pile

MIN_PILE = 8
"""Pixels of the highest value that are a pile-up..."""
PILE_FACTOR = 3.0
"""... if they are so many times those in the tenth of the range below."""
MIN_CLIP = 10.0
"""A clipping level is so many times the noise above the sky."""
FULL_SCALES = tuple(2.0**bits - 1.0 for bits in range(8, 17))
"""Highest values of converters: where no level is known, one pixel there is enough."""
MAX_CLIPPED_SHARE = 0.02
"""A highest value that covers more of the frame than this is padding, not saturation."""
SMOOTH, MIN_SMOOTH = 3.0, 4
"""Light that is so many times a level, in all of 3 x 3 pixels, does not saturate there: no flat
field makes as much of what does.  It is about so many pixels, at least, ..."""
STEEP = 10.0
"""... the brightest of which has less than so many times the faintest."""
SAMPLE = 100_000

_LOST = np.uint16(Mask.NO_DATA | Mask.BAD)


def with_saturation(exposure: Exposure, config: DetectorConfig, run: Run) -> Exposure:
    """Find the level at which pixels saturate; what SATUR_LEVEL sets is believed."""
    exposure = _without_default_level(exposure, config, run)
    return _clipped(_without_wrong_card(exposure, config, run), config, run)


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
    return _without_level(exposure)


def _without_wrong_card(exposure: Exposure, config: DetectorConfig, run: Run) -> Exposure:
    """Drop the level of a card where light rises smoothly to several times as much.

    So it is where single frames were added up, or converted to another unit, below their card.
    """
    card, usual = exposure.detector.saturation, DetectorConfig().satur_level
    if not 0.0 < card < math.inf or card == usual or config.satur_level != usual:
        return exposure
    image, level = exposure.image, np.float32(SMOOTH * card)
    if not image.size or highest(image, run) < level:
        return exposure
    y, x = np.nonzero(image >= level)
    inside = (y > 0) & (y < image.shape[0] - 1) & (x > 0) & (x < image.shape[1] - 1)
    y, x = y[inside], x[inside]
    around = np.array([image[y + dy, x + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    low, high = around.min(axis=0), around.max(axis=0)
    # One value is a mark of what is saturated, not light.
    is_smooth = (low >= level) & (low < high) & (high < STEEP * low)
    if np.count_nonzero(is_smooth) < MIN_SMOOTH:
        return exposure
    run.warn(
        f"a card says that pixels saturate at {card:g}, but sources rise smoothly to {SMOOTH:g} "
        "times as much and more (a sum of frames, another unit?): it is not believed"
    )
    return _without_level(exposure)


def _without_level(exposure: Exposure) -> Exposure:
    """Return the exposure without a level of saturation, and without pixels that are saturated."""
    detector = replace(exposure.detector, saturation=math.inf)
    return replace(exposure, detector=detector, mask=exposure.mask & ~np.uint16(Mask.SAT))


def _clipped(exposure: Exposure, config: DetectorConfig, run: Run) -> Exposure:
    """Take the level of a pile-up at the highest value as saturation, if no lower one is known.

    A card that no pixel reaches was true before a bias was taken off, or of another camera.
    """
    card = exposure.detector.saturation
    is_known = card != DetectorConfig().satur_level and card < math.inf
    if config.satur_level != DetectorConfig().satur_level:
        return exposure
    top = highest(exposure.image, run) if exposure.image.size else 0.0
    if is_known and not top < card:
        return _piled_up(exposure, run)
    level = clipping_level(exposure.image, exposure.mask, top, run)
    if level is not None:
        # What is known as bad tells nothing of the converter.
        bad = (exposure.mask & np.uint16(Mask.BAD)) != 0
        if bad[exposure.image >= np.float32(level)].any():
            lowest = np.float32(exposure.image[~bad].min(initial=0.0))
            rest = np.where(bad, lowest, exposure.image)
            level = clipping_level(rest, exposure.mask, highest(rest, run), run)
    if level is None:
        if not (card == math.inf and top in FULL_SCALES):
            return exposure
        level = top
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


def _piled_up(exposure: Exposure, run: Run) -> Exposure:
    """Take what is piled up about the level of a card, and not reaches it, as saturated, too."""
    card, part = exposure.detector.saturation, sparse(exposure.shape, SAMPLE)
    level = foot_of_pile(exposure.image, card, float(np.median(exposure.image[part])), run)
    if not level < card:
        return exposure
    more = (exposure.image >= np.float32(level)) & (exposure.image < np.float32(card))
    run.warn(
        f"{np.count_nonzero(more)} pixels are piled up just below the saturation of {card:g} that "
        f"a card gives (full wells, bleeding): {level:.6g} is used"
    )
    mask = exposure.mask | np.where(more, np.uint16(Mask.SAT), np.uint16(0))
    detector = replace(exposure.detector, saturation=level)
    return replace(exposure, mask=mask, detector=detector)


def clipping_level(image: F4, mask: U2, level: float, run: Run) -> float | None:
    """Return the level at which the pixels of an image are clipped; None if they are not.

    That is `level`, their highest value.  Of stars that are cut off many more pixels have it than
    one of the tenth of the range below it; of stars that are not, one or two.
    """
    n_top = int(n_from(image, (level,), run)[0]) if image.size else 0
    if n_top < MIN_PILE or n_top > MAX_CLIPPED_SHARE * image.size:
        return None
    step = max(1, image.size // SAMPLE)
    good = (mask.ravel()[::step] & np.uint16(Mask.NO_DATA)) == 0
    sample = image.ravel()[::step][good]
    if not sample.size:
        return None
    low, sky = quantiles(sample, (0.15866, 0.5))
    if not level - sky > MIN_CLIP * (sky - low) or level <= sky:
        return None
    n_near = int(n_from(image, (level - 0.1 * (level - sky),), run)[0])
    return level if n_top > PILE_FACTOR * (n_near - n_top) else None
