"""Damped least squares with limits and priors (Levenberg 1944; Marquardt 1963)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.cholesky import factor, invert_factor, solve
from skyextract.kernels.galaxies.localpsf import LocalPsf
from skyextract.kernels.galaxies.points import points_in
from skyextract.kernels.galaxies.source import (
    DISK,
    E1,
    E2,
    INDEX,
    N_PARAMETERS,
    RADIUS,
    SPHEROID,
    Work,
    draw_points,
)
from skyextract.kernels.jit import helper, summation

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8

MAX_ITERATIONS = 40
TOGETHER = 512
"""Products that single precision adds up."""
SETTLED = 0.1
"""A fit ends with the step whose length, in standard deviations, is less than this."""
ROUGHLY_SETTLED = 0.8
"""The same for a fit that is done again."""
MAX_SHEAR = 1.5
"""Largest |e|: an axis ratio of 0.05."""
STIFF = 1e3
"""How much stiffer a shear of that size is against growth."""
MAX_DAMPING = 1e10
TAILS = 4.0
"""The prior of a shear e of width s falls as (1 + e^2 / (TAILS s^2))^(-TAILS / 2), more slowly than
a Gaussian: discs that are seen edge-on are not rare."""
SOON, NEXT = 10.0, 0.25
"""A fit also ends with a step that lowers chi2 by up to so many times what ends it, if the next one
will by no more than this part of that."""
UNSEEN = 0.01
"""Chi2 is right to this: Gaussians end at whole pixels."""
SURELY = 3.0
"""Chi2 falls by no more than so many times what a step promises."""
NEAR = 10.0
"""Steps that lower chi2 by less tell its second derivatives."""
LEAST_CURVATURE = 0.2
"""Of chi2 along a step, over that of the normal matrix, from which something is learned."""
MAX_NEWTON = 0.02
"""With less damping a step leads to the minimum."""


@helper
def fit_source(
    parameters: F8, free: I8, prior: F8, limits: F8,
    psf: LocalPsf, faintest: float, settled: float, hopeless: float, work: Work,
) -> tuple[float, int, bool]:  # fmt: skip
    """Fit the free parameters to `work.data` in place, from the model that is drawn.

    It is drawn with its derivatives, and within the limits.  With which parameters they were drawn
    last is left in ``work.drawn``; NaN if these were given up.

    Parameters
    ----------
    prior : (2, N_PARAMETERS) float64
        Means and inverse variances; 0 is no prior.
    limits : (2, N_PARAMETERS) float64
        Lowest and highest values.
    settled : float
        The fit ends with the step that is shorter than this, in standard deviations, or lowers chi2
        by less than its square.
    hopeless : float
        It also ends where chi2 will stay above this; inf: nowhere.

    Returns
    -------
    chi2, with the priors; iterations; whether it settled.  The normal matrix at the parameters
    is left in ``work.hessian[0]``.
    """
    n_free = free.size
    gradient, step = work.gradient[0], work.gradient[1]
    trial, kept = work.gradient[2], work.gradient[3]
    hessian = work.hessian[0]
    chi2 = normal_equations(parameters, free, prior, work)
    # where the model is wrong, errors are as much larger
    close = settled * settled * max(1.0, chi2 / points_in(work.parts))
    damping = 0.1 * settled * settled
    lower, saved = work.lower, work.hessian[1]
    curvature, curved = work.curvature, False
    _clear(curvature, n_free)
    _copy(parameters, work.drawn)
    done, last = 0, 0.0
    while done < MAX_ITERATIONS and damping < MAX_DAMPING:
        done += 1
        for f in range(n_free):
            for g in range(n_free):
                lower[f, g] = hessian[f, g] + curvature[f, g]
        for f in range(n_free):
            kept[f] = gradient[f]
            p = free[f]
            outward = (parameters[p] <= limits[0, p] and gradient[f] < 0.0) or (
                parameters[p] >= limits[1, p] and gradient[f] > 0.0
            )
            if outward or not hessian[f, f] > 0.0:
                _hold(lower, n_free, f)
                kept[f] = 0.0
        for f in range(n_free - 1):
            if free[f] == SPHEROID + E1 or free[f] == DISK + E1:
                _hold_shear(lower, kept, parameters[free[f]], parameters[free[f + 1]], f)
        if not factor(lower, n_free, damping):
            if curved:
                _clear(curvature, n_free)
                curved = False
                continue
            damping = max(8.0 * damping, 1e-3)
            continue
        solve(lower, n_free, kept, step)
        _copy(parameters, trial)
        for f in range(n_free):
            trial[free[f]] += step[f]
        clip(trial, limits)
        # what chi2 will fall by, the square of the step's length in standard deviations
        fall = 0.0
        for f in range(n_free):
            fall += step[f] * kept[f]
        newton = damping <= MAX_NEWTON
        # the next step falls behind this one as this one behind the last
        soon = newton and fall < SOON * close and fall * fall < NEXT * close * last
        ends = soon or fall * (1.0 + damping) < close
        if newton and chi2 - SURELY * fall > hopeless:
            return chi2 - fall, done, True
        if ends:
            # the step is right to its square: what it leads to need not be drawn
            if newton:
                _copy(trial, parameters)
                chi2 -= fall
            return chi2, done, True
        for f in range(n_free):
            kept[f] = gradient[f]
            for g in range(n_free):
                saved[f, g] = hessian[f, g]
        before = chi2
        draw_points(trial, free, psf, faintest, work)
        _copy(trial, work.drawn)
        chi2 = normal_equations(trial, free, prior, work)
        if chi2 <= before or (newton and fall < UNSEEN and chi2 < before + UNSEEN):
            for f in range(n_free):
                step[f] = trial[free[f]] - parameters[free[f]]
                kept[f] -= gradient[f]
            if before - chi2 < NEAR:
                curved = _add_curvature(step, kept, work.gradient[4], hessian, n_free, curvature)
            else:
                _clear(curvature, n_free)
                curved = False
            _copy(trial, parameters)
            if newton and before - chi2 < close:
                return chi2, done, True
            damping = max(0.1 * damping, 1e-6)
            last = fall if newton else 0.0
        else:
            last, chi2 = 0.0, before
            work.drawn[:] = math.nan
            for f in range(n_free):
                gradient[f] = kept[f]
                for g in range(n_free):
                    hessian[f, g] = saved[f, g]
            _clear(curvature, n_free)
            curved = False
            if fall < UNSEEN:
                return chi2, done, True
            damping = max(8.0 * damping, 0.01)
    return chi2, done, False


@helper
def _clear(matrix: F8, n: int) -> None:
    """Write zeros; of the arrays here only n rows and columns are in use."""
    for i in range(n):
        for j in range(n):
            matrix[i, j] = 0.0


@helper
def _copy(given: F8, taken: F8) -> None:
    """Write all parameters."""
    for p in range(N_PARAMETERS):
        taken[p] = given[p]


@helper
def _add_curvature(step: F8, change: F8, left: F8, hessian: F8, n: int, curvature: F8) -> bool:
    """Learn from a step what the normal matrix lacks: the second derivatives of the model.

    The secant update of Dennis, Gay & Welsch (1981, ACM TOMS 7, 348).  It matters to faint
    sources, whose residuals are as large as the model.

    Parameters
    ----------
    step, change : (n,) float64
        Of the parameters, and by how much the gradient fell.
    left : (n,) float64
        Work space.
    hessian : (n, n) float64
        Normal matrix after the step.
    curvature : (n, n) float64
        Added to the normal matrix so far, changed.

    Returns
    -------
    bool
        Whether it was changed.
    """
    along, expected, lacking = 0.0, 0.0, 0.0
    for f in range(n):
        along += step[f] * change[f]
    for f in range(n):
        plain, total = 0.0, 0.0
        for g in range(n):
            plain += hessian[f, g] * step[g]
            total += (hessian[f, g] + curvature[f, g]) * step[g]
        left[f] = change[f] - total
        expected += plain * step[f]
        lacking += left[f] * step[f]
    if not along > LEAST_CURVATURE * expected:
        _clear(curvature, n)
        return False
    for f in range(n):
        for g in range(n):
            both = left[f] * change[g] + change[f] * left[g]
            curvature[f, g] += (both - lacking / along * change[f] * change[g]) / along
    return True


@helper
def clip(parameters: F8, limits: F8) -> None:
    """Bring parameters back into their ranges."""
    for p in range(N_PARAMETERS):
        parameters[p] = min(max(parameters[p], limits[0, p]), limits[1, p])
    for component in range(2):
        first = SPHEROID if component == 0 else DISK
        e = math.hypot(parameters[first + E1], parameters[first + E2])
        if e > MAX_SHEAR:
            parameters[first + E1] *= MAX_SHEAR / e
            parameters[first + E2] *= MAX_SHEAR / e


@helper
def normal_equations(parameters: F8, free: I8, prior: F8, work: Work) -> float:
    """Write gradient and normal matrix of chi2 / 2 with priors; return chi2 with priors."""
    n_free = free.size
    gradient, hessian = work.gradient[0], work.hessian[0]
    data, weight, model, jacobian = work.data, work.weight, work.model, work.jacobian
    n = points_in(work.parts)
    left_over, slope = work.left, work.slope
    for i in range(n):
        left_over[i] = data[i] - model[i]
        slope[i] = weight[i] * left_over[i]
    chi2 = _dot(left_over, slope, n)
    for f in range(n_free):
        for i in range(n):
            slope[i] = weight[i] * jacobian[f, i]
        gradient[f], hessian[f, f] = _dots(slope, left_over, jacobian[f], n)
        for g in range(0, f, 2):
            other = min(g + 1, f)
            hessian[f, g], hessian[f, other] = _dots(slope, jacobian[g], jacobian[other], n)
            hessian[g, f], hessian[other, f] = hessian[f, g], hessian[f, other]
    for f in range(n_free):
        p = free[f]
        left, known = prior[0, p] - parameters[p], prior[1, p]
        if p == SPHEROID + E1 or p == SPHEROID + E2 or p == DISK + E1 or p == DISK + E2:
            # of both components together
            first = SPHEROID + E1 if p < DISK else DISK + E1
            square = known * (parameters[first] ** 2 + parameters[first + 1] ** 2) / TAILS
            chi2 += TAILS * math.log1p(square) if p == first else 0.0
            known /= 1.0 + square
        else:
            chi2 += known * left * left
        gradient[f] += known * left
        hessian[f, f] += known
    return chi2


@summation
def _dot(a: F4, b: F4, n: int) -> float:
    """Return the sum of products; single precision adds up no more than `TOGETHER`."""
    total = 0.0
    for first in range(0, n, TOGETHER):
        part, start = np.float32(0.0), np.uint64(first)
        for k in range(min(TOGETHER, n - first)):
            i = start + np.uint64(k)
            part += a[i] * b[i]
        total += float(part)
    return total


@summation
def _dots(a: F4, b: F4, c: F4, n: int) -> tuple[float, float]:
    """Return the same with two arrays: what is loaded of the first counts twice."""
    left, right = 0.0, 0.0
    for first in range(0, n, TOGETHER):
        with_b, with_c, start = np.float32(0.0), np.float32(0.0), np.uint64(first)
        for k in range(min(TOGETHER, n - first)):
            i = start + np.uint64(k)
            with_b += a[i] * b[i]
            with_c += a[i] * c[i]
        left += float(with_b)
        right += float(with_c)
    return left, right


@helper
def _hold(matrix: F8, n: int, row: int) -> None:
    """Take a parameter out of the equations."""
    for i in range(n):
        matrix[row, i] = 0.0
        matrix[i, row] = 0.0
    matrix[row, row] = 1.0


@helper
def _hold_shear(matrix: F8, gradient: F8, e1: float, e2: float, row: int) -> None:
    """Leave a shear of the largest size, with e1 in `row`, only steps that turn it."""
    e = math.hypot(e1, e2)
    if e < MAX_SHEAR - 1e-6 or e1 * gradient[row] + e2 * gradient[row + 1] <= 0.0:
        return
    stiff = STIFF * max(matrix[row, row], matrix[row + 1, row + 1])
    c, s = e1 / e, e2 / e
    matrix[row, row] += stiff * c * c
    matrix[row + 1, row] += stiff * c * s
    matrix[row, row + 1] += stiff * c * s
    matrix[row + 1, row + 1] += stiff * s * s
    outward = c * gradient[row] + s * gradient[row + 1]
    gradient[row] -= c * outward
    gradient[row + 1] -= s * outward


@helper
def invert(work: Work, parameters: F8, free: I8, limits: F8, covariance: F8) -> float:
    """Write the inverse of ``work.hessian[0]`` for the free parameters; return its ln determinant.

    A parameter that no pixel knows of (the shape of a component without light, whatever its prior)
    has a variance of NaN, and so has the determinant; the others do not depend on it.  If the rest
    is singular, parameters at an end of their range count as known, with a variance of 0; if it
    still is, all variances are NaN.
    """
    n = free.size
    lower, held = work.lower, work.gradient[3]
    covariance[:] = 0.0
    solved = False
    for attempt in range(2):
        for f in range(n):
            for g in range(n):
                lower[f, g] = work.hessian[0][f, g]
        for f in range(n):
            p = free[f]
            at_end = parameters[p] <= limits[0, p] or parameters[p] >= limits[1, p]
            first = SPHEROID if p < DISK else DISK
            without_light = first + RADIUS <= p <= first + INDEX and parameters[first] == 0.0
            unknown = without_light or not work.hessian[0][f, f] > 0.0
            held[f] = 2.0 if unknown else 1.0 if at_end and attempt == 1 else 0.0
            if held[f] > 0.0:
                _hold(lower, n, f)
        solved = factor(lower, n, 0.0)
        if solved:
            break
    determinant = 0.0
    for f in range(n):
        if not solved or held[f] == 2.0:
            covariance[free[f], free[f]] = math.nan
            determinant = math.nan
        else:
            determinant += 2.0 * math.log(lower[f, f])
            if held[f] > 0.0:
                determinant += math.log(work.hessian[0][f, f])
    if not solved:
        return determinant
    invert_factor(lower, n)
    for f in range(n):
        for g in range(f + 1):
            if held[f] == 0.0 and held[g] == 0.0:
                total = 0.0
                for k in range(f, n):
                    total += lower[k, f] * lower[k, g]
                covariance[free[f], free[g]] = covariance[free[g], free[f]] = total
    return determinant
