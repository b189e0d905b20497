"""Pixels that are no data, or no good ones, though nothing says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import I8
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.run import Run
from skyextract.settings.keywords import Detector as DetectorConfig
from skyextract.stages.patterns.fringes import without_fringes
from skyextract.stages.patterns.lineoffsets import without_line_offsets
from skyextract.stages.patterns.satellites import without_trails
from skyextract.stages.pixels.areas import without_empty_areas
from skyextract.stages.pixels.badcolumns import bad_columns, bad_rows
from skyextract.stages.pixels.chips import without_steps_at_gaps
from skyextract.stages.pixels.clippedpeaks import with_doubt_of_clipped_peaks
from skyextract.stages.pixels.dead import dead_pixels
from skyextract.stages.pixels.denoised import with_doubt_of_denoising
from skyextract.stages.pixels.filledlines import filled_lines
from skyextract.stages.pixels.overflow import without_overflow
from skyextract.stages.pixels.photonrates import with_counts_of_rates
from skyextract.stages.pixels.pixelcopies import with_doubt_of_copies
from skyextract.stages.pixels.saturation import with_saturation
from skyextract.stages.pixels.wrapped import without_wrapping


def check_data(exposure: Exposure, config: DetectorConfig, run: Run) -> Exposure:
    """Mark areas without data NO_DATA and bad pixels BAD; find the level that clips pixels.

    What patterns add to the pixels (fringes, offsets of lines, trails of satellites) is taken away.

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
    exposure, without = without_empty_areas(exposure, run)
    if exposure.beam:
        return exposure  # of no detector, which has lines and fringes, and sees satellites
    # Pixels that are not as they were counted.
    exposure = with_doubt_of_copies(exposure, without)
    exposure = with_counts_of_rates(exposure, without, run)
    if not exposure.copied:
        if not exposure.uneven:
            exposure = with_doubt_of_clipped_peaks(exposure, without)
        exposure = with_doubt_of_denoising(exposure, without, run)
    # Lines and pixels of the detector, and what lies over the sky.
    exposure = _without_filled(exposure, run)
    exposure = without_line_offsets(exposure, run)
    exposure = _without_lines(exposure, run)
    exposure = _without_dead(exposure, run)
    exposure = without_steps_at_gaps(exposure, run)
    exposure = without_fringes(exposure, run)
    return without_trails(exposure, run)


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


def _without_lines(exposure: Exposure, run: Run) -> Exposure:
    """Mark columns and rows that are offset or noisy, which are interpolated, too."""
    n_columns, in_columns = bad_columns(exposure, run)
    n_rows, in_rows = bad_rows(exposure, run)
    if n_columns:
        run.warn(
            "columns, or parts of them, that are offset or noisy are masked (DATA_CHECK): "
            f"{n_columns}"
        )
    if n_rows:
        run.warn(
            f"rows, or parts of them, that are offset or noisy are masked (DATA_CHECK): {n_rows}"
        )
    if not (n_columns or n_rows):
        return exposure
    return _with_bad(exposure, np.concatenate([in_columns, in_rows]))


def _with_bad(exposure: Exposure, pixels: I8) -> Exposure:
    mask = exposure.mask.copy()
    mask.ravel()[pixels] |= np.uint16(Mask.BAD)
    return replace(exposure, mask=mask)
