"""Which part of an image has stars that are not those of its PSF."""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F8, Bools
from skyextract.record import record

AT_ONCE = 4096
"""Places that are looked up at a time."""


@record
class Unfollowed:
    """Stars that the PSF does not follow, in one part of the image, and all others.

    Attributes
    ----------
    x, y : (n,) float64
        0-based pixels.
    is_unlike : (n,) bool
        Stars that are not those of the PSF.
    scale : (float, float)
        What distances along x and y count: (0, 1) where the part is of rows, (1, 0) of columns.
    """

    x: F8
    y: F8
    is_unlike: Bools
    scale: tuple[float, float] = (1.0, 1.0)

    def covers(self, x: F8, y: F8) -> Bools:
        """Tell which places are in that part: nearest to one of its stars; (m,) of 0-based pixels.

        The part may have any outline.
        """
        covered = np.zeros(x.size, dtype=np.bool_)
        for first in range(0, x.size, AT_ONCE):
            some = np.s_[first : first + AT_ONCE]
            dx, dy = x[some, None] - self.x, y[some, None] - self.y
            squares = (self.scale[0] * dx) ** 2 + (self.scale[1] * dy) ** 2
            covered[some] = self.is_unlike[squares.argmin(axis=1)]
        return covered
