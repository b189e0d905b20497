"""Whether bright stars lie where faint ones do: the trend of residuals with magnitude.

Guiding that wanders (only bright cores show it), charge that is left behind in transfer, and the
magnitude equation of plates displace stars by their brightness.  A plate fits the mean of them.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.datamodel.noise import median, quantiles, robust_sigma
from skyextract.datamodel.refcatalog import RefCatalog
from skyextract.record import record

MIN_STARS = 20
SURE = 5.0
"""A trend counts from so many of its errors on, ..."""
MIN_OFFSET = 0.1
"""... and from so many pixels between bright and faint stars."""
_FAR = 4.0
"""Stars that are off by more sigma do not count."""
_ENDS = (0.1, 0.9)
"""Percentiles of the magnitudes that are called bright and faint."""


@record
class Brightness:
    """How stars are displaced by their brightness.

    Attributes
    ----------
    x, y : float
        Slope of the residuals (detection minus reference) in xi and eta, arcsec per mag.
    error : float
        Of either.
    length : float
        Magnitudes between bright and faint stars.
    bright_error : float
        Median error per axis of the position of a bright star, arcsec.
    """

    x: float = 0.0
    y: float = 0.0
    error: float = math.inf
    length: float = 0.0
    bright_error: float = 0.0

    @property
    def offset(self) -> float:
        """Distance of faint stars from where bright ones say, arcsec."""
        return math.hypot(self.x, self.y) * self.length

    @property
    def numbers(self) -> dict[str, float]:
        """What the summary tells; nothing where stars are too few."""
        if not math.isfinite(self.error):
            return {}
        return {"trend_mag": math.hypot(self.x, self.y), "trend_mag_error": self.error}

    def told(self, pixel_scale: float, floor: float) -> str:
        """Say that stars are displaced by more than their errors, with the plate's; else empty."""
        claimed = math.hypot(self.bright_error, floor)
        slope = math.hypot(self.x, self.y)
        clear = slope > SURE * self.error and self.offset > MIN_OFFSET * pixel_scale
        angle = math.degrees(math.atan2(self.x, self.y)) % 360.0
        message = (
            f"faint stars lie {self.offset:.2f} arcsec from where bright ones do, at position "
            f"angle {angle:.0f} deg ({self.length:.1f} mag apart; errors of bright ones "
            f"{claimed:.2f}): guiding, charge transfer, a magnitude equation of the reference "
            "catalogue?"
        )
        return message if clear and self.offset > claimed else ""


def find_trend(
    offsets: tuple[F8, F8], own: F8, errors: F8, region: RefCatalog, second: I8
) -> Brightness:
    """Fit a line over magnitude to the residuals of matched stars, and over colour beside it.

    Refraction displaces stars by their colour, which changes with magnitude: where the catalogue
    has a second magnitude, colour has a slope of its own.

    Parameters
    ----------
    offsets : ((n,) float64, (n,) float64)
        Detection minus reference in xi and eta, arcsec.
    own, errors : (n,) float64
        Of the position of the source, and of the offset, per axis, arcsec.
    region : RefCatalog
    second : (n,) int64
        The star of each.
    """
    mag = region.mag[second]
    known = np.isfinite(mag)
    terms = [np.ones(mag.size), mag]
    for key, other in region.magnitudes.items():
        colour = mag - other[second]
        if key != region.mag_key and np.isfinite(colour).sum() > 0.8 * known.sum():
            known &= np.isfinite(colour)
            terms.append(colour)
            break
    if known.sum() < MIN_STARS:
        return Brightness()
    design = np.stack([term[known] - median(term[known]) * (k > 0) for k, term in enumerate(terms)])
    off, errors = np.stack(offsets)[:, known], errors[known]
    weighted = design / errors
    good = np.ones(errors.size, np.bool_)
    left = (off - np.array([[median(axis)] for axis in off])) / errors
    slopes, error = np.zeros(2), math.inf
    for _ in range(5):
        size = np.hypot(left[0], left[1])
        good = size <= _FAR * max(median(size) / 1.1774, 1e-9)
        normal = weighted[:, good] @ weighted[:, good].T
        if good.sum() < MIN_STARS or np.linalg.cond(normal) > 1e10:
            return Brightness()
        inverse = np.linalg.inv(normal)
        found = inverse @ (weighted[:, good] @ (off[:, good] / errors[good]).T)
        left = (off - found.T @ design) / errors
        scatter = max(1.0, *(robust_sigma(axis[good]) for axis in left))
        slopes, error = found[1], scatter * math.sqrt(float(inverse[1, 1]))
    bright, faint = quantiles(mag[known][good], _ENDS)
    brightest = own[known][good & (mag[known] <= bright)]
    return Brightness(float(slopes[0]), float(slopes[1]), error, faint - bright, median(brightest))
