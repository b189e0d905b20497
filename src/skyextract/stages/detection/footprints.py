"""Footprints: grown by the PSF, and masked with their wings between passes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from skyextract.datamodel.arrays import F4, F8, U1, AnyArray
from skyextract.datamodel.detections import Detections
from skyextract.kernels.detection.footprints import gather_grown
from skyextract.kernels.detection.matched import grow, grow_discs
from skyextract.kernels.values import BLENDED
from skyextract.run import Run
from skyextract.stages.detection.measurements import measure_footprints

MIN_GROWTH = 2.0
"""Every isophote is masked with so many pixels more, at least; or with the PSF's core."""
_MAX_MASKED = 0.5
_MAX_GROWTH = 100.0
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
    length = np.diff(found.first)
    n_merged = (length - found.n_own).astype(np.int32)
    own_pixel = found.pixel
    if n_merged.any():
        own = np.arange(len(own_pixel)) - np.repeat(found.first[:-1], length)
        own_pixel = own_pixel[own < np.repeat(found.n_own, length)]
    added = np.empty(segmentation.size, np.int64)  # only what is written to takes memory
    n_added = grow(segmentation, filtered, np.float32(0.0), own_pixel, n_rounds, added)
    added = added[:n_added].copy()
    del own_pixel

    # own pixels, grown pixels, merged pixels, by source
    pixel = np.empty(len(found.pixel) + n_added, np.int64)
    first = np.empty(found.n + 1, np.int64)
    owner = segmentation.ravel()[added] - np.int32(1)
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
    values, unfiltered = filtered.ravel()[pixel], image.ravel()[pixel[merged]]

    def add(own: AnyArray, extra: AnyArray) -> F8:
        return own + np.bincount(of_merged, extra, found.n)

    measured["fdnpix"] = (measured["fdnpix"] + n_merged).astype(np.int32)
    measured["dnpix"] = add(measured["dnpix"], unfiltered > found.threshold).astype(np.int32)
    measured["fdflux"] = add(measured["fdflux"], values[merged])
    measured["dflux"] = add(measured["dflux"], unfiltered)
    unclaimed = found.unclaimed[segmentation.ravel()[found.unclaimed] == 0]
    return replace(
        found, labels=segmentation, first=first, n_own=n_own, pixel=pixel, filtered=values,
        unclaimed=unclaimed, **measured,
    )  # fmt: skip


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
    segmentation = detections.segmentation

    def discs(reach: F8, mask: U1, part: tuple[int, int]) -> None:
        """Mask those of some sources; where threads meet, both write the same."""
        first, past = part
        ends = detections.first[first : past + 1]
        grow_discs(segmentation, detections.pixel, ends, reach[first:past], mask)

    for share in (1.0, 0.5, 0.25):
        reach = radius + share * (wings - radius) - np.sqrt(detections.fdnpix / np.pi)
        reach = np.clip(reach, 0.0, _MAX_GROWTH).astype(np.float64)
        mask = footprints.copy()
        run.map(partial(discs, reach, mask), run.bands(detections.n))
        if np.count_nonzero(mask) <= _MAX_MASKED * mask.size:
            return mask
    return footprints
