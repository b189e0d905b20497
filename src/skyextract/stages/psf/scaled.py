"""A PSF that is one profile of local width and shape: where widths vary much over the field.

Where stars in the corners are twice as wide as on the axis their wings are brighter by an order
of magnitude.  A polynomial of pixels has to learn that in the corners, of the few stars there;
a profile of scaled radius is known from the wings of all stars.  The logarithms of the scale and
of the shear are smooth functions of the place (V. Arsigny et al.
2006, MRM 56, 411).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F8, Bools
from skyextract.datamodel.noise import median
from skyextract.datamodel.psf import polynomial_terms, powers
from skyextract.kernels.psf.scaled import over_pixels
from skyextract.kernels.psf.stamps import radial_sums
from skyextract.kernels.values import MAD_TO_SIGMA, MAX_VARIANCE
from skyextract.record import record
from skyextract.stages.psf.profile import SmoothProfile, squared_edges
from skyextract.stages.psf.solver import ACCURACY, Solver
from skyextract.stages.psf.splines import coefficients_of

REACH = 2.0
"""Radius in FWHM of the pixels that tell the form of a star."""

TURNS, STEPS = 3, 4
"""Profile and forms are measured in turn so many times; a star's form in so many steps."""

MAX_STEP, MAX_FORM = 0.2, 1.2
"""A form changes in one step, and is at all, at most by as much."""

SHIFT = 0.02
"""Changes of places (pixels) and of forms that slopes are measured by."""

GAUSS = 0.5 / math.sqrt(3.0)
"""Where in a pixel a function has its mean, along both axes."""

TABLE_STEP = 0.02
"""Pixels from one radius of a tabulated profile to the next."""

FORM_ERROR = 0.002
"""Scatter of forms without noise."""

MODEL_ERROR = 0.007
"""Relative error of pixels by the profile."""

MOST = 4
"""Highest degree of a form's polynomial."""

STARS_PER_TERM = 2.5
"""Stars for each term of a form's polynomial, at least."""

CLIP = 4.0
"""Forms that are farther off, in sigma, are not used."""

REACH_OF_PROFILE = 1.5
"""The profile is measured out to so many sides of the stamps: narrow stars tell of the wings."""

GRID = 9
"""Places along both axes at which the profile is drawn."""


@record
class Forms:
    """How a round profile of the radius is stretched at places in the field.

    The square of the elliptical radius at (dx, dy) is that of the vector times the exponential of
    ``-(s + a, b; b, s - a)``.

    Attributes
    ----------
    coefficients : (n_terms, 3) float64
        Polynomials of s, a and b in the places that the model of the PSF has, of `degree`.
    degree : int
    covariance : (n_terms, n_terms) float64
        Of the coefficients of s.
    """

    coefficients: F8
    degree: int
    covariance: F8

    def at(self, u: F8, v: F8) -> F8:
        """Return s, a and b at places, (n, 3)."""
        return np.asarray(polynomial_terms(self.degree, u, v) @ self.coefficients)

    def variance(self, degree: int) -> F8:
        """Return the variance of s as a quadratic form of the terms of a polynomial."""
        order = powers(max(degree, self.degree))
        form = np.zeros((order.size, order.size))
        own = np.flatnonzero(order <= self.degree)
        form[np.ix_(own, own)] = self.covariance
        kept = order <= degree
        return form[np.ix_(kept, kept)]


@record
class Stars:
    """What was fitted to stars.

    Attributes
    ----------
    flux, x, y : (n,) float64
        Places in their stamps.
    forms : (n, 3) float64
    """

    flux: F8
    x: F8
    y: F8
    forms: F8


@record
class FormsOfStars:
    """The forms that were measured.

    Attributes
    ----------
    u, v : (n,) float64
        Where in the field, as the model's polynomial takes it.
    forms, errors : (n, 3) float64
    use : (n,) bool
        Stars that have a say.
    """

    u: F8
    v: F8
    forms: F8
    errors: F8
    use: Bools

    def fitted(self, most: int) -> Forms:
        """Fit polynomials, each of the degree up to `most` that these support (least BIC)."""
        return fit_forms(self.u, self.v, self.forms, self.errors, self.use, most)


