"""What a search for bad lines of an image marks."""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.run import Run


def marked_by(search, image, lost=None):
    """Return the number of lines that a search finds, and which pixels; `lost` are saturated."""
    mask = np.zeros(image.shape, np.uint16)
    if lost is not None:
        mask[lost] = np.uint16(Mask.SAT)
    n, pixels = search(Exposure(image.astype(np.float32), mask), Run(2))
    marked = np.zeros(image.shape, bool)
    marked.ravel()[pixels] = True
    return n, marked
