"""Image characterization: background, cosmic rays, stars and PSF, iterated."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skyextract.background import BackgroundMap
from skyextract.catalog import Catalog
from skyextract.errors import StepError
from skyextract.exposure import Exposure, Mask
from skyextract.keywords import Config
from skyextract.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.stages.background import background_image, estimate_weighted_background
from skyextract.stages.noise import BAD_VARIANCE, background_variance
from skyextract.stages.psfmodel import PsfFit, StarSample, build_psf
from skyextract.stages.repair import Repaired, repair
from skyextract.stages.stars import Candidates, find_candidates, select_stars

F4 = NDArray[np.float32]

CONVERGED = 0.01
"""Relative change of the FWHM between passes that ends the loop."""

MOST_STARS = 300
MOST_STAR_PIXELS = 500_000
"""Stars are taken up to this number, and up to this many pixels in their stamps."""

RETRIES = (1.0, 2.5, 0.4, 6.0)
"""Where no star is found, the start of DEFAULT_FWHM is tried again times these factors."""


@dataclass(frozen=True)
class Characterized:
    """What is known about an image.

    Attributes
    ----------
    exposure : Exposure
        Repaired image, mask with CR and INTRP, background, PSF, PSF stars.
    psf_stars : Catalog
        X_IMAGE, Y_IMAGE (FITS pixels), FLUX_PSF, FLUXERR_PSF, CHI2_PSF, FWHM_IMAGE,
        ELLIPTICITY, SNR_PSF of the stars that the PSF was built from.
    status : str
        COMPLETE or FALLBACK, the value of the SKYCHAR card.
    metrics : dict
        psf_source, fwhm_pix, fwhm_arcsec, ellipticity, n_psf_stars, n_cosmic_rays,
        background, background_rms, iterations, converged; None for an unknown number.
    """

    exposure: Exposure
    psf_stars: Catalog
    status: str
    metrics: dict[str, str | float | int | bool | None]


@dataclass(frozen=True)
class _Pixels:
    """One pass over the pixels: background, noise and repaired image."""

    background: BackgroundMap
    repaired: Repaired
    data: F4


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
    source = _with_saturation(exposure)
    given = exposure.psf if exposure.psf and exposure.psf.source is PsfSource.FILE else None
    reason = ""
    fit: PsfFit | None = None
    candidates: Candidates | None = None
    pixels: _Pixels | None = None
    iterations = 0
    converged = given is not None
    psf = given or Psf.gaussian(config.characterize.default_fwhm)
    if given is None:
        for iterations in range(1, config.characterize.char_niter + 1):  # noqa: B007
            pixels = _reduce(source, pixels, psf, config, run)
            starts = [psf.fwhm * factor for factor in (RETRIES if fit is None else RETRIES[:1])]
            outcome = _measure_psf(source, pixels, starts, config, run)
            if isinstance(outcome, str):
                reason = outcome
                break
            previous = psf.fwhm
            fit, candidates = outcome
            psf = fit.psf
            if abs(psf.fwhm / previous - 1.0) < CONVERGED:
                converged = True
                break
        if fit is None:
            run.warn(
                f"no PSF could be measured ({reason}): a Gaussian with a FWHM of "
                f"{psf.fwhm:g} pixels (DEFAULT_FWHM) stands in"
            )
        elif not converged:
            run.warn(f"the FWHM still changes after {iterations} passes of characterization")
    pixels = _reduce(source, pixels, psf, config, run)

    stars = _star_catalog(fit, candidates) if fit and candidates else Catalog()
    result = replace(
        exposure,
        image=pixels.repaired.image,
        mask=pixels.repaired.mask,
        variance=_honest_variance(exposure, pixels.repaired),
        background=pixels.background,
        psf=psf,
        psf_stars=stars if fit else exposure.psf_stars,
    )
    complete = fit is not None or given is not None
    return Characterized(
        exposure=result,
        psf_stars=stars,
        status="COMPLETE" if complete else "FALLBACK",
        metrics={
            "psf_source": psf.source.value,
            "fwhm_pix": psf.fwhm if complete else None,
            "fwhm_arcsec": _arcsec(psf.fwhm, exposure, config) if complete else None,
            "ellipticity": psf.ellipticity if complete else None,
            "n_psf_stars": psf.n_stars if complete else 0,
            "n_cosmic_rays": pixels.repaired.n_cosmic_rays,
            "background": pixels.background.mean,
            "background_rms": pixels.background.sigma,
            "iterations": iterations,
            "converged": converged,
        },
    )


def _with_saturation(exposure: Exposure) -> Exposure:
    """Mark pixels at or above the saturation level; shares the mask if there are none."""
    saturated = exposure.image >= np.float32(exposure.detector.saturation)
    if not saturated.any():
        return exposure
    mask = exposure.mask.copy()
    mask[saturated] |= np.uint16(Mask.SAT)
    return replace(exposure, mask=mask)


def _reduce(
    exposure: Exposure,
    before: _Pixels | None,
    psf: Psf,
    config: Config,
    run: Run,
) -> _Pixels:
    """Background, background variance and cosmic-ray repair with the current PSF."""
    # Cosmic rays already found do not belong to the sky; they are looked for anew below.
    image = exposure.image if before is None else before.repaired.image
    background, scale = estimate_weighted_background(
        image, exposure.mask, exposure.weight, config.background, run
    )
    level = background_image(background, run)
    variance = background_variance(exposure, background, level, scale, run)
    repaired = repair(
        exposure.image, exposure.mask, level, variance, exposure.detector.gain, psf,
        config.cosmics, run,
    )  # fmt: skip
    return _Pixels(background, repaired, repaired.image - level)


def _measure_psf(
    exposure: Exposure, pixels: _Pixels, starts: list[float], config: Config, run: Run
) -> tuple[PsfFit, Candidates] | str:
    """Select stars and build a PSF from them; the reason if that is not possible."""
    settings = config.characterize
    reason = "no star found"
    for start in starts:
        candidates = find_candidates(
            pixels.data, pixels.repaired.variance, exposure.mask,
            fwhm=start, gain=exposure.detector.gain, min_snr=settings.sample_minsn, run=run,
        )  # fmt: skip
        side = 2 * math.ceil(3.3 * start) + 3
        n_most = max(40, min(MOST_STARS, MOST_STAR_PIXELS // side**2))
        selection = select_stars(candidates, settings, exposure.shape, n_most)
        if selection.stars.size == 0:
            continue
        rows = selection.stars
        sample = StarSample(
            x=candidates.x[rows],
            y=candidates.y[rows],
            flux=candidates.flux[rows],
            height=candidates.height[rows],
            fwhm=selection.fwhm,
            peaks=candidates.peaks,
        )
        try:
            fit = build_psf(
                pixels.data,
                pixels.repaired.variance,
                sample,
                gain=exposure.detector.gain,
                degree=settings.psfvar_degrees,
                sampling=settings.psf_sampling,
                size=max(settings.psf_size, default=0),
                run=run,
            )
        except StepError as error:
            reason = str(error)
            continue
        low, high = settings.sample_fwhmrange
        if not low <= fit.psf.fwhm <= high:
            reason = f"a FWHM of {fit.psf.fwhm:.2f} pixels is outside SAMPLE_FWHMRANGE"
            continue
        return fit, _take(candidates, rows)
    return reason


def _take(candidates: Candidates, rows: NDArray[np.int64]) -> Candidates:
    """Return the candidates of the given rows, with all peaks."""
    per_star = {
        name: getattr(candidates, name)[rows]
        for name in (
            "x", "y", "fwhm", "ellipticity", "flux", "snr", "broadening", "height", "flags",
        )
    }  # fmt: skip
    return Candidates(**per_star, peaks=candidates.peaks)


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


def _honest_variance(exposure: Exposure, repaired: Repaired) -> F4 | None:
    """Return the total variance plane with inf where pixels were filled; None stays None."""
    if exposure.variance is None:
        return None
    filled = (repaired.mask & np.uint16(Mask.INTRP)) != 0
    filled &= repaired.variance >= BAD_VARIANCE
    variance = exposure.variance.copy()
    variance[filled] = np.inf
    return variance


def _arcsec(fwhm: float, exposure: Exposure, config: Config) -> float | None:
    """FWHM in arcsec by PIXEL_SCALE or the WCS; None if neither says."""
    if config.detector.pixel_scale > 0:
        return fwhm * config.detector.pixel_scale
    if exposure.wcs is None:
        return None
    ny, nx = exposure.shape
    return fwhm * exposure.wcs.pixel_scale((nx - 1) / 2, (ny - 1) / 2)
