"""Combine a stack of frames into one, with its variance, in bands of rows."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from skyextract.datamodel.arrays import F4
from skyextract.kernels.isr import combine as kernels
from skyextract.run import Run
from skyextract.settings.keywords import Isr

_BAND_BYTES = 1 << 27
"""Memory of one band of the stack."""


class Stack(Protocol):
    """Frames that are read in bands of rows; see `io.framestack.FrameStack`."""

    shape: tuple[int, int]
    n_frames: int

    def band(self, first: int, last: int) -> F4: ...  # noqa: D102


def combine(stack: Stack, isr: Isr, run: Run) -> tuple[F4, F4]:
    """Combine frames by ISR_COMBINE: sigma-clipped mean (ISR_CLIP_SIGMA) or median.

    Returns
    -------
    level, variance : (ny, nx) float32
        NaN where no frame has a value; the variance, from the scatter of the frames, is NaN
        where fewer than two have one.
    """
    ny, nx = stack.shape
    level = np.empty((ny, nx), dtype=np.float32)
    variance = np.empty((ny, nx), dtype=np.float32)
    use_median = isr.isr_combine == "MEDIAN"
    step = max(1, _BAND_BYTES // (4 * nx * stack.n_frames))
    for start in range(0, ny, step):
        rows = slice(start, min(start + step, ny))
        values = stack.band(rows.start, rows.stop)
        levels, variances = level[rows], variance[rows]

        def work(
            band: tuple[int, int],
            values: F4 = values,
            levels: F4 = levels,
            variances: F4 = variances,
        ) -> None:
            kernels.combine_rows(
                values, isr.isr_clip_sigma, use_median, band[0], band[1], levels, variances
            )

        run.map(work, run.bands(rows.stop - rows.start, least=8))
    return level, variance
