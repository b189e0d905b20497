"""Can a zero point be believed?  The tests that a calibration must pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F8, Bools
from skyextract.record import record
from skyextract.stages.doubles import Doubles
from skyextract.stages.photometry.parts import SURE, Parts
from skyextract.stages.photometry.zeropoint import ZeroPointFit, shortest_half

MIN_STARS = 5
MAX_OUTLIERS = 0.55
MAX_CHANCE = 0.5
"""Share of the matches that chance would give."""
MAX_INTRINSIC = 0.25
FAINT = 0.08
"""Typical error of the stars, mag, from which on it is not the reference that is doubted first."""
MAX_ERROR = 0.1
MAX_TREND = 0.1
"""Change of the residual over the magnitudes, or from side to side, mag."""
NOTED_TREND = 0.03
WEAK_INTRINSIC = 0.1
"""Scatter beyond the errors, mag, that makes the zero point a FALLBACK."""
WEAK_PLACE = 0.05
"""Rms of magnitudes over the frame which makes it a FALLBACK."""
NOTED_SCATTER, MANY = 0.04, 3.0
"""Scatter beyond the errors, mag, and in units of the errors, that is told."""
OF_PLACE = ": clouds, flat field, amplifiers?"
WEAK_SCALE = 0.05
"""Magnitude of the calibrated flux off that of the Kron aperture, which makes it a FALLBACK."""
SURE_SCALE = 2.0
"""That difference counts as far as it exceeds so many of its errors: the Kron aperture of faint
stars is noisy, and has light of sources too faint to be told apart."""
MIN_SHARE = 0.05
"""Share of the stars bright enough that the zero point rests on; fewer make it a FALLBACK."""
SHARE_FROM = 100
"""The share counts from this many bright stars."""
KRON_LOSS = 0.06
"""The Kron aperture of stars misses no more light than this, mag."""
OTHER_BAND = 0.5
OTHER_BAND_FROM = 0.05


@record
class Verdict:
    """Numbers of the verification, and what they say.

    Attributes
    ----------
    numbers : dict
        For the summary: trend_mag, trend_x, trend_y (mag over the range) with errors,
        outlier_fraction, chance_fraction, intrinsic_scatter.
    reason : str
        Why the zero point is not believable; empty if it is.
    weak : str
        Why it is to be taken with care, a FALLBACK; empty if it is not.
    error : float
        Of the zero point, mag: of the fit, and what the checks add to it.
    remarks : list of str
        Worth a warning.
    """

    numbers: dict[str, float]
    reason: str
    weak: str
    error: float
    remarks: list[str]


@record
class FluxScale:
    """How well the flux that is calibrated is known as the whole light of a star.

    Attributes
    ----------
    correction_error : float
        Error of the aperture correction, mag: all stars share it, and their scatter does not
        show it.
    above_kron : float
        Magnitude of the Kron flux minus that of the calibrated flux, median of the stars; NaN
        if there is none.  Both are of one aperture about the star: what the flux has beyond
        `KRON_LOSS` is light of a wrong PSF or aperture correction.
    kron_error : float
        Of this median, mag.
    rounding_error : float
        What rounding to whole steps may take of the light of all stars or add to it, mag.
    hidden_error : float
        Error of the light of hidden sources that was taken off, mag.
    """

    correction_error: float = 0.0
    above_kron: float = math.nan
    kron_error: float = 0.0
    rounding_error: float = 0.0
    hidden_error: float = 0.0

    @property
    def excess(self) -> float:
        """Light, in mag, that the flux should not have."""
        return max(self.above_kron - KRON_LOSS, 0.0) if math.isfinite(self.above_kron) else 0.0

    @property
    def lack(self) -> float:
        """Light, in mag, that the Kron aperture has and the flux has not."""
        return max(-self.above_kron, 0.0) if math.isfinite(self.above_kron) else 0.0

    @property
    def is_off(self) -> bool:
        """Whether the flux differs from that of the Kron aperture by more than the noise may."""
        return max(self.excess, self.lack) - SURE_SCALE * self.kron_error > WEAK_SCALE


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
    scale: FluxScale,
    n_bright: int,
    parts: Parts,
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
    scale : FluxScale
    n_bright : int
        Stars bright enough for the fit, flagged or blended or not.
    parts : Parts
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
    # Which of the stars has the right zero point cannot be told: one is as likely as another.
    height, place = parts.step
    unsure = max(_unsure(numbers, "mag"), parts.brightness.rms, 0.5 * abs(height))
    trends = math.hypot(_unsure(numbers, "x"), _unsure(numbers, "y"))
    uneven = max(trends, parts.field.rms, parts.surface, parts.shared)
    numbers |= {
        "error_of_fit": fit.error,
        "error_of_aperture_correction": scale.correction_error,
        "error_of_trend": unsure,
        "step_mag": height,
        "error_of_field": uneven,
        "shared_scatter": parts.shared,
        "error_of_flux_scale": scale.excess,
        "error_of_rounding": scale.rounding_error,
        "error_of_hidden_light": scale.hidden_error,
        "n_bright": n_bright,
        "n_second_group": parts.group.number,
    }
    error = math.hypot(
        fit.error, scale.correction_error, unsure, uneven, scale.excess, scale.rounding_error,
        scale.hidden_error,
    )  # fmt: skip
    typical = float(np.median(errors[kept])) if n_good else math.inf
    better = _better_band(own, others)
    reason = ""
    if n_good < MIN_STARS:
        reason = f"{n_good} stars agree on a zero point: too few ({MIN_STARS} needed)"
    elif better:
        reason = better
    elif fit.outlier_fraction > MAX_OUTLIERS:
        reason = f"{100 * fit.outlier_fraction:.0f} % of the stars do not fit any one zero point"
    elif chance_fraction > MAX_CHANCE:
        reason = (
            f"{100 * chance_fraction:.0f} % of the matches may be chance: CROSSID_RADIUS too "
            "large, or a wrong WCS?"
        )
    elif fit.intrinsic > MAX_INTRINSIC:
        reason = (
            f"stars scatter by {fit.intrinsic:.2f} mag beyond their errors: another filter or "
            "magnitude system?"
            if typical < FAINT
            else f"stars scatter by {fit.intrinsic:.2f} mag beyond their errors, which are "
            f"{typical:.2f} mag themselves: the stars are too faint for a zero point"
        )
    weak = ""
    if fit.intrinsic > WEAK_INTRINSIC:
        weak = f"stars scatter by {fit.intrinsic:.2f} mag beyond their errors"
    elif uneven > WEAK_PLACE:
        weak = f"magnitudes are off by {uneven:.2f} mag (rms) from place to place{OF_PLACE}"
    elif scale.is_off:
        weak = f"the flux of the stars differs from their Kron flux by {scale.above_kron:+.2f} mag"
    elif scale.rounding_error > WEAK_SCALE:
        weak = f"rounding of the pixels may shift all fluxes by {scale.rounding_error:.2f} mag"
    elif n_bright >= SHARE_FROM and n_good < MIN_SHARE * n_bright:
        weak = f"the zero point rests on {n_good} of {n_bright} stars that are bright enough"
    remarks = []
    if not weak and uneven > NOTED_TREND and not trends >= uneven:
        remarks.append(f"magnitudes vary by {uneven:.3f} mag (rms) from place to place{OF_PLACE}")
    elif not weak and fit.intrinsic > max(NOTED_SCATTER, MANY * typical):
        remarks.append(
            f"stars scatter by {fit.intrinsic:.2f} mag beyond their errors of {typical:.3f}: "
            "MAGERR does not hold it"
        )
    if abs(height) > NOTED_TREND:
        remarks.append(
            f"residuals change by {height:+.3f} mag at magnitude {place:.1f}: two sources of the "
            "reference magnitudes, a detector that is not linear, a PSF that is not that of the "
            "stars?"
        )
    if not scale.is_off and scale.excess > 0.5 * KRON_LOSS:
        remarks.append(
            f"the flux of the stars exceeds their Kron flux by {scale.above_kron:.2f} mag: PSF or "
            "aperture correction are in doubt"
        )
    for name, what in (("mag", "magnitude"), ("x", "x"), ("y", "y")):
        trend, trend_error = numbers[f"trend_{name}"], numbers[f"trend_{name}_error"]
        told = name == "mag" and abs(height) > NOTED_TREND
        if not abs(trend) > SURE * trend_error:
            continue
        text = f"residuals change by {trend:+.3f} mag with {what} ({trend_error:.3f} error)"
        if abs(trend) > MAX_TREND and not reason:
            reason = text
        elif abs(trend) > NOTED_TREND and not told:
            remarks.append(text)
    reason = reason or parts.contradiction
    if not error <= MAX_ERROR and not reason:
        reason = f"the zero point is uncertain by {error:.2f} mag"
    return Verdict(numbers, reason, weak, error, remarks)


def with_doubles(verdict: Verdict, doubles: Doubles | None, key: str) -> Verdict:
    """Return the verdict with what stars mean that the reference has twice.

    Which of both magnitudes is right cannot be told, half of their difference is an error.
    """
    if doubles is None:
        return verdict
    numbers = verdict.numbers | {"n_doubled": doubles.n_doubled}
    off = doubles.disagreement(key)
    if not off > NOTED_TREND:
        return replace(verdict, numbers=numbers)
    told = doubles.told(f"{off:.2f} mag")
    if doubles.suffices:
        return replace(verdict, numbers=numbers, remarks=[*verdict.remarks, told])
    numbers |= {"error_of_doubles": 0.5 * off}
    error = math.hypot(verdict.error, 0.5 * off)
    reason = verdict.reason or (told if error > MAX_ERROR else "")
    return replace(verdict, numbers=numbers, reason=reason, weak=told, error=error)


def _unsure(numbers: Mapping[str, float], name: str) -> float:
    """Return the rms that a straight trend is, mag; 0 where it may be none."""
    trend, error = abs(numbers[f"trend_{name}"]), numbers[f"trend_{name}_error"]
    return trend / math.sqrt(12.0) if trend > SURE * error else 0.0


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
        if both.sum() < max(2 * MIN_STARS, 0.5 * len(y)):
            continue
        mine, its = shortest_half(y[both])[1], shortest_half(values[both])[1]
        if its < OTHER_BAND * mine and mine > 1.35 * OTHER_BAND_FROM:
            return (
                f"the stars agree with {other} to {its / 1.35:.3f} mag and with {key} only to "
                f"{mine / 1.35:.3f}: wrong filter?"
            )
    return ""
