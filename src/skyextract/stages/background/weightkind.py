"""Whether a weight map is of the kind that WEIGHT_TYPE says: the scatter of the sky tells.

A variance that is given as a weight, or the reverse, makes the noise small where it is large.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F4, F8
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.noise import MAX_SAMPLE, median, robust_sigma
from skyextract.kernels.values import MAX_VARIANCE, NO_INFORMATION
from skyextract.run import Run

POWERS = {"MAP_WEIGHT": -1.0, "MAP_VAR": 1.0, "MAP_RMS": 2.0}
"""The variance of pixels is this power of the map."""
N_BINS = 8
MIN_BIN = 1000
"""Pairs of neighbours whose map values are alike, at least."""
MIN_RANGE = 1.5
"""Least factor between variances that says something."""
MAX_OFF = 0.6
"""A power that is farther from that of the kind contradicts it..."""
FITS = 0.35
"""... and one that is nearer to that of another kind is of that."""


def with_plausible_kind(exposure: Exposure, kind: str, run: Run, *, mends: bool) -> Exposure:
    """Return the exposure with its weight map taken for the kind that its sky is of.

    Parameters
    ----------
    exposure : Exposure
        Its `weight` is the map as a variance, up to a factor.
    kind : str
        WEIGHT_TYPE.
    mends : bool
        The map is taken for what fits, and the sources are doubtful; else that is but told.
    """
    if exposure.weight is None or kind not in POWERS:
        return exposure
    power = _power_of_scatter(exposure, exposure.weight)
    if power is None or abs(power - 1.0) * abs(POWERS[kind]) <= MAX_OFF:
        return exposure
    found = power * POWERS[kind]
    near = min(POWERS, key=lambda name: abs(POWERS[name] - found))
    fits = near != kind and abs(POWERS[near] - found) <= FITS
    if not fits:
        outcome = "no kind fits; errors and thresholds are wrong by place"
    elif mends:
        outcome = f"it is taken for {near}"
    else:
        outcome = f"is it {near}?"
    message = (
        f"{exposure.name}: the noise of the sky does not follow WEIGHT_IMAGE as {kind}, its "
        f"variance goes with the power {found:.2f} of the map: {outcome}"
    )
    run.warn(message)
    if not (fits and mends):
        return exposure
    known = (exposure.weight > 0.0) & (exposure.weight < MAX_VARIANCE)
    variance = np.where(known, exposure.weight, 1.0).astype(np.float64)
    variance **= POWERS[near] / POWERS[kind]
    scaled = np.where(known, variance, NO_INFORMATION).astype(np.float32)
    return replace(exposure, weight=scaled, doubts=(*exposure.doubts, message))


def _power_of_scatter(exposure: Exposure, variance: F4) -> float | None:
    """Return the power of a map that the variance of pixels goes with; None if nothing tells.

    Differences of neighbouring pixels show the noise where the sky is not flat, too.
    """
    rows = slice(None, None, max(1, exposure.image.size // (4 * MAX_SAMPLE)))
    claimed = variance[rows]
    good = (exposure.mask[rows] == 0) & (claimed > 0.0) & (claimed < MAX_VARIANCE)
    good &= np.isfinite(exposure.image[rows])
    both = good[:, 1:] & good[:, :-1]
    if np.count_nonzero(both) < 2 * MIN_BIN:
        return None
    step = np.diff(exposure.image[rows].astype(np.float64), axis=1)[both]
    log = np.log(0.5 * (claimed[:, 1:] + claimed[:, :-1])[both].astype(np.float64))
    edges = np.unique(np.quantile(log, np.linspace(0.0, 1.0, N_BINS + 1)[1:-1]))
    group = np.searchsorted(edges, log, side="left")
    at, scatter = [], []
    for k in np.unique(group):
        inside = group == k
        sigma = robust_sigma(step[inside])
        if np.count_nonzero(inside) >= MIN_BIN and sigma > 0.0:
            at.append(median(log[inside]))
            scatter.append(2.0 * math.log(sigma))
    return _slope(np.array(at), np.array(scatter))


def _slope(at: F8, values: F8) -> float | None:
    """Return the median slope between bins that lie apart; None without such."""
    i, j = np.triu_indices(at.size, 1)
    apart = np.abs(at[j] - at[i]) > math.log(MIN_RANGE)
    if not apart.any():
        return None
    i, j = i[apart], j[apart]
    return median((values[j] - values[i]) / (at[j] - at[i]))
