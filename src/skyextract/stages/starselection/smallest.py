"""Whether the few sources that agree on a size are stars: those are the smallest.

Where a frame has few stars among galaxies, some of these have one size by chance.  Two
descriptions of the sizes of all isolated bright sources are compared by their likelihood: a hump
of galaxies alone, and stars of one size with a hump of which none is smaller than they are.
"""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F8, I8, Bools
from skyextract.datamodel.noise import median, robust_sigma
from skyextract.record import record
from skyextract.stages.starselection.candidates import Candidates

FEW, MOST = 20, 300
"""PSF stars from which they are no longer judged so, and sources that are looked at, at most."""

MIN_MEMBERS = 3
"""Stars without which there is no PSF."""

SURE = 4.5
"""Log likelihood by which stars and galaxies describe sizes better than galaxies alone, from which
there are stars (the most of 48 frames of galaxies without a star: 4.1)."""

SURE_OF_EACH = 0.25
"""The same for each star where they are many: stars give .6 and more, humps of galaxies .14."""

SURE_ALONE, SURE_EACH = 3.0, 0.5
"""The same where hardly any source has another size: up to that, so much for each."""

ALONE = 0.75
"""Share of the sources of one size from which that is so."""

OTHER, BETTER = 0.03, 2.0
"""Log10 by which a smaller size differs, and log likelihood by which it is the better one."""

SCATTERS = (0.006, 0.02)
"""Scatter of the log10 sizes of stars beside their noise: of a constant PSF, and of one that varies
over the field."""

DEFECTS = 0.02
"""Share of sources of any size, in a range of 1 in log10."""

NARROWEST = 0.08
"""Scatter of the log10 sizes of galaxies, at least."""

STEPS, LONGEST = 24, 0.01
"""Steps of expectation and maximisation, and the longest of a size in log10."""

_ROOT_TWO_PI = 2.5066


@record
class Smallest:
    """What the sizes of few sources say.

    Attributes
    ----------
    size : float
        Log10 of the size of a smaller group that is the better choice; NaN if there is none.
    doubt : str
        Why the sources at the size that was chosen may be no stars; empty if they are such.
    """

    size: float
    doubt: str


@record
class _Mixtures:
    """Stars of several sizes with galaxies: log likelihood beyond galaxies alone, and members.

    Attributes
    ----------
    size, better : (k,) float64
        Log10 of the sizes of the stars, and the log likelihoods.
    is_star : (k, n) bool
        Sources that are more likely stars than not.
    """

    size: F8
    better: F8
    is_star: Bools


def judge_few(c: Candidates, rows: I8, chosen: float) -> Smallest:
    """Judge whether few sources of a size that was chosen are stars.

    Parameters
    ----------
    rows : (n,) int64
        Bright candidates without neighbours that are wider than defects.
    chosen : float
        Log10 of the size; NaN if none was.
    """
    size, noise = np.log10(c.fwhm[rows]), 0.4343 / c.snr[rows]
    nothing = Smallest(np.nan, "")
    if not MIN_MEMBERS <= rows.size <= MOST:
        return nothing
    starts = np.append(size[~(size > chosen - OTHER)], chosen)
    starts = starts[np.isfinite(starts)]
    own, of_own = _at_chosen(size, noise, chosen)
    best, other, of_other = -np.inf, np.nan, of_own
    for scatter in SCATTERS:
        error = np.hypot(noise, scatter)
        fits = _mixtures(size, error, starts, free=True)
        smaller = fits.size < chosen - OTHER if np.isfinite(chosen) else fits.size < np.inf
        if smaller.any():
            top = int(np.where(smaller, fits.better, -np.inf).argmax())
            if fits.better[top] > best:
                best, other, of_other = fits.better[top], fits.size[top], fits.is_star[top]
    if not np.isfinite(chosen):
        clear = best > SURE and np.count_nonzero(of_other) >= MIN_MEMBERS
        return Smallest(float(other), "") if clear else nothing
    is_better = best > own + BETTER and np.count_nonzero(of_other) >= MIN_MEMBERS
    doubt = _doubt(size, noise, chosen, own, of_own)
    return Smallest(float(other) if is_better else np.nan, doubt)


def doubt_of_size(c: Candidates, rows: I8, chosen: float) -> str:
    """Tell why many sources at a size may be no stars; empty if they are such.

    Parameters
    ----------
    rows, chosen
        As in `judge_few`; sizes without what varies over the field.
    """
    size, noise = np.log10(c.fwhm[rows]), 0.4343 / c.snr[rows]
    if rows.size > MOST:
        return ""
    return _doubt(size, noise, chosen, *_at_chosen(size, noise, chosen))


