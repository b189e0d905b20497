"""What a fit leaves of a source, and what that tells: how wrong the model is, and how it turns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.galaxies.points import points_in
from skyextract.kernels.galaxies.source import DISK, E1, SKY, SPHEROID, Work
from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8

FITTED = 5.0
"""Points whose noise a fit follows, about."""
N_RINGS, RINGS_PER_FACTOR, FAINTEST_RING = 12, 1.5, 2900.0
"""Isophotes along which means are taken; how many to a factor e of brightness; how much fainter
than the peak they go."""
RINGS_PER_POWER = RINGS_PER_FACTOR * math.log(2.0) / 2.0**23
"""The same to a step of the last of the 23 bits of a number of single precision."""
FITTED_RINGS, RINGS_LEFT = 1.6, 0.4
"""What a fit takes away of the noise of these means: as many squares, this part of the scatter."""
SEEN = 0.003
"""Brightness, over that of the peak, to which light that a model leaves is summed."""


@helper
def misfit(parameters: F8, work: Work) -> tuple[float, float, float]:
    """Return the mean square of what a model has wrong over its light, its error, the S/N squared.

    Where a model is wrong by a part f of its light, squares of residuals are larger than those of
    noise by f^2 times that of the light: each point tells f^2, with the square of its S/N as
    weight.  Of the noise, the fit has taken away what `FITTED` points of the mean S/N have.
    """
    signals, known, excess = 0.0, 0.0, 0.0
    for k in range(points_in(work.parts)):
        light, weight = float(work.model[k]), float(work.weight[k])
        signal = weight * light * light
        signals += signal
        known += signal * signal
        excess += signal * (weight * (work.data[k] - parameters[SKY] - light) ** 2 - 1.0)
    if not known > 0.0:
        return math.nan, math.nan, 0.0
    return excess / known + FITTED / signals, math.sqrt(2.0 / known), signals


@helper
def describe_wrong(
    parameters: F8, level_error: float, signals: float, work: Work, numbers: F8
) -> None:
    """Write what a bright source's model has wrong along isophotes, and what it leaves.

    The mean square along isophotes is that of `misfit`, of means along them: what a bar or arms
    have wrong is next to nothing there, as it is to the flux.  Of the scatter of these few means a
    fit has taken away more than half.  The light that is left is counted above the level of the sky
    of its surroundings, not above the fitted one, which makes up for what the wings of a model have
    too much.
    """
    rings = np.zeros((N_RINGS, 2))
    peak, n = 0.0, points_in(work.parts)
    for k in range(n):
        peak = max(peak, float(work.model[k]))
    top = _bits(peak)
    left, variance, area = 0.0, 0.0, 0.0
    for k in range(n):
        light, weight, cover = float(work.model[k]), float(work.weight[k]), float(work.cover[k])
        if light * FAINTEST_RING > peak:
            r = _ring(light, top)
            rings[r, 0] += weight * light * light
            rings[r, 1] += weight * light * (work.data[k] - parameters[SKY] - light)
        if weight > 0.0 and light > SEEN * peak:
            left += cover * (work.data[k] - light)
            variance += cover * cover / weight
            area += cover
    known, excess = 0.0, 0.0
    for r in range(N_RINGS):
        known += rings[r, 0] ** 2
        excess += rings[r, 1] ** 2 - rings[r, 0]
    if not known > 0.0:
        return
    numbers[7] = excess / known + FITTED_RINGS / signals
    numbers[8] = RINGS_LEFT * math.sqrt(2.0 / known)
    numbers[9], numbers[10] = left, math.sqrt(variance + (area * level_error) ** 2)


@helper
def describe_turn(parameters: F8, free: I8, work: Work, numbers: F8) -> None:
    """Write by how much the shear changes from an isophote to the next fainter one, squared.

    A bar upon a disk is stretched in a direction of its own.  The fit makes up for both with a
    shear that is the mean of theirs, and leaves in the bright isophotes what a model would that is
    turned towards the bar, in the faint ones the opposite: the change of the shear with the number
    of the isophote is what residuals have along its derivatives, which differ from those of flux,
    radius and index in every isophote.  Both components together, then the variance of one; not of
    models of several components.
    """
    at = -1
    for f in range(free.size - 1):
        if free[f] == SPHEROID + E1 or free[f] == DISK + E1:
            if at >= 0:
                return
            at = f
    if at < 0:
        return
    sums = np.zeros((2, N_RINGS, 2))
    peak, n = 0.0, points_in(work.parts)
    for k in range(n):
        peak = max(peak, float(work.model[k]))
    top = _bits(peak)
    for k in range(n):
        light, weight = float(work.model[k]), float(work.weight[k])
        if light * FAINTEST_RING > peak:
            r, left = _ring(light, top), weight * (work.data[k] - parameters[SKY] - light)
            for component in range(2):
                slope = float(work.jacobian[at + component, k])
                sums[component, r, 0] += slope * left
                sums[component, r, 1] += weight * slope * slope
    turn2, variance = 0.0, 0.0
    for component in range(2):
        known, mean, along, spread = 0.0, 0.0, 0.0, 0.0
        for r in range(N_RINGS):
            known += sums[component, r, 1]
            mean += r * sums[component, r, 1]
        if not known > 0.0:
            return
        mean /= known
        for r in range(N_RINGS):
            along += (r - mean) * sums[component, r, 0]
            spread += (r - mean) ** 2 * sums[component, r, 1]
        if not spread > 0.0:
            return
        turn2 += (along / spread) ** 2
        variance += 0.5 / spread
    numbers[11], numbers[12] = turn2, variance


@helper
def _bits(light: float) -> int:
    """Return the bits of a number of single precision as an integer.

    Exponent first, they are its logarithm, linear between powers of two.
    """
    return int(np.float32(light).view(np.int32))


@helper
def _ring(light: float, top: int) -> int:
    """Return the number of the isophote of some light; `top` is that of the peak, see `_bits`."""
    return min(int(RINGS_PER_POWER * (top - _bits(light))), N_RINGS - 1)
