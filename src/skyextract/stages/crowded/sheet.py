"""Windows of a frame side by side in a small image: what is done in a few places is done there.

Nothing that is done there may reach beyond the window that it is in.
"""

from __future__ import annotations

import math
from dataclasses import field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.psf import Psf
from skyextract.kernels.background.spline import spline_squares
from skyextract.kernels.values import NO_INFORMATION
from skyextract.record import record
from skyextract.stages.crowded.window import BYTE, cut_windows

if TYPE_CHECKING:
    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.exposure import Exposure
    from skyextract.stages.background.planes import Plane


@record
class Sheet:
    """Where windows of a frame lie in an image of their own.

    Attributes
    ----------
    windows : (n, 4) int64
        First and last + 1 of the rows, then of the columns, in the frame and beyond it.
    corners : (n, 2) int64
        First row and column in the sheet.
    shape : tuple of int
        Of the sheet, [y, x].
    """

    windows: I8
    corners: I8
    shape: tuple[int, int]

    @classmethod
    def of(cls, windows: I8) -> Sheet:
        """Lay windows, widened to whole bytes of packed bits, on shelves of falling height."""
        wide = windows.copy()
        wide[:, ::2] -= wide[:, ::2] % BYTE
        wide[:, 1::2] += -wide[:, 1::2] % BYTE
        heights, widths = (wide[:, [1, 3]] - wide[:, [0, 2]]).T
        line = max(int(widths.max()), math.isqrt(int((heights * widths).sum())))
        corners = np.empty((len(wide), 2), np.int64)
        row = column = below = 0
        for k in np.argsort(-heights, kind="stable").tolist():
            if column + widths[k] > line:
                row, column = below, 0
            corners[k] = row, column
            column += int(widths[k])
            below = max(below, row + int(heights[k]))
        return cls(wide, corners, (below, -(-line // BYTE) * BYTE))

    @property
    def shift(self) -> I8:
        """What rows and columns of the sheet have less than those of the frame, (n, 2)."""
        return self.windows[:, ::2] - self.corners

    def inside(self, shape: tuple[int, int]) -> tuple[I8, I8]:
        """Return the part of the windows that is in a frame of some shape, and its corners."""
        ny, nx = shape
        windows = np.clip(self.windows, 0, np.array([ny, ny, nx, nx]))
        return windows, self.corners + windows[:, ::2] - self.windows[:, ::2]


@record
class SheetPsf(Psf):
    """The PSF of a frame where windows of it are.

    Attributes
    ----------
    window : (n_y, n_x) int64
        The window in each block of 8 x 8 pixels.
    shift : (n, 2) int64
        That of the sheet.
    """

    window: I8 = field(default_factory=lambda: np.zeros((1, 1), np.int64))
    shift: I8 = field(default_factory=lambda: np.zeros((1, 2), np.int64))

    def normalised(self, x: F8, y: F8) -> tuple[F8, F8]:
        """Return the variables of the polynomial at positions in the sheet."""
        row, column = (
            np.clip(np.rint(v).astype(np.int64) // BYTE, 0, n - 1)
            for v, n in zip((y, x), self.window.shape, strict=True)
        )
        dy, dx = self.shift[self.window[row, column]].T
        return super().normalised(x + dx, y + dy)


def sheet_psf(psf: Psf, sheet: Sheet) -> SheetPsf:
    """Return the PSF of the windows."""
    window = np.zeros(tuple(-(-size // BYTE) for size in sheet.shape), np.int64)
    sizes = sheet.windows[:, 1::2] - sheet.windows[:, ::2]
    for k, ((a, c), (b, d)) in enumerate(
        zip(sheet.corners // BYTE, (sheet.corners + sizes) // BYTE, strict=True)
    ):
        window[a:b, c:d] = k
    known = {item.name: getattr(psf, item.name) for item in fields(psf)}
    return SheetPsf(**known, window=window, shift=sheet.shift)


def sheet_of(
    exposure: Exposure, plane: Plane, found: Detections, sheet: Sheet
) -> tuple[Exposure, Plane, Detections, I8, I8]:
    """Cut out the windows of a frame.

    Returns
    -------
    exposure : Exposure
        Mask and PSF of the windows; what lies beyond the frame is no data.
    plane : Plane
        With the noise of each pixel.
    part : Detections
        Those with centre and pixels in a window, window by window; some are in several.
    rows, window : (n,) int64
        Their rows in the frame, and which window.
    """
    assert exposure.psf is not None
    shape, frame = sheet.shape, exposure.shape
    windows, corners = sheet.inside(frame)
    noise = plane.noise if plane.variance is None else plane.variance
    mask = np.full(shape, int(Mask.NO_DATA), np.uint16)
    image, variance = np.zeros(shape, np.float32), np.full(shape, NO_INFORMATION, np.float32)
    bad = np.ones(shape, np.bool_)
    saturated = np.zeros((shape[0], shape[1] // BYTE), np.uint8)
    copies: list[tuple[Any, Any]] = [
        (mask, exposure.mask), (image, plane.subtracted), (bad, plane.bad)
    ]  # fmt: skip
    copies += [] if noise is None else [(variance, noise)]
    for (a, b, c, d), (row, column) in zip(windows.tolist(), corners.tolist(), strict=True):
        there = np.s_[row : row + b - a, column : column + d - c]
        for ours, theirs in copies:
            ours[there] = theirs[a:b, c:d]
        bits = plane.saturated[a:b, c // BYTE : -(-d // BYTE)]
        first = column // BYTE
        saturated[row : row + b - a, first : first + bits.shape[1]] = bits
    if noise is None:
        background = plane.background
        spline_squares(
            background.rms, background.mesh_width, background.mesh_height, frame[1], windows,
            corners, variance,
        )  # fmt: skip
        variance[bad] = NO_INFORMATION
    exposure = replace(
        exposure, image=image, mask=mask, variance=None, weight=None, background=None,
        psf=sheet_psf(exposure.psf, sheet),
    )  # fmt: skip
    plane = replace(
        plane, subtracted=image, variance=variance, bad=bad, n_bad=int(np.count_nonzero(bad)),
        saturated=saturated, noise=None,
    )  # fmt: skip
    return exposure, plane, *cut_windows(found, sheet.windows, sheet.corners, shape)
