"""Fluxes that are not in proportion to light for a cause that was found in the pixels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.flags import Flags
from skyextract.stages.photometry.checks import NOTED_TREND, Verdict
from skyextract.stages.photometry.parts import SURE
from skyextract.stages.photometry.zeropoint import MIN_ERROR
from skyextract.stages.pointsources.clippedfit import straight_line

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, AnyArray
    from skyextract.datamodel.exposure import Exposure
    from skyextract.stages.photometry.stars import Stars

MIN_STARS = 12
"""Stars that can tell whether waves are in their light, too."""
ADDED = 0.5
"""Part of the waves that stars show up to which these are rather added to light."""
MANY_BLENDED = 0.5
"""Share of the stars that are parts of blends."""
MAG = 2.5 / math.log(10.0)


def with_uneven_fluxes(
    verdict: Verdict, exposure: Exposure, flux_key: str, flags: AnyArray | None = None
) -> Verdict:
    """Return the verdict of a frame whose fluxes are not in proportion to light.

    Or in a part of which the stars are not those of the PSF; the zero point is that of the others.
    Or whose stars are pieces, as far as is known without a PSF.

    Parameters
    ----------
    flags : (n,) int16, optional
        FLAGS of the stars that the zero point rests on.
    """
    told = exposure.uneven
    if flags is not None and not exposure.has_psf:
        blended = int(np.count_nonzero(flags & int(Flags.BLENDED)))
        if blended > MANY_BLENDED * flags.size:
            message = (
                f"{blended} of the {flags.size} stars of the zero point are parts of blends, and "
                f"no PSF tells how much of the light {flux_key} has: stars that are taken apart "
                "(far out of focus?), or a crowded field"
            )
            told = told or message
    if exposure.unfollowed is not None:
        told = told or (
            f"{flux_key} of the stars of a part of the frame, which the PSF does not follow, is "
            "not on the scale of the zero point (NO_POINT in FLAGS_SKY)"
        )
    return replace(verdict, weak=verdict.weak or told)


def with_waves(verdict: Verdict, residuals: F8, stars: Stars, exposure: Exposure) -> Verdict:
    """Return the verdict with what stars say of waves that were subtracted from the frame.

    Light of the night sky and interference are added to the light of stars.  A lamp that flickers
    while rows are read, or a flat field that was not applied, multiplies it: stars are as much
    brighter on the crests as the sky is.

    Parameters
    ----------
    residuals : (n,) float64
        Of all stars, negative where they are too faint.
    """
    waves, background = exposure.waves, exposure.background
    if waves is None or background is None or len(residuals) < MIN_STARS:
        return verdict
    sky = background.mean - exposure.detector.pedestal
    ny, nx = exposure.shape
    row = np.clip(np.rint(stars.y), 0, ny - 1).astype(np.int64)
    column = np.clip(np.rint(stars.x), 0, nx - 1).astype(np.int64)
    relative = MAG * waves[row, column].astype(np.float64) / sky if sky > 0.0 else 0.0 * residuals
    rms = float(relative.std())
    if not rms > 0.0:
        return verdict
    errors = np.maximum(stars.errors, MIN_ERROR)
    _, part, error = straight_line(relative, residuals, errors)
    if not (part > SURE * error and part > ADDED):
        return verdict
    message = (
        f"stars are brighter where the subtracted waves are, by {part:.2f} times what the sky is: "
        "these multiply light (a lamp that flickers, a shutter, no flat field) and are still in "
        f"the fluxes, {part * rms:.2f} mag rms"
    )
    verdict = replace(verdict, numbers=verdict.numbers | {"waves_in_light": part})
    if part * rms > NOTED_TREND and not verdict.weak:
        return replace(verdict, weak=message)
    return replace(verdict, remarks=[*verdict.remarks, message])
