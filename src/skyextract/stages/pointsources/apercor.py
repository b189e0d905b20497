"""Measure aperture corrections: bring PSF and aperture fluxes to one reference aperture.

"Total flux" means the flux in an aperture of APERCOR_DIAMETER FWHM of the PSF at the place.  The
curve of growth of the PSF stars, neighbours subtracted, gives the factors: P. B. Stetson 1990,
PASP 102, 932.  Over the field they follow the PSF model, and what stars differ from it by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8
from skyextract.datamodel.psf import Psf, polynomial_terms
from skyextract.run import Run
from skyextract.settings.keywords import Characterize
from skyextract.stages.pointsources.clippedfit import (
    clip,
    constant_term,
    mean_of_stars,
    solve,
)
from skyextract.stages.pointsources.corrections import ApertureCorrections
from skyextract.stages.pointsources.fit import FittedImage, PsfPhotometry
from skyextract.stages.pointsources.growth import (
    MODEL_ERROR,
    Growth,
    error_of_ratio,
    without_hidden,
)
from skyextract.stages.pointsources.leftlight import LeftLight, light_between
from skyextract.stages.pointsources.modelgrowth import (
    Diameters,
    model_growth,
    model_over_field,
    sum_of_polynomials,
)
from skyextract.stages.pointsources.ringsky import above_rings
from skyextract.stages.pointsources.sweeps import fit_radius
from skyextract.stages.pointsources.wings import by_rings, ring_diameters

MIN_SNR = 30.0
"""S/N of a star that is used, at least, unless that leaves fewer than `MIN_BRIGHT_STARS`."""
MIN_BRIGHT_STARS = 10
STARS_PER_TERM = 8
"""The polynomial's degree is lowered until there are this many stars per term."""
MAX_LOSS = 0.2
"""Part of the aperture that may lack data, at most."""
MAX_CORRECTION = 0.1
"""Part of their light that stars may have beyond what the PSF model has of it, about."""
REFERENCE_DIAMETER = 6.0
"""Where APERCOR_DIAMETER is 0: light from further out is not looked for."""


def reference_diameter(settings: Characterize) -> float:
    """Return the diameter of the reference aperture, FWHM."""
    return settings.apercor_diameter or REFERENCE_DIAMETER


def diameters_of(psf: Psf, settings: Characterize, apertures: Sequence[float]) -> Diameters:
    """Return the diameters of the reference aperture, of those within it, and of others."""
    local = ring_diameters(reference_diameter(settings)) * psf.fwhm
    pixels = np.concatenate([local, np.asarray(apertures, dtype=np.float64)])
    return Diameters(pixels, local.size)


def aperture_corrections(
    fitted: FittedImage,
    stars: I8,
    apertures: Sequence[float],
    settings: Characterize,
    run: Run,
    left: LeftLight | None = None,
    light_beneath: F4 | None = None,
    growth: Growth | None = None,
    *,
    of_beam: bool = False,
) -> ApertureCorrections:
    """Measure the curve of growth on PSF stars.

    Parameters
    ----------
    fitted : FittedImage
        With all sources of the image: neighbours of the stars are subtracted.
    stars : (n,) int64
        Rows of the sources that are PSF stars.
    apertures : sequence of float
        Diameters of PHOT_APERTURES in pixels.
    settings : Characterize
        APERCOR_DIAMETER (0: PSF fluxes are as the model's file is normalised) and APERCOR_DEGREE.
    run : Run
    left : LeftLight, optional
        What the apertures hold of sources too faint to be found.
    light_beneath : (ny, nx) float32, optional
        Structure of the sky, which was taken from the image.
    growth : Growth, optional
        That within `diameters_of` the same settings, if it was measured.
    of_beam : bool
        The PSF is the beam of a radio map: the PSF of points by definition, all of their light.

    Returns
    -------
    ApertureCorrections
        From the PSF model alone, with a warning, if there is no usable star.
    """
    psf = fitted.psf
    measured = diameters_of(psf, settings, apertures)
    if growth is None:
        usable = usable_stars(fitted.sources, np.asarray(stars, dtype=np.int64))
        growth = Growth.measured(fitted, usable, measured, run)
    if left is not None:
        growth = _without_left(growth, left, measured, fitted)
    if light_beneath is not None:
        growth = above_rings(growth, light_beneath, fitted)
    growth = growth.of(growth.lost[:, 0] <= MAX_LOSS)
    model = _of_model(fitted, measured)
    to_the_model = of_beam or settings.apercor_diameter == 0.0
    if of_beam or not growth.stars.size:
        corrections = model.of_rows(measured.kept)
        if not to_the_model:
            known = "no usable star for aperture corrections"
            why = known if len(stars) else "no PSF star is known"
            run.warn(f"{why}: the aperture corrections are those of the PSF model")
    else:
        largest = settings.apercor_degree
        corrections = _of_stars(model, growth, fitted.sources, measured, left, largest)
        if not to_the_model:
            run.info(
                f"aperture corrections: {corrections.n_stars[0]} stars, PSF to "
                f"{corrections.diameters[0]:.1f} pixels {corrections.coefficients[0, 0]:.4f} "
                f"+- {corrections.errors[0]:.4f}, degree {corrections.degree}"
            )
    return corrections.to_the_model(psf) if to_the_model else corrections


