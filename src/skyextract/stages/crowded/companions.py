"""Companions of stars in frames that are not crowded: what one point source leaves of a footprint.

In a crowd what the fits leave is filtered and searched everywhere.  Elsewhere the footprints alone
tell where that is worth it: the filtered image of a star is the PSF convolved with itself.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.kernels.psf.fit import FROZEN, NO_PIXELS, RUNAWAY
from skyextract.run import Run
from skyextract.stages.crowded.extended import pieces_of_extended
from skyextract.stages.crowded.hidden import Hidden, only
from skyextract.stages.crowded.places import FARTHEST, FELT, MIN_SEPARATION, places_of_companions
from skyextract.stages.crowded.plain import SYSTEMATIC
from skyextract.stages.crowded.sheet import Sheet, sheet_of
from skyextract.stages.detection.noise import scale_at
from skyextract.stages.pointsources.fit import flux_errors
from skyextract.stages.pointsources.pairs import pairs_within
from skyextract.stages.pointsources.sweeps import COARSE, FIT_RADIUS, FittedSources, point_fit

if TYPE_CHECKING:
    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.exposure import Exposure
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.detection.matched import MatchedFilter

ROUGH = COARSE._replace(radius=FIT_RADIUS)
"""Where the fits end that tell whether there is a companion."""
SWEEPS = 8
"""Sweeps of the fits, at most."""
PIXELS_AT_ONCE = 1 << 19
"""Windows of so many pixels are worked on together, at most: that bounds the memory..."""
WORTH_SHARING = 1 << 17
"""... and fewer than these are not shared between two threads."""
MAX_CHI2 = 1.5
"""Reduced chi2 of a footprint that two point sources describe, the PSF's own error included."""

STAYS = 0.8
"""What stands upon a galaxy is found within this distance, in FWHM, of where it was seen: farther
away it is a piece of that, into which the fit slid."""


class Places(NamedTuple):
    """Where companions may be.

    Attributes
    ----------
    host : (k,) int64
        Detections beside which they are.
    x, y : (k,) float64
    window : (k,) int64
        Window in which each is fitted.
    is_upon : (k,) bool
        Whether it stands upon its host: the other side has shown that it is no part of that.
    """

    host: I8
    x: F8
    y: F8
    window: I8
    is_upon: Bools


def find_companions(
    exposure: Exposure, plane: Plane, found: Detections, looked_at: Bools, matched: MatchedFilter,
    run: Run,
) -> Hidden | None:  # fmt: skip
    """Find point sources beside detections whose footprints one point source does not describe.

    None where there are none.

    Parameters
    ----------
    exposure : Exposure
        With its PSF.
    looked_at : (n,) bool
        Of the detections.
    """
    psf, gain = exposure.psf, exposure.detector.gain
    assert psf is not None
    sigma = plane.background.sigma
    photon_noise = 1.0 / (gain * sigma**2) if gain > 0.0 else 0.0
    unit = matched.unit(sigma)
    host, x, y, is_upon = places_of_companions(
        found, looked_at, matched, unit, psf.fwhm, photon_noise, exposure.mask, run
    )
    if host.size == 0:
        return None
    windows, group = _windows(found, host, x, y, psf.fwhm, psf.radius)
    sources = FittedSources.at(found.x, found.y)
    added, order = FittedSources.at(x[:0], y[:0]), np.zeros(0, np.int64)

    def fitted(span: tuple[int, int]) -> tuple[I8, FittedSources, I8, FittedSources]:
        some = np.flatnonzero((group >= span[0]) & (group < span[1]))
        places = Places(host[some], x[some], y[some], group[some] - span[0], is_upon[some])
        rows, own, kept, new = _in_windows(
            exposure, plane, found, windows[slice(*span)], places, unit
        )
        return rows, own, some[kept], new

    for rows, own, kept, new in run.map(fitted, _batches(windows)):
        sources = sources.with_rows(rows, own)
        added, order = added.append(new), np.append(order, kept)
    # Two windows may have found the same one.
    n = found.n
    both = sources.append(added.take(np.argsort(order)))
    _, all_x, all_y = both.parameters.T
    _, second = pairs_within(all_x, all_y, MIN_SEPARATION * psf.fwhm)
    both = both.take(~np.isin(np.arange(both.reach.size), second[second >= n]))
    run.info(f"{host.size} places beside stars: {both.reach.size - n} companions")
    if both.reach.size == n:
        return None
    nowhere = np.zeros(both.reach.size, np.bool_)
    return Hidden(both, np.zeros((0, 0), np.float32), plane, psf, local=nowhere)


