"""Which of the point sources in a footprint are pieces of one extended source.

The pixels of a footprint decide.  One smooth profile, perhaps with a star or two upon it, stands
against the point sources that were found there, by what either leaves of the pixels and how
many parameters it takes for that (Schwarz 1978, Ann. Stat. 6, 461).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.kernels.psf.profiles import N_SHAPE
from skyextract.stages.crowded.clumps import but_for_one, clumps_of, places_of
from skyextract.stages.crowded.cutouts import (
    Hosts,
    batches_of,
    guess_of,
    windows_about,
    windows_about_clumps,
)
from skyextract.stages.crowded.mixtures import pieces_of_mixtures
from skyextract.stages.crowded.pairs import N_PAIR, fit_alone, fit_pairs, nearest_members
from skyextract.stages.crowded.plain import MAX_EXCESS, MIN_REPLACED, are_stars
from skyextract.stages.crowded.profile import FAR, Profiles, Windows, fit_profiles
from skyextract.stages.crowded.rest import hosts_of, nearest_pixel

if TYPE_CHECKING:
    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run
    from skyextract.stages.crowded.hidden import Hidden

MAX_CHI2 = 3.0
"""Reduced chi2 above which point sources do not explain a footprint, whatever else does; ..."""
STANDS_OUT = 0.7
"""... but for those that are at least this share of the models where they are."""
PENALTY = 6.0
"""What a parameter must take off chi2: about the logarithm of the number of pixels."""
DECISIVE = 30.0
"""What a profile takes off chi2 more than stars where no doubt is left: e^15 to 1."""
PREFERENCE = 10.0
"""How much worse one profile alone may be than stars: what a smooth galaxy is not."""
MIN_CONTRAST = 3.0
"""A source whose peak is so many times the profile there is no piece of it."""
MAX_STARS, MAX_IN_CLUMP = 2, 3
"""Stars upon a profile, at most; and where sources of a larger footprint clump."""
FREQUENT, FEWEST = 6.0, 2
"""Where galaxies are not rarer than by so much of chi2 (one of twenty), clumps of so few are
judged, and larger ones as mixtures of several: in crowds of stars these would be chance."""
MIN_GALAXIES = 50
"""Fewer do not tell how frequent they are: a nebula has pieces like them, and stars broader
than the PSF that was given."""
MANY = 5
"""Fits to groups of so many are not given up early: they are few, and there is much to win."""
UNEXPLAINED = 1.0
"""Two profiles are tried where one was not given up, or reduced chi2 of the stars is above this: of
stars that stand close neither is true."""
NUCLEUS = 0.7
"""A point source nearer to the centre of a profile than this, in FWHM, is its nucleus."""

Verdict = list[tuple[I8, float]]
"""Pieces of a group, and by how much of chi2 they are pieces."""


def pieces_of_extended(
    exposure: Exposure, hidden: Hidden, found: Detections, run: Run, *, n_galaxies: int = 0,
    asked: Bools | None = None,
) -> tuple[Bools, Bools]:  # fmt: skip
    """Tell which added sources are pieces of something extended, and which stand for that.

    Parameters
    ----------
    exposure : Exposure
    hidden : Hidden
        Point sources that were fitted together, those of the detections first.
    found : Detections
    n_galaxies : int
        Detections that are known to be galaxies, and whose pieces were dropped before.
    asked : (k,) bool, optional
        Added sources in question: detections without any are not judged.
    """
    torn, whole = np.zeros((2, hidden.x.size), np.bool_)
    variance = hidden.plane.variance_plane(run)
    hosts = Hosts.of(hidden, found, asked)
    judged = (hosts.members > 0) & ~are_stars(
        exposure, variance, hidden, found, hosts.row, hosts.first
    )

    def judge(batch: tuple[int, I8]) -> Verdict:
        side, some = batch
        groups = hosts.groups(hidden, some, side)
        windows, guess, chi2, _ = windows_about(
            exposure, variance, hidden, found, some, groups, hosts.middle[some], side
        )
        pieces, gain = _judged(hidden, groups, hosts.middle[some], windows, guess, chi2)
        return [(rows, float(gain[k])) for k, rows in pieces.items()]

    verdicts = run.map(judge, hosts.batches(judged))
    galaxies = n_galaxies + sum(gain > DECISIVE for verdict in verdicts for _, gain in verdict)
    doubt = _doubt(int(np.count_nonzero(hosts.members)) + n_galaxies, galaxies)
    for verdict in verdicts:
        for pieces, gain in verdict:
            torn[pieces] |= not gain <= doubt  # nothing but a galaxy is left if that is unknown
    torn[: found.n] = False
    if asked is None:
        is_frequent = doubt < FREQUENT and galaxies >= MIN_GALAXIES
        _add_of_clumps(
            torn, whole, exposure, variance, hidden, found, doubt, run, is_frequent=is_frequent
        )
    torn[: found.n] = whole[: found.n] = False  # detections keep their rows
    return torn, whole


def _add_of_clumps(
    torn: Bools, whole: Bools, exposure: Exposure, variance: F4, hidden: Hidden, found: Detections,
    doubt: float, run: Run, *, is_frequent: bool,
) -> None:  # fmt: skip
    """Mark the pieces of what is extended in footprints that no one profile describes.

    Parameters
    ----------
    torn, whole : (n,) bool
        Sources that are pieces, and added ones that stand for what is extended; changed.
    doubt : float
        What a profile must take off chi2 more than the sources do.
    is_frequent : bool
        Galaxies are: clumps of few are judged, and as mixtures.
    """
    fewest, least = FEWEST if is_frequent else MANY, max(doubt, DECISIVE)
    host = hosts_of(hidden, found)
    groups = clumps_of(hidden, found.n, host, ~torn, fewest)
    middles, need = places_of(hidden, groups)

    def judge(batch: tuple[int, I8]) -> list[tuple[I8, I8]]:
        side, some = batch
        chosen, middle = [groups[k] for k in some], middles[some]
        hosts = host[np.array([group[-1] for group in chosen])]
        windows, guess, chi2 = windows_about_clumps(
            exposure, variance, hidden, found, hosts, chosen, middle, side
        )
        pieces, gain = _judged(hidden, chosen, middle, windows, guess, chi2, is_clump=True)
        told = {
            k: but_for_one(hidden, found.n, rows) for k, rows in pieces.items()
            if gain[k] > (least if chosen[k].size >= MANY else doubt) and rows.size >= fewest
        }  # fmt: skip
        if is_frequent:
            left = [k for k, group in enumerate(chosen) if k not in told and group.size >= MANY]
            goal = chi2[:, 0] + 3 * PENALTY * np.array([group.size for group in chosen]) - least
            told |= pieces_of_mixtures(
                hidden, found.n, chosen, middle, windows, goal, left, PENALTY
            )
        return list(told.values())

    for verdict in run.map(judge, batches_of(need)):
        for pieces, standing in verdict:
            torn[pieces], whole[standing] = True, True


def _doubt(n: int, galaxies: int) -> float:
    """Return what a profile must take off chi2 more than stars do, by how rare galaxies are here.

    Of n groups, those that are galaxies beyond doubt tell the odds that others are: twice their
    logarithm counts as chi2 does (Bayes; `PREFERENCE` stands for galaxies as many as stars).
    """
    return max(0.0, 2.0 * math.log(max(n - galaxies, 1) / (galaxies + 1.0)))


def _judged(
    hidden: Hidden, groups: list[I8], middle: I8, windows: Windows, guess: F8, chi2: F8, *,
    is_clump: bool = False,
) -> tuple[dict[int, I8], F8]:  # fmt: skip
    """Return the sources of the groups that a profile describes better, or nothing does.

    Stars that stand upon a profile, and are not its nucleus, are not among them.

    Parameters
    ----------
    groups : list of (k,) int64
        Rows of the sources in each footprint.
    middle : (n, 2) int64
        Row and column of the first pixel.
    chi2 : (n, 2) float64
        Of the sources of a group, and number of pixels.
    is_clump : bool
        Stars upon a profile, up to MAX_IN_CLUMP, are tried however much it leaves alone.

    Returns
    -------
    pieces : dict
        Of the groups, by their numbers.
    gain : (n,) float64
        What profiles take off chi2, with `PREFERENCE`, beyond what their parameters must; infinite
        for pairs of them, NaN where nothing describes the pixels.
    """
    members = np.array([group.size for group in groups])
    goal = chi2[:, 0] + 3 * PENALTY * members
    limit = goal - N_SHAPE * PENALTY + PREFERENCE
    several = members > MIN_REPLACED
    limit[several] = np.maximum(limit, MAX_EXCESS * chi2[:, 0])[several]
    limit[members >= MANY] = np.inf
    pieces: dict[int, I8] = {}
    gain = np.full(len(groups), np.inf)
    left = np.arange(len(groups))
    upon = apart = np.zeros((left.size, 0), np.int64)
    fits = fit_profiles(windows, guess, limit, goal)
    one = fits
    better = goal - fits.chi2 - N_SHAPE * PENALTY + PREFERENCE
    extended = better > 0.0
    most = MAX_IN_CLUMP if is_clump else MAX_STARS
    for number in range(1, most + 2):
        for k in np.flatnonzero(extended):
            group = groups[left[k]]
            stars = np.isin(group, apart[k])
            stars |= stands_above(hidden, group, middle[left[k]], fits.models[k])
            pieces[int(left[k])] = group[~stars]
        gain[left[extended]] = better[extended]
        going = ~extended & (is_clump | (fits.chi2 < MAX_EXCESS * chi2[left, 0]))
        going &= members[left] >= MIN_REPLACED + number
        if number > most or not going.any():
            break
        rest = (windows.data[left] - fits.models)[going]
        shape, upon, left = fits.shape[going], upon[going], left[going]
        star = [
            _brightest(hidden, groups[k][~np.isin(groups[k], taken)], middle[k], windows, k, image)
            for taken, k, image in zip(upon, left, rest, strict=True)
        ]
        upon = np.column_stack([upon, star])
        places = np.stack([hidden.x[upon], hidden.y[upon]], axis=2) - middle[left, None, ::-1]
        fits = fit_profiles(windows.take(left, places), shape, limit[left], goal[left])
        distance = np.hypot(*(places - fits.shape[:, None, 1:3]).transpose(2, 0, 1))
        nucleus = distance < NUCLEUS * hidden.psf.fwhm
        free = N_SHAPE + (3 - 2 * nucleus).sum(axis=1)
        better = goal[left] - fits.chi2 - free * PENALTY
        extended = better > 0.0
        extended &= members[left] >= MIN_REPLACED + (~nucleus).sum(axis=1)
        apart = np.where(nucleus, -1, upon)
    if is_clump:
        _add_beside_stars(hidden, groups, middle, windows, goal, pieces, gain)
    pieces |= _pieces_of_pairs(hidden, groups, middle, windows, one, chi2, goal, pieces)
    for k in np.flatnonzero(chi2[:, 0] > MAX_CHI2 * chi2[:, 1]):
        if int(k) not in pieces:
            pieces[int(k)], gain[k] = groups[k][~_stands_out(hidden, groups[k])], np.nan
    return pieces, gain


def _add_beside_stars(
    hidden: Hidden, groups: list[I8], middle: I8, windows: Windows, goal: F8,
    pieces: dict[int, I8], gain: F8,
) -> None:  # fmt: skip
    """Add the pieces of what is extended beside the brightest of its clump, which are stars.

    A profile that begins with the light of all ends upon the brightest star.
    """
    for n_stars in (1, 2):
        left = [k for k, group in enumerate(groups) if k not in pieces and group.size >= MANY]
        if not left:
            return
        some = np.array(left)
        stars = np.array([groups[k][np.argsort(-hidden.flux[groups[k]])[:n_stars]] for k in left])
        rest = [np.setdiff1d(groups[k], row) for k, row in zip(left, stars, strict=True)]
        places: F8 = np.stack([hidden.x[stars], hidden.y[stars]], axis=2) - middle[some, None, ::-1]
        guess = guess_of(hidden, rest, middle[some])
        fits = fit_profiles(
            windows.take(some, places), guess, np.full(some.size, np.inf), goal[some]
        )
        better = goal[some] - fits.chi2 - (N_SHAPE + 3 * n_stars) * PENALTY
        for j in np.flatnonzero(better > 0.0):
            k = left[j]
            above = stands_above(hidden, rest[j], middle[k], fits.models[j])
            pieces[k], gain[k] = rest[j][~above], better[j]


def _pieces_of_pairs(
    hidden: Hidden, groups: list[I8], middle: I8, windows: Windows, one: Profiles, chi2: F8,
    goal: F8, told: dict[int, I8],
) -> dict[int, I8]:  # fmt: skip
    """Return the pieces of two extended sources in one footprint; each keeps one source.

    Parameters
    ----------
    one : Profiles
        Fitted alone.
    told : dict
        Groups that one profile describes.
    """
    likely = (one.chi2 < FAR * goal) | (chi2[:, 0] > UNEXPLAINED * chi2[:, 1])
    tried = [
        k for k, group in enumerate(groups)
        if likely[k] and k not in told and group.size >= 2 * MANY
    ]  # fmt: skip
    if not tried:
        return {}
    some = np.array(tried)
    cut = windows.take(some, np.zeros((some.size, 0, 2)))
    alone = fit_alone(cut, one.shape[some])
    rest = cut.data - alone.models
    star = np.array(
        [_brightest(hidden, groups[k], middle[k], windows, k, rest[j]) for j, k in enumerate(some)]
    )
    second: F8 = np.column_stack([hidden.x[star], hidden.y[star]]) - middle[some, ::-1]
    limit = np.minimum(goal[some] - N_PAIR * PENALTY, MAX_EXCESS * chi2[some, 0])
    pairs = fit_pairs(cut, alone, second, limit, hidden.psf.fwhm)
    better = pairs.chi2 < limit
    pieces = {}
    for j in np.flatnonzero(better):
        k = int(some[j])
        group = groups[k]
        stars = stands_above(hidden, group, middle[k], pairs.models[j])
        stars |= np.isin(
            group, nearest_members(hidden.x, hidden.y, group, middle[k], pairs.centres[j])
        )
        pieces[k] = group[~stars]
    return pieces


def stands_above(hidden: Hidden, group: I8, middle: I8, profile: F4) -> Bools:
    """Tell which sources are far brighter than a profile in a window about `middle`."""
    row, column = nearest_pixel(hidden.x[group], hidden.y[group], hidden.models.shape)
    half = len(profile) // 2
    y, x = row - middle[0], column - middle[1]
    inside = (np.abs(y) < half) & (np.abs(x) < half)
    light = np.where(inside, profile[y % len(profile), x % len(profile)], 0.0)
    own = hidden.flux[group] * float(hidden.psf.basis[0].max())
    above: Bools = own > MIN_CONTRAST * light
    return above


def _stands_out(hidden: Hidden, group: I8) -> Bools:
    """Tell which sources are most of the light where they are."""
    row, column = nearest_pixel(hidden.x[group], hidden.y[group], hidden.models.shape)
    own = hidden.flux[group] * float(hidden.psf.basis[0].max())
    most: Bools = own > STANDS_OUT * hidden.models[row, column]
    return most


def _brightest(hidden: Hidden, group: I8, middle: I8, windows: Windows, k: int, rest: F4) -> int:
    """Return the source of a group at which most is left, in sigma, of window k."""
    weight, psf = windows.weight[k], windows.psf[k]
    column = np.rint(hidden.x[group] - middle[1]).astype(int)
    row = np.rint(hidden.y[group] - middle[0]).astype(int)
    light = [
        (weight * rest * (star := np.roll(psf, (j, i), (0, 1)))).sum()
        / np.sqrt((weight * star**2).sum() + 1e-30)
        for j, i in zip(row, column, strict=True)
    ]
    return int(group[np.argmax(light)])
