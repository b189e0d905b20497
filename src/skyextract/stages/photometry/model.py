"""What is fitted to the stars beside the zero point: a colour term, a polynomial of the field."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.arrays import F8, Bools
from skyextract.datamodel.noise import median
from skyextract.datamodel.photocal import field_terms
from skyextract.errors import StepError
from skyextract.record import record
from skyextract.sky.bands import Band, color_columns
from skyextract.stages.photometry.stars import Stars
from skyextract.stages.photometry.zeropoint import MIN_STARS, ZeroPointFit, fit_zero_point

if TYPE_CHECKING:
    from skyextract.datamodel.refcatalog import RefCatalog
    from skyextract.settings.keywords import Photometry as PhotometryConfig

_SIGNIFICANT = 4.0
_BRIGHT_OFFSET = 0.03
_STARS_PER_TERM = 8
VIGNETTING = 2
"""Degree of the polynomial that is tried where stars do not agree..."""
MANY_OUTLIERS = 0.4
"""... such a share of them."""


@record
class ColorTerm:
    """Magnitude of a star per colour: first minus second column of the reference.

    Attributes
    ----------
    keys : (str, str) or None
        Columns; None: no colour term.
    coefficient : float or None
        None: to be fitted.
    """

    keys: tuple[str, str] | None
    coefficient: float | None

    @property
    def fitted(self) -> bool:
        """Whether the stars are to tell the coefficient."""
        return self.coefficient is None


def color_term(config: PhotometryConfig, band: Band, reference: RefCatalog) -> ColorTerm:
    """Return the colour term that COLOR_TERM and PHOTREF_COLOR_KEYS ask for.

    Raises
    ------
    StepError
        Where the reference catalogue does not have the colour.
    """
    text = config.color_term.strip().upper()
    coefficient = None if text == "FIT" else float(text)
    if coefficient == 0.0:
        return ColorTerm(None, 0.0)
    columns = " ".join(reference.magnitudes)
    if not config.photref_color_keys:
        keys = color_columns(band.name, reference.magnitudes)
        if keys is None:
            raise StepError(
                f"COLOR_TERM {config.color_term} needs PHOTREF_COLOR_KEYS; the reference "
                f"catalogue has: {columns}"
            )
        return ColorTerm(keys, coefficient)
    names = {name.lower(): name for name in reference.magnitudes}
    missing = [key for key in config.photref_color_keys if key.lower() not in names]
    if missing or len(config.photref_color_keys) != 2:
        raise StepError(
            f"PHOTREF_COLOR_KEYS: no column {' '.join(missing)}; the reference catalogue "
            f"has: {columns}"
        )
    first, second = (names[key.lower()] for key in config.photref_color_keys)
    return ColorTerm((first, second), coefficient)


@record
class StarModel:
    """y = zero point + colour term + polynomial of the field, of each star.

    Attributes
    ----------
    color : ColorTerm
    degree : int
        Of the polynomial.
    shape : (int, int)
        Frame [y, x].
    """

    color: ColorTerm
    degree: int
    shape: tuple[int, int]

    def target(self, stars: Stars, pivot: float) -> F8:
        """Return what each star says of the zero point, at the colour of the pivot."""
        fixed = self.color.coefficient or 0.0
        return stars.mag - stars.instrumental - fixed * (stars.color - pivot)

    def design(self, stars: Stars) -> F8:
        """Return the columns: the colour and powers of the position, as far as wanted."""
        powers = field_terms(stars.x, stars.y, self.shape, self.degree)
        return np.column_stack([stars.color, powers]) if self.color.fitted else powers

    def residuals(self, fit: ZeroPointFit, stars: Stars, pivot: float) -> F8:
        """Return the residuals of stars that need not be in the fit."""
        model = fit.zero_point + (self.design(stars) - fit.means) @ fit.slopes
        return np.asarray(self.target(stars, pivot) - model)

    def polynomial(self, fit: ZeroPointFit) -> tuple[float, ...]:
        """Return the field polynomial, whose mean over the stars is zero; empty if constant."""
        n_colors = int(self.color.fitted)
        slopes, means = fit.slopes[n_colors:], fit.means[n_colors:]
        if not len(slopes):
            return ()
        return (-float(slopes @ means), *(float(s) for s in slopes))


def affordable_degree(wanted: int, n_stars: int) -> int:
    """Return the degree, not above the one wanted, of a polynomial that stars can determine."""
    degree = wanted
    while degree and (degree + 1) * (degree + 2) // 2 * _STARS_PER_TERM > n_stars:
        degree -= 1
    return degree


def fit_stars(
    stars: Stars, model: StarModel, checks: dict[str, Any]
) -> tuple[ZeroPointFit, Stars, float]:
    """Fit, leave out the bright end where it is not linear, and fit again.

    Parameters
    ----------
    stars : Stars
    model : StarModel
    checks : dict
        Gets what the fit shows beside its result.

    Returns
    -------
    ZeroPointFit
    Stars
        Those that were fitted.
    float
        The pivot: magnitudes are right for sources of that colour.

    Raises
    ------
    StepError
        Where the stars are too few for the model.
    """
    n_dropped = 0
    while True:
        pivot = median(stars.color)
        y, design = model.target(stars, pivot), model.design(stars)
        if len(y) < MIN_STARS + design.shape[1]:
            raise StepError(f"{len(y)} stars for {1 + design.shape[1]} coefficients: too few")
        fit = fit_zero_point(y, stars.errors, design)
        drop = _bright_offset(fit, stars)
        if not drop.any() or n_dropped + drop.sum() > (n_dropped + len(y)) // 2:
            break
        n_dropped += int(drop.sum())
        stars = stars.take(~drop)
    checks["n_bright_left_out"] = n_dropped
    if model.color.fitted:
        pivot = float(fit.means[0])
        uncolored = fit_zero_point(y, stars.errors, design[:, 1:])
        checks["scatter_without_color"] = uncolored.scatter
    return fit, stars, pivot


def _bright_offset(fit: ZeroPointFit, stars: Stars) -> Bools:
    """Return the brightest stars if they are too faint together: saturated without a flag."""
    size = max(4, len(stars.mag) // 12)
    drop = np.zeros(len(stars.mag), dtype=np.bool_)
    if len(stars.mag) < 4 * size:
        return drop
    # By the reference: the instrumental magnitude of a saturated star is not its brightness.
    brightest = np.argsort(stars.mag, kind="stable")[:size]
    offset = median(fit.residuals[brightest])
    noise = np.hypot(median(stars.errors[brightest]), fit.intrinsic)
    error = 1.25 * max(float(noise), fit.scatter) / math.sqrt(size)
    drop[brightest] = offset < -max(_BRIGHT_OFFSET, _SIGNIFICANT * error)
    return drop


def varies_over_field(fit: ZeroPointFit, stars: Stars, model: StarModel) -> bool:
    """Tell whether stars that do not fit a zero point fit one that varies over the field."""
    degree = affordable_degree(VIGNETTING, len(stars.row))
    if fit.outlier_fraction <= MANY_OUTLIERS or not model.degree < degree:
        return False
    other, *_ = fit_stars(stars, replace(model, degree=degree), {})
    return other.outlier_fraction < MANY_OUTLIERS