@record
class ScaledProfile:
    """A round profile and how it is stretched over the field.

    Attributes
    ----------
    forms : Forms
    profile : SmoothProfile
    of_stars : FormsOfStars
        What the forms were fitted to.
    """

    forms: Forms
    profile: SmoothProfile
    of_stars: FormsOfStars

    def without(self, left_out: Bools) -> ScaledProfile:
        """Return the profile with the forms that the other stars have, for (n,) bool."""
        of_stars = replace(self.of_stars, use=self.of_stars.use & ~left_out)
        return replace(self, forms=of_stars.fitted(self.forms.degree))

    def range_of_widths(self) -> tuple[float, float]:
        """Return the smallest and the largest width in the field, in units of the profile's."""
        s, a, b = self.forms.at(*_grid()).T
        return float(np.exp((s - np.hypot(a, b)).min())), float(np.exp(s.max()))

    def drawn(self, n: int, step: float, degree: int) -> F8:
        """Return the spline coefficients of the terms of a polynomial, (n_terms, n, n)."""
        u, v = _grid()
        axis: F8 = np.asarray((np.arange(n) - (n - 1) / 2) * step, dtype=np.float64)
        at = self.forms.at(u, v)
        values, _ = _tabulated(self.profile, 2.0 * float(axis[-1]) * math.exp(MAX_FORM))
        images = mean_over_pixels(values, quadratic(at), axis[None, None, :], axis[None, :, None])
        images *= np.exp(-2.0 * at[:, 0])[:, None, None]
        terms = polynomial_terms(degree, u, v)
        basis = np.linalg.pinv(terms) @ images.reshape(len(images), -1)
        basis /= basis[0].sum() * step**2
        return np.concatenate([coefficients_of(term.reshape(n, n)) for term in basis])


def _grid() -> tuple[F8, F8]:
    """Return places all over the field."""
    line = 0.5 * np.polynomial.legendre.leggauss(GRID)[0]
    u, v = np.meshgrid(line, line)
    return u.ravel(), v.ravel()


def radii2(forms: F8, dx: F8, dy: F8) -> F8:
    """Return the squares of elliptical radii, (n, ...), for forms (n, 3)."""
    xx, yy, xy = quadratic(forms)
    return np.asarray(xx * dx * dx + yy * dy * dy + 2.0 * xy * dx * dy)


def quadratic(forms: F8) -> F8:
    """Return the quadratic forms xx, yy and xy, (3, n, 1, 1)."""
    s, a, b = forms.T
    shear = np.hypot(a, b)
    scale, cosh = np.exp(-2.0 * s), np.cosh(2.0 * shear)
    sinh = np.sinh(2.0 * shear) / np.maximum(shear, 1e-12)
    return np.asarray(scale * np.stack([cosh - sinh * a, cosh + sinh * a, -sinh * b]))[
        :, :, None, None
    ]


def mean_over_pixels(values: F8, shapes: F8, dx: F8, dy: F8, half: float = GAUSS) -> F8:
    """Return the mean of a function of the radius in the pixels about dx, dy.

    By Gauss's rule of two points along both axes: what is left is of fourth order.

    Parameters
    ----------
    values : (m,) float64
        Of the function, at radii `TABLE_STEP` apart from 0 on.
    shapes : (3, n, 1, 1) float64
        Quadratic forms.
    dx, dy : (n, 1, nx) and (n, ny, 1) float64, or of one star for all
    half : float
        Where the points are; 0 gives the function in the middle of the pixel.

    Returns
    -------
    (n, ny, nx) float64
    """
    n = shapes.shape[1]
    columns = np.broadcast_to(dx[:, 0, :], (n, dx.shape[2])).copy()
    rows = np.broadcast_to(dy[:, :, 0], (n, dy.shape[1])).copy()
    out = np.empty((n, rows.shape[1], columns.shape[1]))
    forms = shapes[:, :, 0, 0].copy()
    over_pixels(np.ascontiguousarray(values), TABLE_STEP, half, forms, columns, rows, out)
    return out


def _tabulated(profile: SmoothProfile, reach: float) -> F8:
    """Return values and their slopes at radii `TABLE_STEP` apart, out to a reach, (2, m)."""
    r = np.arange(0.0, reach + 3.0 * TABLE_STEP, TABLE_STEP)
    values = profile(r)
    return np.stack([values, np.gradient(values, r)])


