"""Can a zero point be believed?  The tests that a calibration must pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F8, Bools
from skyextract.datamodel.noise import quantiles
from skyextract.record import record
from skyextract.stages.doubles import Doubles
from skyextract.stages.photometry.fluxscale import KRON_LOSS, WEAK_SCALE, FluxScale
from skyextract.stages.photometry.parts import SURE, Parts
from skyextract.stages.photometry.stars import Stars
from skyextract.stages.photometry.zeropoint import MIN_STARS, ZeroPointFit, shortest_half

MAX_OUTLIERS = 0.55
MAX_CHANCE = 0.5
"""Share of the matches that chance would give."""
MAX_INTRINSIC = 0.25
FAINT = 0.08
"""Typical error of the stars, mag, from which on it is not the reference that is doubted first."""
MAX_ERROR = 0.1
"""Of the zero point, mag, without that of the aperture correction: the flux that is calibrated has
it, whatever it is, and its magnitudes do not feel it.  Those of other fluxes do: with it, above
this, the zero point is a FALLBACK."""
MAX_TREND = 0.1
"""Change of the residual over the magnitudes, or from side to side, mag."""
NOTED_TREND = 0.03
WEAK_INTRINSIC = 0.1
"""Scatter beyond the errors, mag, that makes the zero point a FALLBACK."""
WEAK_PLACE = 0.05
"""Rms of magnitudes over the frame which makes it a FALLBACK."""
WEAK_TOGETHER = 0.1
"""Median of stars that are off together, mag, which makes it a FALLBACK."""
NOTED_SCATTER, MANY, SHARPEST = 0.04, 3.0, 0.3
"""Scatter beyond the errors, mag, and in units of those of this share of the stars, the
brightest, that is told."""
OF_PLACE = ": clouds, flat field, amplifiers?"
MIN_SHARE = 0.05
"""Share of the stars bright enough that the zero point rests on; fewer make it a FALLBACK."""
IN_CLUSTER = 0.5
"""Share of the stars of the fit in a cluster that makes it one, too."""
SHARE_FROM = 100
"""The share counts from this many bright stars."""
OF_CORRECTION = "error_of_aperture_correction"
OTHER_BAND = 0.5
OTHER_BAND_FROM = 0.05


@record
class Verdict:
    """Numbers of the verification, and what they say.

    Attributes
    ----------
    numbers : dict
        For the summary: trend_mag, trend_x, trend_y (mag over the range) with errors,
        trend_corners, outlier_fraction, chance_fraction, intrinsic_scatter.
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

    @property
    def own_error(self) -> float:
        """Error for the flux that is calibrated, which has its aperture correction, mag."""
        return math.sqrt(max(self.error**2 - self.numbers.get(OF_CORRECTION, 0.0) ** 2, 0.0))


@record
class Evidence:
    """What tells whether a zero point can be believed.

    Attributes
    ----------
    fit : ZeroPointFit
    stars : Stars
        Those of the fit.
    shape : (int, int)
        Frame [y, x].
    chance_fraction : float
        Share of the matches that chance would give.
    better_band : str
        Another band of the catalogue that fits far better, in words; empty if none does.
    scale : FluxScale
    n_bright : int
        Stars bright enough for the fit, flagged or blended or not.
    parts : Parts
    n_extended : int
        Matched sources that were left out as no points of light.
    n_in_cluster : int
        Stars of the fit where sources are far denser than in most of the frame.
    varies : bool
        Where many stars do not fit: whether they fit one that varies over the field.
    """

    fit: ZeroPointFit
    stars: Stars
    shape: tuple[int, int]
    chance_fraction: float
    better_band: str
    scale: FluxScale
    n_bright: int
    parts: Parts
    n_extended: int = 0
    n_in_cluster: int = 0
    varies: bool = False

    @property
    def n_good(self) -> int:
        """Number of stars that agree on the zero point."""
        return int(np.sum(self.fit.good > 0.5))

    def error_of(self, share: float) -> float:
        """Return the error, mag, that this share of these does not exceed."""
        kept = self.fit.good > 0.5
        return quantiles(self.stars.errors[kept], [share])[0] if kept.any() else math.inf

    def trends(self) -> dict[str, Trend]:
        """Return how the residuals change with magnitude, and over the frame in x and y."""
        fit, stars = self.fit, self.stars
        weight = fit.good / (stars.errors**2 + fit.intrinsic**2 + 1e-8)
        kept = fit.good > 0.5
        bright, faint = quantiles(stars.mag[kept], (0.1, 0.9)) if kept.any() else (0.0, 0.0)
        ny, nx = self.shape
        axes = {"mag": (stars.mag, float(faint - bright)), "x": (stars.x, nx), "y": (stars.y, ny)}
        return {
            name: Trend.over(length, *_slope(values, fit.residuals, weight))
            for name, (values, length) in axes.items()
        }


