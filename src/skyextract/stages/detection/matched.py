"""Matched filter: the PSF on a grid of image cells, and the filtered image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I4, I8, U1, AnyArray, Bools, whole
from skyextract.kernels.detection import matched
from skyextract.kernels.detection.matchedat import matched_about
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.record import record
from skyextract.run import Run
from skyextract.stages.detection.matchedwaves import filter_in_waves, is_wide

if TYPE_CHECKING:
    from skyextract.datamodel.background import BackgroundMap
    from skyextract.datamodel.psf import Psf


_NO_BAD = np.zeros((1, 1), np.uint8)
_NO_PLANE = np.zeros((1, 1), np.float32)

_KEPT_WEIGHT = 0.999
"""The stamp is cut where it holds this share of the sum of P**2."""
_LEFT_OUT = 1e-4
_LEFT_OUT_OF_SQUARE = 1e-6
"""Share of the sum of squares that outer products may leave out, of P and of P**2."""
_MAX_CELLS = 8
_WIDE_STAMP, _WIDE_CELLS = 64, 3
"""Of a PSF of more pixels than that along a side, cells are at least twice as wide as it, but no
fewer than so many along an axis: transforms of small cells would be of what is about them."""
_MIN_SHARE = 0.1
"""Least share of the stamp's P**2 on good pixels for a significance."""
_MIN_PLACES = 16
"""Places that a thread filters about, at least."""
_NARROW = 0.35
"""Width of the kernel that blends are taken apart with, in widths of the PSF."""
_PLATEAU = 0.8
"""The plateau of a PSF: its pixels above this share of the peak."""
_CORE = 0.1
"""The core of a PSF: its pixels above this share of the peak."""


