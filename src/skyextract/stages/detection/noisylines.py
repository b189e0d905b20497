"""Columns and rows in which the filtered image has more noise than beside.

A defect that was interpolated before shares its noise with its neighbours: a filter averages
less of it away, and finds sources all along the line.  So does it in a line that is noisier.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I4, U1
from skyextract.datamodel.noise import NoisyLines, median
from skyextract.kernels.detection.linenoise import line_sums
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.run import Run

SURE = 5.0
"""A line is noisier if it is so by so many times the scatter of lines, ..."""
MIN_EXCESS = 0.15
"""... and by this part at least."""
BESIDE = 2.0
"""Lines next to it are so by so many times the scatter."""
CLIP = 4.0
"""Sigma: what no source is found in counts for no more."""
BLOCK = 64
"""Lines that tell together what is typical."""
BAND = 512
"""Rows that are summed together."""
MIN_PIXELS = 100
"""A line of fewer free pixels tells nothing."""


def noisy_lines(
    filtered: F4, claimed: U1, unit: float, filter_area: float, run: Run
) -> NoisyLines | None:
    """Find the lines in which a filtered image has more noise; None if there are none.

    Parameters
    ----------
    filtered : (ny, nx) float32
        0 where there is no information.
    claimed : (ny, nx) uint8
        Pixels of known sources (not 0).
    unit : float
        Its noise.
    filter_area : float
        One over the filter's sum of squares, pixels: what is nearer is hardly independent.
    """
    ny, nx = filtered.shape
    step = max(1, round(0.7 * math.sqrt(filter_area)))
    # The same ones for any number of threads: sums in float32 depend on them.
    bands = [(first, min(first + BAND, ny)) for first in range(0, ny, BAND)]
    row_sums, row_counts = np.zeros(ny, np.float32), np.zeros(ny, np.int32)

    def band(rows: tuple[int, int]) -> tuple[F4, I4]:
        own = np.zeros(nx, np.float32), np.zeros(nx, np.int32)
        line_sums(
            filtered, claimed, *rows, step, np.float32(CLIP * unit),
            *own, row_sums, row_counts,
        )  # fmt: skip
        return own

    parts = run.map(band, bands)
    column_sums: F8 = np.sum([sums for sums, _ in parts], axis=0, dtype=np.float64)
    column_counts: I4 = np.sum([counts for _, counts in parts], axis=0)
    columns = _excess(column_sums, column_counts)
    rows = _excess(row_sums.astype(np.float64), row_counts)
    if columns.max() == 1.0 and rows.max() == 1.0:
        return None
    return NoisyLines(columns, rows)


def _excess(sums: F8, counts: I4) -> F4:
    """Return by how much lines stand out of those about them; 1 where they do not."""
    factor = np.ones(sums.size, np.float32)
    known = counts >= MIN_PIXELS
    if np.count_nonzero(known) < BLOCK:
        return factor
    places = np.flatnonzero(known)
    mean = sums[known] / counts[known]
    blocks = np.array_split(np.arange(mean.size), max(1, mean.size // BLOCK))
    centres = [0.5 * float(block[0] + block[-1]) for block in blocks]
    typical = np.interp(np.arange(mean.size), centres, [median(mean[b]) for b in blocks])
    excess = mean / typical - 1.0
    scatter = MAD_TO_SIGMA * median(np.abs(excess))
    clear = np.zeros(sums.size, np.bool_)
    clear[places] = excess > max(SURE * scatter, MIN_EXCESS)
    near = np.convolve(clear, np.ones(3), "same") > 0.5
    higher = near[places] & (excess > BESIDE * scatter)
    factor[places[higher]] = 1.0 + excess[higher]
    return factor
