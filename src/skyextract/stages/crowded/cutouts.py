"""Windows about detections, with the point sources in their footprints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.kernels.psf.windows import put_back, residual_windows
from skyextract.record import record
from skyextract.stages.crowded.plain import SYSTEMATIC
from skyextract.stages.crowded.profile import Windows
from skyextract.stages.crowded.rest import hosts_of
from skyextract.stages.pointsources.sweeps import UNUSABLE

if TYPE_CHECKING:
    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.exposure import Exposure
    from skyextract.datamodel.psf import Psf
    from skyextract.stages.crowded.hidden import Hidden

MARGIN = 0.5
"""Sky around the footprint that is fitted with it, in FWHM."""
SIZES = (20, 24, 30, 36, 40, 48, 60, 72, 96, 128)
"""Sides of windows, in pixels; of larger footprints what lies about the middle is judged."""
BATCH = 64
"""Windows that are fitted together."""
AROUND = 1.0
"""Pixels no farther than this, in FWHM, from one of the sources of a clump are of it."""


class Moments(NamedTuple):
    """Centres (0-based pixels) and second moments of light, (n,) float64 each."""

    x: F8
    y: F8
    xx: F8
    xy: F8
    yy: F8


@record
class Hosts:
    """Detections with the sources in their footprints.

    Attributes
    ----------
    row, first : int64
        Sources in the footprint of detection h are ``row[first[h]:first[h + 1]]``.
    members : (n,) int64
        Number of the added ones.
    middle : (n, 2) int64
        Row and column of the pixel at the centre.
    need : (n,) int64
        Side of a window about that with the footprint and some sky, at most the largest.
    margin : int
        Of sky.
    """

    row: I8
    first: I8
    members: I8
    middle: I8
    need: I8
    margin: int

    @classmethod
    def of(cls, hidden: Hidden, found: Detections, asked: Bools | None = None) -> Hosts:
        """Return all detections; their members are the added sources that are asked about."""
        host = hosts_of(hidden, found)
        row = np.argsort(host, kind="stable")
        middle = np.rint(np.column_stack([found.y, found.x])).astype(np.int64)
        half = np.max(
            [middle[:, 0] - found.ymin, found.ymax - middle[:, 0],
             middle[:, 1] - found.xmin, found.xmax - middle[:, 1]], axis=0,
        )  # fmt: skip
        margin = round(MARGIN * hidden.psf.fwhm)
        added = host[found.n :]
        added = added if asked is None else added[asked]
        return cls(
            row, np.searchsorted(host[row], np.arange(found.n + 1)),
            np.bincount(added + 1, minlength=found.n + 1)[1:], middle,
            np.minimum(2 * (half + margin) + 1, SIZES[-1]), margin,
        )  # fmt: skip

    def batches(self, judged: Bools) -> list[tuple[int, I8]]:
        """Return sides of windows and the detections that are judged in windows of these."""
        hosts = np.flatnonzero(judged)
        return [(side, hosts[some]) for side, some in batches_of(self.need[hosts])]

    def groups(self, hidden: Hidden, hosts: I8, side: int) -> list[I8]:
        """Return the sources of some detections; of the largest windows those well inside."""
        groups = [self.row[self.first[h] : self.first[h + 1]] for h in hosts]
        if side == SIZES[-1]:
            distance = side // 2 - self.margin - 1
            for k, group in enumerate(groups):
                y, x = self.middle[hosts[k]]
                near = np.abs(hidden.x[group] - x) < distance
                groups[k] = group[near & (np.abs(hidden.y[group] - y) < distance)]
        return groups


def batches_of(need: I8) -> list[tuple[int, I8]]:
    """Return sides of windows, and which things, that need so much, are in windows of these."""
    batches = []
    for side, smaller in zip(SIZES, (0, *SIZES[:-1]), strict=True):
        some = np.flatnonzero((need <= side) & (need > smaller))
        batches += [(side, some[k : k + BATCH]) for k in range(0, some.size, BATCH)]
    return batches


def windows_about(
    exposure: Exposure, variance: F4, hidden: Hidden, found: Detections, hosts: I8,
    groups: list[I8], middle: I8, side: int, excess: float = -math.inf,
) -> tuple[Windows, F8, F8, I8]:  # fmt: skip
    """Cut windows about detections.

    Parameters
    ----------
    excess : float
        Only those of whose group chi2 is larger than the number of pixels by more than this.

    Returns
    -------
    windows : Windows
        Of what all sources leave that are not in the group.
    guess : (n, 7) float64
        Profiles of the detections' moments.
    chi2 : (n, 2) float64
        Of the group, and number of pixels.
    chosen : (n,) int64
        Which of the detections.
    """
    data, weight, chi2 = _left_about(exposure, variance, hidden, found, hosts, middle, side)
    chosen = np.flatnonzero(chi2[:, 0] > chi2[:, 1] + excess)
    hosts, middle = hosts[chosen], middle[chosen]
    data, weight, chi2 = data[chosen], weight[chosen], chi2[chosen]
    moments = found.x[hosts], found.y[hosts], found.x2[hosts], found.xy[hosts], found.y2[hosts]
    windows, guess = _with_stars(
        data, weight, hidden, [groups[k] for k in chosen], middle, Moments(*moments)
    )
    return windows, guess, chi2, chosen


def windows_about_clumps(
    exposure: Exposure, variance: F4, hidden: Hidden, found: Detections, hosts: I8,
    groups: list[I8], middle: I8, side: int,
) -> tuple[Windows, F8, F8]:  # fmt: skip
    """Cut windows about sources that stand close together in larger footprints.

    Pixels count that are near to one of them.  Returns what `windows_about` does, of all.

    Parameters
    ----------
    hosts : (n,) int64
        Detections whose footprints they are in.
    """
    data, weight, _ = _left_about(exposure, variance, hidden, found, hosts, middle, side)
    offset = np.arange(side) - side // 2
    for k, group in enumerate(groups):
        dx = offset + middle[k, 1] - hidden.x[group, None]
        dy = offset + middle[k, 0] - hidden.y[group, None]
        near = dx[:, None, :] ** 2 + dy[:, :, None] ** 2 < (AROUND * hidden.psf.fwhm) ** 2
        weight[k][~near.any(axis=0)] = 0.0
    chi2 = np.column_stack([(weight * data**2).sum((1, 2)), (weight > 0.0).sum((1, 2))])
    moments = _moments_of(hidden, groups)
    windows, guess = _with_stars(data, weight, hidden, groups, middle, moments)
    return windows, guess, chi2.astype(np.float64)


def _left_about(
    exposure: Exposure, variance: F4, hidden: Hidden, found: Detections, hosts: I8, middle: I8,
    side: int,
) -> tuple[F4, F4, F8]:  # fmt: skip
    """Return what all sources leave in windows, weights, and chi2 and number of the pixels."""
    data, weight = np.zeros((2, hosts.size, side, side), np.float32)
    chi2 = np.zeros((hosts.size, 2))
    residual_windows(
        hidden.plane.subtracted, hidden.models, variance, exposure.mask, UNUSABLE,
        found.segmentation, hosts, middle - side // 2, round(MARGIN * hidden.psf.fwhm), SYSTEMATIC,
        exposure.detector.gain, data, weight, chi2,
    )  # fmt: skip
    return data, weight, chi2


def _moments_of(hidden: Hidden, groups: list[I8]) -> Moments:
    """Return the moments of the light of the sources of each group."""
    return Moments(*np.array([_moments(hidden, group) for group in groups]).T)


def _moments(hidden: Hidden, group: I8) -> tuple[float, ...]:
    """Return centre and second moments of the light of some sources."""
    flux = np.maximum(hidden.flux[group], 1e-30)
    share, x, y = flux / flux.sum(), hidden.x[group], hidden.y[group]
    mx, my = share @ x, share @ y
    square = (hidden.psf.fwhm / 2.355) ** 2
    dx, dy = x - mx, y - my
    return mx, my, share @ dx**2 + square, share @ (dx * dy), share @ dy**2 + square


def guess_of(hidden: Hidden, groups: list[I8], middle: I8) -> F8:
    """Return profiles (n, 7) of the moments of the light of some sources, to begin with."""
    moments = _moments_of(hidden, groups)
    flux = np.array([hidden.flux[group].sum() for group in groups])
    return _guess(moments, middle, hidden.psf, flux)


def _with_stars(
    data: F4, weight: F4, hidden: Hidden, groups: list[I8], middle: I8, moments: Moments
) -> tuple[Windows, F8]:
    """Return windows of what is left with the sources of their groups, and profiles to begin with.

    Parameters
    ----------
    data, weight : (n, side, side) float32
        About `middle`; `data` is changed.
    """
    psf, side = hidden.psf, data.shape[1]
    half, n = side // 2, len(groups)
    _add_stars(data, hidden, groups, middle - half)
    size = min(side - 1, 2 * psf.radius + 1)
    size -= 1 - size % 2
    at = middle.astype(np.float64)
    zero = np.zeros(n)
    low = half - size // 2
    stamps = np.zeros_like(data)
    stamps[:, low : low + size, low : low + size] = psf.stamps(at[:, 1], at[:, 0], zero, zero, size)
    guess = _guess(moments, middle, psf, (data * (weight > 0.0)).sum((1, 2)))
    data, weight, stamps = (np.roll(v, (-half, -half), (1, 2)) for v in (data, weight, stamps))
    return Windows(data, weight, stamps, np.zeros((n, 0, 2))), guess


def _add_stars(data: F4, hidden: Hidden, groups: list[I8], corner: I8) -> None:
    """Put the sources of each group back into its window."""
    rows = np.concatenate([np.zeros(0, np.int64), *groups])
    window = np.repeat(np.arange(len(groups)), [group.size for group in groups])
    fitted = hidden.sources.reach[rows] >= 0
    rows, window = rows[fitted], window[fitted]
    radius = hidden.psf.radius
    flux, x, y = hidden.sources.parameters[rows].T
    row, column = np.rint(y).astype(np.int64), np.rint(x).astype(np.int64)
    stamps = hidden.psf.stamps(x, y, x - column, y - row)
    reach = np.minimum(hidden.sources.reach[rows], radius)
    row, column = row - corner[window, 0], column - corner[window, 1]
    put_back(window, row, column, flux.copy(), reach, stamps, data)


def _guess(moments: Moments, middle: I8, psf: Psf, flux: F8) -> F8:
    """Return exponential discs of some moments, less those of the PSF."""
    square = (psf.fwhm / 2.355) ** 2
    xx = np.maximum(moments.xx - square, 0.2)
    yy = np.maximum(moments.yy - square, 0.2)
    limit = 0.9 * np.sqrt(xx * yy)
    xy = np.clip(moments.xy, -limit, limit)
    factor = np.sqrt(np.array([xx, xy**2 / xx, yy - xy**2 / xx]))
    factor[1] *= np.sign(xy)
    offset = moments.x - middle[:, 1], moments.y - middle[:, 0]
    return np.column_stack([np.maximum(flux, 1.0), *offset, *0.7 * factor, np.full(xx.size, 0.4)])
