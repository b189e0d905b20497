"""The beam of a radio map: the PSF of its sources, which the header gives."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.header import Header, header_number
from skyextract.datamodel.psf import Psf, PsfSource

if TYPE_CHECKING:
    from skyextract.datamodel.wcs import SkyWcs

_PER_BEAM = re.compile(r"(/\s*|\b)(beam|bm)\b", re.IGNORECASE)
"""In BUNIT, as Jy/beam, mJy beam-1."""
ARCSEC = 3600.0
AS_BEAM = 0.1
"""Relative difference of a measured FWHM from that of the beam; noise and sources that are
resolved a little make 2 to 5 %."""


def beam_of(header: Header | None, wcs: SkyWcs | None) -> tuple[float, float] | None:
    """Return the axes of the beam (FWHM, pixels), larger first; None of an image that has none.

    Parameters
    ----------
    header : Header
        BUNIT is a unit per beam, BMAJ and BMIN are in degrees (AIPS memo 117).
    wcs : SkyWcs
        Tells the size of a pixel.
    """
    if header is None or wcs is None:
        return None
    if not _PER_BEAM.search(str(header.get("BUNIT") or "")):
        return None
    axes = [header_number(header.get(keyword)) for keyword in ("BMAJ", "BMIN")]
    scale = wcs.pixel_scale()
    pixels = [ARCSEC * axis / scale for axis in axes if axis is not None and axis > 0.0]
    if len(pixels) != 2 or not all(math.isfinite(axis) for axis in pixels):
        return None
    return max(pixels), min(pixels)


def is_beam(fwhm: float, beam: tuple[float, float] | None) -> bool:
    """Tell whether a FWHM (pixels) is that of the beam."""
    return beam is not None and abs(fwhm / math.sqrt(beam[0] * beam[1]) - 1.0) < AS_BEAM


_VARIANCE_OF_FWHM = 1.0 / (8.0 * math.log(2.0))
REACH, PER_FWHM = 2.2, 5.0
"""Half the side of the image of a beam, in its larger axis, and samples along its smaller one."""


OF_BEAM = 0.5
"""Width of the filter that sources are searched with, in widths of the beam: the noise of a map has
passed through the beam, too, and a source is highest above it where nothing else is smoothed.  Of
half the width it is .89 as high, and pixels alone are no sources; of all of it .71."""


POINTS = math.sqrt(0.5 * (1.0 + OF_BEAM**2)) / OF_BEAM
"""Noise of fits of the beam over what the filter shows, in units of that of independent pixels."""


def filter_of_beam(psf: Psf) -> Psf:
    """Return the PSF to filter a map with."""
    return replace(
        psf, basis=psf.basis / np.float32(OF_BEAM**2), sampling=OF_BEAM * psf.sampling,
        fwhm=OF_BEAM * psf.fwhm,
    )  # fmt: skip


def psf_of_beam(header: Header | None, wcs: SkyWcs | None) -> Psf | None:
    """Return the beam as the PSF of a map; None of an image that has none.

    A Gaussian that is sampled at the pixels' centres, as the components of a map are restored
    with it, the same everywhere.  BPA is the position angle of the major axis, deg from north
    through east.
    """
    axes = beam_of(header, wcs)
    if header is None or wcs is None or axes is None:
        return None
    angle = math.radians(header_number(header.get("BPA")) or 0.0)
    scale = wcs.pixel_scale()
    # East and north of the pixels' axes, in pixels: the beam is turned as the frame is.
    to_sky = wcs.jacobian(*map(np.array, wcs.centre)) * (ARCSEC / scale)
    turn = np.array([[math.sin(angle), math.cos(angle)], [math.cos(angle), -math.sin(angle)]])
    on_sky = turn.T @ np.diag([axis**2 * _VARIANCE_OF_FWHM for axis in axes]) @ turn
    to_pixels = np.linalg.inv(to_sky)
    form = np.linalg.inv(to_pixels @ on_sky @ to_pixels.T)
    sampling = min(1.0, max(axes[1], 1.0) / PER_FWHM)
    half = math.ceil((REACH * axes[0] + 1.0) / sampling)
    at = np.arange(-half, half + 1) * sampling
    x, y = at, at[:, None]
    image = np.exp(-0.5 * (form[0, 0] * x * x + 2.0 * form[0, 1] * x * y + form[1, 1] * y * y))
    image /= image.sum() * sampling**2
    return Psf(
        basis=image[None].astype(np.float32), sampling=sampling, degree=0,
        x_zero=0.0, x_scale=1.0, y_zero=0.0, y_scale=1.0,
        fwhm=math.sqrt(axes[0] * axes[1]), ellipticity=1.0 - axes[1] / axes[0],
        source=PsfSource.FILE,
    )  # fmt: skip


def is_psf_of_beam(psf: Psf, header: Header | None, wcs: SkyWcs | None) -> bool:
    """Tell whether a PSF is the beam of the map, and no file's or that of sources."""
    own = psf_of_beam(header, wcs)
    return own is not None and np.array_equal(own.basis, psf.basis)
