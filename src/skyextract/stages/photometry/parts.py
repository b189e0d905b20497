"""What stars of all places and brightnesses tell of one zero point."""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.photocal import field_terms
from skyextract.record import record
from skyextract.stages.agreement import (
    Group,
    Spread,
    bins,
    cells,
    largest_step,
    most_agree,
    second_group,
    smooth_spread,
    spread_of_medians,
)
from skyextract.stages.photometry.mixed import Mixture, two_zero_points
from skyextract.stages.photometry.neighbours import shared_scatter
from skyextract.stages.photometry.together import Together, off_together

MAX_PART = 0.15
"""Median residual of a part of the frame or of a range of magnitudes, mag."""
SURFACE_DEGREE = 2
SURE = 4.0
"""A trend counts from this many sigma."""


@record
class Parts:
    """What parts of the stars say about the zero point of all.

    Attributes
    ----------
    field, brightness : Spread
        Of the medians in cells of the frame, and in ranges of magnitude.
    side : int
        Cells per side of the frame.
    surface : float
        Rms of a smooth surface in the residuals, mag.
    corners : float
        Change of the residuals from the middle to the corners, mag; 0 where it is not significant.
    shared : float
        Scatter that neighbours have in common, mag.
    group : Group
        Outliers that agree on another zero point; x is how far off that is, mag.
    step : (float, float)
        Height and place, mag, of the largest step in the residuals over magnitude.
    mixture : Mixture
        Two groups of stars that stand side by side.
    together : Together
        Stars that are off in one place.
    """

    field: Spread
    brightness: Spread
    side: int
    surface: float
    corners: float
    shared: float
    group: Group
    step: tuple[float, float]
    mixture: Mixture
    together: Together

    @property
    def contradiction(self) -> str:
        """Why one zero point cannot be right for all; empty if it may be."""
        if self.group.contradicts:
            return (
                f"{self.group.number} stars agree with each other on a zero point that is "
                f"{self.group.x:+.2f} mag off: two magnitude systems, clouds?"
            )
        if self.field.exceeds(MAX_PART, SURE):
            worst = self.field.worst
            return f"stars {self.place} are off by {worst:+.2f} mag: clouds, flat field?"
        if self.brightness.exceeds(MAX_PART, SURE):
            return self._about_brightness()
        return ""

    def _about_brightness(self) -> str:
        """Say which stars are off, and what may be the cause; clouds know no brightness."""
        worst = self.brightness.worst
        if self.brightness.part > 0:
            return (
                f"stars of one brightness are off by {worst:+.2f} mag: another magnitude system, "
                "pixel values that are not linear in light, a wrong background?"
            )
        if worst > 0.0:
            return (
                f"the brightest stars are {worst:.2f} mag brighter than in the reference: is that "
                "saturated there?"
            )
        return (
            f"the brightest stars are {-worst:.2f} mag fainter than in the reference: are they "
            "saturated, or the pixel values not linear in light?"
        )

    @property
    def place(self) -> str:
        """The cell that differs most, in words."""
        row, column = divmod(self.field.part, self.side)
        return f"in cell {column + 1}, {row + 1} of {self.side} x {self.side}"


def compare_parts(
    fitted: tuple[F8, F8, F8], everyone: tuple[F8, F8, F8, F8], bright: tuple[F8, F8, F8],
    intrinsic: float, shape: tuple[int, int],
) -> Parts:  # fmt: skip
    """Compare parts of the stars.

    Parameters
    ----------
    fitted : three of (n,) float64
        Residuals, errors and magnitudes of the stars of the fit.
    everyone : four of (m,) float64
        Residuals, errors and 0-based pixels x, y of these and fainter ones.
    bright : three of (k,) float64
        Residuals, errors and magnitudes of brighter ones, which the fit left out: where they agree
        with each other they are not saturated, but in another magnitude system.
    intrinsic : float
        Scatter beyond the errors; outliers are what it does not explain.
    shape : (int, int)
        Frame [y, x].
    """
    residuals, errors, mag = fitted
    brightness = spread_of_medians(residuals, errors, bins(mag))
    stars = [residuals, errors, mag]
    if most_agree(bright[0], np.hypot(bright[1], intrinsic)):
        # Saturated stars are the farther off the brighter they are.
        stars = [np.append(one, other) for one, other in zip(stars, bright, strict=True)]
    step = largest_step(*stars)
    inside = np.abs(residuals) < SURE * np.hypot(errors, intrinsic)
    mixture = two_zero_points(residuals[inside], errors[inside], intrinsic)
    residuals, errors, x, y = everyone
    part, side = cells(x, y, shape)
    field = spread_of_medians(residuals, errors, part)
    together = np.append(residuals, bright[0])
    total = np.hypot(np.append(errors, bright[1]), intrinsic)
    apart = np.abs(together) > SURE * total
    group = second_group(together, np.zeros_like(together), total, apart)
    apart = apart[: len(residuals)]
    terms = field_terms(x[~apart], y[~apart], shape, SURFACE_DEGREE)
    surface = smooth_spread(residuals[~apart], errors[~apart], terms)
    round_one, corners = _to_corners(residuals[~apart], errors[~apart], terms)
    surface = max(surface, round_one)
    shared = shared_scatter(residuals, errors, x, y)
    close = off_together(residuals, np.hypot(errors, intrinsic), x, y)
    return Parts(field, brightness, side, surface, corners, shared, group, step, mixture, close)


def _to_corners(values: F8, errors: F8, terms: F8) -> tuple[float, float]:
    """Return rms, and change to the corners, of what values have of a flat field's vignetting.

    One term shows sooner than all of a surface of second degree.

    Parameters
    ----------
    values, errors : (n,) float64
    terms : (n, 5) float64
        `field_terms` of second degree.
    """
    square = 0.5 * (terms[:, 1] + terms[:, 4])
    rms = smooth_spread(values, errors, square[:, None])
    if not rms > 0.0:
        return 0.0, 0.0
    weight = errors**-2.0
    centred = square - np.average(square, weights=weight)
    return rms, float(weight @ (centred * values) / (weight @ centred**2))
