"""How well a plate is known at each place, where no star is, too.

The error of a fitted polynomial holds if the plate is one.  So terms of the next degrees are let in
as random ones of a common size, which the stars themselves tell (kriging with polynomials: Cressie
1993, Statistics for Spatial Data, 3.4): the error grows where they are not held by stars, out of
the reach of a catalogue that covers a part of the frame, and in corners.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F8, Bools
from skyextract.datamodel.refcatalog import reference_variance
from skyextract.record import record
from skyextract.sky.plate import exponents, monomials
from skyextract.stages.astrometry.platefit import PlateFit
from skyextract.stages.astrometry.solution import Solution
from skyextract.stages.astrometry.sources import Sources

MORE_DEGREES = 3
"""So many degrees beyond the plate's are let in."""
MIN_DEGREE = 5
"""Up to this one at least."""
SIZES = np.geomspace(0.01, 60.0, 16)
"""Sizes of their terms that are tried, pixels in the corners."""
USUAL_SIZE = 0.05
"""A size that is usual, pixels; others are rarer in proportion, where the stars do not tell."""
SCATTERS = np.array([0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6])
"""Scatter beyond the errors that is tried, pixels ..."""
USUAL_SCATTER, SCATTER_POWER = 0.05, 6.0
"""... and that is usual; more is rarer, with this power: stars are where they are."""
OUTLIERS = 0.1
"""Share of stars that may be anywhere within the matching radius."""
MAX_STARS = 1000
"""So many stars, at most, tell."""
MAX_ERROR = 1.0
"""Error of the plate at some places, pixels per axis, that makes the solution a FALLBACK."""
OVERSTATED = 10.0
"""Quoted errors that are so many times the scatter of stars held out are not theirs."""
_MOST = 0.95
"""Share of the frame that is better than that."""
_LATTICE = 9
_NEAR = 3.0
"""Stars that were clipped count where they are so many errors from what is expected there."""
_ROUNDS = 4
_FREE = 1e5
"""Size of terms that are not restrained, pixels."""
_LIKELY = 1e-3
"""Sizes that are less likely than this, beside the likeliest, do not count."""
_TINY = 1e-12


@record
class Extent:
    """What is expected of the offsets at each place.

    Attributes
    ----------
    frame : Frame
    lowest, highest : int
        Degrees of the terms that the plate has not.
    weight : float64 (k,)
        Probability of each size of the terms.
    mean : float64 (k, terms, 2)
        Coefficients that the stars suggest, arcsec.
    covariance : float64 (k, terms, terms)
        Of them, per axis, arcsec2.
    rigid : Rigid or None
        Error of a similarity, whose shift, rotation and scale are not among the terms.
    """

    frame: Frame
    lowest: int
    highest: int
    weight: F8
    mean: F8
    covariance: F8
    rigid: Rigid | None

    def error(self, x: F8, y: F8) -> F8:
        """Return the error of the plate at 0-based pixels, arcsec per axis.

        It holds the offset that the terms beyond the plate's suggest.
        """
        rows = self.frame.terms(x, y, self.highest)
        own = 0.0 if self.rigid is None else self.rigid.variance(x, y)
        total = np.zeros(len(rows))
        for weight, mean, covariance in zip(self.weight, self.mean, self.covariance, strict=True):
            offset = 0.5 * np.sum((rows @ mean) ** 2, axis=1)
            variance = np.maximum(_quadratic(rows, covariance), 0.0)
            total += weight * np.sqrt(offset + variance + own)
        return total

    def offset(self, x: F8, y: F8) -> F8:
        """Return what the terms suggest at 0-based pixels, arcsec in xi and eta, (n, 2)."""
        mean = np.einsum("k,ktj->tj", self.weight, self.mean)
        return np.asarray(self.frame.terms(x, y, self.highest) @ mean)

    def variance(self, x: F8, y: F8) -> F8:
        """Return the variance of that at 0-based pixels, arcsec2 per axis."""
        return self.about(self).error(x, y) ** 2

    def about(self, other: Extent) -> Extent:
        """Return the same of a plate that has what the terms of another, or itself, suggest."""
        mean = self.mean.copy()
        given = np.einsum("k,ktj->tj", other.weight, other.mean)
        mean[:, : len(given)] -= given
        return replace(self, mean=mean)

    def worst(self) -> tuple[float, float, float]:
        """Return the error, arcsec per axis, and a place that few others are worse than."""
        x, y = self.frame.lattice()
        error = self.error(x, y)
        k = int(np.argsort(error)[int(_MOST * len(error))])
        return float(error[k]), float(x[k]), float(y[k])

    def weakness(self, fit: PlateFit, quoted: float) -> str:
        """Say that no star holds the plate in a part of the frame; empty if they do.

        Where `quoted`, the typical error of the reference catalogue, arcsec, is far beyond what
        its stars show, it is these errors that leave the plate open.
        """
        error, x, y = self.worst()
        plate, scatter = fit.plate, fit.rms(held=True)
        message = (
            f"positions near x {x + 1.0:.0f}, y {y + 1.0:.0f} are uncertain by {error:.2f} arcsec: "
            f"the stars suggest a distortion of a higher degree than {plate.degree}, and too few "
            "are there"
        )
        if quoted > OVERSTATED * scatter:
            message = (
                f"the reference catalogue quotes errors of {quoted:.2g} arcsec, and its stars "
                f"agree to {scatter:.2g}: errors in another unit? By these, positions are "
                f"uncertain by {error:.2f} arcsec"
            )
        return message if error > MAX_ERROR * plate.pixel_scale else ""


