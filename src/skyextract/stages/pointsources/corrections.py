"""Aperture corrections as they are kept and used: light within apertures, over the field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F8, I4, I8
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.psf import Psf, polynomial_terms
from skyextract.record import record


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

    def of_rows(self, rows: I8) -> ApertureCorrections:
        """Return those of some of the apertures."""
        arrays = ("diameters", "coefficients", "errors", "scatter", "n_stars")
        return replace(self, **{name: getattr(self, name)[rows] for name in arrays})

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
