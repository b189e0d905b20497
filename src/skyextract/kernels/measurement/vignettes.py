"""Cut-outs around the sources: VIGNET and VIGNET_SHIFT."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel
from skyextract.kernels.measurement.records import SourcePixels

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8

NO_DATA = -1e30
"""Value of pixels outside the frame, bad, or of a neighbour (SExtractor's -BIG)."""

_TAPS = 8
_LANCZOS = 4.0


@kernel
def vignettes(image: SourcePixels, x: F8, y: F8, first: int, last: int, out: F4) -> None:
    """Copy the pixels around the sources ``first <= i < last``.

    Parameters
    ----------
    image : SourcePixels
        With a `mask` that is not 0 pixels of other sources are NO_DATA.
    x, y : (n,) float64
        0-based positions; the cut-out is centred on the nearest pixel.
    out : (n, h, w) float32
        Output.
    """
    pixels, labels, mask = image
    height, width = pixels.shape
    for i in range(first, last):
        left = int(x[i] + 0.49999) - out.shape[2] // 2
        bottom = int(y[i] + 0.49999) - out.shape[1] // 2
        for v in range(out.shape[1]):
            py = bottom + v
            for u in range(out.shape[2]):
                px = left + u
                value = np.float32(NO_DATA)
                if 0 <= px < width and 0 <= py < height:
                    label = labels[py, px]
                    if not (mask > 0 and label > 0 and label != i + 1):
                        pixel = pixels[py, px]
                        if pixel > NO_DATA:
                            value = pixel
                out[i, v, u] = value


@kernel
def _lanczos(distance: float) -> float:
    """Return the Lanczos-4 interpolation function."""
    if abs(distance) < 1e-5:
        return 1.0
    if abs(distance) >= _LANCZOS:
        return 0.0
    phase = math.pi * distance
    return math.sin(phase) * math.sin(phase / _LANCZOS) / (phase * phase / _LANCZOS)


@kernel
def shifted_vignettes(image: SourcePixels, x: F8, y: F8, first: int, last: int, out: F4) -> None:
    """Copy the pixels around the sources, the barycentre shifted to the middle pixel.

    Lanczos-4 interpolation, weights normalised to 1; outside the frame is 0.  NO_DATA
    where a bad or a neighbour's pixel would contribute.  Arguments as for `vignettes`.
    """
    pixels, labels, mask = image
    height, width = pixels.shape
    wx = np.empty(_TAPS)
    wy = np.empty(_TAPS)
    for i in range(first, last):
        ix, iy = int(x[i]), int(y[i])
        dx, dy = x[i] - ix, y[i] - iy
        left = below = _TAPS // 2 - 1
        sum_x = sum_y = 0.0
        for k in range(_TAPS):
            wx[k] = _lanczos(k - left - dx)
            wy[k] = _lanczos(k - below - dy)
            sum_x += wx[k]
            sum_y += wy[k]
        for v in range(out.shape[1]):
            for u in range(out.shape[2]):
                total = 0.0
                complete = True
                for l in range(_TAPS):  # noqa: E741
                    py = iy - out.shape[1] // 2 - below + v + l
                    if py < 0 or py >= height or wy[l] == 0.0:
                        continue
                    for k in range(_TAPS):
                        px = ix - out.shape[2] // 2 - left + u + k
                        if px < 0 or px >= width or wx[k] == 0.0:
                            continue
                        label = labels[py, px]
                        pixel = np.float64(pixels[py, px])
                        if not pixel > NO_DATA or (mask > 0 and label > 0 and label != i + 1):
                            complete = False
                        else:
                            total += wx[k] * wy[l] * pixel
                out[i, v, u] = total / (sum_x * sum_y) if complete else NO_DATA
