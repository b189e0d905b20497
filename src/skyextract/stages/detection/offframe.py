"""Peaks at the border of a frame that are the wings of sources beyond it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I4, U1, Bools
from skyextract.kernels.background.spline import spline_squares
from skyextract.stages.detection.matched import MatchedFilter

if TYPE_CHECKING:
    from skyextract.datamodel.background import BackgroundMap
    from skyextract.run import Run

Shape = tuple[int, int]


class Edges:
    """The square of the background rms near the border of a frame; no plane of it is made.

    Parameters
    ----------
    background : BackgroundMap
    reach : int
        Rows and columns that are known on each side.
    run : Run
        Threads.
    """

    def __init__(self, background: BackgroundMap, reach: int, run: Run) -> None:
        self._reach, (ny, nx) = reach, background.shape
        self._ny, self._nx = ny, nx
        high, wide = min(reach, ny), min(reach, nx)

        def values(windows: list[list[int]], corners: list[list[int]], shape: Shape) -> F4:
            out = np.empty(shape, np.float32)
            spline_squares(
                background.rms, background.mesh_width, background.mesh_height, nx,
                np.array(windows), np.array(corners), out,
            )  # fmt: skip
            return out

        def sides(band: tuple[int, int]) -> F4:
            # both at once: rows are interpolated as a whole
            windows = [[*band, 0, wide], [*band, nx - wide, nx]]
            return values(windows, [[0, 0], [0, wide]], (band[1] - band[0], 2 * wide))

        ends = [[0, high, 0, nx], [ny - high, ny, 0, nx]]
        self._bottom, self._top = (values([end], [[0, 0]], (high, nx)) for end in ends)
        both = np.concatenate(run.map(sides, run.bands(ny)))
        self._left, self._right = both[:, :wide], both[:, wide:]

    def __getitem__(self, part: tuple[slice, slice]) -> F4:
        """Return plane[rows, columns], all within reach of one side."""
        rows, columns = part
        if rows.stop <= self._reach:
            return self._bottom[rows, columns]
        if columns.stop <= self._reach:
            return self._left[rows, columns]
        first = max(self._ny - self._reach, 0)
        if rows.start >= first:
            return self._top[rows.start - first : rows.stop - first, columns]
        first = max(self._nx - self._reach, 0)
        return self._right[rows, columns.start - first : columns.stop - first]


def centred_off_frame(
    x: I4,
    y: I4,
    image: F4,
    psf: MatchedFilter,
    *,
    sigma: float,
    variance: F4 | Edges | None = None,
    bad: U1 | None = None,
) -> Bools:
    """Tell which peaks of the filtered image are the wings of sources beyond its border.

    That is so for a peak on the border if a point source is likelier outside than inside,
    along the line through the peak across the border; its likelihood is exp(S**2 / 2), with
    the flux at its best.

    Parameters
    ----------
    x, y : (n,) int32
        0-based pixels of the peaks.
    image, sigma, variance, bad
        As in `filter_matched`; of the variance the edges will do, as far as `edge_reach`.

    Returns
    -------
    (n,) bool
    """
    ny, nx = image.shape
    off = np.zeros(len(x), np.bool_)
    half = psf.column.shape[-1] // 2

    def significance(places: list[tuple[int, int]]) -> F8:
        return np.array(
            [point_significance(j, i, image, psf, sigma, variance, bad) for j, i in places]
        )

    for k in np.flatnonzero((x == 0) | (x == nx - 1) | (y == 0) | (y == ny - 1)):
        along_y = [(j, x[k]) for j in range(y[k] - half, y[k] + half + 1)]
        along_x = [(y[k], i) for i in range(x[k] - half, x[k] + half + 1)]
        for across, line in ((y[k] in (0, ny - 1), along_y), (x[k] in (0, nx - 1), along_x)):
            if across:
                s = significance(line)
                likelihood = np.exp(0.5 * (np.maximum(s, 0.0) ** 2 - s.max() ** 2))
                inside = np.array([0 <= j < ny and 0 <= i < nx for j, i in line])
                off[k] |= likelihood[~inside].sum() > likelihood[inside].sum()
    return off


def point_significance(
    y: int, x: int, image: F4, psf: MatchedFilter, sigma: float, variance: F4 | Edges | None,
    bad: U1 | None,
) -> float:  # fmt: skip
    """Return the significance of a point source at pixel (x, y), which may lie outside the image.

    Arguments as in `centred_off_frame`.
    """
    ny, nx = image.shape
    half = psf.column.shape[-1] // 2
    rows = slice(max(y - half, 0), min(y + half + 1, ny))
    columns = slice(max(x - half, 0), min(x + half + 1, nx))
    cell = psf.cells_of(y, x)
    stamp = psf.column[cell].T @ psf.line[cell]
    stamp = stamp[rows.start - y + half : rows.stop - y + half]
    stamp = stamp[:, columns.start - x + half : columns.stop - x + half]
    noise = np.float32(sigma**2) if variance is None else variance[rows, columns]
    weight = np.ones(stamp.shape) / noise
    if bad is not None:
        weight = np.where(bad[rows, columns] == 0, weight, 0.0)
    norm = float((stamp**2 * weight).sum())
    return float((stamp * image[rows, columns] * weight).sum()) / np.sqrt(norm) if norm else 0.0
