"""Crowds in a wide frame: a cluster, or the halo of a bright star, that is taken apart for itself.

Where sources cover most of a neighbourhood others hide beneath them, however empty the rest of
the frame is.  A window about each such region is searched as a crowded frame is, with sky and
noise of its own; the rest of the frame stays as it is.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.datamodel.detections import Detections
from skyextract.record import record
from skyextract.stages.crowded.clouds import has_clouds
from skyextract.stages.crowded.companions import find_companions
from skyextract.stages.crowded.hidden import Hidden
from skyextract.stages.crowded.search import find_hidden, is_crowded
from skyextract.stages.crowded.window import BYTE, cut_detections, cut_exposure, cut_plane
from skyextract.stages.detection.matched import matched_filter
from skyextract.stages.psf.sweeps import FittedSources, add_models

if TYPE_CHECKING:
    from skyextract.datamodel.exposure import Exposure
    from skyextract.datamodel.psf import Psf
    from skyextract.run import Run
    from skyextract.settings.keywords import Config
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.detection.matched import MatchedFilter

CELL = 12.0
"""Size of the cells of the frame in which footprints are counted, in FWHM."""
NEAR, FAR = 1, 3
"""Cells about one that are looked at with it, on each side."""
DENSE = 0.5
"""A region is crowded where sources cover more than this share of the near cells..."""
MANY = 1.1
"""... and there are more than so many detections per 100 FWHM^2 (a cluster; galaxies are fewer), or
more than the same share of the far ones (a halo): more than a bright star usually does, ..."""
BESIDE = 0.2
"""... with all cells about it of which, with the near ones, sources cover more than this share."""
INSIDE = 0.5
"""Pixels of whose sky more than this share is a region's own are in it."""


@record
class Region:
    """A part of a frame that is crowded.

    Attributes
    ----------
    rows, columns : slice
        Window about it; columns begin at a byte of packed bits.
    share : (h, w) float32
        What of the sky of each pixel of the window is the region's own: 1 in it, 0 beyond.
    """

    rows: slice
    columns: slice
    share: F4

    @property
    def window(self) -> tuple[slice, slice]:
        """Index of a plane of the frame."""
        return self.rows, self.columns

    def contains(self, x: F8, y: F8) -> Bools:
        """Tell which 0-based positions in the frame are in the region."""
        h, w = self.share.shape
        column = np.rint(x).astype(np.int64) - self.columns.start
        row = np.rint(y).astype(np.int64) - self.rows.start
        inside: Bools = (row >= 0) & (row < h) & (column >= 0) & (column < w)
        inside[inside] = self.share[row[inside], column[inside]] > INSIDE
        return inside


def search_beneath(
    exposure: Exposure,
    plane: Plane,
    found: Detections,
    matched: MatchedFilter,
    config: Config,
    run: Run,
) -> Hidden | None:
    """Find the sources that hide beneath the detected ones: in all the frame, or where it is dense.

    None where nothing is crowded.

    Parameters
    ----------
    exposure, plane, found, matched
        As in `find_hidden`.
    """
    psf = exposure.psf
    if psf is None or found.n == 0:
        return None
    regions = _regions(found, psf)
    if regions is None:
        return find_hidden(exposure, plane, found, matched, config, run)
    beside = _companions(exposure, plane, found, regions, matched, run)
    if not regions:
        return beside
    sources = FittedSources.at(found.x, found.y)
    added = []
    if beside is not None:
        sources = beside.sources.take(np.arange(found.n))
        added.append(beside.sources.take(np.arange(found.n, beside.x.size)))
    n_beside = 0 if beside is None else beside.x.size - found.n
    local = np.zeros(found.n, np.bool_)
    subtracted, noise = plane.subtracted.copy(), plane.variance_plane(run).copy()
    for region in regions:
        part, rows = cut_detections(found, region.window)
        if part.n == 0:
            continue
        cut = cut_exposure(exposure, region.window)
        assert cut.psf is not None
        inner = find_hidden(
            cut, cut_plane(plane, noise, region.window), part, matched_filter(cut.psf, cut.shape),
            config, run, within=region.share > INSIDE,
        )  # fmt: skip
        if inner is None:
            continue
        corner = np.array([0.0, region.columns.start, region.rows.start])
        fitted = replace(inner.sources, parameters=inner.sources.parameters + corner)
        # What left the region, or has no fit, begins anew.
        inside = region.contains(*fitted.parameters[:, 1:].T) & (fitted.reach >= 0)
        own = inside[: part.n]
        sources = sources.with_rows(rows[own], fitted.take(np.flatnonzero(own)))
        local[rows[own]] = True
        inside[: part.n] = False
        added.append(fitted.take(inside))
        for ours, theirs in (
            (subtracted, inner.plane.subtracted), (noise, inner.plane.variance_plane(run)),
        ):  # fmt: skip
            here = ours[region.window]
            here += region.share * (theirs - here)
    for more in added:
        sources = sources.append(more)
    of_added = np.arange(sources.reach.size - found.n) >= n_beside
    models = np.zeros(exposure.shape, np.float32)
    add_models(models, psf, sources, 1.0)
    plane = replace(plane, subtracted=subtracted, noise=noise)
    plane = plane if plane.variance is None else replace(plane, variance=noise)
    return Hidden(sources, models, plane, psf, local=np.append(local, of_added))


