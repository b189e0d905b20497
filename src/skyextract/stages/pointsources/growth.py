"""Curves of growth of stars, their noise, and the light of hidden sources in them."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np

from skyextract.datamodel.arrays import F8, I8, Bools
from skyextract.datamodel.psf import Psf
from skyextract.kernels.measurement.growth import growth_curves
from skyextract.record import record
from skyextract.run import Run
from skyextract.stages.pointsources.fit import FittedImage, PsfPhotometry
from skyextract.stages.pointsources.hidden import SEEN_IN_REST, HiddenLight, shares_in_fit
from skyextract.stages.pointsources.modelgrowth import Diameters, radii_at
from skyextract.stages.pointsources.sweeps import UNUSABLE

MODEL_ERROR = 0.003
"""Differences between stars that are not noise; keeps the brightest one from ruling."""


@record
class Growth:
    """Curves of growth of stars.

    Attributes
    ----------
    stars : (n,) int64
        Rows of the photometry.
    radii : (n, m) float64
        Pixels.
    light, error : (n, m) float64
        Light within each radius over the flux of the fit, and its error.
    lost : (n, m) float64
        Part of the aperture that has no data.
    """

    stars: I8
    radii: F8
    light: F8
    error: F8
    lost: F8

    @classmethod
    def measured(cls, fitted: FittedImage, stars: I8, diameters: Diameters, run: Run) -> Growth:
        """Measure them on stars (rows of the sources); their neighbours are away."""
        psf, gain, sources = fitted.psf, fitted.gain, fitted.sources
        x, y, flux = (values[stars] for values in (sources.x, sources.y, sources.flux))
        radii = radii_at(psf, diameters, x, y)
        stamps = psf.stamps(x, y, x - np.floor(x + 0.5), y - np.floor(y + 0.5))
        light, error, lost = np.empty((3, *radii.shape))

        def part(span: tuple[int, int]) -> None:
            some = slice(*span)
            growth_curves(
                fitted.image, sources.residual, fitted.variance, fitted.mask, UNUSABLE,
                1.0 / gain if gain > 0 and math.isfinite(gain) else 0.0,
                x[some], y[some], flux[some], stamps[some], radii[some],
                light[some], error[some], lost[some],
            )  # fmt: skip

        run.map(part, run.bands(len(stars), least=16))
        return cls(stars, radii, light, error, lost)

    def of(self, some: Bools) -> Growth:
        """Return those of some of the stars (n,)."""
        return Growth(*(getattr(self, field.name)[some] for field in fields(self)))


def error_of_ratio(light: F8, error: F8, fit_error: F8, own: float) -> F8:
    """Return the relative error of the light in apertures over the flux of the fit, (n, m).

    Both are made of the same pixels.  A fit of least variance s^2 has with the sum over its own
    pixels, where it expects a part g of the flux, the covariance g s^2; with a sum a over more
    pixels, too, since their noise is not in the fit.  So the ratio a / F has the variance
    var(a) - (2 g a - a^2) s^2: a star whose own photons are its noise knows it far better than
    its flux.

    Parameters
    ----------
    light, error : (n, m) float64
        Light within apertures over the flux of the fit, and its error for a flux without any.
    fit_error : (n,) float64
        Relative error of the flux.
    own : float
        Part of a star's light in the pixels of its fit.
    """
    shared = np.minimum(light, own)
    return np.sqrt(
        np.maximum(error**2 - (2.0 * shared * light - light**2) * fit_error[:, None] ** 2, 0.0)
    )


def without_hidden(
    light: F8, error: F8, flux: F8, diameters: F8, photometry: PsfPhotometry, psf: Psf,
    shape: tuple[int, ...],
) -> tuple[F8, F8]:  # fmt: skip
    """Return light and errors without the mean of the sources that hide in the stars.

    An aperture has all of their light, the fit a part.
    """
    others = HiddenLight.of_sources(photometry.flux, (shape[0], shape[1]), psf.fwhm)
    light, error = light.copy(), error.copy()
    for m, diameter in enumerate(diameters):
        shares, pixels = shares_in_fit(psf, min(0.5 * diameter / psf.fwhm, SEEN_IN_REST))
        total = np.hypot(error[:, m], MODEL_ERROR) * flux
        mean, scatter = others.within(total, np.maximum(1.0 - shares, 1e-6), pixels)
        light[:, m] -= mean / flux
        error[:, m] = np.hypot(error[:, m], scatter / flux)
    return light, error
