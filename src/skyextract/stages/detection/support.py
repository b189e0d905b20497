"""Whether detections can be believed: is anything there, and is there sky beside it."""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import Bools
from skyextract.datamodel.detections import Detections
from skyextract.record import record
from skyextract.run import Run

MIN_DATA = 10_000
"""Pixels with data from which a frame should show a source."""

MIN_SKY_SHARE = 0.15
"""Share of the pixels with data that should be outside the sources: the background is theirs."""

HIGH_NOISE = 2.5
"""Noise of the filtered image, over that of independent pixels, from which the user is told."""


@record
class Support:
    """What detections rest on.

    Attributes
    ----------
    sky_share : float
        Share of the pixels with data that no source holds; NaN without data.
    doubt : str
        Why the sources are to be taken with care; empty if they are not.
    """

    sky_share: float
    doubt: str


def support(found: Detections, bad: Bools, n_bad: int, *, level_given: bool) -> Support:
    """Count the pixels that detections leave to the background.

    Parameters
    ----------
    found : Detections
        They share no pixels.
    bad : (ny, nx) bool
        Pixels without data.
    n_bad : int
        Their number.
    level_given : bool
        BACK_TYPE MANUAL: the background rests on no pixel.
    """
    n_data = bad.size - n_bad
    if n_data == 0:
        return Support(float("nan"), "")
    n_held = found.pixel.size
    if n_bad:
        n_held -= int(np.count_nonzero(bad.ravel()[found.pixel]))
    share = (n_data - n_held) / n_data
    message = ""
    if found.n == 0 and n_data >= MIN_DATA:
        message = f"no source in {n_data} pixels with data"
    elif share < MIN_SKY_SHARE and not level_given:
        message = (
            f"the background rests on {100.0 * share:.0f} % of the pixels: sources fill the rest"
        )
    return Support(share, message)


def warn_of_noise(scale: float, run: Run, structure: float = 0.0) -> None:
    """Say so where the noise that was measured makes the threshold far higher than it looks.

    Parameters
    ----------
    scale : float
        Noise of the filtered image over that of independent pixels, where sources are searched.
    structure : float
        The same before stars and structure of the sky were fitted in turns, if they were.
    """
    if structure > HIGH_NOISE:
        run.warn(
            f"structure of the sky makes the noise of the filtered image {structure:.1f} times "
            "that of independent pixels: sources that were found when it was taken off (HIDDEN in "
            "FLAGS_SKY) may be parts of it"
        )
    if scale > HIGH_NOISE:
        run.warn(
            f"the noise of the filtered image is {scale:.1f} times that of independent pixels, and "
            "the detection threshold as many times higher: correlated noise, structure, bad pixels?"
        )
