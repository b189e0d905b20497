"""Peaks of a filtered image that rise above a threshold and above a share of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I4


@kernel
def peaks_in_rows(
    image: F4, model: F4, threshold: float, share: float, half: int, first: int, last: int,
    x: I4, y: I4,
) -> int:  # fmt: skip
    """Find the local maxima of rows first..last-1; return their number.

    Parameters
    ----------
    image, model : (ny, nx) float32
        Filtered residual, and the filtered models that were subtracted.
    threshold, share : float
        A peak is above the threshold, and above this share of the model there.
    half : int
        It is the highest of the pixels up to so many away along both axes; of equal ones the
        first in raster order.
    x, y : (n,) int32
        Output, with room for all.
    """
    ny, nx = image.shape
    n = 0
    for j in range(first, last):
        for i in range(nx):
            value = image[j, i]
            if not (value > threshold and value > share * model[j, i]):
                continue
            highest = True
            for b in range(max(0, j - half), min(ny, j + half + 1)):
                for a in range(max(0, i - half), min(nx, i + half + 1)):
                    other = image[b, a]
                    if other > value or (other == value and (b < j or (b == j and a < i))):
                        highest = False
                        break
                if not highest:
                    break
            if highest:
                x[n] = i
                y[n] = j
                n += 1
    return n
