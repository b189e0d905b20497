"""Footprints: grown by the PSF, and masked with their wings between passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import F4, F8, U1, AnyArray
from skyextract.datamodel.detections import Detections
from skyextract.kernels.detection import deblend
from skyextract.kernels.detection.matched import grow, grow_discs
from skyextract.kernels.values import BLENDED

MIN_GROWTH = 2.0
"""Every isophote is masked with so many pixels more, at least; or with the PSF's core."""
_MAX_MASKED = 0.5
_MAX_GROWTH = 100.0
_FAINT = 0.1
"""Wings are masked out to where they fall below this share of the background noise."""


def table_column(table: AnyArray) -> Callable[[int], AnyArray]:
    """Return a function that gives column k of a table as a contiguous array."""
    return lambda k: np.ascontiguousarray(table[:, k])


def shape_fields(
    column: Callable[[int], AnyArray], count: Callable[[int], AnyArray]
) -> dict[str, Any]:
    """Return the fields of `Detections` for position and shape.

    Parameters
    ----------
    column, count : callable
        `table_column` of the real and of the integer measurements of `kernels.deblend`.
    """
    return {
        "x": column(deblend.X), "y": column(deblend.Y), "x2": column(deblend.X2),
        "y2": column(deblend.Y2), "xy": column(deblend.XY),
        "singular": count(deblend.SINGULAR) != 0, "a": column(deblend.A),
        "b": column(deblend.B), "theta": column(deblend.THETA), "cxx": column(deblend.CXX),
        "cyy": column(deblend.CYY), "cxy": column(deblend.CXY), "abcor": column(deblend.ABCOR),
    }  # fmt: skip


def grow_footprints(found: Detections, filtered: F4, image: F4, n_rounds: int) -> Detections:
    """Grow the sources' footprints and measure them anew.

    Only pixels of positive filtered value are taken in, each by the source that comes to it
    first.  Pixels merged into a source do not grow.  The segmentation is changed in place.
    """
    if found.n == 0:
        return found
    nx = image.shape[1]
    segmentation = found.segmentation
    length = np.diff(found.first)
    source = np.repeat(np.arange(found.n), length)
    own = np.arange(len(source)) - found.first[source] < found.n_own[source]
    added = np.empty(segmentation.size, np.int64)
    n_added = grow(segmentation, filtered, np.float32(0.0), found.pixel[own], n_rounds, added)
    added = added[:n_added].copy()

    # own pixels, grown pixels, merged pixels, by source
    pixel = np.concatenate([found.pixel[own], added, found.pixel[~own]])
    owner = np.concatenate([source[own], segmentation.ravel()[added] - 1, source[~own]])
    sequence = np.argsort(owner, kind="stable")
    pixel = pixel[sequence]
    owner = owner[sequence]
    first = np.searchsorted(owner, np.arange(found.n + 1)).astype(np.int64)
    n_merged = (length - found.n_own).astype(np.int32)
    n_own = (np.diff(first) - n_merged).astype(np.int32)
    values = filtered.ravel()[pixel]
    real = np.empty((found.n, deblend.N_REAL), np.float64)
    integer = np.empty((found.n, deblend.N_INTEGER), np.int32)
    deblend.measure_sources(
        (pixel % nx).astype(np.int32),
        (pixel // nx).astype(np.int32),
        values,
        image.ravel()[pixel],
        found.threshold,
        first,
        n_own,
        (found.flags & BLENDED) == 0,
        found.x,
        found.y,
        real,
        integer,
    )
    merged = np.arange(len(pixel)) - first[owner] >= n_own[owner]
    column = table_column(real)
    count = table_column(integer)

    def add(own: AnyArray, extra: AnyArray) -> F8:
        return own + np.bincount(owner[merged], extra[merged], found.n)

    unfiltered = image.ravel()[pixel]
    return replace(
        found,
        segmentation=segmentation,
        first=first,
        n_own=n_own,
        pixel=pixel,
        filtered=values,
        xmin=np.minimum(found.xmin, count(deblend.XMIN)),
        xmax=np.maximum(found.xmax, count(deblend.XMAX)),
        ymin=np.minimum(found.ymin, count(deblend.YMIN)),
        ymax=np.maximum(found.ymax, count(deblend.YMAX)),
        **shape_fields(column, count),
        fdnpix=(count(deblend.FDNPIX) + n_merged).astype(np.int32),
        dnpix=add(count(deblend.DNPIX), unfiltered > found.threshold).astype(np.int32),
        fdflux=add(column(deblend.FDFLUX), values),
        dflux=add(column(deblend.DFLUX), unfiltered),
        dpeak=np.maximum(found.dpeak, column(deblend.DPEAK).astype(np.float32)),
    )


def source_mask(detections: Detections, sigma: float, min_growth: float = MIN_GROWTH) -> U1:
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
    footprints = np.zeros(detections.segmentation.shape, np.uint8)
    footprints.ravel()[detections.pixel] = 1
    footprints.ravel()[detections.unclaimed] = 1
    if detections.n == 0:
        return footprints
    source = np.repeat(np.arange(detections.n), np.diff(detections.first))
    above = detections.filtered > detections.dthresh[source]
    radius = np.sqrt(np.bincount(source[above], minlength=detections.n) / np.pi)
    edge = detections.dthresh / (_FAINT * sigma)
    # a source barely above the threshold has no wings to speak of
    peak = detections.fdpeak / detections.dthresh
    factor = np.maximum(np.minimum(edge, peak), 1.0) ** (1.0 / 3.0)
    wings = np.maximum(radius * factor, radius + min_growth)
    for share in (1.0, 0.5, 0.25):
        reach = radius + share * (wings - radius) - np.sqrt(detections.fdnpix / np.pi)
        mask = footprints.copy()
        grow_discs(
            detections.segmentation,
            detections.pixel,
            detections.first,
            np.clip(reach, 0.0, _MAX_GROWTH).astype(np.float64),
            mask,
        )
        if np.count_nonzero(mask) <= _MAX_MASKED * mask.size:
            return mask
    return footprints
