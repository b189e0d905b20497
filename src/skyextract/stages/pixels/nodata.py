"""Pixels that are no data, or no good ones, though nothing says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import I8, Bools, has_bits, n_set
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.run import Run
from skyextract.settings.keywords import Detector as DetectorConfig
from skyextract.stages.patterns.fringes import without_fringes
from skyextract.stages.patterns.lineoffsets import without_line_offsets
from skyextract.stages.patterns.satellites import without_trails
from skyextract.stages.pixels.badcolumns import bad_columns
from skyextract.stages.pixels.chips import without_steps_at_gaps
from skyextract.stages.pixels.clippedpeaks import with_doubt_of_clipped_peaks
from skyextract.stages.pixels.darklines import dark_lines, tell_of_dark_lines
from skyextract.stages.pixels.dead import dead_pixels
from skyextract.stages.pixels.deadparts import dead_parts, look_at
from skyextract.stages.pixels.denoised import with_doubt_of_denoising
from skyextract.stages.pixels.filledlines import filled_lines
from skyextract.stages.pixels.overflow import without_overflow
from skyextract.stages.pixels.padding import mark_padding
from skyextract.stages.pixels.photonrates import with_counts_of_rates
from skyextract.stages.pixels.pixelcopies import with_doubt_of_copies
from skyextract.stages.pixels.repeats import mark_mirrored, mark_repeats
from skyextract.stages.pixels.saturation import with_saturation
from skyextract.stages.pixels.strips import edge_strips
from skyextract.stages.pixels.unlit import unlit
from skyextract.stages.pixels.wrapped import without_wrapping

MOST_MEANT = 0.5
"""Share of the frame without weight from which the map may be that of another image, or be wrong:
what is less is told, and no warning."""
MIN_SHARE = 1e-3
"""Share of the frame from which on NaN and pixels without weight are worth a line."""


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
    exposure = with_saturation(exposure, config, run)
    exposure = without_overflow(exposure, run)
    without = has_bits(exposure.mask, int(Mask.NO_DATA), run)
    n_known = n_set(without, run)
    areas = mark_padding(exposure, without, run)
    strips = edge_strips(exposure.image, without)
    for strip in strips:
        without[strip.part] = True
    patches = look_at(exposure.image, without)
    dead = dead_parts(exposure.image, without, patches)
    for part in dead:
        without[part.part] = True
    between = dark_lines(exposure.image, without, run)
    for group in between:
        without[group.part] = True
    repeats = mark_repeats(exposure.image, without, run)
    repeats |= mark_mirrored(exposure.image, without, run)
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
    if between:
        tell_of_dark_lines(between, without.shape, run)
    if dead:
        names = "; ".join(map(str, dead))
        run.warn(
            f"{names} are {dead[0].step:.4g} below the image beside, with less noise and sharp "
            "edges: a dead amplifier or detector? They take no part"
        )
    if outside is not None:
        run.warn(
            f"{_percent(int(outside.dark.sum()), without)} of the frame are {outside.step:.4g} "
            "below the rest, with less noise, no stars and a sharp edge: no light reached them (a "
            "round field, trees, a dome?). They take no part"
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
    if areas or strips or between or dead or repeats or outside is not None:
        image = exposure.image.copy()
        image[without] = 0.0
        mask = exposure.mask | np.where(without, np.uint16(Mask.NO_DATA), np.uint16(0))
        mask[without] &= ~np.uint16(Mask.SAT)
        exposure = replace(exposure, image=image, mask=mask)
    if exposure.beam:
        return exposure  # of no detector, which has lines and fringes, and sees satellites
    exposure = with_counts_of_rates(with_doubt_of_copies(exposure, without), without, run)
    if not exposure.copied:
        if not exposure.uneven:
            exposure = with_doubt_of_clipped_peaks(exposure, without)
        exposure = with_doubt_of_denoising(exposure, without, run)
    exposure = without_line_offsets(_without_filled(exposure, run), run)
    exposure = without_steps_at_gaps(_without_dead(_without_columns(exposure, run), run), run)
    return without_trails(without_fringes(exposure, run), run)


def _without_dead(exposure: Exposure, run: Run) -> Exposure:
    """Mark dead pixels, which are interpolated where cosmic rays are repaired."""
    dead = dead_pixels(exposure, run)
    if exposure.denoised or not dead.size:
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
