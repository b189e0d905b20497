"""What a PSF model says of the light within apertures, over the field."""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.datamodel.psf import Psf, polynomial_terms
from skyextract.kernels.measurement.growth import growth_curves
from skyextract.record import record
from skyextract.stages.pointsources.sweeps import UNUSABLE


@record
class Diameters:
    """Diameters of apertures.

    Attributes
    ----------
    pixels : (m,) float64
        The first one is that of the reference aperture.
    n_local : int
        So many, the first ones, go with the FWHM at each place, and are given for that of the PSF.
    """

    pixels: F8
    n_local: int

    @property
    def kept(self) -> I8:
        """Rows of the reference aperture and of those of the catalogue."""
        return np.array([0, *range(self.n_local, self.pixels.size)])


def radii_at(psf: Psf, diameters: Diameters, x: F8, y: F8) -> F8:
    """Return the radii of apertures at places, (n, m)."""
    radii = np.tile(0.5 * diameters.pixels, (len(x), 1))
    radii[:, : diameters.n_local] *= (psf.local_fwhm(x, y) / psf.fwhm)[:, None]
    return radii


def model_growth(psf: Psf, x: F8, y: F8, radii: F8) -> F8:
    """Sum of the PSF model at places within radii, (n, m) as these."""
    stamps = psf.stamps(x, y, np.zeros(len(x)), np.zeros(len(x)))
    size = stamps.shape[1]
    blank = np.zeros((size, size), dtype=np.float32)
    light, error, lost = (np.empty(radii.shape) for _ in range(3))
    centre = np.full(len(x), float(size // 2))
    growth_curves(
        blank, blank, blank + np.float32(1), blank.astype(np.uint16), UNUSABLE, 0.0,
        centre, centre, np.ones(len(x)), stamps, radii, light, error, lost,
    )  # fmt: skip
    return light


def model_over_field(
    psf: Psf, diameters: Diameters, centre: tuple[float, float], scale: tuple[float, float]
) -> F8:
    """Return the polynomials of the light of the PSF model within apertures, (m, n_terms)."""
    steps = np.linspace(-1.0, 1.0, psf.degree + 2) if psf.degree > 0 else np.zeros(1)
    u, v = (grid.ravel() for grid in np.meshgrid(steps, steps))
    x, y = centre[0] + scale[0] * u, centre[1] + scale[1] * v
    light = model_growth(psf, x, y, radii_at(psf, diameters, x, y))
    coefficients = np.linalg.lstsq(polynomial_terms(psf.degree, u, v), light, rcond=None)[0]
    return np.ascontiguousarray(coefficients.T)


def sum_of_polynomials(first: F8, second: F8) -> F8:
    """Return the sums of polynomials, each (m, n_terms) of a degree of its own."""
    degrees = [round((math.sqrt(8.0 * c.shape[1] + 1.0) - 3.0) / 2.0) for c in (first, second)]
    longer, shorter = (first, second) if degrees[0] >= degrees[1] else (second, first)
    total = longer.copy()
    largest, lower = max(degrees), min(degrees)
    powers = [(i, j) for j in range(largest + 1) for i in range(largest + 1 - j)]
    total[:, [i + j <= lower for i, j in powers]] += shorter
    return total