def measure_forms(solver: Solver, profile: SmoothProfile, stars: Stars) -> tuple[Stars, F8]:
    """Fit flux, place and form of each star, Gauss-Newton.

    Returns
    -------
    stars : Stars
    errors : (n, 3) float64
        Of the forms.
    """
    n, size, _ = solver.stamps.shape
    axis = np.arange(size, dtype=np.float64)
    data = solver.stamps.reshape(n, -1).astype(np.float64)
    noise = solver.noise.reshape(n, -1).astype(np.float64)
    values, falls = _tabulated(profile, size * math.exp(MAX_FORM))
    flux, x, y, forms = stars.flux.copy(), stars.x.copy(), stars.y.copy(), stars.forms.copy()
    covariance = np.zeros((n, 6, 6))
    for _ in range(STEPS):
        dx = axis[None, None, :] - x[:, None, None]
        dy = axis[None, :, None] - y[:, None, None]
        area = np.exp(-2.0 * forms[:, 0])[:, None, None]
        shapes = quadratic(forms)
        model = mean_over_pixels(values, shapes, dx, dy) * area
        r2 = radii2(forms, dx, dy)
        # Through the radius: the slope there is that of the middle of the pixel.
        by_r2 = mean_over_pixels(falls, shapes, dx, dy, 0.0) * area / (2.0 * np.sqrt(r2) + 1e-9)
        slopes = [model]
        for shift_x, shift_y in ((SHIFT, 0.0), (0.0, SHIFT)):
            moved = [radii2(forms, dx - k * shift_x, dy - k * shift_y) for k in (1.0, -1.0)]
            slopes.append(by_r2 * (moved[0] - moved[1]) / (2.0 * SHIFT))
        for k in range(3):
            step = np.zeros(3)
            step[k] = SHIFT
            moved = [radii2(forms + sign * step, dx, dy) for sign in (1.0, -1.0)]
            slopes.append(by_r2 * (moved[0] - moved[1]) / (2.0 * SHIFT))
        slopes[3] = slopes[3] - 2.0 * model
        terms = np.stack(slopes, axis=1).reshape(n, 6, -1)
        terms[:, 1:] *= flux[:, None, None]
        light = np.maximum(flux, 0.0)[:, None] * model.reshape(n, -1)
        variance = noise + solver.inverse_gain * light + (MODEL_ERROR * light) ** 2
        near = r2.reshape(n, -1) < (REACH * solver.fwhm) ** 2
        weighted = terms * (np.where((noise <= MAX_VARIANCE) & near, 1.0, 0.0) / variance)[:, None]
        normal = weighted @ terms.transpose(0, 2, 1)
        normal += np.eye(6) * (1e-9 * np.trace(normal, axis1=1, axis2=2) + 1e-30)[:, None, None]
        covariance = np.asarray(np.linalg.inv(normal), np.float64)
        left = data - flux[:, None] * model.reshape(n, -1)
        change = np.einsum("nij,nj->ni", covariance, (weighted * left[:, None]).sum(axis=2))
        flux = flux + change[:, 0]
        x, y = x + np.clip(change[:, 1], -1.0, 1.0), y + np.clip(change[:, 2], -1.0, 1.0)
        forms = forms + np.clip(change[:, 3:], -MAX_STEP, MAX_STEP)
        forms = np.clip(forms, -MAX_FORM, MAX_FORM)
    errors = np.sqrt(np.maximum(covariance[:, [3, 4, 5], [3, 4, 5]], 0.0))
    return Stars(flux, x, y, forms), errors


def fit_forms(u: F8, v: F8, forms: F8, errors: F8, use: Bools, most: int) -> Forms:
    """Fit polynomials to the forms of stars, each of the degree that these support (least BIC)."""
    sigma = np.hypot(errors, FORM_ERROR)
    good = use & np.isfinite(sigma).all(axis=1) & (np.abs(forms) < MAX_FORM).all(axis=1)
    terms = polynomial_terms(most, u, v)
    order = powers(most)
    coefficients = np.zeros((terms.shape[1], 3))
    covariance = np.zeros((terms.shape[1], terms.shape[1]))
    for k in range(3):
        lowest = math.inf
        for degree in range(most + 1):
            some = order <= degree
            if degree and good.sum() < STARS_PER_TERM * some.sum():
                break
            fitted, squares, inverse = _robust_fit(
                terms[good][:, some], forms[good, k], sigma[good, k]
            )
            criterion = squares + some.sum() * math.log(good.sum())
            if criterion < lowest:
                lowest = criterion
                coefficients[:, k] = 0.0
                coefficients[some, k] = fitted
                if k == 0:
                    covariance[:] = 0.0
                    covariance[np.ix_(some, some)] = inverse
    return Forms(coefficients, most, covariance)


