"""The level of the sky below each source, once models are out of the image.

The background is the mode of the pixels of meshes that have the sources in them; below sources lies
the mean, that of the faint ones that were not detected included.  It is measured anew in the same
meshes between the sources, as a plane through a mesh and those around it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import median
from skyextract.kernels.galaxies.level import IMAGE, RESIDUAL, mean_wings, sum_sky
from skyextract.kernels.galaxies.source import DISK, POINT, SPHEROID
from skyextract.record import record
from skyextract.stages.background.interpolate import background_at
from skyextract.stages.galaxies.wide import are_wide

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8, Bools
    from skyextract.run import Run
    from skyextract.stages.galaxies.scene import Sky

MIN_SKY = 2000
"""Pixels from which the level of the sky is taken, at least."""
MIN_FILLED = 0.25
"""Part of a mesh that must be sky where meshes are compared with each other."""
MIN_COMPARED = 6
"""Meshes that tell how uneven the sky is, at least."""
OF_SQUARES = 0.4549
"""Median of the square of a normal deviate."""
LEAST_SLOPE = 0.01
"""Variance of slopes over that of their noise, at least."""
STANDS_OUT = 5.0
"""Meshes that are off those around them by more than so many sigma do not count."""
STIFF = 1e-6
"""Weight of a slope of 0, over that of the pixels: meshes in one line have no other slope.  So much
of the weight of a mesh is that of none."""
BACKGROUND = 256
"""Bit of the flags: what varies in the background below a source is a tenth of its light."""
MOST_BELOW = 0.1
FILLED = 0.95
"""Part of the image that a box covers where no sky is seen beside the source."""
AROUND = [(j, i) for j in (-1, 0, 1) for i in (-1, 0, 1)]
"""A mesh and those around it: rows and columns from its own."""
N_TERMS, UP2, ACROSS2 = 3, 3, 5
"""Terms of a plane; the squares of both slopes in a triangle of their products."""


@record
class Level:
    """What is left of the sky below sources.

    Attributes
    ----------
    level, error : (n,) float64
        Image units.
    wings : (n,) float64
        What of that is light of the source itself, to about as much.
    """

    level: F8
    error: F8
    wings: F8


def levels_below(
    sky: Sky, residual: F4, boxes: I8, apart: Bools, lean: bool, parameters: F8, run: Run
) -> Level | None:
    """Measure the level of the sky below sources; None where too little of it is seen.

    Parameters
    ----------
    sky : Sky
        With a background.
    residual : (ny, nx) float32
        The image less models: all, or, if `lean`, those of sources that are not `apart`, in their
        boxes alone.
    boxes : (n, 4) int64
        As from `boxes_of`.
    apart : (n,) bool
        Sources without neighbours.
    parameters : (n, N_PARAMETERS) float64
        Models so far.
    """
    background = sky.background
    assert background is not None
    width, height = background.mesh_width, background.mesh_height
    pixels, (ny, nx) = sky.pixels(residual), sky.image.shape
    lone = apart.view(np.uint8)

    def row(first: int) -> F8:
        past = min(first + height, ny)
        here = (boxes[:, 1] < past) & (boxes[:, 1] + boxes[:, 3] > first)
        sums = np.empty((3, -(-nx // width)))
        elsewhere = IMAGE if lean else RESIDUAL
        sum_sky(pixels, boxes[here], lone[here], elsewhere, first, past, width, sums)
        return sums

    weight, value, count = np.stack(run.map(row, range(0, ny, height)), axis=1)
    if count.sum() < MIN_SKY:
        return None
    below = background.level.astype(np.float64) - background.mean
    filled = count > MIN_FILLED * width * height
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.where(weight > 0.0, value / weight, 0.0)
        # slopes stand out at the edge of the frame, noise of the background anywhere: not in both
        excess = [_standing_out(values, filled) for values in (left, left + below)]
        excess = [np.where(excess[0] * excess[1] != 0.0, own, 0.0) for own in excess]
        mean = Planes(weight, left, excess[0], flat=True)
        plane = Planes(weight, left + below, excess[1], flat=False)
        uneven = [_unevenness(p, filled) for p in (mean, plane)]
    x, y = boxes[:, 0] + 0.5 * boxes[:, 2] - 0.5, boxes[:, 1] + 0.5 * boxes[:, 3] - 0.5
    column, line = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    column, line = np.clip(column, 0, nx - 1), np.clip(line, 0, ny - 1)
    j, i = line // height, column // width
    across, up = (x + 0.5) / width - i - 0.5, (y + 0.5) / height - j - 0.5
    # where the sky is even, the meshes' own noise need not stay in it
    if uneven[1] <= uneven[0]:
        level, variance = plane.at(j, i, up, across)
        level -= background_at(background, column, line) - background.mean
    else:
        level, variance = mean.at(j, i, up, across)
    error = np.sqrt(variance + min(uneven))
    # with little sky about it a source has the mean of all, and the error of a mesh
    scarce = ~np.isfinite(level) | (_moments(count)[0, j, i] < MIN_SKY)
    level[scarce] = value.sum() / weight.sum()
    error[scarce] = sky.level_error()
    size_y, size_x = (
        np.minimum(side, length - side * np.arange(n))
        for side, length, n in ((height, ny, weight.shape[0]), (width, nx, weight.shape[1]))
    )
    size = size_y[:, None] * size_x
    area = np.where(scarce, float(nx * ny), _moments(size)[0, j, i])
    inner = boxes.copy()
    for source, (own, beside) in sky.around.items():
        there = beside & (weight > 0.0) & (mean.excess == 0.0)
        if count[there].sum() < MIN_SKY:
            continue
        level[source] = value[there].sum() / weight[there].sum()
        error[source] = math.sqrt(1.0 / weight[there].sum() + min(uneven))
        inner[source, 2:] = size[own].sum(), 1
        area[source] = size[own | beside].sum()
    wings = np.empty(len(boxes))
    mean_wings(parameters, inner, area, wings)
    return Level(level, error, wings)


def on_background(sky: Sky, boxes: I8, parameters: F8) -> Bools:
    """Tell which sources are so wide that the background may hold a good part of their light.

    That is what it has in the box of the source above its lowest mesh there: light of a galaxy
    that meshes followed, or a sky that is as uneven.  Where the box fills the image, all meshes may
    have followed it.
    """
    background, found = sky.background, np.zeros(len(boxes), dtype=np.bool_)
    if background is None:
        return found
    found[:] = boxes[:, 2] * boxes[:, 3] > FILLED * sky.image.size
    width, height = background.mesh_width, background.mesh_height
    wide = are_wide(boxes, background)
    wide[list(sky.around)] = False  # of these it did not
    for i in np.flatnonzero(wide).tolist():
        x, y, n_x, n_y = boxes[i].tolist()
        across = np.unique(np.arange(x, x + n_x) // width, return_counts=True)
        up = np.unique(np.arange(y, y + n_y) // height, return_counts=True)
        level = background.level[up[0][:, None], across[0]].astype(np.float64)
        held = float(up[1] @ (level - level.min()) @ across[1])
        found[i] |= held > MOST_BELOW * float(parameters[i, [SPHEROID, DISK, POINT]].sum())
    return found


class Planes:
    """Planes through the values of a mesh and of those around it, or their means.

    Slopes are as steep as those of the other meshes are: where these are those of noise, a plane is
    hardly more than the mean.  Meshes that stand out of those around them, in the halo of a bright
    star, do not count; what they stand out by is the error in them.

    Parameters
    ----------
    weight, values : (n_y, n_x) float64
    excess : (n_y, n_x) float64
        By how much meshes stand out of those around them.
    flat : bool
        No slopes.
    """

    def __init__(self, weight: F8, values: F8, excess: F8, *, flat: bool) -> None:
        weight = np.where(excess == 0.0, weight, 0.0)
        self.values, self.weight, self.excess, self.flat = values, weight, excess, flat
        self.matrix, self.right = _moments(weight), _moments(weight * values)[:N_TERMS]
        known = weight > 0.0
        if flat or not known.any():
            return
        self.matrix[[UP2, ACROSS2]] += STIFF * self.matrix[0]
        covariance, determinant = _adjugate(self.matrix[:, known])
        right = self.right[:, known]
        for k, place in ((1, UP2), (2, ACROSS2)):
            slopes = np.sum(covariance[k] * right, axis=0) / determinant
            noise = median(covariance[k, k] / determinant)
            true = median(slopes**2) / OF_SQUARES - noise
            self.matrix[place] += 1.0 / max(true, LEAST_SLOPE * noise)

    def at(self, j: I8, i: I8, up: F8, across: F8) -> tuple[F8, F8]:
        """Return value and variance at places in meshes, from their middles, in meshes."""
        terms = np.stack([np.ones(len(up)), up, across])
        value, variance = self._solved(self.matrix[:, j, i], self.right[:, j, i], terms)
        return value, variance + self.excess[j, i] ** 2

    def of_others(self) -> tuple[F8, F8]:
        """Return value and variance in the middle of each mesh from the others around it."""
        matrix, right = self.matrix.copy(), self.right.copy()
        matrix[0] -= self.weight
        right[0] -= self.weight * self.values
        terms = np.zeros_like(right)
        terms[0] = 1.0
        return self._solved(matrix, right, terms)

    def _solved(self, matrix: F8, right: F8, terms: F8) -> tuple[F8, F8]:
        """Return values and variances; NaN where there are hardly any pixels."""
        with np.errstate(invalid="ignore", divide="ignore"):
            if self.flat:
                value, variance = right[0] / matrix[0], 1.0 / matrix[0]
            else:
                covariance, determinant = _adjugate(matrix)
                along = np.sum(covariance * terms, axis=1) / determinant
                value, variance = np.sum(along * right, axis=0), np.sum(along * terms, axis=0)
        known = matrix[0] > STIFF * self.weight.max()
        return np.where(known, value, np.nan), np.where(known, variance, np.nan)


def _moments(cells: F8) -> F8:
    """Return the sums over each mesh and those around it, of the products of 1, up and across.

    Those of 1, up, across, up^2, up across, across^2, in the order of a triangle: (6, n_y, n_x).
    """
    padded = np.pad(cells, 1)
    low, high = padded[:, :-2], padded[:, 2:]
    beside, slope = low + high, high - low
    row = padded[:, 1:-1] + beside
    below, above = np.s_[:-2], np.s_[2:]
    return np.stack(
        [
            row[1:-1] + row[below] + row[above],
            row[above] - row[below],
            slope[1:-1] + slope[below] + slope[above],
            row[above] + row[below],
            slope[above] - slope[below],
            beside[1:-1] + beside[below] + beside[above],
        ]
    )


def _adjugate(matrix: F8) -> tuple[F8, F8]:
    """Return the adjugate and the determinant of symmetric matrices: of the inverse, its ratio.

    Parameters
    ----------
    matrix : (6, ...) float64
        Triangles, as from `_moments`.

    Returns
    -------
    (3, 3, ...) and (...) float64
    """
    a, b, c, d, e, f = matrix
    first, second, third = d * f - e * e, c * e - b * f, b * e - c * d
    both = b * c - a * e
    adjugate = np.array(
        [
            [first, second, third],
            [second, a * f - c * c, both],
            [third, both, a * d - b * b],
        ]
    )
    return adjugate, a * first + b * second + c * third


def _standing_out(values: F8, filled: Bools) -> F8:
    """Return by how much meshes are off the median of theirs and those around, 0 where they fit."""
    padded = np.pad(np.where(filled, values, np.nan), 1, constant_values=np.nan)
    n_y, n_x = values.shape
    around = np.stack([padded[1 + j : 1 + j + n_y, 1 + i : 1 + i + n_x] for j, i in AROUND])
    middle = np.full(values.shape, np.nan)
    # NaN are the last ones; that of numpy imports `numpy.ma`
    ordered = np.sort(around[:, filled], axis=0)
    last, column = np.isfinite(ordered).sum(axis=0) - 1, np.arange(ordered.shape[1])
    middle[filled] = 0.5 * (ordered[last // 2, column] + ordered[(last + 1) // 2, column])
    off = np.where(filled, values - middle, 0.0)
    if np.count_nonzero(filled) < MIN_COMPARED:
        return np.zeros(values.shape)
    most = STANDS_OUT * math.sqrt(median(off[filled] ** 2) / OF_SQUARES)
    return np.where(np.abs(off) > most, off, 0.0)


def _unevenness(planes: Planes, filled: Bools) -> float:
    """Return the variance between a mesh and what those around it tell, beyond that of noise.

    That of the noise of a mesh where there are too few of them to tell.
    """
    value, variance = planes.of_others()
    own = 1.0 / planes.weight
    compared = filled & np.isfinite(value) & (planes.excess == 0.0)
    if np.count_nonzero(compared) < MIN_COMPARED:
        return float(own.min())
    differences = (planes.values - value)[compared] ** 2
    return max(0.0, median(differences) / OF_SQUARES - median((own + variance)[compared]))
