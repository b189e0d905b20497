"""Basic measurements of detections: from pixels, and from the tables of the kernels."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I4, I8, AnyArray, Bools
from skyextract.kernels.detection import shape
from skyextract.kernels.detection.pixels import Pixels
from skyextract.run import Run

_CHUNK = 1 << 14
"""Pixels of sources that are measured together."""

_REAL = {
    "x": shape.X, "y": shape.Y, "x2": shape.X2, "y2": shape.Y2, "xy": shape.XY, "a": shape.A,
    "b": shape.B, "theta": shape.THETA, "cxx": shape.CXX, "cyy": shape.CYY, "cxy": shape.CXY,
    "abcor": shape.ABCOR, "fdflux": shape.FDFLUX, "dflux": shape.DFLUX,
}  # fmt: skip
_REAL4 = {"fdpeak": shape.FDPEAK, "dpeak": shape.DPEAK}
_INTEGER = {
    "xmin": shape.XMIN, "xmax": shape.XMAX, "ymin": shape.YMIN, "ymax": shape.YMAX,
    "xpeak": shape.XPEAK, "ypeak": shape.YPEAK, "fdnpix": shape.FDNPIX, "dnpix": shape.DNPIX,
}  # fmt: skip


def column(table: AnyArray, k: int) -> AnyArray:
    """Return column k of a table as a contiguous array."""
    return np.ascontiguousarray(table[:, k])


def measured_fields(real: F8, integer: I4) -> dict[str, Any]:
    """Return the fields of `Detections` that tables of `kernels.detection.shape` hold."""
    return {
        **{name: column(real, k) for name, k in _REAL.items()},
        **{name: column(real, k).astype(np.float32) for name, k in _REAL4.items()},
        **{name: column(integer, k) for name, k in _INTEGER.items()},
        "singular": column(integer, shape.SINGULAR) != 0,
    }


def measure_footprints(
    filtered: F4, image: F4, pixel: I8, first: I8, n_own: I4, threshold: float, *,
    recentre: Bools, x: F8, y: F8, run: Run,
) -> dict[str, Any]:  # fmt: skip
    """Measure sources on their footprints: `Detections.filtered`, and `measured_fields`.

    Parameters
    ----------
    filtered, image : (ny, nx) float32
        Detection image as it was filtered, and as it is.
    pixel, first, n_own
        Footprints as in `Detections`; pixels that were merged into a source do not count.
    threshold : float
        Detection threshold, image units.
    recentre : (n,) bool
        Second moments are about the barycentre, else about (x, y).
    x, y : (n,) float64
        0-based positions.
    """
    n = len(n_own)
    real = np.empty((n, shape.N_REAL), np.float64)
    integer = np.empty((n, shape.N_INTEGER), np.int32)
    values = np.empty(len(pixel), np.float32)

    def measure(chunk: tuple[int, int]) -> None:
        part, begin, end = slice(*chunk), first[chunk[0]], first[chunk[1]]
        index = pixel[begin:end]
        values[begin:end] = filtered.ravel()[index]
        y_pixel = (index // image.shape[1]).astype(np.int32)
        x_pixel = (index - y_pixel * np.int64(image.shape[1])).astype(np.int32)
        pixels = Pixels(
            x_pixel, y_pixel,
            values[begin:end], image.ravel()[index], np.zeros(1, np.float32), False,
        )  # fmt: skip
        shape.measure_sources(
            pixels, threshold, first[chunk[0] : chunk[1] + 1] - begin, n_own[part],
            recentre[part], x[part], y[part], real[part], integer[part],
        )  # fmt: skip

    goals = np.arange(_CHUNK, len(pixel), _CHUNK)
    edges = sorted({0, n, *np.searchsorted(first, goals).tolist()})
    run.map(measure, list(pairwise(edges)))
    return {"filtered": values, **measured_fields(real, integer)}