@record
class Frame:
    """The frame, [y, x] pixels, and terms of polynomials over it."""

    shape: tuple[int, int]

    def terms(self, x: F8, y: F8, highest: int) -> F8:
        """Return monomials; those of one degree are of one size in all directions."""
        ny, nx = self.shape
        reach = 0.5 * math.hypot(nx, ny)
        size = [math.sqrt(math.comb(p + q, q)) for p, q in exponents(highest)]
        u, v = (x - 0.5 * (nx - 1)) / reach, (y - 0.5 * (ny - 1)) / reach
        return np.asarray(monomials(u, v, highest) * np.array(size))

    def lattice(self) -> tuple[F8, F8]:
        """Return places all over it."""
        across, along = (np.linspace(0.0, n - 1.0, _LATTICE) for n in self.shape[::-1])
        return np.repeat(across, _LATTICE), np.tile(along, _LATTICE)


@record
class Rigid:
    """Error of a similarity: of the shift, at the middle of its stars, and of the turn."""

    x: float
    y: float
    shift: float
    turn: float

    @classmethod
    def of(cls, x: F8, y: F8, variance: F8) -> Rigid:
        """Find it from the stars' pixels and their variances per axis, arcsec2."""
        weight = 1.0 / np.maximum(variance, _TINY)
        total = float(weight.sum())
        x0, y0 = float(weight @ x) / total, float(weight @ y) / total
        spread = float(weight @ ((x - x0) ** 2 + (y - y0) ** 2))
        return cls(x0, y0, 1.0 / total, 1.0 / max(spread, _TINY))

    def variance(self, x: F8, y: F8) -> F8:
        """Return the variance per axis at 0-based pixels, arcsec2."""
        return np.asarray(self.shift + self.turn * ((x - self.x) ** 2 + (y - self.y) ** 2))


def _quadratic(rows: F8, covariance: F8) -> F8:
    return np.asarray(np.einsum("ij,ij->i", rows @ covariance, rows))


