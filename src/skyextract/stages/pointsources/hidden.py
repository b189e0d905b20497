"""The light of sources that hide in the images of stars: what others there are tells its mean.

A source that would be found elsewhere is not found next to a brighter star, and is in its light.
If sources stand at random, each star has those that the rest of the frame has on as many pixels;
the fainter the star, the larger a part of its light they are.  Sources too faint to be found
anywhere are what `leftlight` measures; brighter ones make the star an outlier, that no mean counts.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.psf import Psf
from skyextract.record import record

SEEN_IN_REST = 1.0
"""Sources farther apart than this, in FWHM, are seen in what the fits leave..."""
TOGETHER = 0.7
"""... but not one in whose light a fit has more than this share: half a FWHM off."""
DEBLENDED = 2.0
"""Detection tells sources apart that are farther from each other than this: faint ones have no peak
of their own nearer by."""
OUTLIER = 3.0
"""Light that makes a star an outlier, in errors of its own."""
_MOST_HIDDEN = 2.0
_GROUPS = 12
"""Pixels with about the same share in the fit are taken together, in so many groups."""


@record
class HiddenLight:
    """Light of the sources of a frame, by flux.

    Attributes
    ----------
    flux : (n,) float64
        Of the sources, rising.
    light, power : (1 + n,) float64
        Per pixel: sums of the fluxes, and of their squares, of the first sources.
    """

    flux: F8
    light: F8
    power: F8

    @classmethod
    def of_sources(cls, flux: F8, shape: tuple[int, int], fwhm: float) -> HiddenLight:
        """Return that of all sources of a frame; those without a flux do not count.

        Of sources at random the part exp(-n a) has none of n brighter ones per pixel within a
        pixels: each that is found stands for the inverse of that.
        """
        known = np.sort(flux[np.isfinite(flux) & (flux > 0.0)])
        area = float(shape[0] * shape[1])
        brighter = np.arange(len(known))[::-1] / area
        hidden = brighter * math.pi * (SEEN_IN_REST * fwhm) ** 2
        number = np.exp(np.minimum(hidden, _MOST_HIDDEN)) / area
        sums = (np.append(0.0, np.cumsum(number * known**power)) for power in (1, 2))
        return cls(known, *sums)

    def within(self, error: F8, shares: F8, pixels: F8, most: F8 | None = None) -> tuple[F8, F8]:
        """Return the mean light of others that is taken for that of stars, and its scatter.

        Where the share p of the light of a source counts, the mean over sources at random, as of
        any Poisson process, is the integral of p f over the pixels, and the variance that of
        (p f)^2; p f is less than `OUTLIER` errors.

        Parameters
        ----------
        error : (n,) float64
            Of the light of each star.
        shares, pixels : (k,) float64
            Share of the light of sources there, and how many such pixels there are.
        most : (n, k) float64, optional
            Brighter sources are seen there.
        """
        limit = OUTLIER * np.nan_to_num(error)[:, None] / shares
        last = np.searchsorted(self.flux, limit if most is None else np.minimum(limit, most))
        mean, variance = (
            self.light[last] @ (pixels * shares),
            self.power[last] @ (pixels * shares**2),
        )
        return np.asarray(mean), np.sqrt(variance)


def shares_in_fit(psf: Psf, reach: float) -> tuple[F8, F8]:
    """Return which shares of the light of sources near a star its fit has, and on how many pixels.

    A source at an offset d adds sum P(x) P(x - d) / sum P(x)^2 of its light to the flux, if the
    sky is most of the noise: the autocorrelation of the PSF.

    Parameters
    ----------
    psf : Psf
    reach : float
        Sources farther off do not count, FWHM.

    Returns
    -------
    shares, pixels : (k,) float64
    """
    stamp = psf.stamp(psf.x_zero, psf.y_zero).astype(np.float64)
    size = 2 * stamp.shape[0]
    power = np.abs(np.fft.rfft2(stamp, (size, size))) ** 2
    product = np.fft.irfft2(power, s=(size, size))
    axis = np.fft.fftfreq(size, 1.0 / size)
    near = np.hypot(axis[:, None], axis) <= reach * psf.fwhm
    shares = np.sort(np.clip(product[near] / product[0, 0], 1e-6, 1.0))
    groups = np.array_split(shares, min(_GROUPS, len(shares)))
    return np.array([g.mean() for g in groups]), np.array([float(len(g)) for g in groups])
