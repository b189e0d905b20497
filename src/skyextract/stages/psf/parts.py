"""Parts of the field whose stars have a size of their own, which the PSF does not follow.

Chips of other focus in one mosaic, exposures of other seeing in one stack, stars that are trailed
while a part of the frame is read: sizes jump at an edge, where a PSF varies smoothly.  There the
sizes of stars depart together from the surface that the PSF stars make, far more than their noise,
and they crowd at one departure, as galaxies do not.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, I8, Bools
from skyextract.datamodel.noise import median
from skyextract.datamodel.psf import Psf
from skyextract.datamodel.psfshape import core_shape
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.record import record
from skyextract.stages.psf.locus import departures, field_of

CELLS = 4
"""Parts are rectangles of a grid of so many cells each way."""

MIN_STARS = 8
"""That a part is judged by, at least."""

OTHER = 0.01
"""Departure of log10 sizes, so large that fluxes are 2 % off."""

SURE = 5.0
"""The same in units of the error of a median."""

REACH = 1.5
"""FWHM to which the PSF's sizes are measured."""

TERMS = (1, 3, 6)
"""Of a constant, a plane and a parabola."""

ALIKE = 0.02
"""Scatter of the log10 sizes of a part that is one of stars, at most."""


@record
class Sizes:
    """Sizes of the PSF stars, and of other bright, isolated sources.

    Attributes
    ----------
    x, y : (n,) float64
        Pixels.
    size, error : (n,) float64
        Log10 of the FWHM in pixels, and its error.
    is_star : (n,) bool
        PSF stars.
    is_round : (n,) bool
        Sources that are about as round as these.
    """

    x: F8
    y: F8
    size: F8
    error: F8
    is_star: Bools
    is_round: Bools

    def of_round(self) -> Sizes:
        """Return the sizes of round sources."""
        names = ("x", "y", "size", "error", "is_star", "is_round")
        return Sizes(*(getattr(self, name)[self.is_round] for name in names))


def doubt_of_parts(sizes: Sizes | None, psf: Psf, shape: tuple[int, int]) -> str:
    """Tell which part of the frame has stars that are not those of the PSF; empty if none has.

    Parameters
    ----------
    sizes : Sizes or None
    psf : Psf
        Made of the PSF stars.
    shape : (int, int)
        Of the image.
    """
    if sizes is None:
        return ""
    of_round = sizes.of_round()
    part = _part_unlike(of_round, psf, shape)
    if part is not None:
        return _told(part, "have a focus or seeing of their own", shape)
    if of_round.x.size == sizes.x.size:
        return ""
    # Among sources of any shape are galaxies, which are not of one size.
    part = _part_unlike(sizes, psf, shape)
    if part is not None and 2 * np.count_nonzero(sizes.is_round[part.rows]) < part.rows.size:
        return _told(part, "have trailed stars", shape)
    return ""


def _part_unlike(sizes: Sizes, psf: Psf, shape: tuple[int, int]) -> _Part | None:
    """Return the part of the frame that departs most clearly; None if none does."""
    if sizes.x.size < MIN_STARS:
        return None
    u, v = field_of(sizes.x, sizes.y, shape)
    # A surface through the sizes of the stars takes no time; the PSF is looked at if it must be.
    if _worst(_from_surface(sizes, u, v), sizes.error, u, v) is None:
        return None
    away = sizes.size - model_sizes(psf, sizes.x, sizes.y, shape)
    away -= np.median(away[sizes.is_star])
    return _worst(away, sizes.error, u, v)


def _told(part: _Part, cause: str, shape: tuple[int, int]) -> str:
    """Tell of a part of the frame."""
    wider = 10.0**part.departure - 1.0
    x, y = (np.linspace(0.5, n + 0.5, CELLS + 1).round().astype(int) for n in shape[::-1])
    return (
        f"stars in x {x[part.left]} to {x[part.right]}, y {y[part.low]} to {y[part.high]} are "
        f"{100 * abs(wider):.1f} % {'wider' if wider > 0.0 else 'narrower'} than the PSF there: "
        f"parts of the frame {cause}, which the PSF does not follow"
    )


