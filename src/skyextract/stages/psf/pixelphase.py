"""Positions of undersampled stars: where in its pixel a star is shifts windowed positions.

Moments of a star that is hardly wider than a pixel depend on its place between the pixels; a fit of
the PSF, which has the pixel in it, does not (Anderson & King 2000, PASP 112, 1360).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from skyextract.datamodel.catalog import Catalog
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run

UNDERSAMPLED = 2.0
"""FWHM in pixels below which that is looked for: windowed positions are off by .002 pixels at 2."""
PSF_POSITIONS = frozenset({"XPSF_IMAGE", "YPSF_IMAGE", "ERRX2PSF_IMAGE", "ERRY2PSF_IMAGE"})
BRIGHT, MIN_STARS = 50.0, 8
"""S/N of the stars that tell, and their number, at least."""
MAX_OFF = 0.5
"""Pixels that the place in the pixel may shift a position by: more is a neighbour."""
TOLD = 2.0
"""Times their typical error that is told."""


def is_undersampled(exposure: Exposure) -> bool:
    """Tell whether the stars of a measured or given PSF are so narrow."""
    return exposure.has_psf and exposure.psf is not None and exposure.psf.fwhm < UNDERSAMPLED


def with_pixel_phase(sources: Catalog, run: Run) -> Catalog:
    """Return the sources with what their place in the pixel adds to errors of XWIN and YWIN.

    It is the scatter of bright point sources about the positions that the PSF has.
    """
    needed = {"XWIN_IMAGE", "YWIN_IMAGE", "ERRX2WIN_IMAGE", "ERRY2WIN_IMAGE", "FLUX_PSF"}
    if not (needed | PSF_POSITIONS | {"FLUXERR_PSF"}) <= set(sources):
        return sources
    with np.errstate(invalid="ignore"):
        bright = (sources["FLAGS"] == 0) & (sources["FLUX_PSF"] > BRIGHT * sources["FLUXERR_PSF"])
    columns, scatters, typical = {}, [], []
    for axis in "XY":
        off = (sources[f"{axis}WIN_IMAGE"] - sources[f"{axis}PSF_IMAGE"])[bright]
        off = off[np.isfinite(off)]
        if off.size < MIN_STARS:
            return sources
        name = f"ERR{axis}2WIN_IMAGE"
        # (of a place in the pixel, no normal distribution: its median tells less)
        near = off[np.abs(off) < MAX_OFF]
        scatters.append(float(np.sqrt(np.mean(near**2))) if near.size else 0.0)
        typical.append(float(np.sqrt(np.nanmedian(sources[name][bright]))))
        columns[name] = sources[name] + scatters[-1] ** 2
    if max(scatters) > TOLD * max(typical):
        run.warn(
            f"stars are undersampled: windowed positions scatter by {max(scatters):.2g} pixels "
            "with their place in the pixel, which their errors hold; XPSF_IMAGE and YPSF_IMAGE do "
            "not, and astrometry takes these"
        )
    return sources.with_columns(**columns)


def with_psf_positions(sources: Catalog) -> Catalog:
    """Return the sources with the positions and errors of the PSF in place of windowed ones.

    Of a source without a fit the windowed position stays.
    """
    if not set(sources) >= PSF_POSITIONS:
        return sources
    known = np.isfinite(sources["XPSF_IMAGE"]) & np.isfinite(sources["YPSF_IMAGE"])
    columns = {
        name: np.where(known, sources[name.replace("WIN", "PSF")], sources[name])
        for name in ("XWIN_IMAGE", "YWIN_IMAGE", "ERRX2WIN_IMAGE", "ERRY2WIN_IMAGE")
        if name in sources
    }
    return sources.with_columns(**columns)
