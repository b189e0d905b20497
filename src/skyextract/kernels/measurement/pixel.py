"""What the kernels that sum light ask of one pixel.

The rules are those that the SExtractor manual describes (chapter "Photometry"): apertures are
sampled on subpixels, and MASK_TYPE CORRECT replaces a pixel of a neighbour by the pixel opposite
to it about the source's barycentre.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from skyextract.kernels.jit import helper
from skyextract.kernels.values import APERTURE_INCOMPLETE

BLANK = 1
CORRECT = 2
"""Values of `mask`; 0 leaves the neighbours' pixels alone."""

GOOD = 0
NEIGHBOUR = 1
BAD = 2
"""States of a pixel."""

UNCLAIMED = -math.inf
"""Value of a detected pixel that belongs to no source; NaN is a bad pixel."""


@helper
def left_out(value: float, label: int, mask: int, source: int) -> bool:
    """Tell whether a pixel is bad, of no source, or of another one unless `mask` is 0."""
    return not value > UNCLAIMED or (mask > 0 and label > 0 and label != source)


@helper
def replacement(
    pixels: Any, labels: Any, variance: Any, mapped: bool, noise2: float, mask: int,
    source: int, x: int, y: int, mx: float, my: float,
) -> Any:  # fmt: skip
    """Return value, background variance and state of a pixel that is `left_out`.

    The state is NEIGHBOUR (a pixel of another source, or of none) or BAD.  The value is that of
    the pixel opposite to it about (mx, my) if `mask` is CORRECT and that one is good, else 0.  The
    variance is `noise2` where `mapped` is false.  Whoever sums pixels asks `left_out` first: a call
    takes longer than all else that is done with a good pixel.
    """
    value = np.float64(pixels[y, x])
    state = BAD if value != value else NEIGHBOUR
    if mask == CORRECT:
        x = int(2.0 * mx + 0.49999 - x)
        y = int(2.0 * my + 0.49999 - y)
        if 0 <= x < pixels.shape[1] and 0 <= y < pixels.shape[0]:
            value = np.float64(pixels[y, x])
            if not left_out(value, labels[y, x], mask, source):
                var = noise2
                if mapped:
                    var = np.float64(variance[y, x])
                return value, var, state
    return 0.0, 0.0 if mapped else noise2, state


@helper
def circle_box(
    x: float, y: float, radius: float, width: int, height: int
) -> tuple[int, int, int, int, int]:
    """Return the pixels around a circle, and APERTURE_INCOMPLETE if the frame cuts them, or 0.

    Columns from the first up to the second number, rows from the third up to the fourth one.
    """
    left, right = int(x - radius + 0.499999), int(x + radius + 1.499999)
    bottom, top = int(y - radius + 0.499999), int(y + radius + 1.499999)
    cut = left < 0 or right > width or bottom < 0 or top > height
    flag = APERTURE_INCOMPLETE if cut else 0
    return max(left, 0), min(right, width), max(bottom, 0), min(top, height), flag


@helper
def circle_coverage(dx: float, dy: float, radius2: float, n: int) -> float:
    """Return the share of a pixel's n x n subpixels whose centres lie in a circle.

    (dx, dy) is the pixel's centre from that of the circle, `radius2` the square of its radius.
    """
    step = 1.0 / n
    start = 0.5 * (step - 1.0)
    count = 0
    # Rows of subpixels in fours and without branches: vector instructions take the roots.
    for j in range((n + 3) // 4 * 4):
        sub = dy + start + j * step
        room = radius2 - sub * sub
        half = math.sqrt(max(room, 0.0))
        low = max(np.ceil((-half - dx - start) * n), 0.0)
        high = min(np.floor((half - dx - start) * n), n - 1.0)
        inside = int(np.int32(high)) - int(np.int32(low)) + 1
        count += inside if (room > 0.0) & (inside > 0) & (j < n) else 0
    return count * step * step
