"""Sorting of the columns of a small block at the same time.

Batcher's network (Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M): its comparisons
do not depend on the values, so that they are vector instructions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4

BLOCK = 128
"""Columns that are sorted together: their values stay in the cache."""


@helper
def sort_columns(block: F4, width: int) -> None:
    """Sort each of the first `width` columns in place, rising with the row; none may be NaN."""
    n = len(block)
    p = 1
    while p < n:
        k = p
        while k >= 1:
            for j in range(k % p, n - k, 2 * k):
                for i in range(min(k, n - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        lower, upper = block[i + j], block[i + j + k]
                        for x in range(width):
                            a, b = lower[x], upper[x]
                            lower[x] = min(a, b)
                            upper[x] = max(a, b)
            k //= 2
        p *= 2
