"""What the kernels of PSF photometry share: the image, the sources, and their fits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.jit import helper
from skyextract.kernels.psf.bspline import SplineGrid, spline_grid
from skyextract.kernels.psf.model import PsfModel
from skyextract.kernels.values import MAX_VARIANCE

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I4, I8, U1, U2


class Planes(NamedTuple):
    """The image and what is known about its pixels.

    Attributes
    ----------
    image, residual, variance : (ny, nx) float32
        Background-subtracted image, the same minus all models, background variance.
    mask, bad : (ny, nx) uint16, int
        Pixels with one of the bits `bad` are left out.
    inverse_gains : (3,) float64
        Photon noise of a flux f is ``f * inverse_gains[0]``, 0 for none; weights take it to be
        ``f * inverse_gains[1]``.  Where the third is not 0 the first is that of pixels with a
        variance of ``1 / inverse_gains[2]``, and of others in proportion to theirs (WEIGHT_GAIN).
    """

    image: F4
    residual: F4
    variance: F4
    mask: U2
    bad: int
    inverse_gains: F8


class Positions(NamedTuple):
    """Given positions of the n sources.

    Attributes
    ----------
    x, y : (n,) float64
        0-based pixels.
    u, v : (n,) float64
        The same, normalised for the polynomial of the PSF.
    """

    x: F8
    y: F8
    u: F8
    v: F8


class Tiles(NamedTuple):
    """The sources by square tiles of the image.

    Attributes
    ----------
    start, members : int64
        Sources of tile t are ``members[start[t]:start[t + 1]]``, brightest first.
    columns : int
        Tiles per row.
    of : (n,) int64
        Tile of each source.
    """

    start: I8
    members: I8
    columns: int
    of: I8


class Fits(NamedTuple):
    """State of the fits of n sources.

    Attributes
    ----------
    parameters : (n, 3) float64
        Flux, x, y; flux 0 before the first visit, NaN if it cannot be fitted.
    reach : (n,) int64
        Radius out to which the model is subtracted, -1 if it is not.
    radius : (n,) float64
        Radius of the fit region that was used.
    stale : (n,) uint8
        1: to be fitted; 2: the same, by a visit.
    status, iterations : (n,) int32
        Status bits and number of Gauss-Newton steps in total.
    """

    parameters: F8
    reach: I8
    radius: F8
    stale: U1
    status: I4
    iterations: I4


class FitRules(NamedTuple):
    """How far fits go.

    Attributes
    ----------
    envelope : (max_radius + 1,) float64
        Largest value of the PSF at that many pixels from its centre or farther.
    sides : (2, max_radius + 1) float64
        The same for columns, and for rows, alone.
    noise : float
        Typical background noise per pixel.
    fit_radius, max_shift : float
        Radius of the fit region; largest step away from the given position; pixels.
    form : (3,) float64
        a, b, c: the fit region is where a dx^2 + b dx dy + c dy^2 is at most the square of the
        radius.  It is a circle, 1, 0, 1, but for long images an ellipse.
    extent : (2,) float64
        Half of its width along x and y, in units of the radius.
    tolerance : float
        A fit ends with a step of less than this share of each error.
    min_change : float
        A neighbour is fitted again after a change above this fraction of the background noise.
    tile_size : int
        Side of the tiles in pixels.
    rests : bool
        Sources whose first step is below the tolerance are left as they are.
    most_steps : int
        A source that has made so many steps in all its visits keeps its position: what still moves
        is no point source, and its light is all that neighbours ask for.
    placed : float
        Above 0, given positions are those of another image: a source has one of its own only where
        its flux at the given one is so many errors, of either sign.
    """

    envelope: F8
    sides: F8
    noise: float
    fit_radius: float
    form: F8
    extent: F8
    max_shift: float
    tolerance: float
    min_change: float
    tile_size: int
    rests: bool
    most_steps: int
    placed: float


class Scratch(NamedTuple):
    """Memory to render one source.

    Attributes
    ----------
    model : (n_y, n_x) float64
        Coefficients of the PSF at the source.
    grid : SplineGrid
    stamp : (3, size, size) float64
        Its pixels, and their derivatives to x and y.
    """

    model: F8
    grid: SplineGrid
    stamp: F8


@helper
def scratch_for(psf: PsfModel, max_radius: int) -> Scratch:
    """Allocate the memory for stamps of up to `max_radius` pixels around a source."""
    size = 2 * max_radius + 3
    return Scratch(
        np.empty(psf.coefficients.shape[1:], dtype=np.float64),
        spline_grid(size, psf.coefficients.shape[2]),
        np.empty((3, size, size), dtype=np.float64),
    )


@helper
def pixel_range(centre: float, radius: int, size: int) -> tuple[int, int]:
    """First pixel and number of pixels within `radius` of the pixel at `centre`."""
    middle = math.floor(centre + 0.5)
    low = max(0, middle - radius)
    return low, min(size, middle + radius + 1) - low


@helper
def pixels_within(centre: float, radius: float, size: int) -> tuple[int, int]:
    """First pixel and number of pixels within `radius` of a place."""
    low = max(0, math.ceil(centre - radius))
    return low, min(size, math.floor(centre + radius) + 1) - low


@helper
def photon_noise(light: float, variance: float, inverse_gains: F8) -> float:
    """Return the variance that light adds to a pixel of some background variance."""
    photons, per_variance = light * float(inverse_gains[0]), float(inverse_gains[2])
    return photons * variance * per_variance if per_variance else photons


@helper
def is_good(variance: float, value: float, mask: int, bad: int) -> bool:
    """Tell whether a pixel has data, a variance, and none of the bits `bad`."""
    return (mask & bad) == 0 and 0.0 < variance < MAX_VARIANCE and math.isfinite(value)


@helper
def tile_neighbours(tile: int, tiles: Tiles) -> tuple[int, int, int, int]:
    """First and last + 1 row and column of the tiles that touch a tile."""
    rows = (tiles.start.size - 1) // tiles.columns
    row = tile // tiles.columns
    column = tile - row * tiles.columns
    return max(0, row - 1), min(rows, row + 2), max(0, column - 1), min(tiles.columns, column + 2)
