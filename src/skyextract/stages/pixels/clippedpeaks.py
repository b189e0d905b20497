"""Single pixels that were clipped to the brightest of their neighbours: hot-pixel suppression.

Cameras do it to long exposures before a raw file is written ("star eater"), programs do it when
they read one.  Of noise every ninth pixel stands above the eight about it, by as much as others
stand below theirs; of such a frame none does, and the peaks of sharp stars are low.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import median
from skyextract.stages.pixels.pixelcopies import spread_blocks

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, Bools
    from skyextract.datamodel.exposure import Exposure

LOW = 0.25
"""Median height of maxima above their brightest neighbour, over the depth of minima, up to which
maxima are clipped; a flat field that was divided by since leaves heights of some tenths."""
MIN_NUMBER, FIRST = 100, 64
"""Maxima and minima in a block that are needed; side of the part that is looked at first."""
MOSAIC, UNLIKE = 2, 1.2
"""Pixels from one of a colour mosaic to the next of its colour; times as much neighbours differ
there."""


def with_doubt_of_clipped_peaks(exposure: Exposure, without: Bools) -> Exposure:
    """Note that single pixels were clipped; the same exposure if they were not.

    Parameters
    ----------
    without : (ny, nx) bool
        Pixels without data.
    """
    if not are_clipped(exposure.image, without):
        return exposure
    message = (
        "no pixel rises above its eight neighbours as those of noise do: the camera or a program "
        "clipped single pixels (hot-pixel suppression, a star eater): peaks and fluxes of sharp "
        "stars are low by up to several per cent, and not alike"
    )
    doubts = (*exposure.doubts, message)
    return replace(exposure, doubts=doubts, uneven=exposure.uneven or message)


def are_clipped(image: F4, without: Bools) -> bool:
    """Tell whether maxima of an image hardly rise above their neighbours, as minima fall below.

    Parameters
    ----------
    image : (ny, nx) float32
        As it was read; of a colour mosaic pixels are compared to those of the same colour.
    without : (ny, nx) bool
        Pixels without data.
    """
    turns = [(y, x) for y in range(MOSAIC) for x in range(MOSAIC)]
    return _all_clipped(image, without, 1) or any(
        _all_clipped(image[y:, x:], without[y:, x:], MOSAIC) for y, x in turns
    )


def _all_clipped(image: F4, without: Bools, step: int) -> bool:
    """Tell it of pixels that are so many apart."""
    image, without = image[::step, ::step], without[::step, ::step]
    parts = spread_blocks(image.shape)
    # Nearly all frames are told by a small part of one block.
    first = tuple(slice(along.start, along.start + FIRST) for along in parts[0])
    blocks = (image[part] for part in (first, *parts) if not without[part].any())
    n_clipped = 0
    for block in blocks:
        if not _is_clipped(block):
            return False
        n_clipped += 1
    return n_clipped > 0


def _is_clipped(block: F4) -> bool:
    if min(block.shape) <= MOSAIC or _is_mosaic(block):
        return False
    heights, depths = _heights(block), _heights(-block)
    if min(heights.size, depths.size) < MIN_NUMBER:
        return False
    depth = median(depths)
    return depth > 0.0 and median(heights) < LOW * depth


def _is_mosaic(block: F4) -> bool:
    """Tell whether neighbours differ more than what is two pixels apart: they are of two colours.

    The brighter colour then has its maxima, and its neighbours, for itself.
    """
    near = median(np.abs(block[:, 1:] - block[:, :-1]).ravel())
    return near > UNLIKE * median(np.abs(block[:, MOSAIC:] - block[:, :-MOSAIC]).ravel())


def _heights(block: F4) -> F4:
    """Return by how much maxima, or what is equal to the brightest neighbour, rise above these."""
    beside = np.maximum(block[:, :-2], block[:, 2:])
    rows = np.maximum(beside, block[:, 1:-1])
    highest = np.maximum(np.maximum(rows[:-2], rows[2:]), beside[1:-1])
    middle = block[1:-1, 1:-1]
    rise = middle - highest
    # Those of the highest value of all may be saturated.
    heights: F4 = rise[(rise >= 0.0) & (middle < block.max())]
    return heights
