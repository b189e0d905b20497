"""Image characterization: background, cosmic rays, stars and PSF, iterated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F4, highest
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.mosaic import frame_pixels
from skyextract.datamodel.psf import Psf, PsfSource, default_psf_warning
from skyextract.record import record
from skyextract.run import Run
from skyextract.settings.keywords import Config, Cosmics
from skyextract.settings.steps import Status
from skyextract.stages.background.interpolate import background_rows
from skyextract.stages.psf.corelight import doubt_of_fluxes, flux_misfit, with_flux_misfit
from skyextract.stages.psf.cores import CutCores, find_cut_cores, with_cores_saturated
from skyextract.stages.psf.doubt import (
    about_calm_stars,
    doubt_of_psf,
    is_too_long,
    noise_for_stars,
    tell_elongation,
    touches_stars,
)
from skyextract.stages.psf.given import compare_given
from skyextract.stages.psf.halves import with_errors
from skyextract.stages.psf.model import PsfFit, Variation, with_misfit
from skyextract.stages.psf.passes import MIN_FREE, PsfPass, measure_psf
from skyextract.stages.psf.photons import (
    FewerPhotons,
    find_fewer_photons,
    find_more_photons,
    find_rates,
)
from skyextract.stages.repair import Repairs, repair_planes
from skyextract.stages.starselection.candidates import Candidates, find_candidates
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
class Characterized:
    """What is known about an image.

    Attributes
    ----------
    exposure : Exposure
        Repaired image, mask with CR and INTRP, background, PSF, PSF stars.
    psf_stars : Catalog
        X_IMAGE, Y_IMAGE (FITS pixels), FLUX_PSF, FLUXERR_PSF, CHI2_PSF, FWHM_IMAGE,
        ELLIPTICITY, SNR_PSF of the stars that the PSF was built from.
    status : Status
        COMPLETE or FALLBACK, the value of the SKYCHAR card.
    reason : str
        Why it is FALLBACK.
    metrics : dict
        psf_source, fwhm_pix, ellipticity, n_psf_stars, n_bright_sources, psf_star_share,
        n_cosmic_rays, background, background_rms, iterations, converged; None for an unknown
        number.
    """

    exposure: Exposure
    psf_stars: Catalog
    status: Status
    reason: str
    metrics: dict[str, str | float | int | bool | None]


@record
class _Passes:
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


def characterize(exposure: Exposure, config: Config, run: Run) -> Characterized:
    """Measure background, cosmic rays and PSF of an image.

    At most CHAR_NITER passes of background, cosmic-ray repair (always from the pixels as
    they came), bright stars and PSF, until the FWHM changes by less than 1 %; then a
    repair with the final PSF.  An exposure that comes with a PSF from a file
    (`PsfSource.FILE`) keeps it.  Where no PSF can be measured a Gaussian of DEFAULT_FWHM
    stands in, with a warning: status FALLBACK.

    Parameters
    ----------
    exposure : Exposure
        Pixels with mask; background not subtracted.
    config : Config
        Groups characterize, background, cosmics, detector (PIXEL_SCALE).
    run : Run
        Messages and threads.
    """
    spared = exposure.copied or exposure.denoised or exposure.beam
    if spared and config.cosmics.cr_repair:
        if exposure.copied:
            run.warn("no cosmic ray is looked for: edges of copied pixels are as sharp")
        config = replace(config, cosmics=replace(config.cosmics, cr_repair=False))
    source = _with_saturation(exposure, run)
    given = exposure.psf if exposure.psf and exposure.psf.source is PsfSource.FILE else None
    passes = _iterate(source, given, config, run)
    cut = _cut_cores(source, passes, config, run) if given is None else None
    if cut is not None:
        source = with_cores_saturated(source, cut, passes.sky.background.mean, run)
        passes = _iterate(source, None, config, run)
    calm = _fewer_photons(source, passes, config)
    if calm is not None:
        gain, read_noise = calm.gain, calm.read_noise
        source = replace(
            source, detector=replace(source.detector, gain=gain, read_noise=read_noise)
        )
        passes = _iterate(source, None, config, run)
    sky, last, fit, psf = passes.sky, passes.last, passes.fit, passes.psf
    off = 0.0
    if last is not None:
        psf = with_errors(with_misfit(last.fit), last.fit.evidence, last.sample, last.model, run)
        off = flux_misfit(last.fit)
        psf = with_flux_misfit(psf, off)
    message, own = "", exposure.psf_stars
    stars = _star_catalog(last.fit, last.stars) if last else Catalog()
    if given is None:
        repairs = _final_repairs(source, passes, psf, run)
    else:
        repairs, message, own = _judged(source, passes, given, config, run)
    if passes.cosmics is not config.cosmics:
        run.warn(
            f"no cosmic ray is looked for: at a FWHM of {psf.fwhm:.2f} pixels stars are as sharp"
        )
    selection, unfollowed = last.selection if last else None, None
    if last is not None and not message:
        message, unfollowed = doubt_of_psf(last.selection, last.stars, last.fit, psf, exposure)
        message = message or doubt_of_fluxes(last.fit, off)
    about_gain = calm.doubt if calm else ""
    if fit and not calm and not sky.background.hidden_step:
        about_gain = about_calm_stars(fit, sky.background.sigma, source.detector.gain)
    for text in filter(None, (message, about_gain)):
        run.warn(text)

    result = replace(
        exposure,
        detector=source.detector,
        image=_repaired_image(source, sky, repairs, run),
        mask=repairs.mask(source.mask) if repairs.pixel.size else source.mask,
        variance=_honest_variance(exposure, repairs),
        background=sky.background,
        psf=psf,
        psf_stars=stars if fit else own,
        unfollowed=unfollowed,
    )
    complete = fit is not None or given is not None
    if fit:
        tell_elongation(psf, exposure.wcs, run)
    return Characterized(
        exposure=result,
        psf_stars=stars,
        status=Status.COMPLETE if complete and not message else Status.FALLBACK,
        reason=message if complete else passes.failure,
        metrics={
            "psf_source": psf.source.value,
            "fwhm_pix": frame_pixels(source.header) * psf.fwhm if complete else None,
            "ellipticity": psf.ellipticity if complete else None,
            "n_psf_stars": psf.n_stars if complete else 0,
            "n_bright_sources": selection.n_bright if selection else None,
            "psf_star_share": selection.share if selection else None,
            "n_cosmic_rays": repairs.n_cosmic_rays,
            "background": sky.background.mean,
            "background_rms": sky.background.sigma,
            "iterations": passes.iterations,
            "converged": passes.converged,
        },
    )


def _iterate(source: Exposure, given: Psf | None, config: Config, run: Run) -> _Passes:
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
    return _Passes(sky, repairs, psf, last, cosmics, iterations, converged, failure)


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
    image = _repaired_image(source, sky, repairs, run)
    if wide:
        return sky_between_wide(source, image, sky, last, config, run)
    if last.models is not None:
        image, config = image - last.models, with_wide_meshes(config, psf.fwhm)
    return measure_sky(source, image, config, run)


def _cut_cores(source: Exposure, passes: _Passes, config: Config, run: Run) -> CutCores | None:
    """Find bright stars that lost their cores, before these pass for cosmic rays."""
    if passes.last is None:
        return None
    planes, psf, gain = passes.sky.planes, passes.psf, source.detector.gain
    passes.repairs.undo(planes)
    data, variance, peaks = planes.data, planes.variance, passes.last.sample.peaks
    cosmic = passes.repairs.cosmic
    inverse_gain = 1.0 / gain if gain > 0.0 else 0.0
    if find_cut_cores(psf, data, variance, peaks, cosmic, inverse_gain) is None:
        return None
    # With the stars, too, that had passed for cosmic rays.
    found = find_candidates(
        data, variance, source.mask,
        fwhm=psf.fwhm, gain=gain, min_snr=config.characterize.sample_minsn, run=run,
    )  # fmt: skip
    peaks = np.concatenate([peaks, found.peaks], axis=1)
    return find_cut_cores(psf, data, variance, peaks, cosmic, inverse_gain)


def _fewer_photons(source: Exposure, passes: _Passes, config: Config) -> FewerPhotons | None:
    """Find another gain by the noise of photons: of a mean, of rates, of an electron multiplier."""
    known = source.variance is not None
    if passes.fit is None or known or config.extraction.noise_type != "MEASURED":
        return None
    planes, background, detector = passes.sky.planes, passes.sky.background, source.detector
    if background.hidden_step:
        return None  # steps tell less
    level, gain = background.mean - detector.pedestal, detector.gain
    of_sky = (level, background.sigma, gain, detector.read_noise)
    more = find_rates(passes.fit, *of_sky, detector.exposure_time)
    more = more or find_more_photons(passes.fit, planes.data, *of_sky)
    if more is not None or background.skewness is not None:  # so does the noise of few photons
        return more
    return find_fewer_photons(passes.fit, planes.data, planes.variance, *of_sky)


def _final_repairs(source: Exposure, passes: _Passes, psf: Psf, run: Run) -> Repairs:
    """Look for cosmic rays with the final PSF, if it was measured; none that are parts of stars."""
    planes, fit, repairs = passes.sky.planes, passes.fit, passes.repairs
    if fit is None:
        return repairs
    repairs.undo(planes)
    repairs = repair_planes(planes, psf, passes.cosmics, run)
    if touches_stars(repairs.cosmic, fit, source.shape):
        run.warn("no cosmic ray is repaired: what looks like cosmic rays is part of the stars")
        repairs.undo(planes)
        repairs = repair_planes(planes, psf, replace(passes.cosmics, cr_repair=False), run)
    elif repairs.n_spared:
        # Nothing is wrong: ordinary frames of good stars have some.
        run.info(
            f"{repairs.n_spared} pixels that look like cosmic rays are upon bright stars, one "
            "after another: they are parts of these, and are not repaired"
        )
    return repairs


def _judged(
    source: Exposure, passes: _Passes, given: Psf, config: Config, run: Run
) -> tuple[Repairs, str, Catalog | None]:
    """Compare a PSF that was given with the stars; what is repaired with it, doubts, and the stars.

    Stars that are narrower than the PSF would pass for cosmic rays: then none is repaired.
    """
    planes, cosmics = passes.sky.planes, passes.cosmics
    passes.repairs.undo(planes)
    data, variance = planes.data, planes.variance
    doubt, stars = compare_given(given, source, data, variance, config.characterize, run)
    cosmics = replace(cosmics, cr_repair=cosmics.cr_repair and not doubt)
    own = source.psf_stars or (stars if stars.n_rows else None)
    return repair_planes(planes, given, cosmics, run), doubt, own


def _allowed(cosmics: Cosmics, psf: Psf | None) -> Cosmics:
    """Return the settings, without cosmic-ray repair where a star can be as sharp as one."""
    if psf is None or psf.fwhm >= UNDERSAMPLED or not cosmics.cr_repair:
        return cosmics
    return replace(cosmics, cr_repair=False)


def _with_saturation(exposure: Exposure, run: Run) -> Exposure:
    """Mark pixels at or above the saturation level; shares the mask if there are none."""
    saturation = np.float32(exposure.detector.saturation)
    if not exposure.image.size or highest(exposure.image, run) < saturation:
        return exposure
    mask = exposure.mask.copy()
    mask[exposure.image >= saturation] |= np.uint16(Mask.SAT)
    return replace(exposure, mask=mask)


def _repaired_image(exposure: Exposure, sky: StarSky, repairs: Repairs, run: Run) -> F4:
    """Return the image with its repaired pixels; itself if there are none."""
    if not repairs.pixel.size:
        return exposure.image
    rows = np.unique(repairs.pixel // exposure.shape[1])
    background = background_rows(sky.background, rows, run)
    return repairs.image(exposure.image, background, sky.planes, run)


def _warn_of_failure(reason: str, psf: Psf, iterations: int, known: bool, run: Run) -> None:
    """Say what became of the PSF when a pass found none."""
    if known:
        run.warn(f"pass {iterations} gave no PSF ({reason}): that of the pass before is kept")
    else:
        run.warn(default_psf_warning(psf.fwhm, reason))


def _star_catalog(fit: PsfFit, stars: Candidates) -> Catalog:
    """Return the stars that the PSF was built from, sorted by position."""
    used = np.flatnonzero(fit.used)
    used = used[np.lexsort((fit.x[used], fit.y[used]))]
    return Catalog(
        {
            "X_IMAGE": fit.x[used] + 1.0,
            "Y_IMAGE": fit.y[used] + 1.0,
            "FLUX_PSF": fit.flux[used],
            "FLUXERR_PSF": fit.flux_error[used],
            "CHI2_PSF": fit.chi2[used],
            "FWHM_IMAGE": stars.fwhm[used],
            "ELLIPTICITY": stars.ellipticity[used],
            "SNR_PSF": fit.flux[used] / fit.flux_error[used],
        }
    )


def _honest_variance(exposure: Exposure, repairs: Repairs) -> F4 | None:
    """Return the total variance plane with inf where pixels were filled; None stays None."""
    if exposure.variance is None or not repairs.pixel.size:
        return exposure.variance
    variance = exposure.variance.copy()
    variance.ravel()[repairs.pixel] = np.inf
    return variance
