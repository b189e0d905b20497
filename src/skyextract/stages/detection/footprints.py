"""Footprints: grown by the PSF, and masked with their wings between passes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I4, I8, U1, AnyArray, blank, copied, n_set
from skyextract.datamodel.detections import Detections
from skyextract.kernels.detection.discs import grow_discs
from skyextract.kernels.detection.footprints import gather_grown, group_boxes, grow
from skyextract.kernels.values import BLENDED
from skyextract.run import Run
from skyextract.stages.detection.measurements import measure_footprints

MIN_GROWTH = 2.0
"""Every isophote is masked with so many pixels more, at least; or with the PSF's core."""
_MAX_MASKED = 0.5
_MAX_GROWTH = 100.0
_SIDE = 16
"""Of the cells of the frame, pixels, that tell which sources may meet as they grow."""
_CHUNK = 1 << 15
"""Pixels of the boxes about sources that are grown together, for a thread."""
_FAINT = 0.1
"""Wings are masked out to where they fall below this share of the background noise."""


def grow_footprints(
    found: Detections, filtered: F4, image: F4, n_rounds: int, run: Run
) -> Detections:
    """Grow the sources' footprints and measure them anew.

    Only pixels of positive filtered value are taken in, each by the source that comes to it
    first.  Pixels merged into a source do not grow.  The segmentation is changed in place.
    Pixels that were `unclaimed` may get an owner.
    """
    if found.n == 0:
        return found
    segmentation = found.segmentation
    n_merged = (np.diff(found.first) - found.n_own).astype(np.int32)
    added, owner = _grown(found, segmentation, filtered, n_rounds, run)

    # own pixels, grown pixels, merged pixels, by source
    pixel = np.empty(len(found.pixel) + len(added), np.int64)
    first = np.empty(found.n + 1, np.int64)
    gather_grown(found.pixel, found.first, found.n_own, added, owner, pixel, first)
    del added, owner
    n_own = (np.diff(first) - n_merged).astype(np.int32)
    measured = measure_footprints(
        filtered, image, pixel, first, n_own, found.threshold,
        recentre=(found.flags & BLENDED) == 0, x=found.x, y=found.y, run=run,
    )  # fmt: skip
    for name in ("fdpeak", "xpeak", "ypeak"):  # those of the pixels that were detected
        measured.pop(name)
    for name, extreme in (
        ("xmin", np.minimum), ("xmax", np.maximum), ("ymin", np.minimum), ("ymax", np.maximum),
        ("dpeak", np.maximum),
    ):  # fmt: skip
        measured[name] = extreme(getattr(found, name), measured[name])
    # Merged pixels are the last ones of their source.
    parts = [np.arange(first[i] + n_own[i], first[i + 1]) for i in np.flatnonzero(n_merged)]
    merged = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    of_merged = np.repeat(np.arange(found.n), n_merged)
    unfiltered = image.ravel()[pixel[merged]]

    def add(own: AnyArray, extra: AnyArray) -> F8:
        return own + np.bincount(of_merged, extra, found.n)

    measured["fdnpix"] = (measured["fdnpix"] + n_merged).astype(np.int32)
    measured["dnpix"] = add(measured["dnpix"], unfiltered > found.threshold).astype(np.int32)
    measured["fdflux"] = add(measured["fdflux"], measured["filtered"][merged])
    measured["dflux"] = add(measured["dflux"], unfiltered)
    unclaimed = found.unclaimed[segmentation.ravel()[found.unclaimed] == 0]
    return replace(
        found, labels=segmentation, first=first, n_own=n_own, pixel=pixel,
        unclaimed=unclaimed, **measured,
    )  # fmt: skip


