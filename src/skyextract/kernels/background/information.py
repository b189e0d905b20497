"""Pixels that carry no information about the sky."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, U2


@kernel
def exclude(
    variance: F4,
    mask: U2,
    planes: int,
    bad: np.float32,
    first_row: int,
    past_row: int,
) -> None:
    """Make the variance `bad` where it is not between 0 and that, or the mask has `planes`."""
    for y in range(first_row, past_row):
        for x in range(variance.shape[1]):
            v = variance[y, x]
            good = (v > np.float32(0.0)) & (v < bad) & ((mask[y, x] & planes) == 0)
            variance[y, x] = v if good else bad
