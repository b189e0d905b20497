"""Sky coordinates of pixels: a thin immutable shell around `astropy.wcs.WCS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

Floats = NDArray[np.float64]


class SkyWcs:
    """The celestial WCS of an image; positions in pixels are 0-based.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Two celestial axes.
    """

    def __init__(self, wcs: WCS) -> None:
        self.wcs = wcs

    @classmethod
    def from_header(cls, header: Header) -> SkyWcs | None:
        """Read the WCS of a header; None if it has no celestial one.

        TAN, SIP, TPV, ZPN ... : whatever wcslib reads.
        """
        raise NotImplementedError

    def to_sky(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return longitude and latitude (deg, native frame) of 0-based pixels."""
        raise NotImplementedError

    def to_pixel(self, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
        """Return 0-based pixels of native longitude and latitude (deg)."""
        raise NotImplementedError

    def to_header(self) -> dict[str, Any]:
        """Return the FITS cards of the WCS."""
        raise NotImplementedError
