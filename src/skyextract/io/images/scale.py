"""The size of the pixels on the sky, by PIXEL_SCALE or the WCS."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from skyextract.datamodel.mosaic import frame_pixels

if TYPE_CHECKING:
    from skyextract.datamodel.exposure import Exposure
    from skyextract.settings.keywords import Detector as DetectorConfig


def given_scale(exposure: Exposure, config: DetectorConfig) -> float:
    """Return what PIXEL_SCALE makes of the exposure's pixels, arcsec; 0 if it is not set.

    It is the scale of the frame, of which the exposure may be one colour.
    """
    return config.pixel_scale * frame_pixels(exposure.header)


def pixel_scale(exposure: Exposure, config: DetectorConfig) -> float:
    """Return the pixel size in arcsec: PIXEL_SCALE, or that of the WCS; NaN if unknown."""
    if config.pixel_scale > 0.0:
        return given_scale(exposure, config)
    return math.nan if exposure.wcs is None else exposure.wcs.pixel_scale()
