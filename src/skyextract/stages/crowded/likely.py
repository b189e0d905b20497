"""The likeliest fluxes of faint stars in a crowd.

There are more faint stars than bright ones, and light that cannot be told apart only adds: what
seems to have a flux F with an error e more often is a fainter star and an excess than a brighter
one that lost light.  Of stars whose numbers per magnitude rise as F^-s, the likeliest magnitude is
that of F - s e^2 / F, to the first order of e / F (Hogg & Turner 1998, PASP 110, 727).  And where a
row is broader than the PSF, a part of its light is that of fainter stars nearby; where others are
dense it is so however broad it is, but this light is a part of the errors there, too: the larger of
both counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.flags import FlagsSky

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, Bools
    from skyextract.datamodel.catalog import Catalog
    from skyextract.stages.crowded.hidden import Hidden

SURE = 10.0
"""S/N of the stars whose numbers tell how there are more of fainter ones: nearly all are found."""
MIN_STARS = 30
"""Fewer do not tell."""
STEEPEST = 1.5
"""0.6 dex per magnitude: stars of one kind, equally dense everywhere."""
LEAST = 0.5
"""Of a flux is left, at least."""


def with_likely_fluxes(sources: Catalog, hidden: Hidden) -> Catalog:
    """Return the sources, those that were found beneath others with their likeliest fluxes.

    Parameters
    ----------
    sources : Catalog
        One row per source of `hidden`, with the errors of crowds.
    hidden : Hidden
    """
    if hidden.is_of_companions:
        return sources
    flags = sources["FLAGS_SKY"]
    faint = (flags & np.int16(FlagsSky.HIDDEN)) != 0
    faint &= (flags & np.int16(FlagsSky.NO_POINT)) == 0
    stars = np.ones_like(faint)
    if hidden.local is not None:
        stars = hidden.local
    broad, dense = np.zeros((2, faint.size)) if hidden.fainter is None else hidden.fainter.T
    flux = likely_fluxes(sources["FLUX_PSF"], sources["FLUXERR_PSF"], stars, faint & stars, dense)
    flux = np.where(faint & stars, flux * (1.0 - broad), flux)
    return sources.with_columns(FLUX_PSF=flux)


def likely_fluxes(flux: F8, error: F8, stars: Bools, faint: Bools, dense: F8) -> F8:
    """Return fluxes, of faint stars the likeliest.

    Parameters
    ----------
    flux, error : (n,) float64
    stars : (n,) bool
        Whose numbers tell how many more there are of fainter ones.
    faint : (n,) bool
        Those that stand beneath others.
    dense : (n,) float64
        Share of their light that is that of others, at least.
    """
    with np.errstate(invalid="ignore"):
        sure = stars & (flux > SURE * error) & (error > 0.0)
        faint = faint & (flux > 0.0) & np.isfinite(error)
    if np.count_nonzero(sure) < MIN_STARS:
        return flux
    likely = flux.copy()
    less = slope_of_counts(flux[sure]) * (error[faint] / flux[faint]) ** 2
    likely[faint] *= np.maximum(1.0 - np.maximum(less, dense[faint]), LEAST)
    return likely


def slope_of_counts(flux: F8) -> float:
    """Return s of numbers above a flux F as F^-s, from those of all above the least one.

    It is the likeliest of a power law, without its bias (Crawford, Jauncey & Murdoch 1970, ApJ 162,
    405).
    """
    total = float(np.log(flux / flux.min()).sum())
    return min((flux.size - 1) / total, STEEPEST) if total > 0.0 else STEEPEST