def _without_left(
    growth: Growth, left: LeftLight, measured: Diameters, fitted: FittedImage
) -> Growth:
    """Return curves of growth without the light of sources that are too faint to be found."""
    sources, psf, stars = fitted.sources, fitted.psf, growth.stars
    n_y, n_x = fitted.image.shape
    flux = sources.flux[stars]
    own = flux - left.level * left.area(flux)
    area = math.pi * growth.radii**2 * (1.0 - growth.lost)
    light = (growth.light * flux[:, None] - left.level * area) / own[:, None]
    x, y = np.array([[(n_x - 1) / 2], [(n_y - 1) / 2]])
    in_fit = float(model_growth(psf, x, y, np.full((1, 1), fit_radius(psf)))[0, 0])
    error = error_of_ratio(light, growth.error, sources.flux_error[stars] / flux, in_fit)
    scatter = left.scatter_at(sources.x[stars], sources.y[stars], (n_y, n_x))
    error = np.hypot(error, scatter[:, None] * area / own[:, None])
    light, error = without_hidden(
        light, error, own, measured.pixels, sources, psf, fitted.image.shape
    )
    return replace(growth, light=light, error=error)


def _of_model(fitted: FittedImage, measured: Diameters) -> ApertureCorrections:
    """Return what the PSF model has within all the apertures, without errors."""
    n_y, n_x = fitted.image.shape
    centre, scale = ((n_x - 1) / 2, (n_y - 1) / 2), (max(n_x / 2, 1.0), max(n_y / 2, 1.0))
    unknown = np.full(measured.pixels.size, np.nan)
    return ApertureCorrections(
        diameters=measured.pixels,
        coefficients=model_over_field(fitted.psf, measured, centre, scale),
        errors=unknown,
        scatter=unknown,
        n_stars=np.zeros(unknown.size, dtype=np.int32),
        degree=fitted.psf.degree,
        x_zero=centre[0],
        x_scale=scale[0],
        y_zero=centre[1],
        y_scale=scale[1],
    )


def _of_stars(
    model: ApertureCorrections,
    growth: Growth,
    sources: PsfPhotometry,
    measured: Diameters,
    left: LeftLight | None,
    largest_degree: int,
) -> ApertureCorrections:
    """Return what stars have within the reference aperture and those of the catalogue.

    They are fitted by what they differ from the model by.
    """
    stars, lost, n = growth.stars, growth.lost, measured.n_local
    u = (sources.x[stars] - model.x_zero) / model.x_scale
    v = (sources.y[stars] - model.y_zero) / model.y_scale
    of_model = polynomial_terms(model.degree, u, v) @ model.coefficients.T
    light = growth.light - of_model
    sigma = np.hypot(growth.error, MODEL_ERROR)
    # the reference aperture decides on stars and degree: the factors share its noise
    good = clip(light[:, 0], sigma[:, 0])
    common = _common_error(sources.flux[stars], sigma, measured.pixels, left)
    degree = _degree(u[good], v[good], light[good, 0], sigma[good, 0], largest_degree)
    fits = []
    for m in measured.kept.tolist():
        use = lost[:, m] <= MAX_LOSS
        terms = polynomial_terms(degree, u[use], v[use])
        fits.append(mean_of_stars(terms, light[use, m], sigma[use, m]))
    errors = np.hypot([fit[1] for fit in fits], common[measured.kept])
    shift, part = by_rings(
        light[good, :n], sigma[good, :n], of_model[good, :n].mean(axis=0), common[:n]
    )
    fits[0][0][0] += shift
    errors[0] *= part
    kept = model.of_rows(measured.kept)
    return replace(
        kept,
        coefficients=sum_of_polynomials(kept.coefficients, np.array([fit[0] for fit in fits])),
        errors=errors,
        scatter=np.array([fit[2] for fit in fits]),
        n_stars=np.array([fit[3] for fit in fits], dtype=np.int32),
        degree=max(degree, model.degree),
    )


