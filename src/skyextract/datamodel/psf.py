"""The point spread function: pixel basis times a polynomial in image position."""

from __future__ import annotations

import math
from enum import StrEnum
from functools import cached_property

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8
from skyextract.record import record

WIDTHS = (0.4, 2.5)
"""A PSF is nowhere narrower or wider than so many times its `fwhm`: models are extrapolated."""


def pixel_gaussian_sigma(fwhm: float) -> float:
    """Sigma of the Gaussian whose integral over pixels has this FWHM (along an axis)."""

    def excess(sigma: float) -> float:
        edges = (fwhm / 2 + 0.5, fwhm / 2 - 0.5, 0.5)
        outer, inner, peak = (math.erf(e / (sigma * math.sqrt(2))) for e in edges)
        return outer - inner - peak

    low, high = 0.2, max(fwhm, 0.2)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return low


class PsfSource(StrEnum):
    """Where a PSF comes from: the value of the PSFSRC card."""

    MEASURED = "MEASURED"
    FILE = "FILE"
    DEFAULT = "DEFAULT"
    NONE = "NONE"


def default_psf_warning(fwhm: float, reason: str) -> str:
    """Return the announcement of a default PSF: loud, so that it passes for no measurement."""
    return (
        f"NO MEASURED PSF ({reason}): a Gaussian with a FWHM of {fwhm:g} pixels (DEFAULT_FWHM) "
        "stands in; all that depends on the PSF depends on that guess"
    )


def polynomial_terms(degree: int, u: F8, v: F8) -> F8:
    """Terms of the polynomial at normalised positions, in PSFEx's order.

    Returns
    -------
    (n, n_terms) float64
        ``u**i * v**j`` for j in 0..degree, for i in 0..degree-j.
    """
    terms = [u**i * v**j for j in range(degree + 1) for i in range(degree + 1 - j)]
    return np.ascontiguousarray(np.stack(terms, axis=1))


def powers(degree: int) -> I8:
    """Return i + j of the `polynomial_terms`."""
    return np.array([i + j for j in range(degree + 1) for i in range(degree + 1 - j)])


def _quadratic(terms: F8, form: F8) -> F8:
    """Return a quadratic form (k, k) of each row of terms (n, k)."""
    return np.asarray(np.einsum("nk,kl,nl->n", terms, form, terms))