def companions_alone(
    exposure: Exposure, plane: Plane, found: Detections, matched: MatchedFilter, run: Run
) -> Hidden | None:
    """Find what `search_beneath` finds where nothing is crowded; None elsewhere."""
    psf = exposure.psf
    if psf is None or found.n == 0:
        return None
    regions = _regions(found, psf)
    if regions is None or regions:
        return None
    return _companions(exposure, plane, found, regions, matched, run)


def _regions(found: Detections, psf: Psf) -> list[Region] | None:
    """Return the crowded parts of a frame; None where all of it is."""
    if is_crowded(found) or has_clouds(found):
        return None
    return crowded_regions(found, psf.fwhm, psf.radius)


def _companions(
    exposure: Exposure, plane: Plane, found: Detections, regions: list[Region],
    matched: MatchedFilter, run: Run,
) -> Hidden | None:  # fmt: skip
    """Find companions of the detections that are in none of the crowded parts."""
    looked_at = np.ones(found.n, np.bool_)
    for region in regions:
        looked_at &= ~region.contains(found.x, found.y)
    return find_companions(exposure, plane, found, looked_at, matched, run)


def crowded_regions(found: Detections, fwhm: float, margin: int) -> list[Region]:
    """Return the parts of a frame that sources cover.

    Parameters
    ----------
    found : Detections
    fwhm : float
        Of stars, pixels.
    margin : int
        Pixels that the windows have around the regions.
    """
    ny, nx = found.image_shape
    n_y, n_x = (max(1, round(size / (CELL * fwhm))) for size in (ny, nx))
    size = ny * nx / (n_y * n_x)
    if found.pixel.size < DENSE * size:
        return []

    def counts(cells: I8) -> F8:
        number = np.bincount(cells, minlength=n_y * n_x)
        return np.asarray(number.reshape(n_y, n_x) / size, np.float64)

    # What row and column make of the cell is looked up: there are far more pixels than these.
    of_row, of_column = np.arange(ny) * n_y // ny * n_x, np.arange(nx) * n_x // nx
    row = found.pixel // nx  # numpy's divmod takes many times as long
    cover = counts(of_row[row] + of_column[found.pixel - row * nx])
    y, x = np.clip(found.y, 0, ny - 1), np.clip(found.x, 0, nx - 1)
    detections = counts(((y * n_y // ny) * n_x + x * n_x // nx).astype(np.int64))
    near, many, far = (
        _mean(plane, reach) for plane, reach in ((cover, NEAR), (detections, NEAR), (cover, FAR))
    )
    seeds = (near > DENSE) & ((many > MANY / (100.0 * fwhm**2)) | (far > DENSE))
    return [_region(patch, (ny, nx), margin) for patch in _patches(seeds, near > BESIDE)]


def _mean(cells: F8, reach: int) -> F8:
    """Return the mean of the cells no farther than `reach` from each along both axes."""
    number = _summed(np.ones_like(cells), reach)
    mean: F8 = _summed(cells, reach) / number
    return mean


def _summed(cells: F8, reach: int) -> F8:
    """Return the sum of these cells."""
    for _ in range(2):
        padded = np.pad(cells, ((reach, reach), (0, 0)))
        parts = [padded[k : k + len(cells)] for k in range(2 * reach + 1)]
        cells = np.sum(parts, axis=0).T
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


def _region(patch: Bools, shape: tuple[int, int], margin: int) -> Region:
    """Return the region of some cells, whose sky becomes that of the frame from cell to cell."""
    slices, weights = [], []
    for axis, size in enumerate(shape):
        n = patch.shape[axis]
        cells = np.flatnonzero(patch.any(axis=1 - axis))
        # The sky changes over half a cell on both sides of the border.
        reach = math.ceil(0.5 * size / n) + margin
        begin = max(0, cells[0] * size // n - reach)
        begin -= begin % BYTE if axis == 1 else 0
        end = min(size, -(-(cells[-1] + 1) * size // n) + reach)
        slices.append(slice(int(begin), int(end)))
        at = np.clip((np.arange(begin, end) + 0.5) * n / size - 0.5, 0.0, n - 1.0)
        weights.append(np.maximum(1.0 - np.abs(at[:, None] - np.arange(n)), 0.0))
    share = weights[0] @ patch @ weights[1].T
    return Region(slices[0], slices[1], np.ascontiguousarray(share, np.float32))