@record
class Trend:
    """Change of the residuals over the range of a quantity, mag, and its error."""

    change: float
    error: float

    @classmethod
    def over(cls, length: float, slope: float, slope_error: float) -> Trend:
        """Return what a straight line is over a length."""
        return cls(slope * length, slope_error * length)

    @property
    def is_sure(self) -> bool:
        """Whether it is more than its error allows."""
        return abs(self.change) > SURE * self.error

    @property
    def rms(self) -> float:
        """Rms of a line that changes so, mag; 0 where it may be none."""
        return abs(self.change) / math.sqrt(12.0) if self.is_sure else 0.0


def verify(evidence: Evidence) -> Verdict:
    """Test a zero-point fit: its error, whether it can be believed, what is worth a word."""
    fit, parts = evidence.fit, evidence.parts
    trends = evidence.trends()
    slanted = math.hypot(trends["x"].rms, trends["y"].rms)
    uneven = max(slanted, parts.field.rms, parts.surface, parts.shared)
    terms = _error_terms(evidence, trends["mag"], uneven)
    error = math.hypot(*terms.values())
    numbers = {
        "intrinsic_scatter": fit.intrinsic,
        "outlier_fraction": fit.outlier_fraction,
        "chance_fraction": evidence.chance_fraction,
        "n_bright": evidence.n_bright,
        "n_second_group": parts.group.number,
        "n_off_together": parts.together.number,
        "step_mag": parts.step[0],
        "shared_scatter": parts.shared,
        "trend_corners": parts.corners,
    }
    for name, trend in trends.items():
        numbers |= {f"trend_{name}": trend.change, f"trend_{name}_error": trend.error}
    reason = _disbelief(evidence, trends) or _uncertainty(terms)
    weak = _doubt(evidence, uneven) or _about_other_fluxes(error, terms[OF_CORRECTION])
    remarks = _remarks(evidence, trends, uneven, slanted, is_weak=bool(weak))
    return Verdict(numbers | terms, reason, weak, error, remarks)


def _error_terms(evidence: Evidence, over_magnitude: Trend, uneven: float) -> dict[str, float]:
    """Return what the error of the zero point consists of, mag."""
    parts, scale = evidence.parts, evidence.scale
    return {
        "error_of_fit": evidence.fit.error,
        OF_CORRECTION: scale.correction_error,
        # Which of the stars has the right zero point cannot be told: one is as likely as another.
        "error_of_trend": max(
            over_magnitude.rms,
            parts.brightness.rms,
            0.5 * abs(parts.step[0]),
            0.5 * abs(parts.mixture.apart),
        ),
        "error_of_field": uneven,
        "error_of_flux_scale": scale.excess,
        "error_of_rounding": scale.rounding_error,
        "error_of_hidden_light": scale.hidden_error,
    }


def _uncertainty(terms: Mapping[str, float]) -> str:
    """Return that the zero point is too uncertain, and what makes it so; empty if it is not."""
    own = {name: term for name, term in terms.items() if name != OF_CORRECTION}
    error = math.hypot(*own.values())
    if error <= MAX_ERROR:
        return ""
    largest = max(own, key=lambda name: own[name]).removeprefix("error_of_").replace("_", " ")
    return f"the zero point is uncertain by {error:.2f} mag, most of it by its {largest}"


def _about_other_fluxes(error: float, of_correction: float) -> str:
    """Return that magnitudes of other fluxes are uncertain; empty if they are not."""
    if error <= MAX_ERROR:
        return ""
    return (
        f"the aperture correction is uncertain by {of_correction:.2f} mag: the zero point holds "
        "for the flux that it was fitted to, other magnitudes may be off by that"
    )


def _disbelief(evidence: Evidence, trends: Mapping[str, Trend]) -> str:
    """Return why the zero point is not believable; empty if it is."""
    fit, chance, typical = evidence.fit, evidence.chance_fraction, evidence.error_of(0.5)
    varies = ", but one that varies over the field (PHOT_DEGREES 2): was there no flat?"
    varies *= evidence.varies
    if evidence.n_good < MIN_STARS:
        few = f"{evidence.n_good} stars agree on a zero point: too few ({MIN_STARS} needed)"
        return f"{few}{varies}"
    if evidence.better_band:
        return evidence.better_band
    if fit.outlier_fraction > MAX_OUTLIERS:
        outliers = f"{100 * fit.outlier_fraction:.0f} % of the stars"
        return f"{outliers} do not fit any one zero point{varies}"
    if chance > MAX_CHANCE:
        return (
            f"{100 * chance:.0f} % of the matches may be chance: CROSSID_RADIUS too large, or a "
            "wrong WCS?"
        )
    if fit.intrinsic > MAX_INTRINSIC:
        scatter = f"stars scatter by {fit.intrinsic:.2f} mag beyond their errors"
        if typical < FAINT:
            return f"{scatter}: another filter or magnitude system?"
        return (
            f"{scatter}, which are {typical:.2f} mag themselves: the stars are too faint for a "
            "zero point"
        )
    scale, n_extended = evidence.scale, evidence.n_extended
    if scale.is_off and scale.lack > MAX_ERROR and n_extended > evidence.n_good:
        return (
            f"{n_extended} matched sources are extended, and the flux of the {evidence.n_good} "
            f"others lacks {scale.lack:.2f} mag of their Kron flux: galaxies in the reference "
            "catalogue?"
        )
    for name, trend in trends.items():
        if trend.is_sure and abs(trend.change) > MAX_TREND:
            return _told(name, trend)
    return evidence.parts.contradiction


