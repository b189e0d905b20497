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
def pixel_value(
    pixels: Any, labels: Any, variance: Any, mapped: bool, noise2: float, mask: int,
    source: int, x: int, y: int, mx: float, my: float,
) -> Any:  # fmt: skip
    """Return value, background variance and state of a pixel for the source numbered `source`.

    The state is GOOD, NEIGHBOUR (a pixel of another source, unless `mask` is 0) or BAD.  A pixel
    that is not good has the value of the one opposite to it about (mx, my) if `mask` is CORRECT
    and that one is good, else 0.  The variance is `noise2` where `mapped` is false.
    """
    value = np.float64(pixels[y, x])
    state = GOOD
    if not value > UNCLAIMED:
        state = BAD if value != value else NEIGHBOUR
    elif mask > 0:
        label = labels[y, x]
        if label > 0 and label != source:
            state = NEIGHBOUR
    var = noise2
    if state == GOOD:
        if mapped:
            var = np.float64(variance[y, x])
        return value, var, state
    if mask == CORRECT:
        x = int(2.0 * mx + 0.49999 - x)
        y = int(2.0 * my + 0.49999 - y)
        if 0 <= x < pixels.shape[1] and 0 <= y < pixels.shape[0]:
            value = np.float64(pixels[y, x])
            label = labels[y, x]
            if value > UNCLAIMED and (mask == 0 or label <= 0 or label == source):
                if mapped:
                    var = np.float64(variance[y, x])
                return value, var, state
    if mapped:
        var = 0.0
    return 0.0, var, state


@helper
def left_out(value: float, label: int, mask: int, source: int) -> bool:
    """Tell whether a pixel is bad, of no source, or of another one unless `mask` is 0."""
    return not value > UNCLAIMED or (mask > 0 and label > 0 and label != source)


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
    for j in range(n):
        sub = dy + start + j * step
        room = radius2 - sub * sub
        if room > 0.0:
            half = math.sqrt(room)
            low = max(math.ceil((-half - dx - start) * n), 0)
            high = min(math.floor((half - dx - start) * n), n - 1)
            if high >= low:
                count += high - low + 1
    return count * step * step
