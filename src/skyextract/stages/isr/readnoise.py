"""The read noise of an amplifier where neither configuration, header nor overscan have it.

Without it, faint skies would have hardly any variance, and what a fit weighs would follow the noise
of each pixel.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, U2
from skyextract.datamodel.calibrations import Calibrations
from skyextract.datamodel.noise import median, robust_sigma, sparse
from skyextract.datamodel.rawframe import Amplifier

MIN_PIXELS = 1000
"""Pixels that tell a noise."""
UNUSUAL = 25.0
"""Pixels with so many times the median variance are defects; of two frames a thousandth is."""
N_ROWS = 64
"""Rows of an amplifier that tell the noise of its sky."""
LEAST = 0.05
"""Share of the photons' variance that the rest of the noise has to have to be seen."""


def of_bias_frames(calibrations: Calibrations, amplifier: Amplifier) -> float:
    """Return the scatter of the raw bias frames about their mean, ADU; NaN if it is not known."""
    bias = calibrations.bias
    if bias is None or bias.variance is None or bias.n_frames < 2:
        return math.nan
    part = bias.variance[amplifier.place.slices]
    values = part[sparse(part.shape)]
    if values.size < MIN_PIXELS:
        return math.nan
    usual = values[values <= UNUSUAL * median(values)]
    return math.sqrt(bias.n_frames * float(usual.mean(dtype=np.float64)))


def rows_of_sky(amplifier: Amplifier) -> list[int]:
    """Return the rows of the assembled frame that `of_sky` wants to be corrected."""
    first, past = amplifier.place.y0, amplifier.place.y1
    return list(range(first, past, max(1, (past - first) // N_ROWS)))


def of_sky(
    image: F4, mask: U2, scale: float, calibrations: Calibrations, dark_scale: float | None,
    amplifier: Amplifier,
) -> float:  # fmt: skip
    """Return the noise of the sky that its photons do not explain, ADU; 0 if they may be all.

    Differences of neighbouring pixels, multiplied by the flat again, scatter by the noise with
    which they were read.  Structure of the sky and sources are in it: it is an upper limit.

    Parameters
    ----------
    image, mask : (ny, nx)
        Corrected in `rows_of_sky`.
    scale : float
        Image unit of one ADU.
    """
    rows = rows_of_sky(amplifier)
    part = np.s_[rows, amplifier.place.x0 : amplifier.place.x1]
    dark, flat = calibrations.dark, calibrations.flat
    response = np.ones(1) if flat is None else flat.image[part].astype(np.float64)
    adu: F8 = image[part].astype(np.float64) / scale
    good = (mask[part] == 0) & np.isfinite(adu)
    both = good[:, 1:] & good[:, :-1]
    if np.count_nonzero(both) < MIN_PIXELS:
        return 0.0
    # What the flat took off pixels that are not alike must not come back.
    steps = np.diff(adu, axis=1) * (response[:, 1:] + response[:, :-1] if flat else 2.0)
    variance = 0.125 * robust_sigma(steps[both]) ** 2
    adu *= response
    if dark is not None and dark_scale is not None:
        adu += dark_scale * dark.image[part]
    photons = max(median(adu[good]), 0.0) / amplifier.gain
    rest = variance - photons
    return math.sqrt(rest) if rest > LEAST * photons else 0.0
