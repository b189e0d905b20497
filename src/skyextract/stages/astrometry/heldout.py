"""What stars that a fit did not use say of it, and whether there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skyextract.datamodel.wcs import SkyWcs
    from skyextract.stages.astrometry.platefit import PlateFit

MAX_HELD = 2.0
"""Hold-out rms over rms, from which the fit follows its stars and is a FALLBACK, ..."""
HELD_FROM = 10
"""... from so many stars used, ..."""
MIN_HELD = 0.02
"""... and this hold-out rms, pixels."""
TESTED_FROM = 5
"""Stars that test a plate, at least: shift, turn and scale take two of them, and the others may be
as far from the middle of a distortion as these."""


def follows_stars(fit: PlateFit) -> str:
    """Say that the fit follows its stars, which those held out show; empty if it does not."""
    rms, held, n_used = fit.rms(), fit.rms(held=True), int(fit.used.sum())
    if n_used < HELD_FROM or not held > max(MAX_HELD * rms, MIN_HELD * fit.plate.pixel_scale):
        return ""
    return (
        f"the fit follows its {n_used} stars: rms {rms:.2g} arcsec, but {held:.2g} of stars "
        "that were held out"
    )


def untested(fit: PlateFit, wcs: SkyWcs | None) -> str:
    """Say that stars are too few to test the plate; empty if they are not.

    A header's WCS with a distortion is not tested: it is moved and turned.
    """
    n_used = int(fit.used.sum())
    is_flat = wcs is None or str(wcs.to_header().get("CTYPE1", "")).endswith("TAN")
    message = (
        f"{n_used} stars find the place of the frame, and are too few to tell a distortion: "
        "positions away from them may be off by more than their errors"
    )
    return message if n_used < TESTED_FROM and is_flat else ""
