"""Windows about detections, with the point sources in their footprints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.kernels.psf.windows import put_back, residual_windows
from skyextract.record import record
from skyextract.stages.crowded.plain import SYSTEMATIC
from skyextract.stages.crowded.profile import Windows
from skyextract.stages.crowded.rest import hosts_of
from skyextract.stages.psf.sweeps import UNUSABLE

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
        batches = []
        for side, smaller in zip(SIZES, (0, *SIZES[:-1]), strict=True):
            hosts = np.flatnonzero(judged & (self.need <= side) & (self.need > smaller))
            batches += [(side, hosts[k : k + BATCH]) for k in range(0, hosts.size, BATCH)]
        return batches

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
    psf, half = hidden.psf, side // 2
    data, weight = np.zeros((2, hosts.size, side, side), np.float32)
    chi2 = np.zeros((hosts.size, 2))
    residual_windows(
        hidden.plane.subtracted, hidden.models, variance, exposure.mask, UNUSABLE,
        found.segmentation, hosts, middle - half, round(MARGIN * psf.fwhm), SYSTEMATIC,
        exposure.detector.gain, data, weight, chi2,
    )  # fmt: skip
    chosen = np.flatnonzero(chi2[:, 0] > chi2[:, 1] + excess)
    hosts, middle = hosts[chosen], middle[chosen]
    data, weight, chi2 = data[chosen], weight[chosen], chi2[chosen]
    _add_stars(data, hidden, [groups[k] for k in chosen], middle - half)
    size = min(side - 1, 2 * psf.radius + 1)
    size -= 1 - size % 2
    at = middle.astype(np.float64)
    zero = np.zeros(hosts.size)
    low = half - size // 2
    stamps = np.zeros_like(data)
    stamps[:, low : low + size, low : low + size] = psf.stamps(at[:, 1], at[:, 0], zero, zero, size)
    guess = _guess(found, hosts, middle, psf, (data * (weight > 0.0)).sum((1, 2)))
    data, weight, stamps = (np.roll(v, (-half, -half), (1, 2)) for v in (data, weight, stamps))
    return Windows(data, weight, stamps, np.zeros((hosts.size, 0, 2))), guess, chi2, chosen


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


def _guess(found: Detections, hosts: I8, middle: I8, psf: Psf, flux: F8) -> F8:
    """Return exponential discs of the detections' moments, less those of the PSF."""
    square = (psf.fwhm / 2.355) ** 2
    xx = np.maximum(found.x2[hosts] - square, 0.2)
    yy = np.maximum(found.y2[hosts] - square, 0.2)
    limit = 0.9 * np.sqrt(xx * yy)
    xy = np.clip(found.xy[hosts], -limit, limit)
    factor = np.sqrt(np.array([xx, xy**2 / xx, yy - xy**2 / xx]))
    factor[1] *= np.sign(xy)
    offset = found.x[hosts] - middle[:, 1], found.y[hosts] - middle[:, 0]
    return np.column_stack([np.maximum(flux, 1.0), *offset, *0.7 * factor, np.full(xx.size, 0.4)])
