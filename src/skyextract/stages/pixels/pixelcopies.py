"""Pixels with the values of their neighbours: a median filter, resampling by the nearest pixel.

Noise gives neighbours the same value no more often than one that differs by the least step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.flags import Mask
from skyextract.datamodel.noise import median
from skyextract.kernels.values import MAD_TO_SIGMA

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, U2, Bools
    from skyextract.datamodel.exposure import Exposure

BLOCK, N_BLOCKS = 192, 2
"""Side of the blocks that are looked at, and how many there are along an axis."""
COPIED, COPIES_OVER = 0.04, 3.0
"""Share of the neighbours that are equal, and times those that differ by the least step, from which
values are copied: in noise both are as many."""
FINE = 0.4
"""Least step, over the noise of a difference, up to which this can be told."""
MIN_PAIRS = 2000
MIN_OTHERS, MAX_LEAST = 0.5, 0.25
"""Share of the pixels that are above the lowest value, and of differences that are the least step:
where single photons are counted most pixels have none, or neighbours with one, not with two."""
MANY_COPIED = 0.25
"""Share from which the edges of copies are as sharp as cosmic rays: 0.31 at a zoom of 1.5."""


def share_of_copies(image: F4, without: Bools, mask: U2) -> float:
    """Return the share of neighbours with the same values, which noise never gives; 0: no more.

    Parameters
    ----------
    image : (ny, nx) float32
        As it was read.
    without : (ny, nx) bool
        Pixels without data.
    mask : (ny, nx) uint16
        Tells which are saturated.
    """
    share = 0.0
    saturated = np.uint16(Mask.SAT)
    blocks = [
        (image[part], without[part] | ((mask[part] & saturated) != 0))
        for part in spread_blocks(image.shape)
    ]
    # Those of a black point, to which darker pixels were raised, are told of elsewhere.
    lowest = min((float(block.min()) for block, _ in blocks if block.size), default=0.0)
    n_data = sum(int(np.count_nonzero(~hole)) for _, hole in blocks)
    blocks = [(block, hole | (block == lowest)) for block, hole in blocks]
    if sum(int(np.count_nonzero(~hole)) for _, hole in blocks) < MIN_OTHERS * n_data:
        return 0.0
    for axis in (0, 1):
        pairs = [_pairs(block, hole, axis) for block, hole in blocks]
        n_pairs = sum(int(np.count_nonzero(known)) for _, known in pairs)
        n_same = sum(int(np.count_nonzero((step == 0.0) & known)) for step, known in pairs)
        if n_pairs >= MIN_PAIRS and n_same > COPIED * n_pairs:
            steps = np.concatenate([np.abs(step[known]) for step, known in pairs])
            share = max(share, _copied(steps))
    return share


def with_doubt_of_copies(exposure: Exposure, without: Bools) -> Exposure:
    """Note how many neighbours have the same values; the same exposure if noise gives as many."""
    equal = share_of_copies(exposure.image, without, exposure.mask)
    if not equal:
        return exposure
    message = about_copies(equal)
    copied, doubts = equal > MANY_COPIED, (*exposure.doubts, message)
    return replace(
        exposure, doubts=doubts, copied=copied, uneven=message if copied else exposure.uneven
    )


def about_copies(share: float) -> str:
    """Tell that neighbours have the same values; empty if they do not."""
    message = ""
    if share:
        message = (
            f"{share:.0%} of neighbouring pixels have exactly the same value, where noise gives "
            "neighbours different ones (a median filter, resampling by the nearest pixel, a lossy "
            "compression?): fluxes of bright and faint sources may differ, and errors be too small"
        )
    return message


def _pairs(block: F4, bad: Bools, axis: int) -> tuple[F4, Bools]:
    """Return the differences of neighbours, and which of them are those of data."""
    if axis:
        return block[:, 1:] - block[:, :-1], ~(bad[:, 1:] | bad[:, :-1])
    return block[1:] - block[:-1], ~(bad[1:] | bad[:-1])


def _copied(steps: F4) -> float:
    """Return the share of the differences that are nothing though the least other one is rare."""
    other = steps[steps > 0.0]
    if not other.size:
        return 0.0
    noise, least = MAD_TO_SIGMA * median(other), float(other.min())
    if not least < FINE * noise:
        return 0.0
    n_same = steps.size - other.size
    # Differences of both signs are of the least step; steps that are not quite alike are one.
    n_least = 0.5 * float(np.count_nonzero(other < max(1.5 * least, FINE * noise / 8.0)))
    if 2.0 * n_least > MAX_LEAST * other.size:
        return 0.0
    return n_same / steps.size if n_same > COPIES_OVER * n_least else 0.0


def spread_blocks(shape: tuple[int, ...]) -> list[tuple[slice, slice]]:
    """Return blocks spread over a frame, which begin at the same turn."""
    parts = []
    for n in shape:
        count = 1 if n < 2 * BLOCK else N_BLOCKS
        firsts = [(n - BLOCK) * (2 * k + 1) // (2 * count) for k in range(count)]
        parts.append([slice(max(a, 0) // 4 * 4, max(a, 0) // 4 * 4 + BLOCK) for a in firsts])
    return [(y, x) for y in parts[0] for x in parts[1]]
