"""What a fit leaves of a source, and what that tells: how wrong the model is, and how it turns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.galaxies.points import points_in
from skyextract.kernels.galaxies.solve import TOGETHER
from skyextract.kernels.galaxies.source import DISK, E1, SKY, SPHEROID, Work, X
from skyextract.kernels.jit import helper, summation

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8

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
def describe(parameters: F8, freedom: int, photons: bool, work: Work, numbers: F8) -> float:
    """Write what a fit has come to, of ``work.model``, which has no sky; return the S/N squared.

    Reduced chi2; the noise-equivalent area; the mean square of what the model has wrong, over that
    of its light, and the error of it.  Where a model is wrong by a part f of its light, squares of
    residuals are larger than those of noise by f^2 times that of the light: each point tells f^2,
    with the square of its S/N as weight.  Of the noise, the fit has taken away what `FITTED` points
    of the mean S/N have.  If weights have no `photons`, these are told from what is wrong.
    """
    light, squares, chi2, signals, known, excess = _sums(parameters[SKY], work)
    numbers[0] = chi2 / max(freedom, 1)
    numbers[3] = light * light / squares if squares > 0.0 else math.nan
    if not known > 0.0:
        numbers[5], numbers[6] = math.nan, math.nan
        return 0.0
    if photons:
        numbers[5], numbers[6] = excess / known + FITTED / signals, math.sqrt(2.0 / known)
    else:
        numbers[5], numbers[6] = _wrong_beside_photons(parameters[SKY], work)
    return signals


@helper
def _wrong_beside_photons(level: float, work: Work) -> tuple[float, float]:
    """Return the mean square of what a model has wrong, and its error, of an unknown gain.

    Photons make squares of residuals larger in proportion to the light, a wrong model to its
    square: a line of two slopes, fitted twice, the second time with the photons of the first one in
    the noise.
    """
    per_light, wrong, error = 0.0, math.nan, math.nan
    for _ in range(2):
        pp, ps, ss, pq, sq, signals = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(points_in(work.parts)):
            light, weight = float(work.model[k]), float(work.weight[k])
            if not (light > 0.0 and weight > 0.0):
                continue
            rest, each = work.data[k] - level - light, weight * light / float(work.cover[k])
            noise = 1.0 + per_light * each
            photons, signal = each / noise, weight * light * light / noise
            square = (weight * rest * rest - 1.0) / noise
            signals += signal
            pp, ps, ss = pp + photons * photons, ps + photons * signal, ss + signal * signal
            pq, sq = pq + photons * square, sq + signal * square
        apart = pp * ss - ps * ps
        if not apart > 0.0:
            break
        per_light = max((ss * pq - ps * sq) / apart, 0.0)
        wrong, error = (sq - per_light * ps) / ss + FITTED / signals, math.sqrt(2.0 * pp / apart)
    return wrong, error


@summation
def _sums(level: float, work: Work) -> tuple[float, float, float, float, float, float]:
    """Return sums over all points.

    Of light and its square over all pixels; of the squares of residuals over those of noise, chi2;
    of the squares of the light over those of noise, of their squares, and of their products with
    what chi2 has above one.  Single precision adds up no more than `TOGETHER`.
    """
    model, data, weight, cover = work.model, work.data, work.weight, work.cover
    sky, zero, one = np.float32(level), np.float32(0.0), np.float32(1.0)
    light, squares, chi2, signals, known, excess = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    n = points_in(work.parts)
    for first in range(0, n, TOGETHER):
        a, b, c, d, e, f, start = zero, zero, zero, zero, zero, zero, np.uint64(first)
        for k in range(min(TOGETHER, n - first)):
            i = start + np.uint64(k)
            own, left = model[i], data[i] - sky - model[i]
            seen, square = cover[i] * own, weight[i] * (left * left)
            signal = weight[i] * (own * own)
            a += seen
            b += seen * own
            c += square
            d += signal
            e += signal * signal
            f += signal * (square - one)
        light, squares, chi2 = light + float(a), squares + float(b), chi2 + float(c)
        signals, known, excess = signals + float(d), known + float(e), excess + float(f)
    return light, squares, chi2, signals, known, excess


@helper
def describe_wrong(
    parameters: F8, free: I8, level_error: float, signals: float, work: Work, numbers: F8
) -> None:
    """Write what a bright source's model has wrong along isophotes, what it leaves, how it turns.

    The mean square along isophotes is that of `describe`, of means along them: what a bar or arms
    have wrong is next to nothing there, as it is to the flux.  Of the scatter of these few means a
    fit has taken away more than half.  The light that is left is counted above the level of the sky
    of its surroundings, not above the fitted one, which makes up for what the wings of a model have
    too much.

    A bar upon a disk is stretched in a direction of its own.  The fit makes up for both with a
    shear that is the mean of theirs, and leaves in the bright isophotes what a model would that is
    turned towards the bar, in the faint ones the opposite: the change of the shear with the number
    of the isophote is what residuals have along its derivatives, which differ from those of flux,
    radius and index in every isophote.  The square of that from an isophote to the next fainter
    one, both components together, then the variance of one; not of models of several components.
    """
    shear = _shear_in(free) if math.isfinite(work.drawn[X]) else -1
    rings = np.zeros((N_RINGS, 6))
    n = points_in(work.parts)
    top = _brightest(work.model, n)
    peak = float(np.int32(top).view(np.float32))
    left, variance, area = 0.0, 0.0, 0.0
    for k in range(n):
        light, weight = float(work.model[k]), float(work.weight[k])
        rest = work.data[k] - light
        if light * FAINTEST_RING > peak:
            r, wrong = _ring(light, top), weight * (rest - parameters[SKY])
            rings[r, 0] += weight * light * light
            rings[r, 1] += light * wrong
            for c in range(2 if shear >= 0 else 0):
                slope = float(work.jacobian[shear + c, k])
                rings[r, 2 + 2 * c] += weight * slope * slope
                rings[r, 3 + 2 * c] += slope * wrong
        if weight > 0.0 and light > SEEN * peak:
            cover = float(work.cover[k])
            left += cover * rest
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
    if shear >= 0:
        numbers[11], numbers[12] = _turn(rings)


@helper
def _shear_in(free: I8) -> int:
    """Return which of the free parameters is e1, e2 being the next; -1 if several or none are."""
    at, count = -1, 0
    for f in range(free.size - 1):
        if free[f] == SPHEROID + E1 or free[f] == DISK + E1:
            at, count = f, count + 1
    return at if count == 1 else -1


@helper
def _turn(rings: F8) -> tuple[float, float]:
    """Return the square of the change of the shear from an isophote to the next, and its variance.

    `rings` have what is known of each component, and what residuals have of it, in columns 2 to 5.
    """
    turn2, variance = 0.0, 0.0
    for column in (2, 4):
        known, mean, along, spread = 0.0, 0.0, 0.0, 0.0
        for r in range(N_RINGS):
            known += rings[r, column]
            mean += r * rings[r, column]
        if not known > 0.0:
            return math.nan, math.nan
        mean /= known
        for r in range(N_RINGS):
            along += (r - mean) * rings[r, column + 1]
            spread += (r - mean) ** 2 * rings[r, column]
        if not spread > 0.0:
            return math.nan, math.nan
        turn2 += (along / spread) ** 2
        variance += 0.5 / spread
    return turn2, variance


@helper
def _brightest(model: F4, n: int) -> int:
    """Return the bits of the largest value, as `_bits`; of negative ones alone those of 0."""
    top = np.int32(0)
    for k in range(n):
        top = max(top, np.float32(model[np.uint64(k)]).view(np.int32))
    return int(top)


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