def _robust_fit(terms: F8, values: F8, sigma: F8) -> tuple[F8, float, F8]:
    """Return coefficients, the sum of squared pulls, each at most `CLIP`, and the covariance."""
    kept = np.ones(values.size, dtype=bool)
    spread = 1.0
    for _ in range(TURNS):
        weight = kept / sigma
        coefficients = np.asarray(
            np.linalg.lstsq(terms * weight[:, None], values * weight, rcond=None)[0]
        )
        pulls = np.abs(values - terms @ coefficients) / sigma
        spread = max(MAD_TO_SIGMA * median(pulls), 1.0)
        kept = pulls < CLIP * spread
    weighted = terms * (kept / sigma)[:, None]
    covariance = np.asarray(spread**2 * np.linalg.pinv(weighted.T @ weighted))
    return coefficients, float(np.square(np.minimum(pulls, CLIP)).sum()), covariance


def places(solver: Solver) -> tuple[F8, F8]:
    """Return where in the field the stars are, as the model's polynomial takes it."""
    return (
        (solver.cx + solver.origin_x - solver.zero[0]) / solver.scale[0],
        (solver.cy + solver.origin_y - solver.zero[1]) / solver.scale[1],
    )


def profile_of(solver: Solver, stars: Stars, last: SmoothProfile | None) -> SmoothProfile:
    """Return the mean profile of stars before pixels, as one of form 0.

    Parameters
    ----------
    last : SmoothProfile, optional
        What is known of it: what pixels make of it is taken off the stars (P. H. van Cittert 1931,
        Z. Phys. 69, 298).
    """
    size = solver.stamps.shape[1]
    edges = squared_edges(REACH_OF_PROFILE * size, solver.fwhm)
    sums = np.zeros((len(edges) - 1, 3))
    area = np.exp(-2.0 * stars.forms[:, 0])
    shapes = quadratic(stars.forms)
    axis = np.arange(size, dtype=np.float64)
    values = None if last is None else _tabulated(last, size * math.exp(MAX_FORM))[0]
    for k in np.flatnonzero(solver.used & (stars.flux > 0.0)):
        one = slice(k, k + 1)
        stamp = solver.stamps[one]
        if values is not None:
            at = shapes[:, one], axis[None, None] - stars.x[k], axis[None, :, None] - stars.y[k]
            by_pixels = mean_over_pixels(values, *at) - mean_over_pixels(values, *at, 0.0)
            stamp = stamp - np.float32(stars.flux[k] * area[k] * by_pixels)
        radial_sums(
            stamp, solver.noise[one], solver.inverse_gain, ACCURACY, stars.x[one], stars.y[one],
            stars.flux[one] * area[one], 1.0 / (1.13 * solver.fwhm**2),
            np.ascontiguousarray(shapes[:, k, 0, 0]), edges, sums,
        )  # fmt: skip
    return SmoothProfile.of_sums(sums, solver.fwhm)


def scaled_profile(solver: Solver, degree: int) -> ScaledProfile:
    """Measure the profile and the forms of the stars in turn.

    Parameters
    ----------
    solver : Solver
        Of the stars.
    degree : int
        Of the model: that of the forms is as high at most.
    """
    most = min(degree, MOST)
    u, v = places(solver)
    stars = Stars(solver.flux, solver.cx, solver.cy, np.zeros((len(u), 3)))
    profile = None
    fitted = Forms(np.zeros((1, 3)), 0, np.zeros((1, 1)))
    for _ in range(TURNS):
        profile = profile_of(solver, replace(stars, forms=fitted.at(u, v)), profile)
        stars, errors = measure_forms(solver, profile, replace(stars, forms=fitted.at(u, v)))
        of_stars = FormsOfStars(u, v, stars.forms, errors, solver.used.copy())
        fitted = of_stars.fitted(most)
    stars = replace(stars, forms=fitted.at(u, v))
    return ScaledProfile(fitted, profile_of(solver, stars, profile), of_stars)