def _windows(found: Detections, host: I8, x: F8, y: F8, fwhm: float, reach: int) -> tuple[I8, I8]:
    """Return windows about places that are fitted together, and that of each place.

    Parameters
    ----------
    host : (k,) int64
        Detections beside which the places are.
    reach : int
        Of models, pixels.

    Returns
    -------
    windows : (n, 4) int64
        First and last + 1 of rows and columns: with the host's pixels, and all that are felt.
    group : (k,) int64
    """
    number = found.n + np.arange(host.size)
    first, second = pairs_within(np.append(found.x, x), np.append(found.y, y), FELT * fwhm)
    felt = second >= found.n
    first, second = np.append(first[felt], host), np.append(second[felt], number)
    lowest = np.arange(found.n + host.size)
    before = np.zeros(0, np.int64)
    while not np.array_equal(before, lowest):
        before = lowest.copy()
        for here, there in ((first, second), (second, first)):
            np.minimum.at(lowest, here, lowest[there])
    _, group = np.unique(lowest[number], return_inverse=True)
    margin = math.ceil(FELT * fwhm) + reach + 1
    windows = np.empty((int(group.max()) + 1, 4), np.int64)
    for k, (at, low, high) in enumerate(((y, found.ymin, found.ymax), (x, found.xmin, found.xmax))):
        windows[:, 2 * k], windows[:, 2 * k + 1] = np.iinfo(np.int64).max, 0
        near = np.rint(at).astype(np.int64)
        np.minimum.at(windows[:, 2 * k], group, np.minimum(near, low[host]) - margin)
        np.maximum.at(windows[:, 2 * k + 1], group, np.maximum(near, high[host]) + margin + 1)
    return windows, group


def _batches(windows: I8) -> list[tuple[int, int]]:
    """Return first and last + 1 of windows that are worked on together, of about equal size.

    They are the same for any number of threads, and as many as two threads share evenly.
    """
    size = np.cumsum((windows[:, 1] - windows[:, 0]) * (windows[:, 3] - windows[:, 2]))
    total = int(size[-1])
    shared = total > min(WORTH_SHARING, PIXELS_AT_ONCE)
    n = 2 * -(-total // (2 * PIXELS_AT_ONCE)) if shared else 1
    number = (size - 1) * n // total
    edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(windows)]
    return list(pairwise(edges))


def _in_windows(
    exposure: Exposure, plane: Plane, found: Detections, windows: I8, places: Places, unit: float
) -> tuple[I8, FittedSources, I8, FittedSources]:
    """Fit places beside detections in windows about them.

    Parameters
    ----------
    windows : (n, 4) int64
        First and last + 1 of rows and columns.
    places : Places

    Returns
    -------
    rows : (m,) int64
        Detections that were fitted with companions.
    own : FittedSources
        These.
    kept : (k,) int64
        Places of companions.
    new : FittedSources
        The companions.
    """
    alone = Run()  # the windows are the threads' work
    sheet = Sheet.of(windows)
    noise = scale_at(found.noise_scale, exposure.shape, places.x, places.y)
    exposure, plane, part, rows, window = sheet_of(exposure, plane, found, sheet)
    below, aside = sheet.shift[places.window].T
    x, y = places.x - aside, places.y - below
    host = np.searchsorted(window * found.n + rows, places.window * found.n + places.host)
    hidden, error = _fitted(exposure, plane, part, host, x, y, alone)
    error *= np.maximum(noise, 1.0)
    clear = _clear(hidden, part, error, found.threshold / unit, places.is_upon)
    stays = np.hypot(hidden.x[part.n :] - x, hidden.y[part.n :] - y) < STAYS * hidden.psf.fwhm
    clear &= np.where(
        places.is_upon, stays,
        _explained(hidden, plane.variance_plane(alone), exposure.detector.gain, part, host),
    )  # fmt: skip
    detected = np.ones(part.n, np.bool_)
    hidden = only(hidden, np.append(detected, clear), part.n, in_place=True)
    kept = np.flatnonzero(clear)
    if kept.size:
        asked = ~places.is_upon[kept]
        torn = pieces_of_extended(exposure, hidden, part, alone, asked=asked)[0][part.n :] & asked
        hidden = only(hidden, np.append(detected, ~torn), part.n, in_place=True)
        kept = kept[~torn]
    known = np.flatnonzero(hidden.sources.reach[: part.n] >= 0) if kept.size else kept
    shift = sheet.shift[np.append(window[known], places.window[kept])]
    fitted = hidden.sources.take(np.append(known, np.arange(part.n, hidden.x.size)))
    moved = fitted.parameters + np.column_stack([np.zeros(len(shift)), shift[:, ::-1]])
    fitted = replace(fitted, parameters=moved)
    own, new = (fitted.take(np.arange(known.size)), fitted.take(np.arange(known.size, len(shift))))
    return rows[known], own, kept, new


