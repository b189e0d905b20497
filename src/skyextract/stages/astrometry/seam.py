"""Is a part of the frame out of place?  A seam along rows or columns, in the matched stars.

A chip of a mosaic a few pixels beside its place, an amplifier read with an offset, lines lost in
the read-out: beyond a row or a column all stars are displaced alike.  Polynomials bend towards
such a step, and their scatter hides it, or the stars beyond it are clipped.  So polynomials of low
degree with a step are compared with the plate that was fitted, each star left out in turn: they
win by far only where there is a seam.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, Bools, distinct
from skyextract.datamodel.noise import median
from skyextract.record import record
from skyextract.sky.plate import monomials

MIN_STARS = 20
MIN_SIDE = 5
"""Stars on either side of a seam: fewer at a border are outliers that agree by chance."""
PLACES = 24
"""Places per axis where a seam is looked for: between stars, evenly."""
MOST = 300
"""Stars that it is looked for with."""
MIN_GAIN = 0.6
"""The mean square with a step, left out, is below this part of that of the plate."""
MIN_OFFSET = 0.25
"""Pixels; less is a distortion."""
SURE = 5.0
"""The step counts from this many of its errors on."""
AGREE = 0.7
"""Share of the stars beyond the seam that have the step."""
LIMIT = 4.0
"""A star farther off than this many sigma counts as that far."""
DOUBTFUL = 1.5
"""Scatter in units of the known errors from which a plate may hide a step."""
MIN_APART = 3
"""Stars far off, of which some may be beyond a seam."""
MEDIAN_DISTANCE = 1.1774
"""Of a normal distribution in two dimensions, in units of its sigma of one axis."""
RIDGE = 1e-10
"""Keeps the equations solvable where a step is a polynomial of the few stars there are."""
_ROUNDS = 4


@record
class Seam:
    """A step in the positions of stars.

    Attributes
    ----------
    axis : str
        "row" or "column", or empty: there is none.
    place : float
        The first row or column beyond it, FITS pixels.
    x, y : float
        What stars beyond it are displaced by, arcsec.
    share : float
        Share of the stars on the side that has fewer.
    """

    axis: str = ""
    place: float = math.nan
    x: float = 0.0
    y: float = 0.0
    share: float = 0.0

    @property
    def offset(self) -> float:
        """Length of the step, arcsec."""
        return math.hypot(self.x, self.y)

    @property
    def error(self) -> float:
        """Rms per axis of a plate between both sides, arcsec."""
        return self.offset * math.sqrt(0.5 * self.share * (1.0 - self.share))

    @property
    def told(self) -> str:
        """The seam in words; empty if there is none."""
        if not self.axis:
            return ""
        return (
            f"stars beyond about {self.axis} {self.place:.0f} are displaced by {self.offset:.2f} "
            "arcsec against the others: a part of the frame is out of place (a mosaic, an "
            "amplifier, lost lines)"
        )


def find_seam(
    pixels: tuple[F8, F8], reference: tuple[F8, F8], residuals: tuple[F8, F8], errors: F8,
    shape: tuple[int, int], scale: float, degree: int,
) -> Seam:  # fmt: skip
    """Find the row or column beyond which stars are displaced.

    Parameters
    ----------
    pixels : two of (n,) float64
        0-based.
    reference : two of (n,) float64
        Positions of the reference stars in the tangent plane, arcsec.
    residuals : two of (n,) float64
        Detection minus reference by the plate that was fitted, arcsec.
    errors : (n,) float64
        Known errors of one axis, arcsec.
    shape : (int, int)
        Frame [y, x].
    scale : float
        arcsec per pixel.
    degree : int
        Of the plate.
    """
    if len(errors) < MIN_STARS:
        return Seam()
    rows = np.argsort(errors, kind="stable")[:MOST]
    x, y, errors = pixels[0][rows], pixels[1][rows], errors[rows]
    target = np.column_stack([reference[0][rows], reference[1][rows]])
    off = np.hypot(residuals[0][rows], residuals[1][rows])
    unit = 0.5 * max(shape)
    u, v = (x - 0.5 * shape[1]) / unit, (y - 0.5 * shape[0]) / unit
    spread = np.hypot(errors, median(off) / MEDIAN_DISTANCE)
    doubtful = spread.min() > DOUBTFUL * median(errors)
    if not doubtful and (off > LIMIT * spread).sum() < MIN_APART:
        return Seam()
    places = _places(x, y)
    beyond_each = np.stack([(x if axis == "column" else y) > place for axis, place in places])
    designs = [monomials(u, v, terms) for terms in sorted({1, 2, degree})]
    designs = [one for one in designs if len(errors) >= 2 * (one.shape[1] + 1)]
    if not designs:
        return Seam()
    fits = [fit for one in designs for fit in _with_steps(one, beyond_each, target, errors)]
    total = np.hypot(errors, min(fit.sigma for fit in fits))
    best = int(np.argmin([_loss(fit.left_out, total) for fit in fits]))
    fit, (axis, place) = fits[best], places[best % len(places)]
    beyond = beyond_each[best % len(places)]
    few = beyond if 2 * beyond.sum() <= len(beyond) else ~beyond
    wins = _loss(fit.left_out, total) < MIN_GAIN * _loss(off, total)
    # Stars that the fit has clipped, because they are few.
    apart = (off[few] > LIMIT * total[few]).mean() > AGREE
    agree = (fit.left_out[few] < LIMIT * total[few]).mean() > AGREE
    if not (agree and (wins or apart) and fit.size > max(MIN_OFFSET * scale, SURE * fit.error)):
        return Seam()
    return Seam(axis, place + 1.5, -fit.step[0], -fit.step[1], float(few.mean()))


@record
class _Fit:
    """Polynomials with a step: the step, its error, the scatter, and how far left-out stars are."""

    step: F8
    error: float
    sigma: float
    left_out: F8

    @property
    def size(self) -> float:
        """Length of the step, arcsec."""
        return math.hypot(*self.step)


def _places(x: F8, y: F8) -> list[tuple[str, float]]:
    """Return axis and place, between two stars, of the seams to try."""
    found = []
    for axis, values in (("column", x), ("row", y)):
        ordered = np.sort(values)
        n = len(ordered)
        cuts = distinct(np.linspace(MIN_SIDE, n - MIN_SIDE, PLACES).astype(int))
        found += [(axis, 0.5 * float(ordered[k - 1] + ordered[k])) for k in cuts]
    return found


def _with_steps(design: F8, beyond: Bools, target: F8, errors: F8) -> list[_Fit]:
    """Fit polynomials and a step at each place, stars that are far off with less weight."""
    n_places, n = beyond.shape
    columns = np.empty((n_places, n, design.shape[1] + 1))
    columns[:, :, :-1], columns[:, :, -1] = design, beyond
    weight = np.broadcast_to(errors**-2.0, (n_places, n))
    ridge = RIDGE * np.eye(columns.shape[2])
    for _ in range(_ROUNDS):
        weighted = columns * weight[:, :, None]
        mean = weight.sum(axis=1)[:, None, None]
        inverse = np.linalg.inv(columns.transpose(0, 2, 1) @ weighted + mean * ridge)
        solved = inverse @ (weighted.transpose(0, 2, 1) @ target)
        away = columns @ solved - target
        off = np.hypot(away[:, :, 0], away[:, :, 1])
        sigma = np.maximum(np.median(off, axis=1) / MEDIAN_DISTANCE, 1e-6)
        total = np.hypot(errors, sigma[:, None])
        weight = total**-2.0 / (1.0 + (off / (2.0 * total)) ** 2)
    leverage = np.minimum(weight * ((columns @ inverse) * columns).sum(axis=2), 0.9)
    return [
        _Fit(solved[k, -1], math.sqrt(float(inverse[k, -1, -1])), float(sigma[k]), one)
        for k, one in enumerate(off / (1.0 - leverage))
    ]


def _loss(off: F8, total: F8) -> float:
    return float(np.mean(np.minimum((off / total) ** 2, LIMIT**2)))
