"""Background: interpolate the mesh over the image."""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, U2, whole
from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.flags import Mask
from skyextract.kernels.background.spline import spline_rows
from skyextract.run import Run

_NO_MASK = np.zeros((1, 1), np.uint16)
_NO_PLANE = np.zeros((1, 1), np.float32)


def background_image(background: BackgroundMap, run: Run) -> F4:
    """Return the background level over the image (bicubic spline), (ny, nx) float32."""
    return _interpolate(background, background.level, run)


def background_rows(background: BackgroundMap, rows: I8, run: Run) -> F4:
    """Return the `background_image` where only the given rows (sorted, unique) are set."""
    groups = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if rows.size else []
    bands = [(int(group[0]), int(group[-1]) + 1) for group in groups]
    return _interpolate(background, background.level, run, bands=bands)


def rms_image(background: BackgroundMap, run: Run) -> F4:
    """Return the background rms over the image (bicubic spline), (ny, nx) float32."""
    return _interpolate(background, background.rms, run)


def mesh_variance(
    background: BackgroundMap,
    run: Run,
    rows: slice | None = None,
    unusable: tuple[U2, int] | None = None,
    out: F4 | None = None,
) -> F4:
    """Return the square of the background rms over the image, (ny, nx) float32.

    Only some rows are set, and take memory, if `rows` says which.  With a mask (ny, nx) and some of
    its planes, `unusable`, pixels in these have no information.  It is written to `out`, if given.
    """
    bands = None if rows is None else [(rows.start, rows.stop)]
    mask, planes = (None, 0) if unusable is None else unusable
    return _interpolate(
        background, background.rms, run, mask=mask, planes=planes, square=True, bands=bands,
        out=out,
    )  # fmt: skip


def subtract_background(
    image: F4, mask: U2 | None, background: BackgroundMap, run: Run, out: F4 | None = None
) -> F4:
    """Return the image minus its background, 0 at pixels without data.

    Parameters
    ----------
    image : (ny, nx) float32
    mask : (ny, nx) uint16 or None
        Pixels with the NO_DATA plane set become 0.
    out : (ny, nx) float32 or None
        Where the result goes; it may be the image.  None: into a new array.
    """
    return _interpolate(background, background.level, run, image, mask, out=out)


def background_at(background: BackgroundMap, x: I8, y: I8) -> F4:
    """Return the level at whole pixels, by bilinear interpolation between mesh centres.

    This is SExtractor's BACKGROUND column, which differs slightly from the spline.

    Parameters
    ----------
    x, y : (n,) int64
        0-based pixels; or a row of columns, and a column of rows, of a grid.
    """
    ny, nx = background.level.shape

    def position(pixel: I8, size: int, n: int) -> tuple[I8, I8, F8]:
        t = pixel / size - 0.5
        low = np.clip(t.astype(np.int64), 0, max(n - 2, 0))
        return low, np.minimum(low + 1, n - 1), t - low

    x0, x1, dx = position(np.asarray(x), background.mesh_width, nx)
    y0, y1, dy = position(np.asarray(y), background.mesh_height, ny)
    level = background.level.astype(np.float64)
    lower = (1.0 - dx) * level[y0, x0] + dx * level[y0, x1]
    upper = (1.0 - dx) * level[y1, x0] + dx * level[y1, x1]
    values: F4 = ((1.0 - dy) * lower + dy * upper).astype(np.float32)
    return values


def _interpolate(
    background: BackgroundMap,
    nodes: F4,
    run: Run,
    image: F4 | None = None,
    mask: U2 | None = None,
    *,
    planes: int = int(Mask.NO_DATA),
    square: bool = False,
    bands: list[tuple[int, int]] | None = None,
    out: F4 | None = None,
) -> F4:
    if out is not None:
        result = out
    elif bands is None:
        result = whole(background.shape, np.float32)
    else:
        result = np.empty(background.shape, np.float32)

    def rows(band: tuple[int, int]) -> None:
        spline_rows(
            nodes,
            background.mesh_width,
            background.mesh_height,
            band[0],
            band[1],
            image is not None,
            square,
            _NO_PLANE if image is None else image,
            _NO_MASK if mask is None else mask,
            0 if mask is None else planes,
            result,
        )

    run.map(rows, run.bands(background.shape[0]) if bands is None else bands)
    return result