def _fitted(
    exposure: Exposure, plane: Plane, found: Detections, host: I8, x: F8, y: F8, run: Run
) -> tuple[Hidden, F8]:
    """Fit companions with their hosts and with all detections near them.

    Returns
    -------
    hidden : Hidden
        All detections and the companions; those that were not fitted have no reach.
    error : (k,) float64
        Of the fluxes of the companions.
    """
    psf = exposure.psf
    assert psf is not None
    sources = FittedSources.at(np.append(found.x, x), np.append(found.y, y))
    _, all_x, all_y = sources.parameters.T
    first, second = pairs_within(all_x, all_y, FELT * psf.fwhm)
    chosen = np.arange(found.n + x.size) >= found.n
    chosen[host] = True
    chosen[first[second >= found.n]] = True
    rows = np.flatnonzero(chosen)
    fit = point_fit(
        plane.subtracted, plane.variance_plane(run), exposure.detector.gain, exposure.mask, psf,
        sources.take(rows), None, ROUGH, run,
    )  # fmt: skip
    group = fit.sweep(sources.take(rows), SWEEPS, run)
    error = flux_errors(fit, group, run)[rows >= found.n]
    models = np.subtract(plane.subtracted, fit.planes.residual, out=fit.planes.residual)
    return Hidden(sources.with_rows(rows, group), models, plane, psf), error


def _clear(hidden: Hidden, found: Detections, error: F8, threshold: float, is_upon: Bools) -> Bools:
    """Tell which companions are significant and have a place of their own.

    Parameters
    ----------
    error : (k,) float64
        Of their fluxes.
    threshold : float
        In sigma.
    is_upon : (k,) bool
        Companions that may stay where they were seen, if galaxies draw their fits away.
    """
    n, x, y = found.n, hidden.x, hidden.y
    nearest = MIN_SEPARATION * hidden.psf.fwhm
    sources = hidden.sources.take(np.arange(n, x.size))
    clear: Bools = sources.parameters[:, 0] > threshold * error
    hindered = np.where(is_upon, NO_PIXELS, FROZEN | NO_PIXELS | RUNAWAY)
    clear &= (sources.status & hindered) == 0
    first, second = pairs_within(x, y, nearest)
    clear[second[second >= n] - n] = False
    # Where detections came together, the companion has the place of one of them.
    first, second = first[second < n], second[second < n]
    met = first[
        np.hypot(found.x[first] - found.x[second], found.y[first] - found.y[second]) > nearest
    ]
    distance = np.hypot(x[n:, None] - x[met], y[n:, None] - y[met])
    clear &= ~(distance < FARTHEST * hidden.psf.fwhm).any(axis=1)
    return clear


def _explained(hidden: Hidden, variance: F4, gain: float, found: Detections, host: I8) -> Bools:
    """Tell in which footprints point sources leave noise.

    Parameters
    ----------
    host : (k,) int64
        Detections.
    """
    explained = np.zeros(host.size, np.bool_)
    for k, row in enumerate(host):
        pixel = found.pixel[found.first[row] : found.first[row + 1]]
        models = hidden.models.ravel()[pixel].astype(np.float64)
        noise = variance.ravel()[pixel] + (SYSTEMATIC * models) ** 2
        if gain > 0.0:
            noise += np.maximum(models, 0.0) / gain
        left = hidden.plane.subtracted.ravel()[pixel] - models
        explained[k] = (left**2 / noise).mean() < MAX_CHI2
    return explained
