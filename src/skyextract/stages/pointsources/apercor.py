"""Aperture corrections: bring PSF and aperture fluxes to one reference aperture.

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

from skyextract.datamodel.arrays import F4, F8, I4, I8, U2
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.psf import Psf, polynomial_terms
from skyextract.record import record
from skyextract.run import Run
from skyextract.settings.keywords import Characterize
from skyextract.stages.pointsources.clippedfit import (
    clip,
    constant_term,
    mean_of_stars,
    solve,
)
from skyextract.stages.pointsources.fit import PsfPhotometry
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


@record
class ApertureCorrections:
    """Light within the reference aperture and the others, in units of the fitted PSF flux.

    Row 0 is the reference aperture, the others are those of PHOT_APERTURES.

    Attributes
    ----------
    diameters : (1 + k,) float64
        Pixels; that of the reference aperture goes with the FWHM at each place, and is given for
        the FWHM of the PSF.
    coefficients : (1 + k, n_terms) float64
        Polynomial in u = (x - x_zero) / x_scale and v, terms as in `Psf`.
    errors : (1 + k,) float64
        Error of the mean over the field; NaN without stars.
    scatter : (1 + k,) float64
        Scatter of the stars (1.48 MAD); NaN without stars.
    n_stars : (1 + k,) int32
        Stars used; 0: the sum of the PSF model within the aperture stands in.
    degree : int
    x_zero, x_scale, y_zero, y_scale : float
        0-based pixels.
    """

    diameters: F8
    coefficients: F8
    errors: F8
    scatter: F8
    n_stars: I4
    degree: int
    x_zero: float
    x_scale: float
    y_zero: float
    y_scale: float

    def covers(self, apertures: Sequence[float]) -> bool:
        """Tell whether these are the corrections of these apertures (diameters, pixels)."""
        return list(self.diameters[1:]) == [float(d) for d in apertures]

    def growth(self, x: F8, y: F8) -> F8:
        """Return the light within each aperture at 0-based positions, (n, 1 + k)."""
        u = (np.asarray(x, dtype=np.float64) - self.x_zero) / self.x_scale
        v = (np.asarray(y, dtype=np.float64) - self.y_zero) / self.y_scale
        # element by element: the same bits whatever the number of sources
        terms = polynomial_terms(self.degree, u, v)
        columns = [
            sum(c * t for c, t in zip(row, terms.T, strict=True)) for row in self.coefficients
        ]
        return np.stack(columns, axis=1)

    def psf_factor(self, x: F8, y: F8) -> F8:
        """Return what brings a PSF flux at (x, y) to the reference aperture, (n,)."""
        factor: F8 = self.growth(x, y)[:, 0]
        return factor

    def aperture_factors(self, x: F8, y: F8) -> F8:
        """Return what brings each aperture's flux at (x, y) to the reference, (n, k).

        NaN for an aperture without light, or one that no star has whole.
        """
        growth = self.growth(x, y)
        light = np.where(growth[:, 1:] > 0, growth[:, 1:], np.nan)
        return np.asarray(growth[:, :1] / light, dtype=np.float64)

    def to_the_model(self, psf: Psf) -> ApertureCorrections:
        """Return those that bring fluxes to the scale that the PSF model's file has."""
        coefficients, errors = self.coefficients.copy(), self.errors.copy()
        coefficients[0] = 0.0
        coefficients[0, 0], errors[0] = 1.0 / psf.file_sum, 0.0
        return replace(self, coefficients=coefficients, errors=errors)

    def is_to_the_model(self, psf: Psf) -> bool:
        """Tell whether these bring fluxes to the scale of the PSF model's file, and to no light."""
        return bool(np.array_equal(self.coefficients[0], self.to_the_model(psf).coefficients[0]))

    def to_catalog(self) -> Catalog:
        """Return a catalogue that holds everything, one row per aperture."""
        n = len(self.diameters)
        return Catalog(
            {
                "DIAMETER": self.diameters,
                "COEFFICIENTS": self.coefficients,
                "ERROR": self.errors,
                "SCATTER": self.scatter,
                "N_STARS": self.n_stars,
                "DEGREE": np.full(n, self.degree, dtype=np.int32),
                "X_ZERO": np.full(n, self.x_zero),
                "X_SCALE": np.full(n, self.x_scale),
                "Y_ZERO": np.full(n, self.y_zero),
                "Y_SCALE": np.full(n, self.y_scale),
            }
        )

    @classmethod
    def from_catalog(cls, catalog: Catalog) -> ApertureCorrections:
        """Restore what `to_catalog` gave; KeyError if a column is missing."""
        diameters = np.asarray(catalog["DIAMETER"], dtype=np.float64)
        coefficients = np.asarray(catalog["COEFFICIENTS"], dtype=np.float64)
        return cls(
            diameters=diameters,
            coefficients=coefficients.reshape(len(diameters), -1),
            errors=np.asarray(catalog["ERROR"], dtype=np.float64),
            scatter=np.asarray(catalog["SCATTER"], dtype=np.float64),
            n_stars=np.asarray(catalog["N_STARS"], dtype=np.int32),
            degree=int(catalog["DEGREE"][0]),
            x_zero=float(catalog["X_ZERO"][0]),
            x_scale=float(catalog["X_SCALE"][0]),
            y_zero=float(catalog["Y_ZERO"][0]),
            y_scale=float(catalog["Y_SCALE"][0]),
        )