def _from_surface(sizes: Sizes, u: F8, v: F8) -> F8:
    """Return log10 of the sizes less the simplest surface that those of the stars ask for.

    In a corner without PSF stars a parabola through the few of a crowd, whose sizes neighbours
    scatter, is anything: a plane or a constant does unless what a parabola takes off the squares
    is more than its terms must (Schwarz 1978, Ann. Stat. 6, 461).
    """
    is_star = sizes.is_star
    n = int(is_star.sum())
    weight = 1.0 / np.hypot(sizes.error[is_star], OTHER)
    best, least = sizes.size, math.inf
    for turn, n_terms in enumerate(TERMS):
        away = departures(sizes.size, sizes.error, u, v, is_star, turn)
        squares = float(((weight * away[is_star]) ** 2).sum())
        cost = n * math.log(max(squares, 1e-30)) + n_terms * math.log(max(n, 1))
        if cost < least:
            best, least = away, cost
    return best


def model_sizes(psf: Psf, x: F8, y: F8, shape: tuple[int, int]) -> F8:
    """Return log10 of the sizes of a PSF at some places in the frame, but for a constant.

    They vary as smoothly as the PSF: a polynomial through those at Chebyshev's nodes, of twice the
    degree of the PSF along both axes, is right to 1e-4.

    Parameters
    ----------
    psf : Psf
    x, y : (n,) float64
        0-based pixels.
    shape : (int, int)
        Of the image.
    """
    n = 2 * psf.degree + 1
    if x.size <= n * n:
        return _sizes_at(psf, x, y)
    nodes = np.cos((np.arange(n) + 0.5) * np.pi / n)
    node_x, node_y = (0.5 * (size - 1) * (1.0 + nodes) for size in shape[::-1])
    sizes = _sizes_at(psf, np.tile(node_x, n), np.repeat(node_y, n)).reshape(n, n)
    along, across = (
        _lagrange(2.0 * at / max(size - 1, 1) - 1.0, nodes)
        for at, size in ((x, shape[1]), (y, shape[0]))
    )
    out: F8 = np.einsum("ki,kj,ij->k", across, along, sizes)
    return out


def _lagrange(at: F8, nodes: F8) -> F8:
    """Return the weights (n, n_nodes) of the values at nodes in the polynomial through them."""
    weights = np.ones((at.size, nodes.size))
    for k, node in enumerate(nodes):
        for other in np.delete(nodes, k):
            weights[:, k] *= (at - other) / (node - other)
    return weights


def _sizes_at(psf: Psf, x: F8, y: F8) -> F8:
    """Return log10 of the sizes of the PSF at some places, but for a constant."""
    side = 2 * min(psf.radius, math.ceil(REACH * psf.fwhm)) + 1
    nothing = np.zeros(x.size)
    out = np.empty(x.size)
    for k, stamp in enumerate(psf.stamps(x, y, nothing, nothing, side)):
        _, _, xx, yy, xy = core_shape(stamp.astype(np.float64))
        out[k] = 0.25 * math.log10(xx * yy - xy * xy)
    return out


@record
class _Part:
    """Cells from `left` up to `right` and from `low` up to `high`, and how sizes depart there."""

    left: int
    right: int
    low: int
    high: int
    departure: float
    ratio: float
    rows: I8


def _worst(away: F8, error: F8, u: F8, v: F8) -> _Part | None:
    """Return the part whose sizes depart most clearly; None if none departs by much."""
    column, row = (np.clip(((w + 0.5) * CELLS).astype(np.int64), 0, CELLS - 1) for w in (u, v))
    edges = [(low, high) for low in range(CELLS) for high in range(low + 1, CELLS + 1)]
    worst = None
    for left, right in edges:
        across = (column >= left) & (column < right)
        for low, high in edges:
            inside = across & (row >= low) & (row < high)
            departure, ratio = _departure(away[inside], error[inside])
            if abs(departure) > OTHER and ratio > (worst.ratio if worst else SURE):
                rows = np.flatnonzero(inside)
                worst = _Part(left, right, low, high, departure, ratio, rows)
    return worst


def _departure(away: F8, error: F8) -> tuple[float, float]:
    """Return the median of departures, and its ratio to its error; 0 if they are not of stars."""
    if away.size < MIN_STARS:
        return 0.0, 0.0
    middle, noise = median(away), median(error)
    scatter = MAD_TO_SIGMA * median(np.abs(away - middle))
    if scatter > math.hypot(ALIKE, noise):
        return 0.0, 0.0
    # The median of normal numbers is 1.25 times as uncertain as their mean.
    return middle, abs(middle) / (1.25 * math.hypot(scatter, noise) / math.sqrt(away.size))
