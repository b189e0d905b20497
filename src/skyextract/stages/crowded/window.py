"""Windows about parts of a frame: what is known of it, cut to them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.arrays import F4, I8, each_of
from skyextract.datamodel.detections import PER_SOURCE, Detections

if TYPE_CHECKING:
    from skyextract.datamodel.exposure import Exposure
    from skyextract.stages.background.planes import Plane

Window = tuple[slice, slice]
"""Rows and columns; columns begin at a byte of packed bits."""
BYTE = 8


def cut_exposure(exposure: Exposure, window: Window) -> Exposure:
    """Return the exposure of a window, with the PSF that it has there."""
    psf = exposure.psf
    assert psf is not None
    planes: dict[str, Any] = {
        name: None if plane is None else np.ascontiguousarray(plane[window])
        for name in ("image", "mask", "variance", "weight")
        for plane in (getattr(exposure, name),)
    }
    rows, columns = window
    psf = replace(psf, x_zero=psf.x_zero - columns.start, y_zero=psf.y_zero - rows.start)
    return replace(exposure, **planes, psf=psf, background=None)


def cut_plane(plane: Plane, noise: F4, window: Window) -> Plane:
    """Return the plane of a window; its background is that of the frame.

    Parameters
    ----------
    noise : (ny, nx) float32
        Background variance of the frame.
    """
    rows, columns = window
    bad = np.ascontiguousarray(plane.bad[window])
    last = -(-columns.stop // BYTE)
    return replace(
        plane, subtracted=np.ascontiguousarray(plane.subtracted[window]),
        variance=np.ascontiguousarray(noise[window]), bad=bad, n_bad=int(np.count_nonzero(bad)),
        saturated=np.ascontiguousarray(
            plane.saturated[rows, columns.start // BYTE : last]
        ),
        noise=None,
    )  # fmt: skip


def cut_detections(found: Detections, window: Window) -> tuple[Detections, I8]:
    """Return the detections whose pixels and centres are in a window, and their rows in all."""
    rows, columns = window
    edges = np.array([[rows.start, rows.stop, columns.start, columns.stop]])
    shape = rows.stop - rows.start, columns.stop - columns.start
    part, number, _ = cut_windows(found, edges, np.zeros((1, 2), np.int64), shape)
    return part, number


def cut_windows(
    found: Detections, windows: I8, corners: I8, shape: tuple[int, int]
) -> tuple[Detections, I8, I8]:
    """Return the detections whose pixels and centres are in windows that lie side by side.

    Parameters
    ----------
    windows : (n, 4) int64
        First and last + 1 of the rows, then of the columns, in the frame.
    corners : (n, 2) int64
        Row and column where each begins in the image of all of them.
    shape : tuple of int
        Of that image.

    Returns
    -------
    part : Detections
        Window by window.
    rows, window : (m,) int64
        Their rows in `found`, and the window of each.
    """
    top, bottom, left, right = windows.T
    x, y = np.rint(found.x), np.rint(found.y)
    by_row = np.argsort(y, kind="stable")
    first = np.searchsorted(y[by_row], top)
    window, place = each_of(np.searchsorted(y[by_row], bottom) - first)
    rows = by_row[first[window] + place]
    here = (x[rows] >= left[window]) & (x[rows] < right[window])
    window, rows = window[here], rows[here]
    order = np.lexsort((rows, window))
    window, rows = window[order], rows[order]

    number, place = each_of(np.diff(found.first)[rows])
    own = place < found.n_own[rows][number]
    at = found.first[rows][number] + place
    pixel, nx = found.pixel[at], found.image_shape[1]
    row = pixel // nx  # numpy's divmod takes many times as long
    column = pixel - row * nx
    of = window[number]
    inside = (row >= top[of]) & (row < bottom[of]) & (column >= left[of]) & (column < right[of])
    length, n_own = (
        np.bincount(number[some], minlength=rows.size) for some in (inside, inside & own)
    )
    has_pixels = length > 0
    rows, window, length, n_own = (v[has_pixels] for v in (rows, window, length, n_own))
    columns: dict[str, Any] = {name: getattr(found, name)[rows] for name in PER_SOURCE}
    down, aside = (windows[:, ::2] - corners).T
    for axis, shift in (("x", aside), ("y", down)):
        for name in (axis, f"{axis}min", f"{axis}max", f"{axis}peak"):
            columns[name] = columns[name] - shift[window].astype(columns[name].dtype)
    columns["n_own"] = n_own.astype(np.int32)
    of = of[inside]
    part = replace(
        found, **columns, labels=None, shape=shape, n_labelled=None,
        late=None, first=np.concatenate([[0], np.cumsum(length)]),
        pixel=(row[inside] - down[of]) * shape[1] + column[inside] - aside[of],
        filtered=found.filtered[at[inside]], unclaimed=np.zeros(0, np.int64), around=None,
    )  # fmt: skip
    return replace(part, labels=part.segmentation), rows, window
