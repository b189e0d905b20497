"""Numbers as a FITS file stores them, the highest byte first, made pixels in one pass.

FITS Standard 4.0, section 5: integers of 16 bits, and IEEE single precision.  The kernels tell
whether any pixel is out of the ordinary; which these are is then looked up.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, U2, U4

_SWAPS = sys.byteorder == "little"


@kernel
def pixels_of_shorts(stored: U2, zero: np.float32, saturation: np.float32, image: F4) -> bool:
    """Set `image` to signed 16-bit integers plus `zero`; tell whether any is saturated.

    Parameters
    ----------
    stored : (ny, nx)
        The bytes of the file.
    image : (ny, nx), output
    """
    reached = False
    for y in range(stored.shape[0]):
        numbers, row = stored[y], image[y]
        for x in range(len(row)):
            n = numbers[x]
            if _SWAPS:
                n = np.uint16((n << 8) | (n >> 8))
            value = np.float32(np.int16(n)) + zero
            row[x] = value
            reached |= bool(value >= saturation)
    return reached


@kernel
def pixels_of_singles(
    stored: U4, no_value: np.float32, saturation: np.float32, image: F4
) -> tuple[bool, bool]:
    """Set `image` to single-precision numbers.

    Parameters
    ----------
    stored : (ny, nx)
        The bytes of the file.
    image : (ny, nx), output

    Returns
    -------
    reached, odd : bool
        Whether any is saturated; whether any is NaN, or of the size `no_value` or more.
    """
    reached = odd = False
    bits = image.view(np.uint32)
    for y in range(stored.shape[0]):
        numbers, swapped = stored[y], bits[y]
        for x in range(len(swapped)):
            n = numbers[x]
            if _SWAPS:
                n = np.uint32((n << 24) | ((n & 0xFF00) << 8) | ((n >> 8) & 0xFF00) | (n >> 24))
            swapped[x] = n
        row = image[y]
        for x in range(len(row)):
            reached |= row[x] >= saturation
            odd |= not abs(row[x]) < no_value
    return reached, odd