def extent_of(solution: Solution, sources: Sources, shape: tuple[int, int]) -> Extent:
    """Find what the matched stars of a solution tell of terms beyond the plate's.

    `shape` is the frame's, [y, x].
    """
    fit = solution.fit
    own, other = (rows[solution.in_fit] for rows in (solution.first, solution.second))
    variance = sources.variance[own] * fit.plate.pixel_scale**2
    variance = variance + reference_variance(solution.region, other)
    x, y = sources.x[own], sources.y[own]
    few = slice(None, None, max(1, -(-len(x) // MAX_STARS)))
    offset = np.stack([fit.dx, fit.dy], axis=1)
    return explored(fit, shape, x[few], y[few], offset[few], variance[few], fit.used[few])[0]


def explored(
    fit: PlateFit,
    shape: tuple[int, int],
    x: F8,
    y: F8,
    offset: F8,
    variance: F8,
    used: Bools,
    highest: int = 0,
) -> tuple[Extent, Bools, float, float]:
    """Find what stars tell of terms beyond the plate's of a fit.

    Parameters
    ----------
    fit : PlateFit
    shape : tuple of int
        Frame [y, x].
    x, y : float64 (n,)
        0-based pixels of stars.
    offset : float64 (n, 2)
        From the plate: detection minus reference in xi and eta, arcsec.
    variance : float64 (n,)
        Of one axis, from the known errors, arcsec2.
    used : bool (n,)
        Stars that are sure to be right.
    highest : int
        Degree of the terms; 0: as many as count.

    Returns
    -------
    Extent
    bool (n,)
        Stars that are where it expects them, too.
    float
        The likeliest scatter beyond the errors, arcsec.
    float
        Log of the probability density of the offsets of these stars.
    """
    frame, model = Frame(shape), fit.model
    lowest = {"similarity": 1, "affine": 2}.get(model.kind, model.degree + 1)
    highest = highest or max(lowest + MORE_DEGREES - 1, MIN_DEGREE)
    rows = frame.terms(x, y, highest)
    order = np.array([float(p + q) for p, q in exponents(highest)])
    degrees = lowest, lowest + MORE_DEGREES - 1, highest
    for _ in range(_ROUNDS):
        found = _posterior(
            rows[used], offset[used], variance[used], order, degrees, fit.plate.pixel_scale
        )
        # Clipped stars may be where the terms suggest.
        best = int(np.argmax(found.weight))
        left = offset - rows @ found.mean[best]
        known = _quadratic(rows, found.covariance[best]) + variance + found.scatter**2
        again = used | (np.sum(left**2, axis=1) < _NEAR**2 * known)
        if np.array_equal(again, used):
            break
        used = again
    rigid = None
    if model.kind == "similarity":
        rigid = Rigid.of(x[used], y[used], variance[used] + found.scatter**2)
    extent = Extent(frame, lowest, highest, found.weight, found.mean, found.covariance, rigid)
    return extent, used, found.scatter, found.evidence


@record
class _Posterior:
    """What some stars tell of terms; `evidence` is the log of the probability of the stars."""

    weight: F8
    mean: F8
    covariance: F8
    scatter: float
    evidence: float


def _posterior(
    rows: F8, offset: F8, variance: F8, order: F8, degrees: tuple[int, int, int], scale: float
) -> _Posterior:
    """Return the probability of each size and highest degree of the terms, and what they are.

    `order` is that of the terms.  Terms below the first of the degrees, those of the plate, have
    any size; the highest is the second or the third.
    """
    lowest = degrees[0]
    highest = sorted({min(degrees[1], degrees[2]), degrees[2]})
    sizes, tops = (np.array(v) for v in zip(*itertools.product(SIZES, highest), strict=True))
    restrained = np.where(order <= tops[:, None], sizes[:, None], 0.0)
    prior = scale * np.where(order < lowest, _FREE, restrained)
    both = prior[:, :, None], prior[:, None, :]
    ratio = sizes / USUAL_SIZE
    usual = np.log(ratio / (1.0 + ratio * ratio))
    found = []
    for scatter in SCATTERS:
        weight = 1.0 / np.maximum(variance + (scatter * scale) ** 2, _TINY)
        power = rows.T @ (rows * weight[:, None])
        target = rows.T @ (offset * weight[:, None])
        constant = 2.0 * np.sum(np.log(weight)) - np.sum(weight[:, None] * offset**2)
        rare = -SCATTER_POWER * math.log1p(scatter / USUAL_SCATTER)
        # All sizes at once: for each alone, numpy's calls take longer than its arithmetic.
        matrix = power * both[0] * both[1] + np.eye(len(order))
        mean = prior[:, :, None] * np.linalg.solve(matrix, prior[:, :, None] * target)
        product = np.sum((target * mean).reshape(len(mean), -1), axis=1)
        log = 0.5 * (constant + product) - np.linalg.slogdet(matrix)[1]
        found.append((log + rare + usual, mean, matrix))
    logs, means, matrices = (np.concatenate(v) for v in zip(*found, strict=True))
    scatters = np.repeat(SCATTERS * scale, len(sizes))
    probability = np.exp(logs - logs.max())
    likely = np.flatnonzero(probability > _LIKELY)
    weight = probability[likely] / probability[likely].sum()
    best = int(np.argmax(probability))
    evidence = float(logs.max()) + math.log(probability.sum()) - len(rows) * math.log(2.0 * math.pi)
    size = np.tile(np.arange(len(sizes)), len(SCATTERS))[likely]
    covariances = np.linalg.inv(matrices[likely]) * both[0][size] * both[1][size]
    return _Posterior(weight, means[likely], covariances, float(scatters[best]), evidence)
