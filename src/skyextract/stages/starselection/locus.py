"""Whether sources of one size are stars: whether they crowd at it as their noise allows.

Galaxies have a hump in the diagram of size against S/N, too, and where they are many it is
higher than the ridge of the stars.  But it is wider than the noise of bright sources: there are
as many smaller and larger galaxies beside any size, and they are of all ellipticities.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F8, I8, Bools
from skyextract.datamodel.noise import median, robust_sigma
from skyextract.record import record
from skyextract.settings.keywords import Characterize
from skyextract.stages.agreement import are_mixed
from skyextract.stages.starselection.candidates import Candidates

INTRINSIC = 0.006
"""Scatter of the log10 sizes of stars of an image about a parabola over the field, at most."""

CLIP = 2.5
"""Stars are within so many sigma of that."""

BRIGHT = 50.0
"""S/N from which the noise of a size is as small as that scatter."""

FEW = 4
"""Sources of that S/N that tell a locus, at least; with fewer the fainter ones must, too."""

MIN_JUDGED = 6
"""Of fewer sources than that nothing can be said."""

ALONE = 0.25
"""Sources beside a locus, in units of those in it, up to which nothing but stars is there."""

SMALLER, LARGER, ELLIPTICITY = 0.1, 1.2, 0.018
"""Sources that are a little smaller and larger than stars, and scatter of the ellipticity of
stars, at most where there are galaxies: their edges are in no way sharper than that."""


FAINT_LARGER = 0.4
"""The same where the sources are faint: their noise hides the edges."""

SHARP, MANY_LARGER, MIN_SHARP = 0.35, 3.0, 8
"""Scatter of the ellipticities of stars in units of that of the larger sources beside them, up to
which these may be so many times as many; with so many of each."""

BELOW, NEAR = 0.25, 0.22
"""Sources that are smaller than stars, in units of those, at most, down to so much less in log10:
cosmic rays and hot pixels are smaller still."""

BESIDE = 0.65
"""Sources beside a hump of galaxies, in units of those in it, at least; neighbours and nebulae put
fewer beside the locus of stars."""

WIDER, MIN_WIDER, SHARE_WIDER = 1.3, 8, 0.15
"""Sources that crowd at a size so many times that of others, so many of them and for that part of
all, with nothing beside: stars, and the others are spots."""

MIN_VARYING, MIN_RADIAL, STEPS = 48, 16, 12
"""Sources that show how sizes vary over the field, at least, or that show it if they do as those of
optics with an axis; and steps of the search, at most."""


@record
class Locus:
    """Sources at one size, and beside it.

    Attributes
    ----------
    inside, smaller, larger : int
        Bright sources of the size that varies smoothly over the field, within the noise, and in
        windows as wide below and above it.
    below : int
        All that are smaller, but as sharp as no defect.
    is_bright : bool
        Whether they are bright; else there are too few such, and fainter ones count, too.
    spread, spread_larger : float
        Scatter of the ellipticities of those inside, more than that of the noise, and of those
        that are larger; 0 if there are too few.
    faint_inside, faint_larger : int
        The same as the first and third of sources that are too faint to be judged.
    """

    inside: int
    smaller: int
    larger: int
    below: int
    is_bright: bool
    spread: float
    spread_larger: float = 0.0
    faint_inside: int = 0
    faint_larger: int = 0

    @property
    def is_alone(self) -> bool:
        """Whether hardly anything is beside it."""
        return self.smaller + self.larger <= ALONE * self.inside

    @property
    def is_compact(self) -> bool:
        """Whether it stands out of what is beside it as a locus of stars does.

        Nothing is smaller than a star.
        """
        return self.below <= BELOW * self.inside and (
            self.is_alone
            or (
                self.smaller <= SMALLER * self.inside
                and self.larger <= self.most_larger * self.inside
                and self.spread <= ELLIPTICITY
            )
        )

    @property
    def most_larger(self) -> float:
        """How many larger ones may be beside it, in units of those in it."""
        if not self.is_bright:
            return FAINT_LARGER
        many = min(self.inside, self.larger) >= MIN_SHARP
        return MANY_LARGER if many and self.spread < SHARP * self.spread_larger else LARGER

    @property
    def smaller_share(self) -> float:
        """All that are smaller in units of those inside; 0 of too few sources."""
        if self.inside + self.below < MIN_JUDGED:
            return 0.0
        return self.below / max(self.inside, 1)

    @property
    def is_among_others(self) -> bool:
        """Whether it is compact and other sources are beside it: bright ones, or fainter ones."""
        fainter = self.faint_larger >= FEW and self.faint_larger > ALONE * self.faint_inside
        return self.is_compact and (not self.is_alone or (self.is_bright and fainter))

    @property
    def is_broad(self) -> bool:
        """Whether it is a part of a hump of galaxies, of which others are smaller and larger."""
        beside = self.smaller + self.larger
        return (
            not self.is_compact
            and self.inside + max(beside, self.below) >= MIN_JUDGED
            and (beside > BESIDE * self.inside or self.below > BELOW * self.inside)
        )

    @property
    def is_certain(self) -> bool:
        """Whether it is compact, and certainly so."""
        return (
            self.is_compact
            and self.is_bright
            and self.inside > FEW
            and self.spread <= ELLIPTICITY
            and self.below <= SMALLER * self.inside
        )


def field_of(x: F8, y: F8, shape: tuple[int, int]) -> tuple[F8, F8]:
    """Return places in the field, -0.5 to 0.5 along x and y, of 0-based pixels."""
    return x / shape[1] - 0.5, y / shape[0] - 0.5


def departures(size: F8, error: F8, u: F8, v: F8, keep: Bools, turn: int) -> F8:
    """Return log10 sizes less a polynomial over the field: more terms for later turns.

    Parameters
    ----------
    size, error, u, v : (n,) float64
        Log10 sizes, their errors, places in the field.
    keep : (n,) bool
        Those that the polynomial is fitted to.
    turn : int
        0: a constant; 1: a plane; 2 and more: a parabola, if there are enough sources.
    """
    n = int(keep.sum())
    columns = [np.ones_like(u)]
    if n >= 12 and turn:
        columns += [u, v]
    if n >= 24 and turn > 1:
        columns += [u * u, u * v, v * v]
    return departures_from(np.stack(columns, axis=1), size, error, keep)


def departures_from(terms: F8, size: F8, error: F8, keep: Bools) -> F8:
    """Return log10 sizes less the sum of some terms (n, n_terms) that is fitted to a part."""
    weight = 1.0 / np.hypot(error[keep], 0.01)
    design = terms[keep] * weight[:, None]
    # Terms over the field are far from dependent: normal equations will do.
    normal, right = design.T @ design, design.T @ (size[keep] * weight)
    out: F8 = size - terms @ np.linalg.lstsq(normal, right, rcond=None)[0]
    return out


def locus_at(
    c: Candidates, rows: I8, ridge: tuple[float, float], shape: tuple[int, int], least: float
) -> Locus:
    """Return what there is at a ridge and beside it.

    Parameters
    ----------
    ridge : (float, float)
        Centre and half-width in log10 size.
    shape : (int, int)
        Of the image.
    least : float
        FWHM in pixels of what is as sharp as a defect: such sources do not count.
    """
    size, error = np.log10(c.fwhm[rows]), 0.4343 / c.snr[rows]
    u, v = field_of(c.x[rows], c.y[rows], shape)
    window = CLIP * np.hypot(error, INTRINSIC)
    keep: Bools = np.abs(size - ridge[0]) < ridge[1] + 2.0 * error
    away = size - ridge[0]
    for turn in range(6):
        if keep.sum() < 2:
            break
        away = departures(size, error, u, v, keep, turn)
        fresh: Bools = np.abs(away) < window
        if turn > 1 and (fresh == keep).all():
            break
        keep = fresh
    inside = np.abs(away) < window
    judged = c.snr[rows] >= BRIGHT
    is_bright = bool((judged & inside).sum() >= FEW)
    if not is_bright:
        judged[:] = True
    wide = c.fwhm[rows] >= least
    judged &= wide
    faint = wide & ~judged
    faint_larger = faint & (away >= window) & (away < 3.0 * window)
    faint_inside = inside & faint
    inside &= judged
    beside = judged & ~inside & (np.abs(away) < 3.0 * window)
    smaller = int((beside & (away < 0.0)).sum())
    larger = beside & (away > 0.0)
    spread = spread_larger = 0.0
    if larger.sum() >= MIN_SHARP:
        spread_larger = robust_sigma(c.ellipticity[rows][larger])
    if inside.sum() >= FEW:
        spread = spread_of(c, rows[inside])
    return Locus(
        inside=int(inside.sum()),
        smaller=smaller,
        larger=int(larger.sum()),
        below=int((judged & (away < -window) & (away > -NEAR)).sum()),
        is_bright=is_bright,
        spread=spread,
        spread_larger=spread_larger,
        faint_inside=int(faint_inside.sum()),
        faint_larger=int(faint_larger.sum()),
    )


def spread_of(c: Candidates, rows: I8) -> float:
    """Return the scatter of ellipticities, more than that of the noise."""
    noise = median(1.0 / c.snr[rows])
    spread = robust_sigma(c.ellipticity[rows])
    return math.sqrt(max(spread**2 - noise**2, 0.0))


def wider_locus(
    c: Candidates,
    rows: I8,
    ridge: tuple[float, float],
    ridges: list[tuple[float, float]],
    shape: tuple[int, int],
) -> tuple[float, float] | None:
    """Return the widest ridge at which sources crowd as stars do, if it is wider than a first one.

    Only stars have one size: galaxies do not crowd with nothing beside them.  No star is narrower
    than the PSF, but spots of the detector are: clusters of hot pixels, ions, residual images.

    Parameters
    ----------
    rows : (n,) int64
        Bright candidates without neighbours.
    ridge : (float, float)
        Centre and half-width in log10 size of what was taken for stars.
    ridges : list of (float, float)
        All that stand out.
    """
    wide = [other for other in ridges if other[0] > ridge[0] + math.log10(WIDER)]
    for other in sorted(wide, reverse=True):
        locus = locus_at(c, rows, other, shape, 0.0)
        least = max(MIN_WIDER, SHARE_WIDER * np.count_nonzero(c.snr[rows] >= BRIGHT))
        crowds = locus.is_bright and locus.is_alone and locus.spread <= ELLIPTICITY
        if crowds and locus.inside >= least and _are_beside(c, rows, ridge, other):
            return other
    return None


def _are_beside(
    c: Candidates, rows: I8, spots: tuple[float, float], stars: tuple[float, float]
) -> bool:
    """Tell whether sources of two sizes are all over the frame, and not each in a part of it.

    Parts with sources of another size are chips out of focus, or exposed in other seeing.
    """
    size = np.log10(c.fwhm[rows])
    narrow = np.abs(size - spots[0]) < spots[1]
    wide = ~narrow & (np.abs(size - stars[0]) < stars[1])
    both = narrow.any() and wide.any()
    return bool(both) and are_mixed(c.x[rows], c.y[rows], wide, narrow)


def of_one_size(c: Candidates, config: Characterize, shape: tuple[int, int]) -> Candidates | None:
    """Return candidates without the variation of sizes that most have; None if nothing tells it.

    Steps of concentration to the half nearest to a surface (P. J. Rousseeuw & K. Van Driessen
    1999, Technometrics 41, 212).
    """
    low, high = config.sample_fwhmrange
    good = (c.flags == 0) & (c.ellipticity <= config.sample_maxellip) & (c.flux > 0)
    good &= (c.snr >= config.sample_minsn) & (c.fwhm >= low) & (c.fwhm <= high)
    rows = np.flatnonzero(good)
    if rows.size < MIN_RADIAL:
        return None
    size, error = np.log10(c.fwhm[rows]), 0.4343 / c.snr[rows]
    u, v = field_of(c.x[rows], c.y[rows], shape)
    columns = [np.ones_like(u), u, v]
    columns += [u * u, u * v, v * v] if rows.size >= MIN_VARYING else [u * u + v * v]
    terms = np.stack(columns, axis=1)
    keep: Bools = np.ones(rows.size, dtype=np.bool_)
    for _ in range(STEPS):
        away = np.abs(departures_from(terms, size, error, keep))
        fresh: Bools = away <= median(away)
        if (fresh == keep).all():
            break
        keep = fresh
    surface = size - departures_from(terms, size, error, keep)
    middle = 0.5 * (surface[keep].min() + surface[keep].max())
    if np.abs(surface[keep] - middle).max() > math.log10(1.0 + config.sample_variability):
        return None
    fwhm = c.fwhm.copy()
    fwhm[rows] = 10.0 ** (size - surface + median(surface[keep]))
    return replace(c, fwhm=fwhm)