@record
class MatchedFilter:
    """A PSF prepared for matched filtering: stamps as sums of outer products, per cell.

    Attributes
    ----------
    column, line : (n_cell_y, n_cell_x, n_terms, size) float32
        The PSF, sum 1 over the uncut stamp.
    column2, line2 : (n_cell_y, n_cell_x, n_terms, size) float32
        The square of the PSF.
    cell_x, cell_y : int64
        Edges of the cells in pixels.
    square : float
        Sum of P**2, mean over the cells: 1 / square is the PSF's noise-equivalent area.
    core_radius : float
        Radius, in pixels, of a circle with the area of the PSF above a tenth of its peak.
    """

    column: F4
    line: F4
    column2: F4
    line2: F4
    cell_x: I8
    cell_y: I8
    square: float
    core_radius: float

    @property
    def edge_reach(self) -> int:
        """How far from the border a source is that is likelier beyond it, and the PSF about it."""
        return int(self.column.shape[-1]) // 2 * 2 + 1

    def unit(self, sigma: float) -> float:
        """Return the noise of an image with noise `sigma` that is convolved with the PSF."""
        return float(sigma * np.sqrt(self.square))

    @property
    def cells(self) -> matched.PsfCells:
        """The PSF for kernels."""
        return matched.PsfCells(
            self.column, self.line, self.column2, self.line2, self.cell_x, self.cell_y
        )

    def cells_of(self, y: I8 | int, x: I8 | int) -> tuple[I8, I8]:
        """Return the cells [y, x] of pixels, the nearest of those beyond the image."""
        up, across = (
            np.clip(np.searchsorted(edges, at, "right") - 1, 0, edges.size - 2)
            for edges, at in ((self.cell_y, y), (self.cell_x, x))
        )
        return up, across

    @property
    def is_ring(self) -> bool:
        """Whether the middle is dark, as in images of a star that is out of focus."""
        stamp = self._middle_stamp()
        return bool(stamp[stamp.shape[0] // 2, stamp.shape[1] // 2] <= _PLATEAU * stamp.max())

    def _middle_stamp(self) -> F8:
        """Return the PSF in the middle of the image."""
        j, i = self.column.shape[0] // 2, self.column.shape[1] // 2
        stamp: F8 = self.column[j, i].T.astype(np.float64) @ self.line[j, i]
        return stamp

    def power_of_star(self) -> tuple[F8, F8]:
        """Return the power of a star in the middle of the image, and how often its waves go round.

        Returns
        -------
        power : (n, n) float64
            Of the filtered star, that of all waves summed is its peak.
        frequency : (n, n) float64
            Per pixel.
        """
        stamp = self._middle_stamp()
        size = 4 * stamp.shape[0]
        along = np.fft.fftfreq(size)
        return np.abs(np.fft.fft2(stamp, (size, size))) ** 2, np.hypot(along[:, None], along)

    def plateau(self) -> Bools | None:
        """Return the distances [dy, dx] of two points near the peak's height, -k to k.

        Of trails they are long: noise and sampling make several peaks of one star.  None where
        the middle is dark: points of a ring tell nothing about its neighbours.
        """
        if self.is_ring:
            return None
        stamp = self._middle_stamp()
        y, x = np.nonzero(stamp > _PLATEAU * stamp.max())
        dy, dx = (np.subtract.outer(c, c).ravel() for c in (y, x))
        half = int(max(np.abs(dy).max(), np.abs(dx).max()))
        distances = np.zeros((2 * half + 1, 2 * half + 1), np.bool_)
        distances[dy + half, dx + half] = True
        return distances


def matched_filter(psf: Psf, shape: tuple[int, int]) -> MatchedFilter:
    """Evaluate a PSF in the cells of an image of this shape [y, x].

    A constant PSF needs one cell; else there are up to 8 x 8 of them.
    """
    width = 2 * psf.radius + 1

    def number_of_cells(size: int) -> int:
        if psf.degree == 0:
            return 1
        if width <= _WIDE_STAMP:
            return min(_MAX_CELLS, size)
        return min(_MAX_CELLS, max(_WIDE_CELLS, size // (2 * width)), size)

    edges = [
        np.linspace(0, size, number_of_cells(size) + 1).round().astype(np.int64) for size in shape
    ]
    centres = [0.5 * (e[:-1] + e[1:] - 1) for e in edges]
    y, x = np.meshgrid(*centres, indexing="ij")
    middle = np.zeros(x.size)
    stamps = psf.stamps(x.ravel(), y.ravel(), middle, middle)
    return stamps_filter(stamps.reshape(*x.shape, *stamps.shape[1:]), edges[1], edges[0])


def stamps_filter(stamps: AnyArray, cell_x: I8, cell_y: I8) -> MatchedFilter:
    """Prepare a grid of stamps [cell_y, cell_x, k, k], k odd, each of sum 1."""
    stamps = np.asarray(stamps, np.float64)
    size = stamps.shape[-1]
    y, x = np.indices((size, size)) - size // 2
    ring = np.maximum(np.abs(y), np.abs(x))
    squares = stamps**2
    total = squares.sum((-2, -1))
    half = 0
    while half < size // 2:
        inside = np.where(ring <= half, squares, 0.0).sum((-2, -1))
        if (inside >= _KEPT_WEIGHT * total).all():
            break
        half += 1
    cut = slice(size // 2 - half, size // 2 + half + 1)
    stamps = stamps[..., cut, cut]
    squares = squares[..., cut, cut]
    column, line = _outer_products(stamps, _LEFT_OUT)
    column2, line2 = _outer_products(squares, _LEFT_OUT_OF_SQUARE)
    core = (stamps >= _CORE * stamps.max((-2, -1), keepdims=True)).sum((-2, -1))
    return MatchedFilter(
        column,
        line,
        column2,
        line2,
        np.asarray(cell_x, np.int64),
        np.asarray(cell_y, np.int64),
        float(squares.sum((-2, -1)).mean()),
        float(np.sqrt(core.mean() / np.pi)),
    )


def _outer_products(stamps: F8, left_out: float) -> tuple[F4, F4]:
    """Write stamps as sums of outer products, by singular values, with few terms."""
    u, values, v = np.linalg.svd(stamps)
    left = np.cumsum(values[..., ::-1] ** 2, axis=-1)[..., ::-1]
    needed = (left > left_out * left[..., :1]).sum(-1).max()
    root = np.sqrt(values[..., :needed])
    column = np.swapaxes(u[..., :needed] * root[..., None, :], -1, -2)
    line = v[..., :needed, :] * root[..., None]
    return np.ascontiguousarray(column, np.float32), np.ascontiguousarray(line, np.float32)


def filter_matched(
    image: F4,
    psf: MatchedFilter,
    run: Run,
    *,
    sigma: float,
    variance: F4 | None = None,
    smooth: bool = False,
    bad: U1 | None = None,
    mesh: BackgroundMap | None = None,
) -> F4:
    """Filter an image with the PSF, weighted by the inverse variance.

    Parameters
    ----------
    image : (ny, nx) float32
        Background-subtracted image.
    sigma : float
        Background noise of the frame, image units.
    variance : (ny, nx) float32 or None
        Background variance (1e30: bad); None: `sigma` squared everywhere.
    smooth : bool
        It is smooth, as that of the background mesh.
    bad : (ny, nx) uint8 or None
        Pixels of no weight (not 0).
    mesh : BackgroundMap or None
        Without `variance`: it is the square of the rms of the meshes; no plane of it is made.

    Returns
    -------
    (ny, nx) float32
        Significance of a point source in sigma times `MatchedFilter.unit`: the image
        convolved with the PSF, where the noise is that of the frame; 0 where there is no
        information.
    """
    weighting = _weighting(sigma, variance, smooth, bad, mesh)
    return _filtered((image,), psf, weighting, sigma, run)[0]


def filter_two(
    images: tuple[F4, F4], psf: MatchedFilter, run: Run, *, sigma: float, variance: F4,
    smooth: bool, bad: U1 | None,
) -> tuple[F4, F4]:  # fmt: skip
    """Return `filter_matched` of two images of the same weight, which of wide PSFs share work."""
    first, second = _filtered(images, psf, _weighting(sigma, variance, smooth, bad), sigma, run)
    return first, second


def _filtered(
    images: tuple[F4, ...], psf: MatchedFilter, weighting: matched.Weighting, sigma: float,
    run: Run,
) -> list[F4]:  # fmt: skip
    """Filter images of one weight."""
    out = [whole(image.shape, np.float32) for image in images]
    unit, min_share = np.float32(psf.unit(sigma)), np.float32(_MIN_SHARE)
    if is_wide(psf.cells):
        filter_in_waves(images, weighting, psf.cells, unit, min_share, run, out)
        return out

    def filter_rows(band: tuple[int, int]) -> None:
        for image, one in zip(images, out, strict=True):
            matched.matched_rows(image, weighting, psf.cells, unit, min_share, *band, one)

    run.map(filter_rows, run.bands(images[0].shape[0]))
    return out


def filter_about(
    image: F4, psf: MatchedFilter, row: I8, column: I8, reach: int, run: Run, *, sigma: float,
    variance: F4 | None = None, smooth: bool = False, bad: U1 | None = None,
) -> F4:  # fmt: skip
    """Return `filter_matched` where it is within `reach` of some pixels along both axes.

    Elsewhere there are no values: to clear a plane takes longer than to filter about some sources.

    About each pixel the PSF is that of its own cell, so that threads may share the pixels only if
    no two of them are within twice the reach of each other.

    Parameters
    ----------
    row, column : (n,) int64
    image, psf, run, sigma, variance, smooth, bad
        As in `filter_matched`.
    """
    out: F4 = whole(image.shape, np.float32)
    weighting = _weighting(sigma, variance, smooth, bad)
    unit, min_share = np.float32(psf.unit(sigma)), np.float32(_MIN_SHARE)
    up, across = psf.cells_of(row, column)

    def part(span: tuple[int, int]) -> None:
        some = slice(*span)
        matched_about(
            image, weighting, psf.cells, unit, min_share, row[some], column[some], up[some],
            across[some], reach, out,
        )  # fmt: skip

    run.map(part, run.bands(row.size, least=_MIN_PLACES))
    return out


def _weighting(
    sigma: float, variance: F4 | None, smooth: bool, bad: U1 | None,
    mesh: BackgroundMap | None = None,
) -> matched.Weighting:  # fmt: skip
    """Return what weights pixels, for kernels."""
    return matched.Weighting(
        _NO_PLANE if variance is None else variance,
        variance is not None,
        smooth or variance is None,
        np.float32(min(sigma**2, MAX_VARIANCE)),
        np.float32(MAX_VARIANCE),
        _NO_BAD if bad is None else bad,
        bad is not None,
        _NO_PLANE if mesh is None else mesh.rms,
        1 if mesh is None else mesh.mesh_width,
        1 if mesh is None else mesh.mesh_height,
        mesh is not None,
    )


def narrow_taps(psf: MatchedFilter) -> tuple[F4, float]:
    """Return a Gaussian kernel, a third as wide as the PSF, in whose image blends show up.

    The matched filter makes stars wider by the square root of 2: two of them 1.5 FWHM apart
    become one.  This kernel hardly widens them and still takes half of the noise out.

    Returns
    -------
    taps : (k,) float32
        Along either axis; sum 1.
    psf_area : float
        Flux over peak of a point source smoothed with it, pixels.
    """
    sigma2 = 1.0 / (4.0 * math.pi * psf.square)  # of a Gaussian as wide as the PSF
    half = max(1, math.ceil(2.5 * _NARROW * math.sqrt(sigma2)))
    taps = np.exp(-0.5 * np.arange(-half, half + 1) ** 2 / (_NARROW**2 * sigma2))
    return (taps / taps.sum()).astype(np.float32), 2.0 * math.pi * sigma2 * (1.0 + _NARROW**2)


def smooth_pixels(
    image: F4,
    taps: F4,
    x: I4,
    y: I4,
    run: Run,
    bad: U1 | None = None,
) -> F4:
    """Smooth an image at some pixels only, with the separable kernel `taps`.

    Parameters
    ----------
    x, y : (n,) int32
        0-based pixels.
    bad : (ny, nx) uint8 or None
        Pixels that take no part (not 0).

    Returns
    -------
    (n,) float32
    """
    out = np.empty(len(x), np.float32)

    def part(band: tuple[int, int]) -> None:
        rows = slice(*band)
        matched.smooth_at(
            image, _NO_BAD if bad is None else bad, bad is not None, taps, x[rows], y[rows],
            out[rows],
        )  # fmt: skip

    run.map(part, run.bands(len(x), least=4096))
    return out
