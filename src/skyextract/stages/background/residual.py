"""Whether the background follows the sky: what it leaves must not be below zero anywhere.

Amplifier glow, the edge of a nebula and scattered light rise within less than a mesh; the splines
through the meshes then swing beside it, and lie above the sky.  Sources make what is left higher,
never lower.
"""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F4, Bools
from skyextract.datamodel.noise import median
from skyextract.kernels.background.residual import count_low_blocks

SIDE, MOST = 16, 64
"""Pixels on a side of a block, and blocks along an axis, at most."""
EVERY = 2
"""Every second pixel and row tells the median of a block."""
BELOW = 1.0
"""Such a median is below zero by so many sigma of a pixel..."""
TOLD, TOO_MANY = 0.02, 0.05
"""... in this share of the frame; in the second one the sources are doubtful."""
MIN_GOOD = 0.5
MIN_BLOCKS = 50


def share_below(subtracted: F4, sigma: float, bad: Bools) -> float:
    """Return the share of the frame in which the background lies above the sky.

    Parameters
    ----------
    subtracted : (ny, nx) float32
        Background-subtracted image.
    sigma : float
        Noise of the background.
    bad : (ny, nx) bool
        Pixels without data.
    """
    if min(subtracted.shape) < SIDE or not sigma > 0.0:
        return 0.0
    rows, columns = (
        np.linspace(0, size - SIDE, min(MOST, size // SIDE)).astype(np.int64)
        for size in subtracted.shape
    )
    limit = np.float32(-BELOW * sigma)
    # The median of the good ones is low if more than half of them are.
    n_known, n_low = count_low_blocks(
        subtracted, bad.view(np.uint8), rows, columns, SIDE, EVERY, limit, MIN_GOOD
    )
    if n_known < MIN_BLOCKS:
        return 0.0
    if n_low > TOLD * n_known:
        blocks = [(slice(y, y + SIDE), slice(x, x + SIDE)) for y in rows for x in columns]
        n_low = sum(_is_low(subtracted[block][~bad[block]], -BELOW * sigma) for block in blocks)
    return n_low / n_known


def _is_low(values: F4, limit: float) -> bool:
    """Tell whether median and mean are low: where pixels have few values, the median is one."""
    if not values.size > MIN_GOOD * SIDE**2:
        return False
    middle = median(values)
    return middle < limit and float(values[values < middle - 3.0 * limit].mean()) < 0.5 * limit


def about_residual(share: float) -> str:
    """Return what is to be said of a background that lies above the sky; empty for little."""
    message = ""
    if share > TOLD:
        message = (
            f"the background lies above the sky by more than the noise in {100.0 * share:.0f} % of "
            "the frame: glow or light that rises within a mesh? A smaller BACK_SIZE follows it"
        )
    return message
