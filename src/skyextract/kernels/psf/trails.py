"""Sums of an image under an elliptical Gaussian (`skyextract.stages.starselection.trails`)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from skyextract.kernels.jit import kernel
from skyextract.kernels.values import MAX_VARIANCE

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8


@kernel
def sum_under(
    data: F4, variance: F4, inverse_gain: float, centre: F8, weight: F8, reach: float, step: int,
    out: F8,
) -> int:  # fmt: skip
    """Sum 1, x, y, x^2, y^2, x y times the weighted image; x and y are from the centre.

    Parameters
    ----------
    data, variance : (ny, nx) float32
        Background-subtracted image and its background variance.
    inverse_gain : float
        Photon noise variance per image unit.
    centre : (2,) float64
        x and y.
    weight : (2, 2) float64
        Covariance of the Gaussian.
    reach : float
        Radius of the sums in its sigma.
    step : int
        Of every so many rows, every so many pixels count.
    out : (7,) float64
        Output; the last number is the variance of the first.

    Returns
    -------
    int
        Pixels of the image that the sums reach.
    """
    height, width = data.shape
    cx, cy = centre[0], centre[1]
    xx, xy, yy = weight[0, 0], weight[0, 1], weight[1, 1]
    determinant = xx * yy - xy * xy
    out[:] = 0.0
    n = 0
    low = max(0, math.floor(cy - reach * math.sqrt(yy)))
    low = -(-low // step) * step
    for row in range(low, min(height, math.floor(cy + reach * math.sqrt(yy)) + 2), step):
        dy = row - cy
        # Along a row the ellipse is about the place where the Gaussian is highest there.
        rest = reach * reach - dy * dy / yy
        if rest <= 0.0:
            continue
        middle, half = cx + xy / yy * dy, math.sqrt(rest * determinant / yy)
        first = max(0, math.ceil(middle - half))
        first = -(-first // step) * step
        values, noises = data[row], variance[row]
        s0 = sx = sxx = 0.0
        for column in range(first, min(width, math.floor(middle + half) + 1), step):
            n += 1
            noise = float(noises[column])
            if noise >= MAX_VARIANCE:
                continue
            dx, away = column - cx, column - middle
            w = math.exp(-0.5 * (away * away * yy / determinant + dy * dy / yy))
            value = float(values[column])
            light = w * value
            s0 += light
            sx += light * dx
            sxx += light * dx * dx
            out[6] += w * w * (noise + max(value, 0.0) * inverse_gain)
        out[0] += s0
        out[1] += sx
        out[2] += dy * s0
        out[3] += sxx
        out[4] += dy * dy * s0
        out[5] += dy * sx
    return n
