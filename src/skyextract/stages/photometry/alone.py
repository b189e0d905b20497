"""Bright stars of the frame that the reference has not, where it has others as bright all over.

A frame that is the sum of two fields (a failed dither, the wrong frames stacked) has all stars of
the reference, and as many of the other field, whose magnitudes and positions are as good.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.flags import Flags, FlagsSky
from skyextract.datamodel.noise import quantiles
from skyextract.stages.agreement import are_mixed
from skyextract.stages.photometry.depth import column
from skyextract.stages.photometry.stars import CUT_OFF, are_stars

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8
    from skyextract.datamodel.catalog import Catalog
    from skyextract.stages.photometry.checks import Verdict
    from skyextract.stages.photometry.pairs import Pairs

SNR = 20.0
"""Of a source that is asked for."""
WITHIN = 0.05, 0.8
"""Quantiles of the magnitudes of the stars of the fit, within which the reference is complete."""
NOTED = 0.4
"""Share of stars without a counterpart that is told.  The zero point is that of the others, and
good: references that lack stars anywhere are common."""
MIN_STARS = 15
"""Stars that have one, at least; with fewer the reference may be a list of standards."""
_NO_STAR = (
    FlagsSky.GHOST | FlagsSky.TRACK | FlagsSky.SHARP | FlagsSky.NO_POINT | FlagsSky.HIDDEN
    | FlagsSky.COSMIC_RAY
)  # fmt: skip


def with_alone(
    verdict: Verdict, catalog: Catalog, pairs: Pairs, zero_point: float, mag: F8, flux_key: str
) -> Verdict:
    """Return the verdict with what bright stars mean that the reference has not.

    Parameters
    ----------
    zero_point : float
    mag : (n,) float64
        Reference magnitudes of the stars of the fit.
    """
    flux = column(catalog, flux_key)
    with np.errstate(invalid="ignore", divide="ignore"):
        snr = flux / column(catalog, flux_key.replace("FLUX", "FLUXERR", 1))
        of_frame = zero_point - 2.5 * np.log10(flux)
    bright, faint = quantiles(mag, WITHIN)
    found = (snr > SNR) & (of_frame > bright) & (of_frame < faint)
    for name, bits in (("FLAGS", CUT_OFF | Flags.SATURATED), ("FLAGS_SKY", _NO_STAR)):
        if name in catalog:
            found &= (np.asarray(catalog[name]) & int(bits)) == 0
    if {"SPREAD_MODEL", "SPREADERR_MODEL", "FLAGS_SKY"} <= set(catalog):
        found &= are_stars(catalog, np.arange(found.size), found)
    is_paired = np.zeros(found.size, dtype=np.bool_)
    is_paired[pairs.row] = True
    paired, alone = found & is_paired, found & ~is_paired
    n, n_alone = int(found.sum()), int(alone.sum())
    verdict = replace(verdict, numbers=verdict.numbers | {"n_alone": n_alone})
    if n - n_alone < MIN_STARS or n_alone < NOTED * n:
        return verdict
    x, y = (np.asarray(catalog[name], dtype=np.float64) for name in ("X_IMAGE", "Y_IMAGE"))
    if not are_mixed(x, y, paired, alone):  # the reference ends within the frame
        return verdict
    remark = (
        f"{n_alone} of {n} bright stars, all over the frame, are not in the reference, which has "
        "others as bright: two fields in one frame, a reference that lacks stars?"
    )
    return replace(verdict, remarks=[*verdict.remarks, remark])
