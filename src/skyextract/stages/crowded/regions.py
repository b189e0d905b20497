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
from skyextract.record import record
from skyextract.stages.crowded.cells import crowded_patches, is_crowded
from skyextract.stages.crowded.clouds import has_clouds
from skyextract.stages.crowded.companions import find_companions
from skyextract.stages.crowded.hidden import Hidden
from skyextract.stages.crowded.search import find_hidden
from skyextract.stages.crowded.window import BYTE, cut_detections, cut_exposure, cut_plane
from skyextract.stages.detection.matched import matched_filter
from skyextract.stages.pointsources.sweeps import FittedSources, add_models

if TYPE_CHECKING:
    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.exposure import Exposure
    from skyextract.datamodel.psf import Psf
    from skyextract.run import Run
    from skyextract.settings.keywords import Config
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.detection.matched import MatchedFilter

FIXED = 1 << 20
"""What the search of a window costs beside its pixels, in those of as many pixels: where one window
about two regions has fewer pixels of neither, it is one."""
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
    added, faded, fainter = [], [], [np.zeros((found.n, 2))]
    if beside is not None:
        sources = beside.sources.take(np.arange(found.n))
        added.append(beside.sources.take(np.arange(found.n, beside.x.size)))
        faded.append(np.zeros(beside.x.size - found.n, np.bool_))
        fainter.append(np.zeros((beside.x.size - found.n, 2)))
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
        faded.append(np.isin(np.flatnonzero(inside), inner.faded))
        assert inner.fainter is not None
        fainter.append(inner.fainter[inside])
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
    no_rows = found.n + np.flatnonzero(np.concatenate(faded or [of_added]))
    return Hidden(
        sources, models, plane, psf, faded=no_rows, fainter=np.concatenate(fainter),
        local=np.append(local, of_added),
    )  # fmt: skip


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
    if is_crowded(found, psf.fwhm) or has_clouds(found, psf.fwhm):
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
    patches = _together(crowded_patches(found, fwhm), (ny, nx), margin)
    return [_region(patch, (ny, nx), margin) for patch in patches]


def _together(patches: list[Bools], shape: tuple[int, int], margin: int) -> list[Bools]:
    """Join patches that cost less in one window."""
    joined: list[Bools] = []
    boxes = np.zeros((0, 4), np.int64)
    for new in patches:
        patch, box = new, _box(new, shape, margin)
        while True:
            both = np.minimum(boxes, box)
            size = np.prod(-both[:, 2:] - both[:, :2], axis=1)
            apart = np.prod(-boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(-box[2:] - box[:2])
            if not (size < apart + FIXED).any():
                break
            k = int(np.argmin(size - apart))
            patch, box = patch | joined.pop(k), both[k]
            boxes = np.delete(boxes, k, axis=0)
        joined.append(patch)
        boxes = np.append(boxes, box[None], axis=0)
    return joined


def _box(patch: Bools, shape: tuple[int, int], margin: int) -> I8:
    """Return first row and column of the window of some cells, then -1 times its ends."""
    first, last = [], []
    for axis, size in enumerate(shape):
        n = patch.shape[axis]
        cells = np.flatnonzero(patch.any(axis=1 - axis))
        # The sky changes over half a cell on both sides of the border.
        reach = math.ceil(0.5 * size / n) + margin
        begin = max(0, int(cells[0]) * size // n - reach)
        first.append(begin - (begin % BYTE if axis == 1 else 0))
        last.append(min(size, -(-(int(cells[-1]) + 1) * size // n) + reach))
    return np.array([*first, *(-end for end in last)], np.int64)


def _region(patch: Bools, shape: tuple[int, int], margin: int) -> Region:
    """Return the region of some cells, whose sky becomes that of the frame from cell to cell."""
    first, last = np.split(_box(patch, shape, margin), 2)
    slices = [slice(int(a), -int(b)) for a, b in zip(first, last, strict=True)]
    weights = []
    for part, n, size in zip(slices, patch.shape, shape, strict=True):
        at = np.clip((np.arange(part.start, part.stop) + 0.5) * n / size - 0.5, 0.0, n - 1.0)
        weights.append(np.maximum(1.0 - np.abs(at[:, None] - np.arange(n)), 0.0))
    share = weights[0] @ patch @ weights[1].T
    return Region(slices[0], slices[1], np.ascontiguousarray(share, np.float32))
