"""Can a zero point be believed?  The tests that a calibration must pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from skyextract.datamodel.arrays import F8, Bools
from skyextract.stages.photometry.zeropoint import ZeroPointFit, shortest_half

LEAST_STARS = 5
MOST_OUTLIERS = 0.55
MOST_CHANCE = 0.5
"""Share of the matches that chance would give."""
MOST_INTRINSIC = 0.25
MOST_ERROR = 0.1
MOST_TREND = 0.1
"""Change of the residual over the magnitudes, or from side to side, mag."""
NOTED_TREND = 0.03
SURE = 4.0
"""A trend counts from this many sigma."""
_OTHER_BAND = 0.5
_OTHER_BAND_FROM = 0.05


@dataclass(frozen=True)
class Verdict:
    """Numbers of the verification, and what they say.

    Attributes
    ----------
    numbers : dict
        For the summary: trend_mag, trend_x, trend_y (mag over the range) with errors,
        outlier_fraction, chance_fraction, intrinsic_scatter.
    reason : str
        Why the zero point is not believable; empty if it is.
    remarks : list of str
        Worth a warning.
    """

    numbers: dict[str, float]
    reason: str
    remarks: list[str]


def verify(
    fit: ZeroPointFit,
    errors: F8,
    mag: F8,
    x: F8,
    y: F8,
    shape: tuple[int, int],
    chance_fraction: float,
    others: Mapping[str, F8],
    own: tuple[str, F8],
) -> Verdict:
    """Test a zero-point fit.

    Parameters
    ----------
    fit : ZeroPointFit
    errors, mag, x, y : (n,) float64
        Of the stars in the fit: errors, reference magnitudes, 0-based pixels.
    shape : (int, int)
        Frame [y, x].
    chance_fraction : float
        Share of the matches that chance would give.
    others : mapping of (n,) float64
        y of the same stars with the other bands of the catalogue; NaN where unknown.
    own : (str, (n,) float64)
        Column and y that were fitted, before any colour term.
    """
    kept = fit.good > 0.5
    numbers = {
        "intrinsic_scatter": fit.intrinsic,
        "outlier_fraction": fit.outlier_fraction,
        "chance_fraction": chance_fraction,
    }
    weight = fit.good / (errors**2 + fit.intrinsic**2 + 1e-8)
    low, high = np.percentile(mag[kept], [10, 90]) if kept.any() else (0.0, 0.0)
    ranges = {"mag": (mag, float(high - low)), "x": (x, shape[1]), "y": (y, shape[0])}
    for name, (values, length) in ranges.items():
        slope, slope_error = _slope(values, fit.residuals, weight)
        numbers[f"trend_{name}"] = slope * length
        numbers[f"trend_{name}_error"] = slope_error * length
    n_good = int(kept.sum())
    better = _better_band(own, others)
    reason = ""
    if n_good < LEAST_STARS:
        reason = f"{n_good} stars agree on a zero point: too few ({LEAST_STARS} needed)"
    elif better:
        reason = better
    elif fit.outlier_fraction > MOST_OUTLIERS:
        reason = f"{100 * fit.outlier_fraction:.0f} % of the stars do not fit any one zero point"
    elif chance_fraction > MOST_CHANCE:
        reason = f"{100 * chance_fraction:.0f} % of the matches may be chance"
    elif fit.intrinsic > MOST_INTRINSIC:
        reason = (
            f"stars scatter by {fit.intrinsic:.2f} mag beyond their errors: another filter or "
            "magnitude system?"
        )
    elif not fit.error <= MOST_ERROR:
        reason = f"the zero point is uncertain by {fit.error:.2f} mag"
    remarks = []
    for name, what in (("mag", "magnitude"), ("x", "x"), ("y", "y")):
        trend, error = numbers[f"trend_{name}"], numbers[f"trend_{name}_error"]
        if not abs(trend) > SURE * error:
            continue
        text = f"residuals change by {trend:+.3f} mag with {what} ({error:.3f} error)"
        if abs(trend) > MOST_TREND and not reason:
            reason = text
        elif abs(trend) > NOTED_TREND:
            remarks.append(text)
    return Verdict(numbers, reason, remarks)


def _slope(values: F8, residuals: F8, weight: F8) -> tuple[float, float]:
    """Return the slope of a weighted straight line and its error."""
    total = float(weight.sum())
    if total <= 0.0:
        return math.nan, math.nan
    centred = values - float(weight @ values) / total
    power = float(weight @ centred**2)
    if power <= 0.0:
        return 0.0, math.inf
    return float(weight @ (centred * residuals)) / power, 1.0 / math.sqrt(power)


def _better_band(own: tuple[str, F8], others: Mapping[str, F8]) -> str:
    """Tell whether the frame agrees far better with another band than with its own."""
    key, y = own
    for other, values in others.items():
        both: Bools = np.isfinite(values) & np.isfinite(y)
        if both.sum() < max(2 * LEAST_STARS, 0.5 * len(y)):
            continue
        mine, its = shortest_half(y[both])[1], shortest_half(values[both])[1]
        if its < _OTHER_BAND * mine and mine > 1.35 * _OTHER_BAND_FROM:
            return (
                f"the stars agree with {other} to {its / 1.35:.3f} mag and with {key} only to "
                f"{mine / 1.35:.3f}: wrong filter?"
            )
    return ""