@record
class Psf:
    """A PSF model as PSFEx writes it.

    The PSF at 0-based pixel position (x, y) is the sum over polynomial terms k of
    ``basis[k] * u**i * v**j`` with ``u = (x - x_zero) / x_scale``, v likewise, and
    the terms ordered as in PSFEx (for j in 0..degree, for i in 0..degree-j).  Between
    samples it is a cubic B-spline through them, see `skyextract.kernels.psf.bspline`.

    Attributes
    ----------
    basis : (n_terms, n_y, n_x) float32
        Images with odd sides, centred on the middle sample; the constant term sums to 1
        over pixels (that is, samples x sampling**2 of surface brightness per pixel).
    sampling : float
        Size of a sample in pixels; 1 is the pixel grid, below 1 oversampled.
    degree : int
        Degree of the polynomial; 0 is a constant PSF.
    x_zero, x_scale, y_zero, y_scale : float
        Normalisation of positions, 0-based pixels.
    fwhm : float
        Full width at half maximum in pixels of the effective (pixel-integrated) PSF.
    ellipticity : float
        1 - b/a of the core at the centre of the field.
    source : PsfSource
    position_error : float
        Error in pixels of positions that the model itself has, where that was measured.
    light_error : float
        Relative error of the light of all stars that the model makes, where it is of few; NaN
        where they are too few to tell.
    flux_variance : (n_terms, n_terms) float64, optional
        Variance of relative fluxes by the noise of the model, where that is known: a quadratic
        form of the terms of the polynomial.
    file_sum : float
        Sum of the model in the file that it was read from, before it was made 1: PSFEx's models
        have the light of a star within its PHOTFLUX aperture as their unit.
    """

    basis: F4
    sampling: float
    degree: int
    x_zero: float
    x_scale: float
    y_zero: float
    y_scale: float
    fwhm: float
    ellipticity: float
    source: PsfSource
    n_stars: int = 0
    chi2: float = float("nan")
    position_error: float = 0.0
    light_error: float = 0.0
    flux_variance: F8 | None = None
    file_sum: float = 1.0

    @classmethod
    def gaussian(cls, fwhm: float, source: PsfSource = PsfSource.DEFAULT) -> Psf:
        """Return a round Gaussian, integrated over pixels, the same everywhere.

        Parameters
        ----------
        fwhm : float
            Full width at half maximum of the pixel-integrated PSF, in pixels.  Below about
            1 pixel, where no light source can be, it is that of a very narrow Gaussian.
        source : PsfSource
            What it stands for.

        Raises
        ------
        ValueError
            If `fwhm` is not a positive finite number.
        """
        if not (math.isfinite(fwhm) and fwhm > 0):
            raise ValueError(f"FWHM of a PSF must be positive, not {fwhm}")
        sigma = pixel_gaussian_sigma(fwhm)
        sampling = min(1.0, max(fwhm, 1.0) / 5)
        half = math.ceil((2.2 * fwhm + 1.0) / sampling)
        edges = (np.arange(-half, half + 1) * sampling)[:, None] + np.array([-0.5, 0.5])
        cumulative = np.array([math.erf(e / (sigma * math.sqrt(2))) for e in edges.ravel()])
        profile = np.diff(cumulative.reshape(-1, 2), axis=1).ravel()
        image = np.outer(profile, profile)
        image /= image.sum() * sampling**2
        return cls(
            basis=image[None].astype(np.float32),
            sampling=sampling,
            degree=0,
            x_zero=0.0,
            x_scale=1.0,
            y_zero=0.0,
            y_scale=1.0,
            fwhm=float(fwhm),
            ellipticity=0.0,
            source=source,
        )

    __eq__ = object.__eq__  # of arrays there is no one answer
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        stars = f", {self.n_stars} stars" if self.n_stars else ""
        shape = f"FWHM {self.fwhm:.2f} px, ellipticity {self.ellipticity:.3f}"
        return f"Psf({shape}{stars}, {self.source})"

    @cached_property
    def coefficients(self) -> F8:
        """B-spline coefficients of the basis, (n_terms, n_y + 16, n_x + 16) float64."""
        from skyextract.kernels.psf.bspline import PAD, spline_coefficients

        n_terms, n_y, n_x = self.basis.shape
        out = np.empty((n_terms, n_y + 2 * PAD, n_x + 2 * PAD))
        spline_coefficients(np.ascontiguousarray(self.basis, dtype=np.float32), out)
        return out

    @property
    def radius(self) -> int:
        """Half the side, in whole pixels, of the square that the model covers."""
        return int((min(self.basis.shape[1:]) - 1) / 2 * self.sampling)

    def normalised(self, x: F8, y: F8) -> tuple[F8, F8]:
        """Return (u, v), the variables of the polynomial at 0-based pixel positions."""
        return (x - self.x_zero) / self.x_scale, (y - self.y_zero) / self.y_scale

    def _terms(self, x: F8, y: F8) -> F8:
        """Return the terms of the polynomial at 0-based positions, (n, n_terms)."""
        return polynomial_terms(self.degree, *self.normalised(x, y))

    def local_fwhm(self, x: F8, y: F8) -> F8:
        """Return the FWHM at places, as the noise-equivalent width of the model follows it.

        That width is the square root of (sum P)**2 / sum(P**2) (I. R. King 1983, PASP 95, 163),
        and proportional to the FWHM of profiles that differ by their scale.

        Parameters
        ----------
        x, y : (n,) float64
            0-based positions.

        Returns
        -------
        (n,) float64
            Pixels; `fwhm` everywhere if the PSF is constant.
        """
        if self.degree == 0:
            return np.full(np.shape(x), self.fwhm)
        terms = self._terms(x, y)
        flat = self.basis.reshape(len(self.basis), -1).astype(np.float64)
        light = terms @ flat.sum(axis=1) / flat[0].sum()
        squares = _quadratic(terms, flat @ flat.T) / (flat[0] @ flat[0])
        width = np.sqrt(light**2 / np.maximum(squares, 1e-30))
        return np.asarray(self.fwhm * np.clip(width, *WIDTHS))

    def flux_error(self, x: F8, y: F8) -> F8:
        """Return the relative error of fluxes by the noise of the model.

        Without what all fluxes share: aperture corrections take it up.

        Parameters
        ----------
        x, y : (n,) float64
            0-based positions.

        Returns
        -------
        (n,) float64
            0 where nothing is known of it.
        """
        if self.flux_variance is None:
            return np.zeros(np.shape(x))
        form = _quadratic(self._terms(x, y), self.flux_variance)
        return np.asarray(np.sqrt(np.maximum(form, 0.0)))

    def stamps(
        self,
        x: F8,
        y: F8,
        dx: F8,
        dy: F8,
        size: int | None = None,
        *,
        of_whole: bool = False,
    ) -> F4:
        """Return the PSF at many positions on the pixel grid.

        Parameters
        ----------
        x, y : (n,) float64
            0-based positions in the image.
        dx, dy : (n,) float64
            Centre of the PSF relative to the middle pixel of its stamp.
        size : int, optional
            Odd side of the stamps in pixels; by default the whole model.
        of_whole : bool
            The whole model is of unit sum, not the part of it that a stamp has.

        Returns
        -------
        (n, k, k) float32
            Each of unit sum.
        """
        from skyextract.kernels.psf.model import psf_stamps

        size = 2 * self.radius + 1 if size is None else size
        if size < 1 or size % 2 == 0:
            raise ValueError(f"size of a PSF stamp must be odd and positive, not {size}")
        u, v = self.normalised(np.asarray(x, float), np.asarray(y, float))
        out = np.empty((u.size, size, size), dtype=np.float32)
        psf_stamps(
            self.coefficients,
            self.degree,
            float(self.sampling),
            np.ascontiguousarray(u),
            np.ascontiguousarray(v),
            np.ascontiguousarray(dx, dtype=float),
            np.ascontiguousarray(dy, dtype=float),
            out,
        )
        if not of_whole:
            out /= out.sum(axis=(1, 2), keepdims=True, dtype=np.float64)
        return out

    def stamp(
        self, x: float, y: float, dx: float = 0.0, dy: float = 0.0, size: int | None = None
    ) -> F4:
        """Return the PSF at 0-based position (x, y) on the pixel grid.

        The stamp is (k, k) float32 with k odd (`size`, or the whole model), of unit sum,
        its centre (dx, dy) pixels from the middle pixel.  A position off the image has the
        model there, which is extrapolated.

        Raises
        ------
        TypeError, ValueError
            A position is not one finite number.
        """
        given: dict[str, object] = {"x": x, "y": y, "dx": dx, "dy": dy}
        for name, value in given.items():
            if not isinstance(value, int | float | np.number):
                raise TypeError(f"{name} must be a number; `stamps` takes arrays")
            if not math.isfinite(value):
                raise ValueError(f"{name} must be finite, not {value}")
        stamps = self.stamps(np.array([x]), np.array([y]), np.array([dx]), np.array([dy]), size)
        stamp: F4 = stamps[0]
        return stamp
