"""The photometric calibration: from image units to magnitudes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PhotSource(StrEnum):
    """Where the zero point comes from: the value of the PHOTSRC card."""

    FITTED = "FITTED"
    CONFIG = "CONFIG"
    NONE = "NONE"


@dataclass(frozen=True)
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
        Zero-point offsets (mag) as a polynomial over the field, see `stages.photometry`;
        empty for a constant zero point.
    """

    zero_point: float = 0.0
    zero_point_error: float = float("nan")
    source: PhotSource = PhotSource.NONE
    polynomial: tuple[float, ...] = ()