def _grown(
    found: Detections, segmentation: I4, filtered: F4, n_rounds: int, run: Run
) -> tuple[I8, I4]:
    """Let the sources take in pixels; return these, and which source has each.

    Sources too far apart to meet are worked on by themselves: their pixels are then read once, not
    once in every round, and threads share them.
    """
    ny, nx = segmentation.shape
    low = [np.maximum(v - np.int32(n_rounds), 0) for v in (found.xmin, found.ymin)]
    high = [
        np.minimum(v + np.int32(n_rounds), np.int32(size - 1))
        for v, size in ((found.xmax, nx), (found.ymax, ny))
    ]
    group = np.empty(found.n, np.int64)
    cell = np.full((-(-ny // _SIDE), -(-nx // _SIDE)), -1)
    group_boxes(low[0], high[0], low[1], high[1], _SIDE, cell, group)
    member = np.argsort(group, kind="stable")
    edges = np.flatnonzero(np.diff(group[member], prepend=-1, append=-1))
    area = (high[0] - low[0] + 1).astype(np.int64) * (high[1] - low[1] + 1)
    room = np.concatenate([np.zeros(1, np.int64), np.cumsum(area[member])])[edges]

    def part(span: tuple[int, int]) -> tuple[I8, I4]:
        first, past = span
        begin = edges[first : past + 1]
        members = member[begin[0] : begin[-1]]
        largest = min(int(room[past] - room[first]), segmentation.size)
        added, owner = np.empty(largest, np.int64), np.empty(largest, np.int32)
        n = grow(
            segmentation, filtered, found.pixel, found.first, found.n_own, members,
            begin - begin[0], n_rounds, added, owner,
        )  # fmt: skip
        return added[:n].copy(), owner[:n].copy()

    goals = np.arange(_CHUNK, room[-1], _CHUNK)
    spans = sorted({0, len(edges) - 1, *np.searchsorted(room, goals).tolist()})
    parts = run.map(part, list(pairwise(spans)))
    return np.concatenate([a for a, _ in parts]), np.concatenate([o for _, o in parts])


def source_mask(
    detections: Detections, sigma: float, run: Run, min_growth: float = MIN_GROWTH
) -> U1:
    """Return a mask (1) of the sources' footprints and the faint wings around them.

    A source's wings are taken to fall with the inverse cube of the radius (as those of a
    Moffat profile with beta 1.5; most are steeper) from the detection threshold at its
    isophotal radius, and are masked out to a tenth of the noise.  In crowded fields they are
    masked less far, so that half of the image is left, if the footprints alone permit it.

    Parameters
    ----------
    detections : Detections
        Not grown by the PSF: that would mask positive noise before negative.
    sigma : float
        Background noise, image units.
    min_growth : float
        Pixels, at least, that every isophote is masked with more.
    """
    footprints: U1 = blank(detections.segmentation.shape, np.uint8, run)
    parts = run.bands(detections.n)

    def n_above(part: tuple[int, int]) -> I8:
        """Mark the pixels of some sources, and count those above the threshold."""
        ends = detections.first[part[0] : part[1] + 1]
        own = slice(ends[0], ends[-1])
        footprints.ravel()[detections.pixel[own]] = 1
        source = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
        above = detections.filtered[own] > detections.dthresh[slice(*part)][source]
        return np.bincount(source[above], minlength=len(ends) - 1)

    radius = np.sqrt(np.concatenate(run.map(n_above, parts)) / np.pi)
    footprints.ravel()[detections.unclaimed] = 1
    if detections.n == 0:
        return footprints
    edge = detections.dthresh / (_FAINT * sigma)
    # a source barely above the threshold has no wings to speak of
    peak = detections.fdpeak / detections.dthresh
    factor = np.maximum(np.minimum(edge, peak), 1.0) ** (1.0 / 3.0)
    wings = np.maximum(radius * factor, radius + min_growth)
    segmentation = detections.segmentation

    def discs(reach: F8, mask: U1, part: tuple[int, int]) -> None:
        """Mask those of some sources; where threads meet, both write the same."""
        first, past = part
        ends = detections.first[first : past + 1]
        grow_discs(segmentation, detections.pixel, ends, reach[first:past], mask)

    for share in (1.0, 0.5, 0.25):
        reach = radius + share * (wings - radius) - np.sqrt(detections.fdnpix / np.pi)
        reach = np.clip(reach, 0.0, _MAX_GROWTH).astype(np.float64)
        mask = copied(footprints, run)
        run.map(partial(discs, reach, mask), parts)
        if n_set(mask, run) <= _MAX_MASKED * mask.size:
            return mask
    return footprints
