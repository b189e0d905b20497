"""Do all parts of the stars tell the same?  Residuals of a calibration, part by part.

A fit to all stars knows the scatter of single stars; what many of them share (a cloud, a wrong
flat, a chip out of place, a detector that is not linear) makes its error too small.  So the
stars are divided by place and by brightness: the medians of the parts may differ by what the
errors of the stars allow, and the variance beyond that is an error of its own, the same one for
whoever uses the calibration anywhere (R. DerSimonian & N. Laird 1986, Control. Clin. Trials 7,
177, with equal weights).  What is smooth over the frame shows sooner in a surface of second degree,
which has fewer coefficients than there are parts.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, I8, Bools, distinct
from skyextract.datamodel.noise import median, robust_sigma
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.record import record

PER_PART = 5
"""Stars per part, on average; fewer stars are divided into fewer parts."""
SURE_STEP = 4.0
"""The largest step counts from this many sigma: chance makes less than 1 % of those."""
MIN_SIDE = 3
"""Stars on either side of a step."""
_MOST = 0.7
"""Share of the stars on a side of a step that agree."""
_WITHOUT_ONE = 3.0
"""... and without the star that speaks most for it from this many."""
MIN_AGREEING = 4
"""A part with fewer stars has no median."""
MAX_CELLS = 4
"""Cells per side of the frame."""
MAX_BINS = 6
"""Parts by brightness."""
SURE = 3.0
"""The excess counts from this many sigma: of chi square, as a normal deviate."""
MIN_GROUP = 0.15
"""Share of the stars from which a second group makes it doubtful which of both is right."""
MIN_MEMBERS = 5
"""Stars in a second group, at least."""
PER_TERM = 5
"""Stars per coefficient of the surface, at least."""
SURE_SURFACE = 2.5
"""The surface counts from this many sigma: chance makes less than 1 % of those."""
_MEDIAN = 1.2533
"""Error of a median in units of that of a mean, sqrt(pi / 2)."""
_ROUNDS = 3
_HALVINGS = 12
_AGREE = 2.5
"""Stars of a part agree within so many errors of their difference."""
_WINDOW = 2.0
"""Half of the width in which outliers agree, in units of their errors."""
_APART = 8.0
"""A group is another one from so many of its errors on: the tail of the others ends before."""


_HALVED = 3
"""Trial scatters of the members of two groups: 1/4, 1/8, 1/16 of the scatter of all."""
_SHARP = 0.5
"""Stars that tell two groups apart have errors below this part of the scatter."""
_SAMPLE = 500
"""Stars in which two groups are looked for."""
_EXACT, _GAP, _BETWEEN = 1.0 / 6.0, 0.4, 0.2
"""... or where stars with such errors, over the distance of both, show a gap of this width in the
middle, with this share at most of those in the group."""
_APART_IN_PLACE = 0.85
"""Share of the pairs of two groups that are ordered alike on the frame, from which each is in a
part of it: 0.5 if they are mixed."""
TOGETHER = 0.7
"""Share of the stars that two groups hold, at least, for there to be two."""


@record
class Spread:
    """How much the medians of the parts differ.

    Attributes
    ----------
    rms : float
        Of the medians about their mean, beyond what the errors allow; 0 where that is not
        significant, or where the stars are too few to be divided.
    worst : float
        Median of the part that differs most, over the mean.
    worst_error : float
    part : int
        That part; -1 if there is none.
    """

    rms: float = 0.0
    worst: float = 0.0
    worst_error: float = math.inf
    part: int = -1

    def exceeds(self, limit: float, sure: float) -> bool:
        """Tell whether the worst part is off by more than a limit, and `sure` of its errors."""
        return self.rms > 0.0 and abs(self.worst) > max(limit, sure * self.worst_error)


@record
class Group:
    """Outliers that agree with each other on one place: their number, share of all, and mean."""

    number: int = 0
    share: float = 0.0
    x: float = 0.0
    y: float = 0.0

    @property
    def contradicts(self) -> bool:
        """There are enough of them that they, and not the others, may be right."""
        return self.number >= MIN_MEMBERS and self.share > MIN_GROUP


def cells(x: F8, y: F8, shape: tuple[int, int]) -> tuple[I8, int]:
    """Divide the frame into equal cells; returns each star's cell and the cells per side."""
    side = int(np.clip(math.sqrt(len(x) / PER_PART), 1, MAX_CELLS))
    column = np.clip((x + 0.5) * side // shape[1], 0, side - 1)
    row = np.clip((y + 0.5) * side // shape[0], 0, side - 1)
    return np.asarray(row * side + column, dtype=np.int64), side


def bins(values: F8) -> I8:
    """Divide stars by a value into parts with equal numbers; returns each star's part."""
    parts = int(np.clip(len(values) // PER_PART, 1, MAX_BINS))
    rank = np.empty(len(values), dtype=np.int64)
    rank[np.argsort(values, kind="stable")] = np.arange(len(values))
    return rank * parts // max(len(values), 1)


def spread_of_medians(values: F8, errors: F8, part: I8) -> Spread:
    """Compare the medians of the parts, each of the most stars in it that agree.

    Parameters
    ----------
    values, errors : (n,) float64
        Residuals and their standard errors, to which is added what the scatter within the
        parts has more.
    part : (n,) int64
    """
    names = [int(name) for name in distinct(part)]
    parts = [np.flatnonzero(part == name) for name in names]
    extra = robust_sigma(values) if len(values) else 0.0
    for _ in range(_ROUNDS):
        total = np.hypot(errors, extra)
        agreed = [_agreeing(values, total, rows) for rows in parts]
        found = [(rows, name) for rows, name in zip(agreed, names, strict=True) if len(rows)]
        if len(found) < 2:
            return Spread()
        medians, sigma, within = _medians(values, total, [rows for rows, _ in found])
        before, extra = extra, _extra_scatter(within, errors)
        if extra == before:  # the next round would find the same
            break
    mean = float(np.average(medians, weights=1.0 / sigma**2))
    off = medians - mean
    worst = int(np.argmax(np.abs(off) - sigma))
    rms = 0.0
    if _deviate(float(np.sum((off / sigma) ** 2)), len(medians) - 1) > SURE:
        rms = math.sqrt(max(float(np.mean(off**2 - sigma**2)), 0.0))
    return Spread(rms, float(off[worst]), float(sigma[worst]), found[worst][1])


def smooth_spread(values: F8, errors: F8, terms: F8) -> float:
    """Return the rms of a smooth surface in the values, beyond its noise; 0 if not significant.

    Parameters
    ----------
    values, errors : (n,) float64
        Residuals without outliers, and their standard errors, to which is added what the scatter
        about the surface has more.
    terms : (n, k) float64
        Of the surface, without the constant.
    """
    n, k = terms.shape
    if n < PER_TERM * (k + 1):
        return 0.0
    design = np.column_stack([np.ones(n), terms])
    extra = robust_sigma(values)
    for _ in range(_ROUNDS):
        total = np.hypot(errors, extra)
        weighted = design / total[:, None]
        coefficients = np.linalg.lstsq(weighted, values / total, rcond=None)[0]
        off = values - design @ coefficients
        before, extra = extra, _extra_scatter(off * math.sqrt(n / (n - k - 1)), errors)
        if extra == before:
            break
    weight = total**-2.0
    middle = float(np.average(values, weights=weight))
    left = float(weight @ off**2)
    gained = float(weight @ (values - middle) ** 2) - left
    if not _deviate(max(gained, 0.0) / max(left / (n - k - 1), 1.0), k) > SURE_SURFACE:
        return 0.0
    surface = design @ coefficients
    covariance = np.linalg.pinv(weighted.T @ weighted)
    noise = ((design @ covariance) * design).sum(axis=1)
    square = (surface - np.average(surface, weights=weight)) ** 2 - noise
    return math.sqrt(max(float(np.average(square, weights=weight)), 0.0))


def largest_step(values: F8, errors: F8, by: F8) -> tuple[float, float]:
    """Return height and place of the largest step that values make when ordered; 0 if none is sure.

    A catalogue of two sources changes at one magnitude, maybe beyond nearly all of the stars: the
    few on the other side are no part of their own, and no straight line.

    Parameters
    ----------
    values, errors : (n,) float64
        Residuals and their standard errors, to which is added what neighbours in order differ by.
    by : (n,) float64
    """
    n = len(values)
    if n < 4 * MIN_SIDE:
        return 0.0, math.nan
    order = np.argsort(by, kind="stable")
    v, e = values[order], errors[order]
    extra = _extra_scatter(np.diff(v) / math.sqrt(2.0), np.hypot(e[1:], e[:-1]) / math.sqrt(2.0))
    total = np.hypot(e, extra)
    # An outlier counts no more than a star that is just sure to be one.
    off = np.clip((v - median(v)) / total, -SURE_STEP, SURE_STEP)
    off /= max(1.0, math.sqrt(float(np.mean(off**2))))
    weight = 1.0 / total
    before, light = np.cumsum(weight**2)[:-1], np.cumsum(weight * off)[:-1]
    after, rest = float(weight @ weight) - before, float(weight @ off) - light
    sure = np.abs(rest / after - light / before) / np.sqrt(1.0 / before + 1.0 / after)
    sure[: MIN_SIDE - 1] = sure[n - MIN_SIDE :] = 0.0
    k = int(np.argmax(sure))
    if sure[k] <= SURE_STEP:
        return 0.0, math.nan
    sides = np.s_[: k + 1], np.s_[k + 1 :]
    middles = [_middle_of_most(v[side], total[side]) for side in sides]
    height = middles[1] - middles[0]
    few, other = (sides[0], 1) if 2 * (k + 1) <= n else (sides[1], 0)
    pull = (v[few] - middles[other]) / total[few]
    # Neither one star that is off, nor some that do not agree, are a step.
    weight = weight[few]
    left = float(weight @ weight) - weight**2
    without = (float(weight @ pull) - weight * pull) / np.sqrt(left)
    if not math.isfinite(height) or np.abs(without).min() < _WITHOUT_ONE:
        return 0.0, math.nan
    return height, float(by[order][k : k + 2].mean())


def _middle_of_most(values: F8, errors: F8) -> float:
    """Return the mean of those values that agree with the median; NaN if they are not most."""
    near = np.abs(values - median(values)) < _AGREE * math.sqrt(2.0) * errors
    if near.sum() < max(MIN_SIDE, _MOST * len(values)):
        return math.nan
    return float(np.average(values[near], weights=errors[near] ** -2.0))


def most_agree(values: F8, errors: F8) -> bool:
    """Tell whether most of the values are one within their errors, and no tail."""
    return len(values) >= MIN_SIDE and math.isfinite(_middle_of_most(values, errors))


def _agreeing(values: F8, errors: F8, rows: I8) -> I8:
    """Return those of the rows that agree, the most that do; none if fewer than `MIN_AGREEING`.

    Random outliers seldom agree, not even where they are more than half of a part.
    """
    value, error = values[rows], errors[rows]
    near = np.abs(value[:, None] - value) < _AGREE * np.hypot(error[:, None], error)
    number = near.sum(axis=1)
    # Of several places with the same number that of the smallest residual.
    centre = np.lexsort((np.abs(value), -number))[0]
    members: I8 = rows[near[centre]]
    return members if len(members) >= MIN_AGREEING else members[:0]


def _medians(values: F8, errors: F8, parts: list[I8]) -> tuple[F8, F8, F8]:
    """Return the medians of the parts, their errors, and the residuals within the parts."""
    medians, sigmas = np.empty(len(parts)), np.empty(len(parts))
    within = np.full(len(values), math.nan)
    for k, rows in enumerate(parts):
        # With 1 / error as weights, not its square, the median has the least error.
        medians[k] = weighted_median(values[rows], 1.0 / errors[rows])
        sigmas[k] = _MEDIAN / math.sqrt(float(np.sum(errors[rows] ** -2.0)))
        # The median lies among its own stars: each knows 1 / n less of the scatter.
        within[rows] = (values[rows] - medians[k]) / math.sqrt(1.0 - 1.0 / len(rows))
    return medians, sigmas, within


def _extra_scatter(within: F8, errors: F8) -> float:
    """Return what is to be added to the errors, for as much scatter as is seen in the parts."""
    known = np.isfinite(within)
    size, variance = np.abs(within[known]), errors[known] ** 2
    low, high = 0.0, MAD_TO_SIGMA * median(size)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        enough = MAD_TO_SIGMA * median(size / np.sqrt(variance + middle**2)) < 1.0
        low, high = (low, middle) if enough else (middle, high)
    return high if low > 0.0 else 0.0


def weighted_median(values: F8, weight: F8) -> float:
    """Return the value that halves the weight."""
    order = values.argsort(kind="stable")
    ordered = weight[order]
    share = ordered.cumsum() - 0.5 * ordered
    return float(np.interp(0.5 * weight.sum(), share, values[order]))


def _deviate(chi2: float, free: int) -> float:
    """Return chi square as a normal deviate (Wilson & Hilferty 1931, PNAS 17, 684)."""
    size = 2.0 / (9.0 * free)
    return float(((chi2 / free) ** (1.0 / 3.0) - 1.0 + size) / math.sqrt(size))


def second_group(x: F8, y: F8, errors: F8, apart: Bools) -> Group:
    """Find outliers that agree with each other: with them another fit is as good as this one.

    Parameters
    ----------
    x, y : (n,) float64
        Residuals; y may be all zero.
    errors : (n,) float64
        Of one axis.
    apart : (n,) bool
        The outliers.

    Returns
    -------
    Group
        Empty where less than half of the outliers agree, or on no other place than the rest of
        the stars.
    """
    rows = np.flatnonzero(apart)
    if len(rows) < MIN_AGREEING:
        return Group()
    px, py = x[rows], y[rows]
    width = _WINDOW * np.hypot(errors[rows, None], errors[rows])
    near = np.hypot(px[:, None] - px, py[:, None] - py) < width
    centre = int(np.argmax(near.sum(axis=1)))
    members = near[centre]
    dx, dy = float(px[members].mean()), float(py[members].mean())
    away = math.hypot(dx, dy)
    elsewhere = away > _APART * median(errors[rows[members]])
    elsewhere |= away > 0.0 and _is_gap((x * dx + y * dy) / away**2, errors / away)
    if 2 * members.sum() < len(rows) or not elsewhere:
        return Group()
    return Group(int(members.sum()), members.sum() / len(x), dx, dy)


def _is_gap(place: F8, errors: F8) -> bool:
    """Tell whether hardly a star with a small error is between two groups, at 0 and at 1.

    A tail of the first would have more of them there than beyond.
    """
    exact = place[errors < _EXACT]
    n_between = np.count_nonzero(np.abs(exact - 0.5) < 0.5 * _GAP)
    n_beyond = np.count_nonzero(np.abs(exact - 1.0) < 0.5 * _GAP)
    return bool(n_beyond >= 2 * MIN_MEMBERS and n_between < _BETWEEN * n_beyond)


def two_groups(x: F8, y: F8, errors: F8, scatter: float, place: tuple[F8, F8]) -> Group:
    """Find two places that nearly all stars agree on, with nothing between them.

    `second_group` knows outliers of a fit.  Where half of the stars say another thing, the fit is
    between the halves and has no outliers, but a scatter that is no noise.  Both are all over the
    frame: what is of one part of it, or of its edges, is a distortion that the fit lacks.

    Parameters
    ----------
    x, y : (n,) float64
        Residuals.
    errors : (n,) float64
        Of one axis, without the scatter beyond them.
    scatter : float
        That scatter.
    place : tuple of (n,) float64
        Where the stars are on the frame.

    Returns
    -------
    Group
        The smaller of both, and how far it is from the larger; empty if there are no two.
    """
    best = Group()
    # The others may be in either.
    rows = np.flatnonzero(errors < _SHARP * scatter)
    n_all = len(rows)
    if n_all < 2 * MIN_MEMBERS:
        return best
    rows = rows[:: max(1, n_all // _SAMPLE)]
    x, y, error = x[rows], y[rows], median(errors[rows])
    across, along = place[0][rows], place[1][rows]
    distance = np.hypot(x[:, None] - x, y[:, None] - y)
    for halving in range(_HALVED):
        total = math.hypot(error, scatter / 2.0 ** (2 + halving))
        near = distance < _WINDOW * math.sqrt(2.0) * total
        first = near[int(np.argmax(near.sum(axis=1)))]
        x0, y0 = float(x[first].mean()), float(y[first].mean())
        apart = np.hypot(x - x0, y - y0) > _APART * total
        number = (near & apart).sum(axis=1)
        second = near[int(np.argmax(number))] & apart
        n = int(second.sum())
        enough = n >= MIN_MEMBERS and n + int(first.sum()) > TOGETHER * len(x)
        if enough and n > best.share * len(x) and are_mixed(across, along, first, second):
            dx, dy = float(x[second].mean()) - x0, float(y[second].mean()) - y0
            best = Group(round(n / len(x) * n_all), n / len(x), dx, dy)
    return best


def are_mixed(x: F8, y: F8, first: Bools, second: Bools) -> bool:
    """Tell whether two groups of stars are all over the frame, and not each in a part of it."""
    dx, dy = x - x[first].mean(), y - y[first].mean()
    along = dx * dx[second].mean() + dy * dy[second].mean()
    radius = np.hypot(x - x.mean(), y - y.mean())
    for ordered in (along, radius):
        share = float((ordered[second][:, None] > ordered[first]).mean())
        if not 1.0 - _APART_IN_PLACE < share < _APART_IN_PLACE:
            return False
    return True
