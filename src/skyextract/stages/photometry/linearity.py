"""Bright stars that the fit of the zero point left out: how many, and how far they are off.

The fit ends where stars turn too faint for their reference magnitude: they are saturated, or the
pixels are not linear in light.  Where no flag says so in the catalogue, a line has to.  A loss in
proportion to the light, as of photons that arrive together and are counted as one (J. L. A. Fordham
et al. 2000, MNRAS 312, 83), shows in the stars of the fit before any is left out.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F8, Bools
from skyextract.datamodel.noise import median
from skyextract.stages.photometry.checks import MAX_ERROR, NOTED_TREND, WEAK_PLACE, Verdict
from skyextract.stages.photometry.parts import SURE
from skyextract.stages.pointsources.clippedfit import straight_line
from skyextract.stages.starselection.linearity import slight_widening

if TYPE_CHECKING:
    from skyextract.datamodel.catalog import Catalog

MIN_LEFT = 4
"""Stars left out that make a line."""
MIN_OFFSET = 0.03
"""Median, mag, by which they are too faint."""
MAX_LEFT = 0.15
"""Share of the stars, with these, from which on the zero point is not that of the frame."""
FAR = 0.1
"""Median, mag, by which they are too faint, from which on few of them are enough."""
BY_PLACE = 0.95
"""Share of the pairs of a star that is too faint and one that is not in which the first is farther
from the middle, and that it is so for brightness less often."""
CLIPPED = 0.6
"""Stars whose flux grows by less than 1 - 0.6 mag per magnitude are clipped: others are not."""
MIN_STARS = 12
"""Stars of the fit that can tell a loss in proportion to light."""
LIKELY, WITHOUT_ONE = 3.0, 2.5
"""It counts if it is of so many errors among them, and without the brightest one, ..."""
AGREE, HINT = 2.0, 1.5
"""... or if they have a hint of what brighter ones show, and differ from it by less than this."""


def with_loss(verdict: Verdict, residuals: F8, errors: F8, mag: F8, fitted: F8) -> Verdict:
    """Return the verdict with what light is lost in proportion to how much there is of it.

    It is told by stars of the fit and fainter ones, which saturation does not reach.  The zero
    point is that of faint stars, or of those of the fit: what these differ by is an error.

    Parameters
    ----------
    residuals, errors, mag : (n,) float64
        Residuals (negative: too faint), errors and reference magnitudes of all stars without a
        flag.
    fitted : (m,) float64
        Magnitudes of the stars of the fit.
    """
    if len(fitted) < MIN_STARS:
        return verdict
    light = 10.0 ** (0.4 * (mag.min() - mag))
    kept = mag >= fitted.min()
    told, without_one, all_of_it = (
        straight_line(-light[some], residuals[some], errors[some])
        for some in (kept, kept & (mag > mag[kept].min()), mag >= mag.min())
    )
    faint, loss, error = all_of_it
    agree = abs(told[1] - loss) < AGREE * told[2] and told[1] > HINT * told[2]
    shown = told[1] > LIKELY * told[2] and without_one[1] > WITHOUT_ONE * without_one[2]
    if not (shown or (agree and loss > SURE * error)):
        return verdict
    trend = verdict.numbers["error_of_trend"]
    shift = math.sqrt(max(faint**2 - trend**2, 0.0))
    total = math.hypot(verdict.error, shift)
    numbers = verdict.numbers | {"loss_of_brightest": loss, "error_of_loss": shift}
    message = (
        f"stars are too faint in proportion to their light, the brightest by {loss:.2f} mag: "
        "photons that are counted as one, pixel values that are not linear in light?"
    )
    fails = math.hypot(verdict.own_error, shift) > MAX_ERROR
    reason = verdict.reason or (message if fails else "")
    verdict = replace(verdict, numbers=numbers, reason=reason, error=total)
    if loss > WEAK_PLACE and not verdict.weak:
        return replace(verdict, weak=message)
    if loss > NOTED_TREND:
        return replace(verdict, remarks=[*verdict.remarks, message])
    return verdict


def with_dark_corners(
    verdict: Verdict, residuals: F8, errors: F8, mag: F8, distance: F8
) -> Verdict:
    """Return the verdict with what stars say that are too faint far from the middle.

    The fit takes them for outliers, or for saturated where bright ones stand there.

    Parameters
    ----------
    residuals, errors, mag, distance : (n,) float64
        Residuals (negative: too faint), errors, reference magnitudes, and distances in pixels from
        the middle of the frame, of all stars without a flag.
    """
    dark = residuals < -np.maximum(FAR, SURE * errors)
    if _apart(distance, dark) < max(BY_PLACE, _apart(-mag, dark)):
        return verdict
    least = float(distance[dark].min())
    message = (
        f"{np.count_nonzero(dark)} of {np.count_nonzero(distance >= least)} stars farther than "
        f"{least:.0f} pixels from the middle are {-median(residuals[dark]):.2f} mag too "
        "faint, bright and faint ones alike: vignetting without a flat field?"
    )
    numbers = verdict.numbers | {"n_dark_corners": int(np.count_nonzero(dark))}
    return replace(verdict, numbers=numbers, weak=verdict.weak or message)


def with_bright_end(verdict: Verdict, residuals: F8, mag: F8, fitted: F8) -> Verdict:
    """Return the verdict with what stars say that are too bright for the fit.

    Parameters
    ----------
    residuals, mag : (n,) float64
        Residuals (negative: too faint) and reference magnitudes of all stars without a flag.
    fitted : (m,) float64
        Magnitudes of the stars of the fit.
    """
    left = mag < fitted.min()
    n_left = int(left.sum())
    if n_left < MIN_LEFT:
        return verdict
    off = median(residuals[left])
    # A step or a loss is told of, and in the error, already; dark corners are told of.
    numbers = verdict.numbers
    is_told = {"loss_of_brightest", "n_dark_corners"} & set(numbers)
    if off > -MIN_OFFSET or numbers["step_mag"] or is_told:
        return verdict
    message = (
        f"{n_left} stars brighter than magnitude {float(mag[left].max()):.1f} are {-off:.2f} mag "
        "too faint, and no flag says so: saturated, or pixel values that are not linear in light"
    )
    bent = _slope(mag[left], residuals[left]) < CLIPPED
    many = n_left > MAX_LEFT * (n_left + len(fitted))
    if bent and (many or off < -FAR) and not verdict.weak:
        return replace(verdict, weak=message)
    return replace(verdict, remarks=[*verdict.remarks, message])


def _apart(values: F8, of: Bools) -> float:
    """Return the share of pairs of one of some stars and one of the others whose value is higher.

    0 where there are too few: the statistic of Mann & Whitney (1947, Ann. Math. Stat. 18, 50).
    """
    if min(np.count_nonzero(of), np.count_nonzero(~of)) < MIN_LEFT:
        return 0.0
    return float(np.mean(values[of][:, None] > values[~of]))


def with_widths(verdict: Verdict, psf_stars: Catalog | None) -> Verdict:
    """Return the verdict with what the widths of stars say, where magnitudes depend on brightness.

    A trend or a step in the residuals may be of the reference, a slight change of the width of
    stars of the PSF; both together are pixels that are not linear in light.

    Parameters
    ----------
    psf_stars : Catalog or None
        FLUX_PSF and FWHM_IMAGE of the stars that the PSF was built from.
    """
    numbers = verdict.numbers
    trend = numbers["trend_mag"]
    clear = trend > NOTED_TREND and trend > SURE * numbers["trend_mag_error"]
    if verdict.weak or psf_stars is None or psf_stars.n_rows == 0:
        return verdict
    if not (clear or numbers["step_mag"] > NOTED_TREND):
        return verdict
    wider = slight_widening(psf_stars["FLUX_PSF"], psf_stars["FWHM_IMAGE"])
    if not wider:
        return verdict
    message = (
        f"bright stars are {100.0 * wider:.1f} % wider than faint ones and "
        f"{max(trend, numbers['step_mag']):.2f} mag too faint beside them: pixel values that are "
        "not linear in light?"
    )
    return replace(verdict, weak=message)


def _slope(x: F8, y: F8) -> float:
    """Return the slope of the median of all pairs; of values that are all alike 0."""
    first, second = np.triu_indices(len(x), 1)
    far = x[first] != x[second]
    if not far.any():
        return 0.0
    return median((y[second] - y[first])[far] / (x[second] - x[first])[far])
