"""The random numbers of the C library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4

RANDOM_MAX = 2147483647


@kernel
def random_numbers(n: int) -> F4:
    """Return n random integers, 0 to `RANDOM_MAX`, rounded to float32.

    The additive feedback generator of the GNU C library with its default seed, 1
    (x[i] = x[i - 3] + x[i - 31]; Knuth, TAOCP 2, section 3.2.2): pixels are shared out as
    SExtractor does it on Linux, and each run on the same image repeats the last.
    """
    state = np.empty(n + 344, np.uint32)
    word = np.int64(1)
    state[0] = 1
    for i in range(1, 31):
        word = (16807 * word) % RANDOM_MAX
        state[i] = np.uint32(word)
    for i in range(31, 34):
        state[i] = state[i - 31]
    for i in range(34, n + 344):
        state[i] = np.uint32((np.int64(state[i - 31]) + np.int64(state[i - 3])) & 0xFFFFFFFF)
    out = np.empty(n, np.float32)
    for i in range(n):
        out[i] = np.float32(state[i + 344] >> np.uint32(1))
    return out
