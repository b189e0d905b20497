"""Find bright candidates for PSF stars and measure them."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, U2
from skyextract.datamodel.flags import Mask
from skyextract.kernels.psf import moments
from skyextract.kernels.psf.peaks import Peaks, crowding, find_peaks_band, smooth_band
from skyextract.record import record
from skyextract.run import Run
from skyextract.settings.keywords import Characterize

PEAK_THRESHOLD = 5.0
"""Peaks of the smoothed image above this many sigma count as neighbours."""

MAX_PEAKS = 60_000
MAX_CANDIDATES = 1500
MIN_SEPARATION = 0.3
"""Peaks whose centroids are nearer than this many of their FWHM are one source."""

CHUNK = 64
ROWS = 128
"""The image is smoothed so many rows at a time, which stay in the cache."""


@record
class Candidates:
    """Bright peaks, measured, and all peaks.

    Attributes
    ----------
    x, y : (n,) float64
        0-based centroids.
    fwhm : (n,) float64
        2.355 times the width of the matched Gaussian, pixels.
    ellipticity : (n,) float64
        (A - B) / (A + B).
    angle : (n,) float64
        Direction of the major axis, radians from x towards y.
    flux, snr, broadening : (n,) float64
        Of the matched Gaussian, see `kernels.psf.moments.adaptive_moments`.
    height : (n,) float64
        Height in the smoothed image.
    flags : (n,) int64
        Reasons of `kernels.psf.moments` not to use it; 0 is good.
    peaks : (4, m) float64
        All peaks, sorted by y: x, y, height in the smoothed image, radius of their light.
    """

    x: F8
    y: F8
    fwhm: F8
    ellipticity: F8
    angle: F8
    flux: F8
    snr: F8
    broadening: F8
    height: F8
    flags: I8
    peaks: F8


def find_candidates(
    data: F4,
    variance: F4,
    mask: U2,
    *,
    fwhm: float,
    gain: float,
    min_snr: float,
    run: Run,
) -> Candidates:
    """Find the peaks of the image smoothed to the PSF and measure the bright ones.

    Parameters
    ----------
    data, variance : (ny, nx) float32
        Background-subtracted image and its background variance (1e30: no data).
    mask : (ny, nx) uint16
        SAT pixels reject a candidate.
    fwhm : float
        FWHM of the PSF in pixels, as far as it is known.
    gain : float
        e- per image unit, 0 if unknown.
    min_snr : float
        S/N of a candidate, at least.
    """
    sigma = max(fwhm, 1.0) / 2.3548
    half = math.ceil(2.5 * sigma)
    taps = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    ny = data.shape[0]
    chunks = [(a, min(a + ROWS, ny)) for a in range(0, ny, ROWS)]

    gather = float((taps.astype(np.float64) ** 2).sum()) ** 2
    reach = max(1, min(round(0.5 * fwhm), 8))
    threshold = PEAK_THRESHOLD
    while True:
        find = partial(_peaks, data, variance, taps, threshold**2 * gather, reach)
        found = run.map(find, chunks)
        if sum(n for _, _, n in found) <= MAX_PEAKS:
            break
        threshold *= 2.0
    xy = np.concatenate([f[0] for f in found])
    height = np.concatenate([f[1] for f in found]).astype(np.float64)
    order = np.argsort(xy[:, 1], kind="stable")
    xy, height = xy[order], height[order]
    noise = np.sqrt(gather * variance[xy[:, 1], xy[:, 0]].astype(np.float64))
    significance = height / noise
    # Where the light of a Gaussian falls below the noise, with some margin for wings.
    radius = fwhm * (0.3 + 0.7 * np.sqrt(np.log2(np.maximum(significance, 2.0))))
    peaks = np.ascontiguousarray(np.stack([xy[:, 0], xy[:, 1], height, radius]), dtype=float)

    bright = np.flatnonzero(significance > 0.5 * min_snr)
    bright = bright[np.argsort(-height[bright], kind="stable")][:MAX_CANDIDATES]
    bright.sort()
    n = bright.size
    x, y = peaks[0, bright].copy(), peaks[1, bright].copy()
    out = np.zeros((n, moments.N_COLUMNS))
    flags = np.zeros(n, dtype=np.int64)

    def work(chunk: tuple[int, int]) -> None:
        moments.adaptive_moments(
            data, variance, mask, int(Mask.SAT), 1.0 / gain if gain > 0 else 0.0, sigma,
            x, y, chunk[0], chunk[1], out, flags,
        )  # fmt: skip

    run.map(work, [(a, min(a + CHUNK, n)) for a in range(0, n, CHUNK)])
    return Candidates(
        x=out[:, moments.X].copy(),
        y=out[:, moments.Y].copy(),
        fwhm=2.3548 * out[:, moments.SIGMA],
        ellipticity=out[:, moments.ELLIPTICITY],
        angle=out[:, moments.ANGLE],
        flux=out[:, moments.FLUX],
        snr=out[:, moments.SNR],
        broadening=out[:, moments.BROADENING],
        height=height[bright],
        flags=flags,
        peaks=peaks,
    )


def _peaks(
    data: F4, variance: F4, taps: F4, factor: float, reach: int, rows: tuple[int, int]
) -> tuple[I8, F4, int]:
    """Peaks of some rows of the smoothed image: positions, heights, number."""
    top, end = max(0, rows[0] - reach), min(data.shape[0], rows[1] + reach)
    smooth = np.empty((end - top, data.shape[1]), dtype=np.float32)
    smooth_band(data, variance, taps, top, end, smooth)
    xy = np.empty((MAX_PEAKS, 2), dtype=np.int64)
    value = np.empty(MAX_PEAKS, dtype=np.float32)
    n = find_peaks_band(
        smooth, top, variance, factor, reach, rows[0], rows[1], xy, value
    )  # fmt: skip
    kept = min(n, MAX_PEAKS)
    return xy[:kept].copy(), value[:kept].copy(), n


def bright_of(c: Candidates, config: Characterize) -> I8:
    """Return the rows that are bright enough and could be measured."""
    low, high = config.sample_fwhmrange
    good = (
        (c.flags == 0)
        & (c.snr >= config.sample_minsn)
        & (c.fwhm >= low)
        & (c.fwhm <= high)
        & (c.flux > 0)
    )
    good[good] &= np.isfinite(c.fwhm[good]) & np.isfinite(c.broadening[good])
    return _distinct(c, np.flatnonzero(good))


def _distinct(c: Candidates, rows: I8) -> I8:
    """Return the rows without those that have converged to the place of a brighter one."""
    order = rows[np.argsort(c.y[rows], kind="stable")]
    twice = np.zeros(c.x.size, dtype=np.bool_)
    for shift in range(1, order.size):
        one, other = order[:-shift], order[shift:]
        reach = MIN_SEPARATION * np.minimum(c.fwhm[one], c.fwhm[other])
        near = c.y[other] - c.y[one] < reach
        if not near.any():
            break
        near &= np.hypot(c.x[other] - c.x[one], c.y[other] - c.y[one]) < reach
        fainter = np.where(c.height[one] < c.height[other], one, other)
        twice[fainter[near]] = True
    return rows[~twice[rows]]


def crowd_of(c: Candidates, rows: I8, ridge: tuple[float, float]) -> F8:
    """Return how much light of neighbours there is in sources of the size of a ridge."""
    crowd = np.zeros(rows.size)
    crowding(c.x[rows], c.y[rows], c.height[rows], Peaks(*c.peaks), 10.0 ** ridge[0], crowd)
    return crowd