def _at_chosen(size: F8, noise: F8, chosen: float) -> tuple[float, Bools]:
    """Return the log likelihood of stars at a size beyond galaxies alone, and which are stars."""
    better, is_star = -np.inf, np.zeros(size.size, dtype=np.bool_)
    if not np.isfinite(chosen):
        return better, is_star
    near = chosen + np.array([-0.01, 0.0, 0.01])
    for scatter in SCATTERS:
        held = _mixtures(size, np.hypot(noise, scatter), near, free=False)
        top = int(held.better.argmax())
        if held.better[top] > better:
            better, is_star = float(held.better[top]), held.is_star[top]
    return better, is_star


def _doubt(size: F8, noise: F8, chosen: float, better: float, is_star: Bools) -> str:
    """Tell why sources at a size may be no stars; empty if they are such."""
    message = ""
    alone = min(SURE_ALONE, SURE_EACH * size.size)
    among = max(SURE, SURE_OF_EACH * np.count_nonzero(is_star))
    if not better > (alone if is_star.mean() > ALONE else among):
        below = np.count_nonzero(size < chosen - 3.0 * np.hypot(noise, SCATTERS[1]))
        message = (
            f"sizes of {size.size} isolated bright sources scatter ({below} are smaller than the "
            "PSF stars), and so many are alike by chance: the PSF may be that of galaxies"
        )
    return message


def _mixtures(size: F8, error: F8, starts: F8, *, free: bool) -> _Mixtures:
    """Fit stars of sizes from some starts on, with galaxies; the size stays where not `free`.

    Expectation and maximisation (A. P. Dempster, N. M. Laird & D. B. Rubin 1977, J. R. Stat. Soc.
    B 39, 1).  Galaxies are normal in log10, and none is smaller than a star.

    Parameters
    ----------
    size, error : (n,) float64
        Log10 of the sizes, and their errors.
    starts : (k,) float64
    """
    k = starts.size
    star = starts[:, None].copy()
    share = np.full((k, 1), 0.3)
    middle = np.full((k, 1), median(size))
    width = np.full((k, 1), max(NARROWEST, robust_sigma(size)))
    alone = _galaxies_alone(size, error)
    for step in range(STEPS + 1):
        of_star = _normal(size - star, error)
        # The share of the hump that is wider than stars is the whole of it.
        edge = _above((size - star) / error) / np.maximum(_above((middle - star) / width), 0.02)
        of_galaxy = _normal(size - middle, np.hypot(width, error)) * edge
        one, two = (1.0 - DEFECTS) * share * of_star, (1.0 - DEFECTS) * (1.0 - share) * of_galaxy
        total = one + two + DEFECTS
        stars, galaxies = one / total, two / total
        if step == STEPS:
            break
        n_stars, n_galaxies = (part.sum(axis=1, keepdims=True) for part in (stars, galaxies))
        if free:
            weight = stars / error**2
            mean = (weight * (size - star)).sum(axis=1, keepdims=True)
            star += np.clip(mean / (weight.sum(axis=1, keepdims=True) + 1.0), -LONGEST, LONGEST)
        share = n_stars / np.maximum(n_stars + n_galaxies, 1e-9)
        some = n_galaxies > 1.0
        n_galaxies = np.maximum(n_galaxies, 1.0)
        middle = np.where(some, (galaxies * size).sum(axis=1, keepdims=True) / n_galaxies, middle)
        square = (galaxies * (size - middle) ** 2).sum(axis=1, keepdims=True) / n_galaxies
        width = np.where(some, np.sqrt(np.maximum(square, NARROWEST**2)), width)
    return _Mixtures(star[:, 0], np.log(total).sum(axis=1) - alone, stars > 0.5)


def _galaxies_alone(size: F8, error: F8) -> float:
    """Return the log likelihood of sizes that are those of galaxies."""
    middle, width = median(size), max(NARROWEST, robust_sigma(size))
    for step in range(STEPS + 1):
        of_galaxy = (1.0 - DEFECTS) * _normal(size - middle, np.hypot(width, error))
        total = of_galaxy + DEFECTS
        if step == STEPS:
            break
        galaxies = of_galaxy / total
        middle = float((galaxies * size).sum() / galaxies.sum())
        square = float((galaxies * (size - middle) ** 2).sum() / galaxies.sum())
        width = max(np.sqrt(square), NARROWEST)
    return float(np.log(total).sum())


def _normal(away: F8, sigma: F8) -> F8:
    out: F8 = np.exp(-0.5 * (away / sigma) ** 2) / (_ROOT_TWO_PI * sigma)
    return out


def _above(z: F8) -> F8:
    """Return the share of a normal distribution below z, to 0.01."""
    out: F8 = 1.0 / (1.0 + np.exp(-1.702 * np.clip(z, -40.0, 40.0)))
    return out
