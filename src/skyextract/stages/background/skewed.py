"""What the skewness of photon noise shifts the mode of the sky by.

The noise of 10 to 500 electrons is skewed: its median lies below its mean, and Pearson's mode,
which is made to lie below the light of sources, as much again.  That part of the skewness that
each pixel has of its own is photon noise; light of sources is on neighbouring pixels, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skyextract.stages.background.coarse import skewness_in_blocks

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, U1
    from skyextract.run import Run
    from skyextract.stages.background.coarse import Good

SLIGHT = 0.03
"""Skewness within 5 sigma below which nothing is done: the mode is off by 0.012 sigma."""

SIDE, BLOCKS, CLIP = 64, 6, 3.0
"""It is measured in 6 x 6 blocks of 64 x 64 pixels, within 3 sigma: warm pixels are beyond."""

OF_LIGHT = 2.5
"""Skewness by light of sources in units of what neighbours share of it, at most."""

INDEPENDENT = 0.15
"""Correlation of neighbours, at most: resampling, and crowds, spread what is each pixel's own."""

MEDIAN_OFF, MEAN_OFF, CLIPPED = 0.1835, 0.045, 0.65
"""Sigma by which median and mean of a distribution clipped at 3 sigma around the median lie below
its mean, and its skewness, in units of the skewness of the whole one (Edgeworth's series)."""


def level_above_mode(
    image: F4, good: Good, sources: U1 | None, sigma: float, pearson: float, rough: float,
    run: Run,
) -> float:  # fmt: skip
    """Return how far the level of the sky lies above its mode, image units.

    Parameters
    ----------
    image, good, sources :
        As of `coarse.skewness_in_blocks`.
    sigma : float
        Noise of a pixel, image units.
    pearson : float
        Of the mode, ``pearson * median - (pearson - 1) * mean`` (BACK_PEARSON).
    rough : float
        Skewness that few pixels have shown.
    run : Run
        Lends its threads.
    """
    if not rough > SLIGHT:
        return 0.0
    skewness, shared, correlation = skewness_in_blocks(
        image, good, sources, side=SIDE, n=BLOCKS, wild=CLIP, run=run
    )
    if correlation > INDEPENDENT:
        return 0.0
    own = max(skewness - OF_LIGHT * max(shared, 0.0), 0.0) / CLIPPED
    return (pearson * MEDIAN_OFF - (pearson - 1.0) * MEAN_OFF) * own * sigma
