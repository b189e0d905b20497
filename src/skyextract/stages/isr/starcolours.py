"""Whether stars show the colours of a mosaic: the card is often left where there is none any more.

In a mosaic of filters the light of a star is not shared alike by the pixels of each colour: green
ones have more of it than those of the other diagonal, or, where levels were balanced, red and blue
ones differ by the colours of the stars, as the two green ones do not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import median, sparse
from skyextract.kernels.values import MAD_TO_SIGMA

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8
    from skyextract.datamodel.exposure import Exposure

BRIGHT = 20.0
"""Sigma of cells of 2 x 2 pixels from which they are light of stars."""
BLOCK, MIN_CELLS, MIN_STARS = 16, 4, 8
"""Cells along the side of a block, which holds about one star, and of its light, at least; and such
blocks without which nothing is told."""
UNEVEN, SURE = 0.03, 3.0
"""Part of the light by which the diagonals differ, with so many errors, at most."""
SAMPLED = 0.04
"""Part of the light by which green pixels of a star differ, from which it is too narrow to tell."""
COLOURED, NEXT_TO_NOTHING = 1.5, 0.003
"""Times as much as the green pixels of a star the others differ, at most, with such a part of the
light."""


def is_of_one_colour(exposure: Exposure, pattern: str) -> bool:
    """Tell whether stars are as bright in pixels of all colours; not where too few tell it.

    Parameters
    ----------
    exposure : Exposure
    pattern : str
        Colours of the first 2 x 2 pixels, as BAYERPAT.
    """
    diagonals, first, second = _shares(exposure)
    if diagonals.size < MIN_STARS:
        return False
    middle = median(diagonals)
    error = 1.25 * MAD_TO_SIGMA * median(np.abs(diagonals - middle)) / math.sqrt(diagonals.size)
    green, other = (first, second) if pattern[0] == "G" else (second, first)
    coloured, usual = (median(np.abs(shares)) for shares in (other, green))
    is_even = abs(middle) < UNEVEN and SURE * error < UNEVEN
    return is_even and usual < SAMPLED and coloured < COLOURED * usual + NEXT_TO_NOTHING


def _shares(exposure: Exposure) -> tuple[F8, F8, F8]:
    """Return how much the diagonals of stars differ, and the pixels of each, over their light.

    What the sky about them differs by is taken off: an offset is no light.
    """
    ny, nx = (size // 2 * 2 for size in exposure.shape)
    image, mask = exposure.image[:ny, :nx], exposure.mask[:ny, :nx]
    sky = median(image[sparse(image.shape)])
    parts = [(slice(row, None, 2), slice(column, None, 2)) for row in (0, 1) for column in (0, 1)]
    a, b, c, d = (image[part] for part in parts)
    total = a + b + c + d - np.float32(4.0 * sky)
    some = total[sparse(total.shape)]
    limit = BRIGHT * MAD_TO_SIGMA * median(np.abs(some - median(some)))
    lit = total > limit
    for part in parts:
        lit &= (mask[part] == 0) & (image[part] < exposure.detector.saturation)
    between = (a + d) - (b + c)
    between -= np.float32(median(between[sparse(between.shape)]))
    y, x = np.nonzero(lit)
    block = y // BLOCK * (total.shape[1] // BLOCK + 1) + x // BLOCK
    light = np.bincount(block, total[lit])
    own = np.flatnonzero(np.bincount(block) >= MIN_CELLS)
    first, second = (
        np.bincount(block, one[lit].astype(np.float64) - other[lit])[own] / light[own]
        for one, other in ((a, d), (b, c))
    )
    return np.bincount(block, between[lit])[own] / light[own], first, second
