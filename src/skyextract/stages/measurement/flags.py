"""Bits of FLAGS and FLAGS_SKY that are set in columns of sources."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F8, I4
from skyextract.datamodel.flags import Flags, FlagsSky, Mask

if TYPE_CHECKING:
    from skyextract.datamodel.catalog import Catalog
    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run


MAX_BENEATH = 0.1
"""Share of a Kron flux from which light that is not the source's is told: that of FLAGS 1."""


def with_mask_flags(
    sources: Catalog, exposure: Exposure, found: Detections, run: Run
) -> Catalog:  # fmt: skip
    """Return the sources with what the mask planes in the footprints mean in both flags."""
    planes, mask = np.zeros(found.n, dtype=np.uint16), exposure.mask
    # Pixels here and there of a mask that nobody has written to take longer than all of it.
    marked = run.map(lambda band: bool(mask[band[0] : band[1]].max()), run.bands(len(mask)))
    if found.n and any(marked):
        planes = np.bitwise_or.reduceat(mask.ravel()[found.pixel], found.first[:-1])
    cosmic = (planes & np.uint16(Mask.CR)) != 0
    bad = (planes & np.uint16(Mask.BAD | Mask.INTRP | Mask.NO_DATA)) != 0
    flags = np.where(planes & np.uint16(Mask.SAT), int(Flags.SATURATED), 0) | sources["FLAGS"]
    known = sources["FLAGS_SKY"]
    if exposure.variance is not None:
        known = known & ~int(FlagsSky.NO_VARIANCE)
    ours = np.where(cosmic, int(FlagsSky.COSMIC_RAY), 0) | np.where(bad, int(FlagsSky.BAD_PIXEL), 0)
    ours |= known
    return sources.with_columns(FLAGS=flags.astype(np.int16), FLAGS_SKY=ours.astype(np.int16))


def with_flags(sources: Catalog, bits: I4 | FlagsSky) -> Catalog:
    """Return the sources with further bits of FLAGS_SKY."""
    return sources.with_columns(FLAGS_SKY=(sources["FLAGS_SKY"] | bits).astype(np.int16))


def with_light_beneath(sources: Catalog, found: Detections, beneath: F8) -> Catalog:
    """Return the sources, those flagged whose Kron flux has much light beneath them in it.

    Parameters
    ----------
    sources : Catalog
        With FLUX_AUTO and KRON_RADIUS, where these are measured.
    found : Detections
    beneath : (n,) float64
        Light per pixel; 0: none.
    """
    if "KRON_RADIUS" not in sources or not beneath.any():
        return sources
    area = math.pi * sources["KRON_RADIUS"] ** 2 * found.a * found.b
    much = np.abs(beneath) * area > MAX_BENEATH * np.abs(sources["FLUX_AUTO"])
    flags = sources["FLAGS"] | np.where(much, int(Flags.NEIGHBOURS), 0)
    return sources.with_columns(FLAGS=flags.astype(np.int16))


def counts_of_flags(sources: Catalog) -> dict[str, int]:
    """Return how many sources are saturated, flagged (FLAGS), ghosts, too sharp, of lines."""
    flags = sources["FLAGS"]
    saturated = np.count_nonzero(flags & int(Flags.SATURATED))
    ours = sources["FLAGS_SKY"]
    return {
        "n_saturated": int(saturated),
        "n_flagged": int(np.count_nonzero(flags)),
        "n_ghosts": int(np.count_nonzero(ours & int(FlagsSky.GHOST))),
        "n_sharp": int(np.count_nonzero(ours & int(FlagsSky.SHARP))),
        "n_tracks": int(np.count_nonzero(ours & int(FlagsSky.TRACK))),
    }
