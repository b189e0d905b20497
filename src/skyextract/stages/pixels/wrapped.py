"""Unsigned 16-bit numbers that were read as signed ones, because BZERO was lost on the way.

A program may have kept them as real numbers since, or as wider whole ones.

Numbers above 32767 then are 65536 too low, so that bright cores are deep holes, and a sky there is
cut in two.  Neighbouring pixels tell: what differs by more than half of the range is nearer the
other way round.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F4
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import Header, header_number
from skyextract.run import Run

RANGE = 65536.0
"""Of 16-bit numbers."""
DEEP = -8192.0
"""Without a number below this nothing is looked for."""
MIN_PAIRS = 10
"""Neighbours that are nearer as unsigned numbers, at least; ..."""
OTHERS = 1.5
"""... so many times those that are nearer as signed ones."""
MAX_MARKED = 0.5
"""Share of one value among low numbers that were converted since, from which it is a mark."""
_ROWS = 256


def without_wrapping(exposure: Exposure, run: Run) -> Exposure:
    """Return the exposure with unsigned numbers where signed ones cannot be."""
    header, image = exposure.header or Header(), exposure.image
    if header.get("BZERO") or exposure.unit != 1.0:
        return exposure
    if header_number(header.get("BSCALE", 1.0)) != 1.0 or not image.min() < DEEP:
        return exposure
    is_stored = header_number(header.get("BITPIX")) == 16
    if not (is_stored or _are_signed(image)):
        return exposure
    n_wrapped = n_crossing = 0
    for row in range(0, len(image), _ROWS):
        part = image[row : row + _ROWS]
        # The lowest number stands for no data in many files; the highest would be -1, and next to
        # saturated pixels there may be any.
        known = (part > -0.5 * RANGE) & (part != -1.0)
        good = known & ((exposure.mask[row : row + _ROWS] & np.uint16(Mask.NO_DATA)) == 0)
        both = good[:, 1:] & good[:, :-1]
        far = np.abs(np.diff(part, axis=1)) > 0.5 * RANGE
        n_wrapped += int(np.count_nonzero(far & both))
        negative = part < 0.0
        n_crossing += int(np.count_nonzero((negative[:, 1:] != negative[:, :-1]) & both & ~far))
    if n_wrapped < MIN_PAIRS or n_wrapped < OTHERS * n_crossing:
        return exposure
    if is_stored:
        message = (
            "16-bit numbers above 32767 are negative: BZERO was lost, and they are read as "
            "unsigned (FITS_UNSIGNED Y says so)"
        )
    else:
        message = (
            "whole numbers above 32767 are negative: unsigned 16-bit numbers were read as signed "
            "ones before they were converted; 65536 is added to these"
        )
    run.warn(message)
    image = np.where(image < 0.0, image + np.float32(RANGE), image)
    saturated = image >= exposure.detector.saturation
    mask = exposure.mask | np.where(saturated, np.uint16(Mask.SAT), np.uint16(0))
    return replace(exposure, image=image, mask=mask)


def _are_signed(image: F4) -> bool:
    """Tell whether all values are whole numbers of 16 bits with a sign, no mark among the low ones.

    Half of these have another value than the commonest.
    """
    if image.min() < -0.5 * RANGE or image.max() >= 0.5 * RANGE or (image != np.rint(image)).any():
        return False
    deep = image[image < DEEP]
    return bool(np.unique(deep, return_counts=True)[1].max() <= MAX_MARKED * deep.size)
