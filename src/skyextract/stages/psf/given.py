"""Whether a PSF that was given is that of the stars of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.datamodel.psfshape import core_shape
from skyextract.errors import StepError
from skyextract.run import Run
from skyextract.settings.keywords import Characterize, Config
from skyextract.stages.psf.doubt import doubt_of_stars
from skyextract.stages.psf.passes import select_without_psf

if TYPE_CHECKING:
    from skyextract.stages.background.planes import Plane

MIN_COMPARED, OTHER_SIZE = 5, 1.2
"""So many stars tell whether a PSF is theirs, to this factor of the size."""


def doubt_of_given(
    psf: Psf, exposure: Exposure, data: F4, variance: F4, settings: Characterize, run: Run
) -> str:
    """Tell why a PSF that was given cannot be that of the stars of the image; empty if it can.

    Sizes are those of matched Gaussians.

    Parameters
    ----------
    data, variance : (ny, nx) float32
        Image without its background, and the background variance (1e30: no data).
    """
    found = select_without_psf(exposure, data, variance, psf.fwhm, MIN_COMPARED, settings, run)
    n_stars = found.stars.size
    if n_stars < MIN_COMPARED or doubt_of_stars(found):
        return ""
    message = "the PSF that was given has no measurable core"
    try:
        _, _, xx, yy, xy = core_shape(psf.basis[0].astype(np.float64))
    except StepError:
        return message
    size = 2.3548 * psf.sampling * (xx * yy - xy * xy) ** 0.25
    ratio = size / found.fwhm
    message = (
        f"the PSF that was given is {ratio:.2f} times as wide as {n_stars} isolated stars of the "
        f"image ({size:.2f} and {found.fwhm:.2f} pixels): is it of another image?"
    )
    return "" if 1.0 / OTHER_SIZE < ratio < OTHER_SIZE else message


def doubts_unless_compared(exposure: Exposure, plane: Plane, config: Config, run: Run) -> list[str]:
    """Compare a PSF that was given where characterize did not run; not in SExtractor's layer."""
    psf = exposure.psf
    if psf is None or psf.source is not PsfSource.FILE or exposure.background is not None:
        return []
    if config.extraction.noise_type != "MEASURED":
        return []
    image, variance = plane.subtracted, plane.variance_plane(run)
    doubt = doubt_of_given(psf, exposure, image, variance, config.characterize, run)
    return [doubt] if doubt else []
