"""Background, cosmic rays and the PSF of the stars, each measured with what is known of the others.

Pass after pass from the pixels as they came, until the FWHM stays.
"""

from __future__ import annotations

from dataclasses import replace

from skyextract.datamodel.arrays import F4, distinct
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.psf import Psf, default_psf_warning
from skyextract.record import record
from skyextract.run import Run
from skyextract.settings.keywords import Config, Cosmics
from skyextract.stages.background.interpolate import background_rows
from skyextract.stages.psf.doubt import is_too_long, noise_for_stars
from skyextract.stages.psf.fitted import PsfFit, Variation
from skyextract.stages.psf.passes import MIN_FREE, PsfPass, measure_psf
from skyextract.stages.repair import Repairs, repair_planes
from skyextract.stages.starsky import (
    StarSky,
    has_wide_stars,
    measure_sky,
    sky_between_wide,
    with_wide_meshes,
)

CONVERGED = 0.01
"""Relative change of the FWHM between passes that ends the loop."""

MANY_REPAIRS = 1e-3
"""The background is measured anew without the cosmic rays if they hit this share of the pixels:
clipping and mode leave fewer no influence that shows above the noise of a mesh."""

UNDERSAMPLED = 1.3
"""FWHM in pixels below which a star is as sharp as a cosmic ray: none is looked for."""


@record
class Passes:
    """What the passes of background, cosmic rays and PSF ended with.

    `last` if one gave a PSF; `failure` says why one did not.
    """

    sky: StarSky
    repairs: Repairs
    psf: Psf
    last: PsfPass | None
    cosmics: Cosmics
    iterations: int
    converged: bool
    failure: str

    @property
    def fit(self) -> PsfFit | None:
        """The stars with their PSF; None where none was measured."""
        return self.last.fit if self.last else None


def iterate(source: Exposure, given: Psf | None, config: Config, run: Run) -> Passes:
    """Measure background, cosmic rays and PSF in turn, until the FWHM stays; not the PSF given."""
    settings = config.characterize
    psf = given or Psf.gaussian(settings.default_fwhm)
    cosmics = _allowed(config.cosmics, given)
    sky = measure_sky(source, source.image, config, run)
    repairs = repair_planes(sky.planes, psf, cosmics, run)
    last: PsfPass | None = None
    variation: Variation | None = None
    crowded, iterations, converged, failure = False, 0, given is not None, ""
    while given is None and iterations < settings.char_niter and not converged:
        if last is not None:
            sky = _next_sky(source, sky, repairs, last, config, run)
            repairs = repair_planes(sky.planes, psf, cosmics, run)
        iterations += 1
        preliminary = iterations == 1 and settings.char_niter > 1
        # Neighbours that are fitted for the first time are fitted again with what comes of it.
        unsettled = crowded and last is not None and last.models is None
        outcome = measure_psf(
            source, sky.planes.data, sky.planes.variance, psf if last else None,
            crowded=crowded, preliminary=preliminary, variation=variation,
            is_last=not unsettled or iterations == settings.char_niter, settings=settings, run=run,
        )  # fmt: skip
        if isinstance(outcome, PsfPass) and not crowded and has_wide_stars(config, outcome.fit.psf):
            # Each peak would be fitted, and the sky between them, again and again.
            outcome = noise_for_stars(
                sky.planes.data, sky.planes.variance, source.mask, source.detector.gain,
                outcome.fit.psf.fwhm, outcome.sample.peaks[2], run,
            ) or outcome  # fmt: skip
        if isinstance(outcome, str):
            failure = outcome
            _warn_of_failure(failure, psf, iterations, last is not None, run)
            break
        fitted, last, fit = last is not None and last.models is not None, outcome, outcome.fit
        cosmics = _allowed(config.cosmics, fit.psf)
        # Wide stars are measured once more on the sky that is left without them.
        crowded = crowded or fit.free_share < MIN_FREE or has_wide_stars(config, fit.psf)
        settled = fitted or not crowded
        if settled and not preliminary:
            variation = fit.variation
        converged = settled and not preliminary and abs(fit.psf.fwhm / psf.fwhm - 1.0) < CONVERGED
        converged |= is_too_long(fit.psf)  # lines are no stars
        psf = fit.psf
    else:
        if not converged:
            run.warn(f"the FWHM still changes after {iterations} passes of characterization")
    return Passes(sky, repairs, psf, last, cosmics, iterations, converged, failure)


def _next_sky(
    source: Exposure, sky: StarSky, repairs: Repairs, last: PsfPass, config: Config, run: Run
) -> StarSky:
    """Return the sky of the next pass; as it was where neither stars nor repairs change it."""
    psf = last.fit.psf
    wide = has_wide_stars(config, psf)
    many = repairs.pixel.size > MANY_REPAIRS * source.image.size
    if not (wide or many or last.models is not None):
        repairs.undo(sky.planes)
        return sky
    # Without the cosmic rays of the last pass; they are looked for anew.
    image = repaired_image(source, sky, repairs, run)
    if wide:
        return sky_between_wide(source, image, sky, last, config, run)
    if last.models is not None:
        image, config = image - last.models, with_wide_meshes(config, psf.fwhm)
    return measure_sky(source, image, config, run)


def _allowed(cosmics: Cosmics, psf: Psf | None) -> Cosmics:
    """Return the settings, without cosmic-ray repair where a star can be as sharp as one."""
    if psf is None or psf.fwhm >= UNDERSAMPLED or not cosmics.cr_repair:
        return cosmics
    return replace(cosmics, cr_repair=False)


def repaired_image(exposure: Exposure, sky: StarSky, repairs: Repairs, run: Run) -> F4:
    """Return the image with its repaired pixels; itself if there are none."""
    if not repairs.pixel.size:
        return exposure.image
    rows = distinct(repairs.pixel // exposure.shape[1])
    background = background_rows(sky.background, rows, run)
    return repairs.image(exposure.image, background, sky.planes, run)


def _warn_of_failure(reason: str, psf: Psf, iterations: int, known: bool, run: Run) -> None:
    """Say what became of the PSF when a pass found none."""
    if known:
        run.warn(f"pass {iterations} gave no PSF ({reason}): that of the pass before is kept")
    else:
        run.warn(default_psf_warning(psf.fwhm, reason))
