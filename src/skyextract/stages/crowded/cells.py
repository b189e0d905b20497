"""Where a frame is crowded: cells in which sources cover much, and are many.

Footprints that cover much of a frame, each for itself, are no crowd: those of galaxies and bright
stars do, and beneath them are not more sources than elsewhere.  Where more detections lie in them
than that, others hide, and where they run together to one large light, there are some upon it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import median
from skyextract.kernels.detection.cover import count_in_cells
from skyextract.record import record

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8, Bools
    from skyextract.datamodel.detections import Detections

CELL = 12.0
"""Size of the cells of the frame in which footprints are counted, in FWHM."""
NEAR, FAR = 1, 3
"""Cells about one that are looked at with it, on each side."""
MIN_COVER = 0.2
"""A frame is crowded if sources cover more than this share of it..."""
MOST = 0.5
"""... and more than this share of what they cover is where they are many, ..."""
LARGE, MUCH = 3.0, 0.2
"""... or more than this share of it is in blends of more than so many times 100 FWHM^2 (stars
that no saddle divides, a trail, a comet, a galaxy that fills the frame)."""
DENSE = 0.5
"""A region is crowded where sources cover more than this share of the near cells..."""
MANY = 1.1
"""... and there are more than so many detections per 100 FWHM^2 (a cluster; galaxies are fewer), or
more than the same share of the far ones (a halo): more than a bright star usually does, ..."""
BESIDE = 0.2
"""... with all cells about it of which, with the near ones, they cover more than this share; ..."""
USUAL = (2.0, 1.2)
"""... both of which are no less than so many times what they cover of the typical cells: where
galaxies are everywhere, they are somewhere more than usual."""


@record
class Cells:
    """What sources do in equal cells of a frame, each with those about it.

    Attributes
    ----------
    cover : (n_y, n_x) float64
        Share of each cell alone that sources cover.
    near, far : (n_y, n_x) float64
        The same of all cells within NEAR and FAR.
    many : (n_y, n_x) float64
        Detections per 100 FWHM^2 within NEAR.
    """

    cover: F8
    near: F8
    far: F8
    many: F8

    @property
    def dense(self) -> Bools:
        """Cells that a cluster covers, or a halo."""
        dense: Bools = (self.near > DENSE) & ((self.many > MANY) | (self.far > DENSE))
        return dense

    @classmethod
    def of(cls, found: Detections, fwhm: float) -> Cells:
        """Count pixels and centres of detections; FWHM of stars in pixels."""
        (ny, nx), (n_y, n_x) = found.image_shape, _number(found, fwhm)
        size = ny * nx / (n_y * n_x)

        def counts(number: I8) -> F8:
            return np.asarray(number.reshape(n_y, n_x) / size, np.float64)

        # What row and column make of the cell is looked up: there are far more pixels than these.
        of_row, of_column = np.arange(ny) * n_y // ny * n_x, np.arange(nx) * n_x // nx
        covered = np.zeros(n_y * n_x, np.int64)
        count_in_cells(found.pixel, nx, of_row, of_column, covered)
        y, x = np.clip(found.y, 0, ny - 1), np.clip(found.x, 0, nx - 1)
        centre = ((y * n_y // ny) * n_x + x * n_x // nx).astype(np.int64)
        cover, detections = counts(covered), counts(np.bincount(centre, minlength=n_y * n_x))
        near, many, far = (
            _mean(plane, reach)
            for plane, reach in ((cover, NEAR), (detections, NEAR), (cover, FAR))
        )
        return cls(cover, near, far, many * (100.0 * fwhm**2))


def is_crowded(found: Detections, fwhm: float) -> bool:
    """Tell whether sources are crowded in most of what they cover, which is much of the frame.

    Parameters
    ----------
    found : Detections
    fwhm : float
        Of stars, pixels.
    """
    if are_many(found, fwhm):
        return True
    if found.pixel.size <= MIN_COVER * found.segmentation.size:
        return False
    size = np.bincount(found.id_parent, np.diff(found.first))
    large = size[size > LARGE * 100.0 * fwhm**2].sum()
    return float(large) > MUCH * found.pixel.size


def are_many(found: Detections, fwhm: float) -> bool:
    """Tell whether sources are many in most of what they cover, which is much of the frame.

    Parameters
    ----------
    found, fwhm
        As of `is_crowded`.
    """
    if found.pixel.size <= MIN_COVER * found.segmentation.size:
        return False
    cells = Cells.of(found, fwhm)
    many = (cells.near > BESIDE) & (cells.many > MANY)
    return float(cells.cover[many].sum()) > MOST * float(cells.cover.sum())


def crowded_patches(found: Detections, fwhm: float) -> list[Bools]:
    """Return the connected patches of cells, (n_y, n_x) bool, that are crowded in a wide frame.

    Parameters
    ----------
    found : Detections
    fwhm : float
        Of stars, pixels.
    """
    if found.pixel.size * np.prod(_number(found, fwhm)) < DENSE * found.segmentation.size:
        return []  # not one cell
    cells = Cells.of(found, fwhm)
    seed, member = (factor * median(cells.near) for factor in USUAL)
    seeds = cells.dense & (cells.near > seed)
    return _patches(seeds, seeds | (cells.near > max(BESIDE, member)))


def _number(found: Detections, fwhm: float) -> tuple[int, int]:
    """Return the number of cells along y and x."""
    ny, nx = (max(1, round(size / (CELL * fwhm))) for size in found.image_shape)
    return ny, nx


def _mean(cells: F8, reach: int) -> F8:
    """Return the mean of the cells no farther than `reach` from each along both axes."""
    number = _summed(np.ones_like(cells), reach)
    mean: F8 = _summed(cells, reach) / number
    return mean


def _summed(cells: F8, reach: int) -> F8:
    """Return the sum of these cells."""
    for _ in range(2):
        n, across = cells.shape
        padded = np.zeros((n + 2 * reach, across))
        padded[reach : reach + n] = cells
        total = padded[:n].copy()
        for k in range(1, 2 * reach + 1):
            total += padded[k : k + n]
        cells = total.T
    return cells


def _patches(seeds: Bools, members: Bools) -> list[Bools]:
    """Return the connected patches of cells in which there is a seed."""
    patches = []
    left = seeds.copy()
    while left.any():
        patch = np.zeros_like(seeds)
        patch.flat[np.argmax(left)] = True
        size = 0
        while size < patch.sum():
            size = int(patch.sum())
            patch = (_summed(patch.astype(np.float64), 1) > 0.0) & members
        patches.append(patch)
        left &= ~patch
    return patches
