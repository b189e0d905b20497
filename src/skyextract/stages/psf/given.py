"""Whether a PSF that was given is that of the stars of the image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.psf import Psf, polynomial_terms
from skyextract.datamodel.psfshape import core_shape
from skyextract.errors import StepError
from skyextract.run import Run
from skyextract.settings.keywords import Characterize, Config

if TYPE_CHECKING:
    from skyextract.stages.background.planes import Plane

MIN_COMPARED, OTHER_SIZE = 5, 1.12
"""So many stars tell whether a PSF is theirs, to this factor of the size: a Gaussian as wide at
half maximum as stars with wings (Moffat, beta 3.5) is 1.1 times narrower than they are."""


def compare_given(
    psf: Psf, exposure: Exposure, data: F4, variance: F4, settings: Characterize, run: Run
) -> tuple[str, Catalog]:
    """Tell why a PSF that was given cannot be that of the stars of the image; empty if it can.

    Sizes are those of matched Gaussians.  Returns also these stars, of which aperture corrections
    can be measured; none where they are too few or no stars.

    Parameters
    ----------
    data, variance : (ny, nx) float32
        Image without its background, and the background variance (1e30: no data).
    """
    from skyextract.stages.psf.doubt import doubt_of_stars
    from skyextract.stages.psf.passes import select_without_psf

    candidates, found = select_without_psf(
        exposure, data, variance, psf.fwhm, MIN_COMPARED, settings, run
    )
    n_stars = found.stars.size
    if n_stars < MIN_COMPARED or doubt_of_stars(found):
        return "", Catalog()
    rows = np.sort(found.stars)
    stars = Catalog({
        "X_IMAGE": candidates.x[rows] + 1.0,
        "Y_IMAGE": candidates.y[rows] + 1.0,
        "FWHM_IMAGE": candidates.fwhm[rows],
        "ELLIPTICITY": candidates.ellipticity[rows],
    })  # fmt: skip
    message = "the PSF that was given has no measurable core"
    try:
        u, v = psf.normalised(candidates.x[rows], candidates.y[rows])
        terms = polynomial_terms(psf.degree, u, v)
        mean = np.tensordot(terms.mean(axis=0), psf.basis.astype(np.float64), 1)
        _, _, xx, yy, xy = core_shape(mean)
    except StepError:
        return message, stars
    size = 2.3548 * psf.sampling * (xx * yy - xy * xy) ** 0.25
    ratio = size / found.fwhm
    message = (
        f"the PSF that was given is {ratio:.2f} times as wide as {n_stars} isolated stars of the "
        f"image ({size:.2f} and {found.fwhm:.2f} pixels): is it of another image?"
    )
    return ("" if 1.0 / OTHER_SIZE < ratio < OTHER_SIZE else message), stars


def with_compared_stars(
    exposure: Exposure, plane: Plane, config: Config, run: Run
) -> tuple[Exposure, str]:
    """Compare a PSF that was given where characterize did not run; not in SExtractor's layer.

    Returns the exposure with the stars, on which aperture corrections are measured, and the doubt.
    """
    psf = exposure.psf
    if psf is None or exposure.background is not None:
        return exposure, ""
    if config.extraction.noise_type != "MEASURED":
        return exposure, ""
    image, variance = plane.subtracted, plane.variance_plane(run)
    doubt, stars = compare_given(psf, exposure, image, variance, config.characterize, run)
    if stars.n_rows and exposure.psf_stars is None:
        exposure = replace(exposure, psf_stars=stars)
    return exposure, doubt