def _doubt(evidence: Evidence, uneven: float) -> str:
    """Return why the zero point is to be taken with care, a FALLBACK; empty if it is not."""
    fit, scale, n_bright = evidence.fit, evidence.scale, evidence.n_bright
    if fit.intrinsic > WEAK_INTRINSIC:
        return f"stars scatter by {fit.intrinsic:.2f} mag beyond their errors"
    if uneven > WEAK_PLACE:
        return f"magnitudes are off by {uneven:.2f} mag (rms) from place to place{OF_PLACE}"
    together = evidence.parts.together
    if abs(together.off) > WEAK_TOGETHER:
        return f"{together}{OF_PLACE}"
    if scale.is_off:
        return f"the flux of the stars differs from their Kron flux by {scale.above_kron:+.2f} mag"
    if scale.rounding_error > WEAK_SCALE:
        return f"rounding of the pixels may shift all fluxes by {scale.rounding_error:.2f} mag"
    n_stars = evidence.stars.row.size
    if evidence.n_in_cluster > IN_CLUSTER * n_stars:
        return (
            f"{evidence.n_in_cluster} of {n_stars} stars of the zero point stand where sources "
            "are far denser than in most of the frame, and may be too bright by what is not told "
            "apart there"
        )
    if n_bright >= SHARE_FROM and evidence.n_good < MIN_SHARE * n_bright:
        return (
            f"the zero point rests on {evidence.n_good} of {n_bright} stars that are bright enough"
        )
    return ""


def _remarks(
    evidence: Evidence, trends: Mapping[str, Trend], uneven: float, slanted: float, *, is_weak: bool
) -> list[str]:
    """Return what is worth a warning beside what makes the zero point a FALLBACK."""
    fit, scale, sharp = evidence.fit, evidence.scale, evidence.error_of(SHARPEST)
    height, place = evidence.parts.step
    corners = evidence.parts.corners
    has_step = abs(height) > NOTED_TREND
    remarks = []
    if not is_weak and uneven > max(NOTED_TREND, slanted):
        remarks.append(f"magnitudes vary by {uneven:.3f} mag (rms) from place to place{OF_PLACE}")
    elif not is_weak and evidence.parts.together.number:
        remarks.append(f"{evidence.parts.together}{OF_PLACE}")
    elif not is_weak and abs(corners) > NOTED_TREND:
        remarks.append(
            f"magnitudes change by {corners:+.3f} mag from the middle to the corners: vignetting, "
            "a flat field, a PSF that is another there?"
        )
    elif not is_weak and fit.intrinsic > max(NOTED_SCATTER, MANY * sharp):
        remarks.append(
            f"stars scatter by {fit.intrinsic:.2f} mag beyond their errors of {sharp:.3f}: "
            "MAGERR does not hold it"
        )
    if has_step:
        remarks.append(
            f"residuals change by {height:+.3f} mag at magnitude {place:.1f}: two sources of the "
            "reference magnitudes, a detector that is not linear, a PSF that is not that of the "
            "stars?"
        )
    mixture = evidence.parts.mixture
    if abs(mixture.apart) > NOTED_TREND and not has_step:
        remarks.append(
            f"{mixture.share:.0%} of the stars are {-mixture.apart:+.3f} mag from the others: two "
            "surveys in the reference, another filter? Which of them are right cannot be told"
        )
    if scale.is_of_aperture and scale.lack > NOTED_TREND:
        remarks.append(
            "the zero point is that of the light in the aperture of FLUX_APER: magnitudes of "
            f"other fluxes, MAG_AUTO and MAG_PSF, are {scale.lack:.2f} mag too bright by it"
        )
    if not scale.is_off and scale.excess > 0.5 * KRON_LOSS:
        remarks.append(
            f"the flux of the stars exceeds their Kron flux by {scale.above_kron:.2f} mag: PSF or "
            "aperture correction are in doubt"
        )
    remarks += [
        _told(name, trend)
        for name, trend in trends.items()
        if trend.is_sure and abs(trend.change) > NOTED_TREND and not (name == "mag" and has_step)
    ]
    return remarks


def _told(name: str, trend: Trend) -> str:
    what = "magnitude" if name == "mag" else name
    return f"residuals change by {trend.change:+.3f} mag with {what} ({trend.error:.3f} error)"


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
    fails = math.hypot(verdict.own_error, 0.5 * off) > MAX_ERROR
    reason = verdict.reason or (told if fails else "")
    return replace(verdict, numbers=numbers, reason=reason, weak=told, error=error)


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


def better_band(own: tuple[str, F8], others: Mapping[str, F8]) -> str:
    """Tell whether the frame agrees far better with another band than with its own.

    Parameters
    ----------
    own : (str, (n,) float64)
        Column and y that were fitted, before any colour term.
    others : mapping of (n,) float64
        y of the same stars with the other bands of the catalogue; NaN where unknown.
    """
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
