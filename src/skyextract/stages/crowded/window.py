"""Windows about parts of a frame: what is known of it, cut to them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.arrays import F4, I8
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
    (top, bottom), (left, right) = ((part.start, part.stop) for part in window)
    x, y = np.rint(found.x), np.rint(found.y)
    rows = np.flatnonzero((x >= left) & (x < right) & (y >= top) & (y < bottom))
    length = np.diff(found.first)[rows]
    number = np.repeat(np.arange(rows.size), length)
    place = np.arange(number.size) - np.repeat(np.cumsum(length) - length, length)
    own = place < found.n_own[rows][number]
    at = found.first[rows][number] + place
    row, column = np.divmod(found.pixel[at], found.image_shape[1])
    inside = (row >= top) & (row < bottom) & (column >= left) & (column < right)
    length, n_own = (
        np.bincount(number[some], minlength=rows.size) for some in (inside, inside & own)
    )
    has_pixels = length > 0
    rows, length, n_own = rows[has_pixels], length[has_pixels], n_own[has_pixels]
    columns: dict[str, Any] = {name: getattr(found, name)[rows] for name in PER_SOURCE}
    for axis, start in (("x", left), ("y", top)):
        for name in (axis, f"{axis}min", f"{axis}max", f"{axis}peak"):
            columns[name] = columns[name] - start
    columns["n_own"] = n_own.astype(np.int32)
    part = replace(
        found, **columns, labels=None, shape=(bottom - top, right - left), n_labelled=None,
        late=None, first=np.concatenate([[0], np.cumsum(length)]),
        pixel=(row[inside] - top) * (right - left) + column[inside] - left,
        filtered=found.filtered[at[inside]], unclaimed=np.zeros(0, np.int64), around=None,
    )  # fmt: skip
    return replace(part, labels=part.segmentation), rows
