"""A black point amid the noise of the sky: darker pixels were raised to it.

By a camera with too small an offset, or a program that keeps no negative numbers.  The lowest
value then is a pile-up, above which the values are those of a normal distribution that is cut off.
The mean of the sky is higher for it, and its scatter smaller.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8
from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.noise import median

MIN_SAMPLE = 1000
MIN_SHARE = 0.05
"""Share of the pixels from which on it is told: the mean is off by 0.02 sigma then."""
MAX_SHARE = 0.9
STRAY = 0.005
"""Share of pixels that may be lower: dead ones, repaired ones."""
BINS = 10
"""Up to the median of what is above."""
PILE, PILE_OF_STEPS = 2.0, 1.4
"""The lowest value is so many times as frequent as those in the first bin, or as the next one of
values that have steps of a good part of the noise, ..."""
STEEP = 2.0
"""... and these not more than so many times as those in the third one: photons that are counted
one by one have their lowest value, 0, as often, but fewer and fewer of the next ones."""


def black_point(sample: F4, step: float) -> tuple[float, float]:
    """Return the share of pixels that a black point raised, and the shift of their mean.

    Parameters
    ----------
    sample : (n,) float32
        Pixels, sources among them.
    step : float
        Of the pixel values; 0 if there is none.

    Returns
    -------
    share, shift : float
        0 where there is none; the shift in image units.
    """
    n = sample.size
    if n < MIN_SAMPLE:
        return 0.0, 0.0
    few, more = int(STRAY * n), int(MIN_SHARE * n)
    part = np.partition(sample, more)
    if part[more] != np.partition(part[: more + 1], few)[few]:
        return 0.0, 0.0
    lowest = float(part[more])
    # What was rounded to the lowest value reaches half a step above it.
    above = sample[sample > lowest].astype(np.float64) - (lowest + 0.5 * step)
    share = 1.0 - above.size / n
    if not share < MAX_SHARE:
        return 0.0, 0.0
    middle = _middle(above, step)
    width = max(middle / BINS, step)
    first, third = (
        np.count_nonzero((above > k * width) & (above <= (k + 1) * width)) for k in (0, 2)
    )
    pile = PILE_OF_STEPS if width == step else PILE
    if not first or share * n < pile * first or first > STEEP * third:
        return 0.0, 0.0
    from statistics import NormalDist  # its import takes 3 ms, and it is rarely needed

    normal = NormalDist()
    cut = normal.inv_cdf(share)
    sigma = middle / (normal.inv_cdf(0.5 * (1.0 + share)) - cut)
    shift = sigma * (math.exp(-0.5 * cut**2) / math.sqrt(2.0 * math.pi) + cut * share)
    shift -= 0.5 * step * share
    return share, shift


def _middle(values: F8, step: float) -> float:
    """Return the median of values that are spread over their steps."""
    middle = median(values)
    at = np.count_nonzero(np.abs(values - middle) < 0.5 * step)
    if not at:
        return middle
    below = np.count_nonzero(values <= middle - 0.5 * step)
    return middle + step * ((0.5 * values.size - below) / at - 0.5)


def about_black_point(background: BackgroundMap) -> str:
    """Return what is to be said of a black point; empty where there is none."""
    message = ""
    if background.clipped_share:
        message = (
            f"{100.0 * background.clipped_share:.0f} % of the pixels have the lowest value, amid "
            "the noise of the sky (a black point, an offset that was too small?): level and noise "
            "of the sky are wrong"
        )
    return message
