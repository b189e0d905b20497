"""The photometric calibration: from image units to magnitudes."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.imageunit import ZERO_POINT
from skyextract.record import record

AB_NANOJANSKY = 31.4
"""AB magnitude of one nanojansky (3631 Jy is magnitude 0)."""


class PhotSource(StrEnum):
    """Where the zero point comes from: the value of the PHOTSRC card."""

    FITTED = "FITTED"
    CONFIG = "CONFIG"
    NONE = "NONE"


@record
class PhotoCal:
    """MAG = zero_point - 2.5 log10(flux in image units).

    Attributes
    ----------
    zero_point : float
        Magnitude of one image unit; NaN: asked for and not available.
    zero_point_error : float
        Its standard error in mag, NaN if unknown.
    source : PhotSource
    polynomial : tuple of float
        Zero-point offsets (mag) as a polynomial over the field, see `offset`;
        empty for a constant zero point.
    band, catalog, system : str
        Band and reference catalogue of a fit; "AB", "Vega" or empty if unknown.
    scatter : float
        1.48 MAD of the stars about the fit, mag; NaN if unknown.
    origin : str
        Where a zero point that is not fitted comes from: keyword or header cards.
    """

    zero_point: Annotated[float, ZERO_POINT] = 0.0
    zero_point_error: float = float("nan")
    source: PhotSource = PhotSource.NONE
    polynomial: tuple[float, ...] = ()
    band: str = ""
    catalog: str = ""
    system: str = ""
    scatter: float = float("nan")
    origin: str = ""

    @property
    def nanojansky(self) -> float:
        """Nanojansky per image unit; NaN unless the system is AB."""
        if self.system != "AB":
            return float("nan")
        return float(10.0 ** (-0.4 * (self.zero_point - AB_NANOJANSKY)))

    def zero_point_1s(self, summed_time: float) -> float:
        """Return the zero point for fluxes per second; NaN for an unknown time.

        Parameters
        ----------
        summed_time : float
            Seconds of light in a pixel, 1 for pixels that are rates.
        """
        if not summed_time > 0.0:
            return float("nan")
        return self.zero_point - 2.5 * math.log10(summed_time)

    def offset(self, x: F8, y: F8, shape: tuple[int, int]) -> F8:
        """Return what to add to magnitudes at 0-based pixels of a frame of `shape` [y, x]."""
        if not self.polynomial:
            return np.zeros(np.shape(x))
        degree = 0
        while (degree + 1) * (degree + 2) // 2 < len(self.polynomial):
            degree += 1
        terms = field_terms(x, y, shape, degree)
        return np.asarray(self.polynomial[0] + terms @ np.array(self.polynomial[1:]))


def field_terms(x: F8, y: F8, shape: tuple[int, int], degree: int) -> F8:
    """Return the polynomial's terms but the constant, (n, k).

    ``u**i * v**j`` for j in 0..degree, for i in 0..degree-j, with u and v from -1 to 1 over
    the frame.
    """
    u = (np.asarray(x, np.float64) - 0.5 * (shape[1] - 1)) / max(0.5 * shape[1], 1.0)
    v = (np.asarray(y, np.float64) - 0.5 * (shape[0] - 1)) / max(0.5 * shape[0], 1.0)
    terms = [u**i * v**j for j in range(degree + 1) for i in range(degree - j + 1) if i + j > 0]
    return np.stack(terms, axis=1) if terms else np.zeros((len(u), 0))
