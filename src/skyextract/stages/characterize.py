"""Image characterization: background, cosmic rays, stars and PSF, iterated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F4, highest
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.mosaic import frame_pixels
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.record import record
from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.settings.steps import Status
from skyextract.stages.iterate import Passes, iterate, repaired_image
from skyextract.stages.psf.corelight import doubt_of_fluxes, flux_misfit, with_flux_misfit
from skyextract.stages.psf.cores import CutCores, find_cut_cores, with_cores_saturated
from skyextract.stages.psf.doubt import (
    about_calm_stars,
    doubt_of_psf,
    tell_elongation,
    touches_stars,
)
from skyextract.stages.psf.fitted import PsfFit, with_misfit
from skyextract.stages.psf.given import compare_given
from skyextract.stages.psf.halves import with_errors
from skyextract.stages.psf.photons import (
    FewerPhotons,
    find_fewer_photons,
    find_more_photons,
    find_rates,
)
from skyextract.stages.psf.stacked import about_clipped_cores, about_extremes
from skyextract.stages.repair import Repairs, repair_planes
from skyextract.stages.starselection.candidates import Candidates, find_candidates


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
    config = _sparing_edges(exposure, config, run)
    source = _with_saturation(exposure, run)
    given = exposure.psf if exposure.psf and exposure.psf.source is PsfSource.FILE else None

    # Background, cosmic rays, bright stars and PSF in turn; what these tell of the pixels may
    # make them others.
    passes = iterate(source, given, config, run)
    other_gain = None
    if given is None:
        source, passes, other_gain = _understood(source, passes, config, run)
    sky, last, fit = passes.sky, passes.last, passes.fit

    # The PSF with its errors, and cosmic rays with it.
    psf, misfit, stars = passes.psf, 0.0, Catalog()
    if last is not None:
        misfit = flux_misfit(last.fit)
        psf = with_errors(with_misfit(last.fit), last.fit.evidence, last.sample, last.model, run)
        psf = with_flux_misfit(psf, misfit)
        stars = _star_catalog(last.fit, last.stars)
    if passes.cosmics is not config.cosmics:
        run.warn(
            f"no cosmic ray is looked for: at a FWHM of {psf.fwhm:.2f} pixels stars are as sharp"
        )
    doubt, own = "", exposure.psf_stars
    if given is None:
        repairs = _final_repairs(source, passes, psf, run)
    else:
        repairs, doubt, own = _judged(source, passes, given, config, run)

    # Whether all this can be believed.
    unfollowed = None
    if last is not None and not doubt:
        doubt, unfollowed = doubt_of_psf(last.selection, last.stars, last.fit, psf, exposure)
        doubt = doubt or doubt_of_fluxes(last.fit, misfit)
    stacked = "" if last is None else _doubt_of_stack(exposure, source, passes, config)
    about_gain = other_gain.doubt if other_gain else ""
    if fit and not other_gain and not sky.background.hidden_step:
        about_gain = about_calm_stars(fit, sky.background.sigma, source.detector.gain)
    for text in filter(None, (doubt, about_gain, stacked)):
        run.warn(text)
    if fit:
        tell_elongation(psf, exposure.wcs, run)

    is_known = fit is not None or given is not None
    result = replace(
        exposure,
        detector=source.detector,
        image=repaired_image(source, sky, repairs, run),
        mask=repairs.mask(source.mask) if repairs.pixel.size else source.mask,
        variance=_honest_variance(exposure, repairs),
        background=sky.background,
        psf=psf,
        psf_stars=stars if fit else own,
        unfollowed=unfollowed,
        uneven=exposure.uneven or stacked,
    )
    doubt = doubt or stacked
    return Characterized(
        exposure=result,
        psf_stars=stars,
        status=Status.COMPLETE if is_known and not doubt else Status.FALLBACK,
        reason=doubt if is_known else passes.failure,
        metrics=_metrics(result, passes, repairs, is_known=is_known),
    )


def _sparing_edges(exposure: Exposure, config: Config, run: Run) -> Config:
    """Return the settings without cosmic-ray repair where something else makes edges as sharp."""
    spared = exposure.copied or exposure.denoised or exposure.beam
    if not (spared and config.cosmics.cr_repair):
        return config
    if exposure.copied:
        run.warn("no cosmic ray is looked for: edges of copied pixels are as sharp")
    return replace(config, cosmics=replace(config.cosmics, cr_repair=False))


def _understood(
    source: Exposure, passes: Passes, config: Config, run: Run
) -> tuple[Exposure, Passes, FewerPhotons | None]:
    """Return the image as its stars tell that it is, measured again where it is another.

    Bright stars that lost their cores are saturated, and the noise of stars may tell of another
    gain than the header.
    """
    cut = _cut_cores(source, passes, config, run)
    if cut is not None:
        source = with_cores_saturated(source, cut, passes.sky.background.mean, run)
        passes = iterate(source, None, config, run)
    found = _other_gain(source, passes, config)
    if found is not None:
        detector = replace(source.detector, gain=found.gain, read_noise=found.read_noise)
        source = replace(source, detector=detector)
        passes = iterate(source, None, config, run)
    return source, passes, found


def _metrics(
    result: Exposure, passes: Passes, repairs: Repairs, *, is_known: bool
) -> dict[str, str | float | int | bool | None]:
    """Return the numbers of the JSON summary; those of a PSF only where it is known."""
    psf, background = result.psf, result.background
    assert psf is not None
    assert background is not None
    selection = passes.last.selection if passes.last else None
    return {
        "psf_source": psf.source.value,
        "fwhm_pix": frame_pixels(result.header) * psf.fwhm if is_known else None,
        "ellipticity": psf.ellipticity if is_known else None,
        "n_psf_stars": psf.n_stars if is_known else 0,
        "n_bright_sources": selection.n_bright if selection else None,
        "psf_star_share": selection.share if selection else None,
        "n_cosmic_rays": repairs.n_cosmic_rays,
        "background": background.mean,
        "background_rms": background.sigma,
        "iterations": passes.iterations,
        "converged": passes.converged,
    }


def _cut_cores(source: Exposure, passes: Passes, config: Config, run: Run) -> CutCores | None:
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


def _other_gain(source: Exposure, passes: Passes, config: Config) -> FewerPhotons | None:
    """Find another gain by the noise of photons: of a mean, of rates, of an electron multiplier."""
    if passes.fit is None or not _tells_of_photons(source, passes, config):
        return None
    planes, background, detector = passes.sky.planes, passes.sky.background, source.detector
    of_sky = _noise_of_sky(source, passes)
    more = find_rates(passes.fit, *of_sky, detector.exposure_time)
    more = more or find_more_photons(passes.fit, planes.data, *of_sky)
    if more is not None or background.skewness is not None:  # so does the noise of few photons
        return more
    return find_fewer_photons(passes.fit, planes.data, planes.variance, *of_sky)


def _tells_of_photons(source: Exposure, passes: Passes, config: Config) -> bool:
    """Tell whether the noise of stars and sky is looked at; steps of the values tell less."""
    measured = source.variance is None and config.extraction.noise_type == "MEASURED"
    return measured and not passes.sky.background.hidden_step


def _noise_of_sky(source: Exposure, passes: Passes) -> tuple[float, float, float, float]:
    """Return level of the sky without a pedestal, its noise, gain and read noise."""
    background, detector = passes.sky.background, source.detector
    level = background.mean - detector.pedestal
    return level, background.sigma, detector.gain, detector.read_noise


def _doubt_of_stack(
    exposure: Exposure, source: Exposure, passes: Passes, config: Config
) -> str:  # fmt: skip
    """Tell that pixels are no means of frames; a gain may have been found before."""
    told = exposure.uneven or exposure.denoised
    if told or passes.fit is None or not _tells_of_photons(source, passes, config):
        return ""
    planes, was = passes.sky.planes, exposure.detector.gain
    if source.detector.gain > was > 0.0:
        return about_extremes(planes.data, planes.variance)
    return about_clipped_cores(passes.fit, *_noise_of_sky(source, passes))


def _final_repairs(source: Exposure, passes: Passes, psf: Psf, run: Run) -> Repairs:
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
    source: Exposure, passes: Passes, given: Psf, config: Config, run: Run
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


def _with_saturation(exposure: Exposure, run: Run) -> Exposure:
    """Mark pixels at or above the saturation level; shares the mask if there are none."""
    saturation = np.float32(exposure.detector.saturation)
    if not exposure.image.size or highest(exposure.image, run) < saturation:
        return exposure
    mask = exposure.mask.copy()
    mask[exposure.image >= saturation] |= np.uint16(Mask.SAT)
    return replace(exposure, mask=mask)


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