def _common_error(flux: F8, sigma: F8, diameters: F8, left: LeftLight | None) -> F8:
    """Return the error of each aperture's light that all stars share."""
    if left is None:
        return np.zeros(len(diameters))
    area = 0.25 * math.pi * diameters**2 - left.area(flux)[:, None]
    weights = sigma**-2.0
    shared = left.error * np.sum(weights * area / flux[:, None], axis=0) / weights.sum(axis=0)
    return np.asarray(np.abs(shared), dtype=np.float64)


def light_left(
    fitted: FittedImage, stars: I8, diameters: Diameters, run: Run
) -> tuple[LeftLight, Growth]:
    """Measure the light per pixel that is neither of the sky nor of sources that were found.

    Between the sources, and beneath PSF stars: the fainter a star, the more it adds to the
    light in a large aperture over that in the fit.

    Parameters
    ----------
    fitted, stars, run
        As in `aperture_corrections`.
    diameters : Diameters
        From `diameters_of`.

    Returns
    -------
    LeftLight
    Growth
        Of the stars, within all diameters.
    """
    radius = 0.5 * float(diameters.pixels[0])
    stars = usable_stars(fitted.sources, np.asarray(stars, dtype=np.int64))
    flux = fitted.sources.flux[stars]
    # Each on a thread: the one is Python, the other is not.
    both: tuple[Callable[[], Any], ...] = (
        lambda: light_between(fitted, stars, radius),
        lambda: Growth.measured(fitted, stars, diameters, Run()),
    )
    between: LeftLight
    growth: Growth
    between, growth = run.map(lambda measure: measure(), both)
    light, error, lost = (values[:, 0] for values in (growth.light, growth.error, growth.lost))
    whole = lost <= MAX_LOSS
    if whole.sum() < MIN_BRIGHT_STARS:
        return between, growth
    area = (math.pi * growth.radii[:, 0] ** 2 * (1.0 - lost) - between.area(flux)) / flux
    terms = np.stack([area, np.ones(len(flux))], axis=1)[whole]
    errors = np.hypot(error[whole], MODEL_ERROR)
    expected = (1.0, MAX_CORRECTION)
    return between.beneath_stars(*constant_term(terms, light[whole], errors, expected)), growth


def usable_stars(photometry: PsfPhotometry, stars: I8) -> I8:
    """Stars with a good fit, bright if there are enough of them."""
    snr = photometry.flux[stars] / photometry.flux_error[stars]
    good = photometry.converged[stars] & np.isfinite(snr) & (snr > 5)
    bright = good & (snr >= MIN_SNR)
    return stars[bright if bright.sum() >= MIN_BRIGHT_STARS else good]


def _degree(u: F8, v: F8, values: F8, sigma: F8, largest: int) -> int:
    """Degree of the polynomial that the stars support: the lowest BIC (Schwarz 1978)."""
    best, lowest = 0, math.inf
    for degree in range(largest + 1):
        terms = polynomial_terms(degree, u, v)
        if degree > 0 and len(u) < STARS_PER_TERM * terms.shape[1]:
            break
        residuals = (values - terms @ solve(terms, values, sigma)) / sigma
        criterion = float(np.sum(residuals**2)) + terms.shape[1] * math.log(len(u))
        if criterion < lowest:
            best, lowest = degree, criterion
    return best