def reference_diameter(settings: Characterize) -> float:
    """Return the diameter of the reference aperture, FWHM."""
    return settings.apercor_diameter or REFERENCE_DIAMETER


def diameters_of(psf: Psf, settings: Characterize, apertures: Sequence[float]) -> Diameters:
    """Return the diameters of the reference aperture, of those within it, and of others."""
    local = ring_diameters(reference_diameter(settings)) * psf.fwhm
    pixels = np.concatenate([local, np.asarray(apertures, dtype=np.float64)])
    return Diameters(pixels, local.size)


def aperture_corrections(
    image: F4,
    background_variance: F4,
    gain: float,
    mask: U2,
    psf: Psf,
    photometry: PsfPhotometry,
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
    image, background_variance, gain, mask, psf : as in `psf_photometry`
    photometry : PsfPhotometry
        Of all sources of the image: neighbours of the stars are subtracted.
    stars : (n,) int64
        Rows of `photometry` that are PSF stars.
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
    measured = diameters_of(psf, settings, apertures)
    kept = np.array([0, *range(measured.n_local, measured.pixels.size)])
    diameters = measured.pixels[kept]
    by_model = settings.apercor_diameter == 0.0
    n_y, n_x = image.shape
    centre, scale = ((n_x - 1) / 2, (n_y - 1) / 2), (max(n_x / 2, 1.0), max(n_y / 2, 1.0))
    why = "no usable star for aperture corrections" if len(stars) else "no PSF star is known"
    if growth is None:
        stars = usable_stars(photometry, np.asarray(stars, dtype=np.int64))
        growth = Growth.measured(
            image, background_variance, gain, mask, psf, photometry, stars, measured, run
        )
    stars, radii = growth.stars, growth.radii
    light, error, lost = growth.light, growth.error, growth.lost
    if left is not None:
        flux = photometry.flux[stars]
        own = flux - left.level * left.area(flux)
        area = math.pi * radii**2 * (1.0 - lost)
        light = (light * flux[:, None] - left.level * area) / own[:, None]
        within = np.full((1, 1), fit_radius(psf))
        x, y = np.array(centre)[:, None]
        fitted = float(model_growth(psf, x, y, within)[0, 0])
        error = error_of_ratio(light, error, photometry.flux_error[stars] / flux, fitted)
        scatter = left.scatter_at(photometry.x[stars], photometry.y[stars], image.shape)
        error = np.hypot(error, scatter[:, None] * area / own[:, None])
        light, error = without_hidden(
            light, error, own, measured.pixels, photometry, psf, image.shape
        )
    if light_beneath is not None:
        planes = light_beneath, background_variance, mask
        light, error, lost = above_rings(light, error, lost, *planes, photometry, stars, radii)
    whole = lost[:, 0] <= MAX_LOSS
    stars, light, error, lost = stars[whole], light[whole], error[whole], lost[whole]
    model = model_over_field(psf, measured, centre, scale)
    if len(stars) == 0 or of_beam:
        if not by_model and not of_beam:
            run.warn(f"{why}: the aperture corrections are those of the PSF model")
        nothing = np.full(len(diameters), np.nan)
        none = np.zeros(len(diameters), dtype=np.int32)
        corrections = ApertureCorrections(
            diameters, model[kept], nothing, nothing, none, psf.degree,
            *(centre[0], scale[0], centre[1], scale[1]),
        )  # fmt: skip
        return corrections.to_the_model(psf) if by_model or of_beam else corrections
    u = (photometry.x[stars] - centre[0]) / scale[0]
    v = (photometry.y[stars] - centre[1]) / scale[1]
    of_model = polynomial_terms(psf.degree, u, v) @ model.T
    light = light - of_model
    sigma = np.hypot(error, MODEL_ERROR)
    # the reference aperture decides on stars and degree: the factors share its noise
    good = clip(light[:, 0], sigma[:, 0])
    common = _common_error(photometry.flux[stars], sigma, measured.pixels, left)
    degree = _degree(u[good], v[good], light[good, 0], sigma[good, 0], settings.apercor_degree)
    fits = []
    for m in kept.tolist():
        use = lost[:, m] <= MAX_LOSS
        terms = polynomial_terms(degree, u[use], v[use])
        fits.append(mean_of_stars(terms, light[use, m], sigma[use, m]))
    errors = np.hypot([fit[1] for fit in fits], common[kept])
    n = measured.n_local
    shift, part = by_rings(
        light[good, :n], sigma[good, :n], of_model[good, :n].mean(axis=0), common[:n]
    )
    fits[0][0][0] += shift
    errors[0] *= part
    corrections = ApertureCorrections(
        diameters=diameters,
        coefficients=sum_of_polynomials(model[kept], np.array([fit[0] for fit in fits])),
        errors=errors,
        scatter=np.array([fit[2] for fit in fits]),
        n_stars=np.array([fit[3] for fit in fits], dtype=np.int32),
        degree=max(degree, psf.degree),
        x_zero=centre[0],
        x_scale=scale[0],
        y_zero=centre[1],
        y_scale=scale[1],
    )
    if by_model:
        return corrections.to_the_model(psf)
    run.info(
        f"aperture corrections: {corrections.n_stars[0]} stars, PSF to {diameters[0]:.1f} pixels "
        f"{corrections.coefficients[0, 0]:.4f} +- {corrections.errors[0]:.4f}, "
        f"degree {corrections.degree}"
    )
    return corrections


def _common_error(flux: F8, sigma: F8, diameters: F8, left: LeftLight | None) -> F8:
    """Return the error of each aperture's light that all stars share."""
    if left is None:
        return np.zeros(len(diameters))
    area = 0.25 * math.pi * diameters**2 - left.area(flux)[:, None]
    weights = sigma**-2.0
    shared = left.error * np.sum(weights * area / flux[:, None], axis=0) / weights.sum(axis=0)
    return np.asarray(np.abs(shared), dtype=np.float64)


def light_left(
    image: F4,
    background_variance: F4,
    gain: float,
    mask: U2,
    psf: Psf,
    photometry: PsfPhotometry,
    stars: I8,
    diameters: Diameters,
    run: Run,
) -> tuple[LeftLight, Growth]:
    """Measure the light per pixel that is neither of the sky nor of sources that were found.

    Between the sources, and beneath PSF stars: the fainter a star, the more it adds to the
    light in a large aperture over that in the fit.

    Parameters
    ----------
    image, background_variance, gain, mask, psf, photometry, stars, run
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
    stars = usable_stars(photometry, np.asarray(stars, dtype=np.int64))
    flux = photometry.flux[stars]
    noise = (background_variance, gain, mask, psf, photometry)
    # Each on a thread: the one is Python, the other is not.
    both: tuple[Callable[[], Any], ...] = (
        lambda: light_between(*noise, stars, radius),
        lambda: Growth.measured(image, *noise, stars, diameters, Run()),
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
