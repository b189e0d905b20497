"""Sersic profiles as mixtures of Gaussians.

The profile ``I(R) ~ exp(-b (R / R_e)**(1 / n))`` (Sersic 1968), of unit flux and unit half-light
radius, is a sum of round Gaussians, so that its convolution with a PSF which is such a sum
itself is exact and has derivatives in closed form (Hogg & Lang 2013, PASP 125, 719).  Weights and
variances of the Gaussians are smooth functions of n: their logarithms are Chebyshev
series in log n, fitted to the light per unit of log R between 0.003 and 100 half-light radii.
The half-light radius is right within 0.3 per cent, the light in rings within 0.3 (n = 2), 1.5
(n = 4) and 6 per cent (n = 8) of its peak.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8

MIN_INDEX = 0.5
MAX_INDEX = 8.0
"""Range of Sersic indices; 0.5 is a Gaussian."""

N_GAUSSIANS = 8
N_TERMS = 8
"""Of a Chebyshev series."""

# fmt: off
_LOG_WEIGHT = np.array((
    (-5.01837, 2.38797, -0.372522, -0.00329264, -0.0314309, 0.0453737, -0.0183387, 0.000902123),
    (-3.5745, 1.47332, -0.210664, -0.116619, 0.0873303, -0.0357384, 0.0137228, -0.00377127),
    (-2.54479, 0.761907, -0.112967, -0.120136, 0.0811356, -0.0167074, -0.00837112, 0.00681115),
    (-1.83417, 0.221898, -0.109964, -0.00485273, -0.00824099, 0.0241868, -0.0164152, 0.00488017),
    (-1.38999, -0.254511, -0.0453293, 0.0692918, -0.0895135, 0.082151, -0.0470716, 0.0140947),
    (-1.41689, -0.377194, -0.0209124, 0.0449432, -0.0176566, 0.0105756, -0.0102344, 0.00554366),
    (-1.94013, -0.205659, -0.0374933, 0.0767638, -0.0260664, 0.00435215, -0.00531212, 0.00479097),
    (-3.37574, 0.566811, -0.0239483, 0.00952546, 0.0278889, -0.0314446, 0.0100924, 0.00254802),
)).T.copy()
"""Chebyshev coefficients, a column per Gaussian, of the logarithm of its share of the light."""
_LOG_VARIANCE = np.array((
    (-5.74389, -2.04905, 0.0660775, -0.110584, -0.00575121, 0.0149689, 0.00738701, -0.0112108),
    (-3.76197, -1.72988, 0.416453, -0.361705, 0.197095, -0.118895, 0.0686818, -0.0258609),
    (-2.41179, -1.00408, 0.354153, -0.264768, 0.124129, -0.0628009, 0.0312266, -0.0106963),
    (-1.23425, -0.294037, 0.2922, -0.169045, 0.0557364, -0.0185631, 0.00782534, -0.00272769),
    (-0.153383, 0.445216, 0.22165, -0.071755, -0.00750836, 0.0126525, -0.000447157, -0.00348918),
    (0.877436, 1.24868, 0.159549, -0.00215307, -0.046203, 0.0340212, -0.0103447, -0.00125754),
    (1.89982, 2.18849, 0.096074, 0.03039, -0.0348058, 0.0144561, 0.000885591, -0.00480102),
    (3.09088, 3.27904, 0.0694227, 0.0599886, -0.0530469, 0.0273912, -0.00776072, -0.0021675),
)).T.copy()
"""Of the logarithm of its variance along an axis, in squared half-light radii."""
# fmt: on


@helper
def sersic_mixture(log_index: float, out: F8) -> None:
    """Write the Gaussians of a Sersic profile and how they change with its index.

    Parameters
    ----------
    log_index : float
        Natural logarithm of n, in the range of `MIN_INDEX` to `MAX_INDEX`.
    out : (4, N_GAUSSIANS) float64
        Weights of unit sum, variances, and the derivatives to log n of the logarithms of both.
    """
    low, high = math.log(MIN_INDEX), math.log(MAX_INDEX)
    z = (2.0 * log_index - low - high) / (high - low)
    slope = 2.0 / (high - low)
    for k in range(N_GAUSSIANS):
        out[0, k] = _LOG_WEIGHT[0, k] + _LOG_WEIGHT[1, k] * z
        out[1, k] = _LOG_VARIANCE[0, k] + _LOG_VARIANCE[1, k] * z
        out[2, k], out[3, k] = _LOG_WEIGHT[1, k], _LOG_VARIANCE[1, k]
    before, now, d_before, d_now = 1.0, z, 0.0, 1.0
    for i in range(2, N_TERMS):
        before, now = now, 2.0 * z * now - before
        # now of the last degree is `before` here
        d_before, d_now = d_now, 2.0 * before + 2.0 * z * d_now - d_before
        for k in range(N_GAUSSIANS):
            out[0, k] += _LOG_WEIGHT[i, k] * now
            out[1, k] += _LOG_VARIANCE[i, k] * now
            out[2, k] += _LOG_WEIGHT[i, k] * d_now
            out[3, k] += _LOG_VARIANCE[i, k] * d_now
    total, change = 0.0, 0.0
    for k in range(N_GAUSSIANS):
        out[0, k], out[1, k] = math.exp(out[0, k]), math.exp(out[1, k])
        out[2, k] *= slope
        out[3, k] *= slope
        total += out[0, k]
        change += out[0, k] * out[2, k]
    for k in range(N_GAUSSIANS):
        out[0, k] /= total
        out[2, k] -= change / total
