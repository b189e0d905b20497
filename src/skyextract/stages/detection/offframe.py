"""Peaks at the border of a frame that are the wings of sources beyond it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

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
    offset = np.arange(-half, half + 1)
    for k in np.flatnonzero((x == 0) | (x == nx - 1) | (y == 0) | (y == ny - 1)):
        for axis, at, size in ((0, int(y[k]), ny), (1, int(x[k]), nx)):
            if at not in (0, size - 1):
                continue
            s = significance_along(axis, int(y[k]), int(x[k]), image, psf, sigma, variance, bad)
            likelihood = np.exp(0.5 * (np.maximum(s, 0.0) ** 2 - s.max() ** 2))
            inside = (at + offset >= 0) & (at + offset < size)
            off[k] |= likelihood[~inside].sum() > likelihood[inside].sum()
    return off


def significance_along(
    axis: int, y: int, x: int, image: F4, psf: MatchedFilter, sigma: float,
    variance: F4 | Edges | None, bad: U1 | None,
) -> F8:  # fmt: skip
    """Return the significance of a point source at the pixels of a line, within or off the image.

    Parameters
    ----------
    axis : int
        0: along y, 1: along x.
    y, x : int
        The middle of the line, which is as long as the PSF is wide.
    image, psf, sigma, variance, bad
        As in `centred_off_frame`.
    """
    half = psf.column.shape[-1] // 2
    size, reach = 2 * half + 1, [half, half]
    reach[axis] *= 2
    part, place = [], []
    for at, far, number in zip((y, x), reach, image.shape, strict=True):
        low, high = max(at - far, 0), min(at + far + 1, number)
        part.append(slice(low, high))
        place.append(slice(low - at + far, high - at + far))
    rows, columns = part
    noise = np.float32(sigma**2) if variance is None else variance[rows, columns]
    weight, light = np.zeros((2, 2 * reach[0] + 1, 2 * reach[1] + 1))
    own = weight[place[0], place[1]]
    own[...] = 1.0 / np.asarray(noise, np.float64)
    if bad is not None:
        own[bad[rows, columns] != 0] = 0.0
    light[place[0], place[1]] = own * image[rows, columns]
    offset = np.arange(-half, half + 1)
    middle = [np.full(size, y), np.full(size, x)]
    middle[axis] = middle[axis] + offset
    cell = psf.cells_of(middle[0], middle[1])
    stamps = psf.column[cell].transpose(0, 2, 1) @ psf.line[cell]
    # Each place has a window of the same size, of zeros off the image.
    weights, lights = (
        np.moveaxis(sliding_window_view(plane, size, axis), (axis, 2), (0, 1 + axis))
        for plane in (weight, light)
    )
    norm = (stamps**2 * weights).sum(axis=(1, 2))
    total = (stamps * lights).sum(axis=(1, 2))
    out: F8 = np.where(norm > 0.0, total / np.sqrt(np.where(norm > 0.0, norm, 1.0)), 0.0)
    return out
