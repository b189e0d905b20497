"""The least-squares problem of a PSF: stars, polynomial terms, a prior that adapts to them."""

from __future__ import annotations

import math
from copy import copy
from itertools import pairwise

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.datamodel.noise import typical_noise
from skyextract.datamodel.psf import Psf, polynomial_terms, powers
from skyextract.datamodel.psfshape import radius_with_ends
from skyextract.kernels.psf.normal import add_nearest, filled_up, multiply
from skyextract.kernels.psf.peaks import Peaks
from skyextract.kernels.psf.stamps import cut_stamps, radial_sums
from skyextract.kernels.psf.starfit import StarRules, Stars, fit_stars
from skyextract.run import Run
from skyextract.stages.psf.misfit import core_misfit, odd_misfit
from skyextract.stages.psf.modelerrors import Evidence
from skyextract.stages.psf.neighbours import free_share, level_beside
from skyextract.stages.psf.precondition import Preconditioner, Smoothness, smoothed
from skyextract.stages.psf.profile import SmoothProfile, squared_edges, squareness
from skyextract.stages.psf.sample import ROUND, StarSample
from skyextract.stages.psf.splines import homologous

PARTS = 4
"""The stars are worked on in so many parts, in threads."""

CORE = 1.5
"""Radius in FWHM of the pixels that fluxes and centres of the stars are fitted to."""

CORRELATION = 0.35
"""Smoothness of the departures from the mean profile: correlation length in FWHM."""

STRAY_CONSTANT, STRAY_VARYING, STRAY_FLOOR = 0.2, 0.2, 1e-4
"""Prior rms of the departures: of the local value (constant and varying terms), of the peak."""

FINE_CORRELATION, FINE_STRAY, FINE_FLOOR, OWN_FLOOR = 0.1, 1.0, 1e-2, 1e-3
"""The same for a PSF that is no smooth round core: trailed, out of focus, comatic; the last
number holds once its own image has replaced the round profile."""

MAX_MISFIT = 4.0
"""Mean squared residual of the core, in units of its noise, above which a PSF is of that kind."""

MAX_SPREAD, MAX_LOOSENING = 3.0, 8.0
"""A varying term whose departures are wider than the prior says (their variance, in units of the
prior's, above the first number) gets a wider prior, at most by the second."""

NOISE_SHARE = 0.23
"""Sum of the squares of a cubic B-spline over that of its values, in two dimensions."""

MAX_STEPS = 50
"""Steps of conjugate gradients; some five are enough."""

ACCURACY = 0.003
"""Relative error of model values that is allowed for when stars are weighted."""

SQUARE = 3.0
"""FWHM in pixels below which a star shows that pixels are square: no round profile describes it."""

NEIGHBOUR_ACCURACY = 0.05
"""Relative error of neighbours that were subtracted."""

WORKING_NOISE = 30.0
"""Background noise in electrons that is assumed where the gain is unknown: with no photon noise
at all the peaks of the brightest stars would make the model."""


class Solver:
    """The linear problem of one sample of stars: their stamps, terms and current weights.

    The stars are worked on in parts, whose sums are added in order: the same numbers come out
    of any number of threads.
    """

    def __init__(
        self,
        data: F4,
        variance: F4,
        sample: StarSample,
        *,
        gain: float,
        degree: int,
        step: float,
        half: int,
        run: Run,
    ) -> None:
        n = sample.x.size
        self.run = run
        edges = np.linspace(0, n, min(n, PARTS) + 1).round().astype(int)
        self.parts = [slice(*span) for span in pairwise(edges.tolist())]
        size = 2 * half + 1
        self.fwhm = sample.fwhm
        ratio = (sample.narrow / sample.fwhm) ** 2 if sample.narrow else 1.0
        self.core = radius_with_ends(CORE, sample.fwhm, ratio)
        self.step = step
        self.inverse_gain = 1.0 / gain if gain > 0 else _working_inverse_gain(variance)
        self.stamps = np.empty((n, size, size), dtype=np.float32)
        self.noise = np.empty((n, size, size), dtype=np.float32)
        peaks = sample.peaks if sample.neighbours is None else sample.peaks[:, :0].copy()

        def cut(part: slice) -> None:
            cut_stamps(
                data, variance, sample.x[part], sample.y[part], sample.height[part], Peaks(*peaks),
                sample.fwhm, self.stamps[part], self.noise[part],
            )  # fmt: skip

        run.map(cut, self.parts)
        if sample.neighbours is not None:
            light = sample.neighbours.light_beside(sample.x, sample.y, sample.height, half)
            self.stamps -= light
            self.noise += np.float32(self.inverse_gain) * np.maximum(light, 0.0)
            self.noise += np.float32(NEIGHBOUR_ACCURACY**2) * light**2
            self.stamps -= np.float32(
                level_beside(self.stamps, self.noise, sample.flux, sample.fwhm)
            )
        self.free_share = free_share(self.noise)
        self.origin_x = np.floor(sample.x + 0.5) - half
        self.origin_y = np.floor(sample.y + 0.5) - half
        self.cx = sample.x - self.origin_x
        self.cy = sample.y - self.origin_y
        self.flux = sample.flux.copy()
        ny, nx = data.shape
        self.zero = ((nx - 1) / 2, (ny - 1) / 2)
        self.scale = (float(nx), float(ny))
        self.set_degree(degree, sample)
        self.weight = np.zeros_like(self.stamps)
        self.target = np.zeros_like(self.stamps)
        self.fit_numbers = np.zeros((n, 4))
        self.used = np.ones(n, dtype=bool)
        # A trail is no smooth core, whatever its profile.
        self.fine, self.own = sample.shape != ROUND, False
        self.shaped = False
        self.loosening = np.ones(self.terms.shape[1])
        self.misfit = 0.0
        self.spreads = np.zeros(self.terms.shape[1])
        self.evidence: Evidence | None = None
        self.form_variance: F8 | None = None

    def set_degree(self, degree: int, sample: StarSample, own: int | None = None) -> None:
        """Let the PSF vary with the positions of the stars, to this degree.

        Its departures from the prior do to another one, `own`.
        """
        u = (sample.x - self.zero[0]) / self.scale[0]
        v = (sample.y - self.zero[1]) / self.scale[1]
        self.terms = polynomial_terms(degree, u, v)
        self.free: I8 = np.flatnonzero(powers(degree) <= (degree if own is None else own))

    def without(self, held_out: Bools) -> Solver:
        """Return the problem without some of the stars (n,), which are only fitted with."""
        other = copy(self)
        other.used = self.used & ~held_out
        for name in ("cx", "cy", "flux", "weight", "target", "fit_numbers"):
            setattr(other, name, getattr(self, name).copy())
        return other

    def fit(self, coefficients: F8, iterations: int = 3, clip: float = 5.0) -> None:
        """Fit fluxes and centres of all stars, and weight their pixels."""
        terms = np.ascontiguousarray(self.terms[:, : coefficients.shape[0]])

        rules = StarRules(
            inverse_gain=self.inverse_gain,
            accuracy=ACCURACY,
            core=self.core,
            chi_radius=max(2.0 * self.fwhm, 2.5),
            clip=clip,
        )

        def fit_part(part: slice) -> None:
            stars = Stars(
                terms=terms[part],
                cx=self.cx[part],
                cy=self.cy[part],
                flux=self.flux[part],
                stamps=self.stamps[part],
                noise=self.noise[part],
                weight=self.weight[part],
                target=self.target[part],
            )
            fit_stars(coefficients, self.step, rules, iterations, stars, self.fit_numbers[part])

        self.run.map(fit_part, self.parts)
        unusable = ~self.used | (self.flux <= 0) | ~np.isfinite(self.flux)
        self.used &= ~unusable
        self.weight[unusable] = 0.0
        self.target[unusable] = 0.0

    def mean_profile(self, n: int, shape: tuple[float, float, float], peak: float) -> F8:
        """Mean radial profile of the stars as an image of n x n samples, unit sum.

        The profile is measured over sub-pixel phases of all stars and therefore as sharp
        as the stars, whatever the pixel size.
        """
        edges = squared_edges(1.5 * self.step * n / 2, self.fwhm)
        flux, form = np.where(self.used, self.flux, 0.0), np.array(shape)

        def of_part(part: slice) -> F8:
            sums = np.zeros((len(edges) - 1, 3))
            radial_sums(
                self.stamps[part], self.noise[part], self.inverse_gain, ACCURACY, self.cx[part],
                self.cy[part], flux[part], peak, form, edges, sums,
            )  # fmt: skip
            return sums

        profile = SmoothProfile.of_sums(np.sum(self.run.map(of_part, self.parts), 0), self.fwhm)
        axis = ((np.arange(n) - (n - 1) / 2) * self.step).astype(np.float64)
        r2 = (
            shape[0] * axis[None, :] ** 2
            + shape[1] * axis[:, None] ** 2
            + 2.0 * shape[2] * axis[None, :] * axis[:, None]
        )
        image = profile(np.sqrt(r2))
        image /= image.sum() * self.step**2
        if self.fwhm < SQUARE:
            image += squareness(n, self.step, self.fwhm)
        return image

    def solve(self, prior: F8, start: F8 | None, left: float) -> tuple[F8, F8]:
        """Solve for the coefficients by least squares, drawn to `prior`.

        By conjugate gradients.  The unknowns are white noise of unit variance that
        `spread` turns into smooth departures from the prior: a Gaussian process whose
        smoothness damps what the stars cannot determine.

        Parameters
        ----------
        left : float
            The error at which to stop: its square in units of that of the noise, a mean over
            all that the stars determine.

        Returns
        -------
        unknowns : (n_terms, n_cells, n_cells) float64
            The start of the next call with a prior of the same smoothness.
        coefficients : (n_terms, n, n) float64
        """
        n, n_terms = prior.shape[1], self.free.size
        terms = np.ascontiguousarray(self.terms[:, self.free])
        weight = _columns(self.weight)
        right = self._over_stars(np.zeros((n_terms, n, n)), terms, _columns(self.target), True)
        density = self._information(n)
        sigma = self.prior_sigma(prior)
        correlation = FINE_CORRELATION if self.fine else CORRELATION
        correlated = correlation * self.fwhm / self.step
        smoothness = Smoothness(correlated, n)
        weight_of_star = self.weight.sum(axis=(1, 2), dtype=np.float64)
        moments = (terms * weight_of_star[:, None]).T @ terms / weight_of_star.sum()
        precondition = Preconditioner(sigma, density, moments, smoothness)

        # What the stars determine of each term: MacKay (1992), Neural Computation 4, 415.
        shared = max(1.0, 4.0 * math.pi * correlated**2)
        signal = shared * sigma**2 * density * np.diag(moments)[:, None, None]
        determined = (signal / (1.0 + signal)).sum(axis=(1, 2)) / shared
        enough = left * max(float(determined.sum()), 1.0)

        def spread(v: F8) -> F8:
            return sigma * smoothness.spread(v)

        def gather(v: F8) -> F8:
            return smoothness.gather(sigma * v)

        def data_matrix(v: F8) -> F8:
            return self._over_stars(v, terms, weight, False)

        def model(v: F8) -> F8:
            coefficients = prior.copy()
            coefficients[self.free] += spread(v)
            return coefficients

        cells = (n_terms, smoothness.n_cells, smoothness.n_cells)
        solution = np.zeros(cells) if start is None else start.copy()
        left_over = right - self._over_stars(model(solution), self.terms, weight, False)[self.free]
        residual = gather(left_over) - solution
        step = precondition(residual)
        direction = step
        power = float((residual * step).sum())
        for _ in range(MAX_STEPS):
            if not power > enough:
                break
            of_data = data_matrix(spread(direction))
            image = gather(of_data) + direction
            length = float((residual * direction).sum()) / float((direction * image).sum())
            solution += length * direction
            residual -= length * image
            left_over -= length * of_data
            # The preconditioner is not quite linear: Notay (2000), SIAM J. Sci. Comput. 22, 1444.
            step = precondition(residual)
            change = -length * float((image * step).sum())
            direction = step + (change / power) * direction
            power = float((residual * step).sum())
        coefficients = model(solution)
        core = (prior[0] > 0.05 * prior[0].max()) & (density > 0)
        self.misfit = core_misfit(left_over[0][core], NOISE_SHARE * density[core])
        self.spreads = (solution**2).sum(axis=(1, 2)) / np.maximum(determined, 1.0)
        loosening = self.loosening[:n_terms].copy()
        self.evidence = Evidence(
            sigma[-1] / loosening[-1],
            loosening,
            density,
            self.terms,
            weight_of_star,
            smoothness,
            self.free,
            self.form_variance,
        )
        return solution, coefficients

    def position_misfit(self, psf: Psf, x: F8, y: F8) -> float:
        """Return the error of positions by shapes of stars that a model does not have."""
        rows = np.flatnonzero(self.used)
        middle = self.stamps.shape[1] // 2
        centres = np.stack([self.cx[rows], self.cy[rows]]) - middle
        shapes = psf.stamps(x[rows], y[rows], centres[0], centres[1], self.stamps.shape[1])
        models = self.flux[rows, None, None] * shapes
        variance = self.noise[rows] + self.inverse_gain * np.maximum(models, 0.0)
        return odd_misfit(
            psf, np.stack([x[rows], y[rows]]), centres, self.flux[rows],
            self.stamps[rows] - models, 1.0 / variance, self.core,
        )  # fmt: skip

    def core_weight(self) -> F8:
        """Return the weight of each sample (n, n) in the fits of fluxes and centres."""
        assert self.evidence is not None
        density = self.evidence.density
        axis = (np.arange(len(density)) - len(density) // 2) * self.step
        return np.where(np.hypot(axis[:, None], axis) <= self.core, density, 0.0)

    def _over_stars(self, v: F8, terms: F8, values: F4, is_right: bool) -> F8:
        """Multiply with the normal matrix, or make the right side, in parts of the stars."""
        n = v.shape[2]
        coefficients = np.zeros((*v.shape[:2], filled_up(n)), dtype=np.float32)
        coefficients[:, :, :n] = v

        def of_part(part: slice) -> F4:
            out = np.zeros_like(coefficients)
            multiply(
                coefficients, terms[part], self.step, self.cx[part], self.cy[part], values[part],
                is_right, out,
            )  # fmt: skip
            return out

        out = np.zeros_like(v)
        for part in self.run.map(of_part, self.parts):
            out += part[:, :, :n]
        return out

    def _information(self, n: int) -> F8:
        """Return the information of all stars on each coefficient, where no other is free, (n, n).

        The weight of the pixel nearest to a coefficient, times the pixels per coefficient.
        """

        def of_part(part: slice) -> F8:
            out = np.zeros((n, n))
            add_nearest(self.weight[part], self.step, self.cx[part], self.cy[part], out)
            return out

        return np.asarray(np.sum(self.run.map(of_part, self.parts), 0) * self.step**2)

    def adapt(self, prior: F8, solution: F8, stray: F8) -> tuple[F8, F8 | None] | None:
        """Return another prior if the stars show that this one is too narrow.

        Varying terms get a wider prior; a PSF that is no smooth round core gets itself,
        smoothed, and leave to change on smaller scales.

        Parameters
        ----------
        prior, solution, stray
            As `solve` took and returned them.

        Returns
        -------
        prior : (n_terms, n, n) float64
        start : (n_terms, n_cells, n_cells) float64, optional
            About the same departures, in units of the new prior, to go on from.
        """
        if self.misfit <= MAX_MISFIT and (not self.fine or self.own):
            n_terms = self.free.size
            wide = self.spreads > MAX_SPREAD
            wide[0] = False
            if wide.any() and not self.shaped:
                # As a whole image that is wider, or longer, at one side of the field...
                self.shaped = True
                prior, start = prior.copy(), stray.copy()
                prior[1:], start[1:] = homologous(solution[0], solution[1:]), 0.0
                return prior, start
            # ... and else as it comes.
            before = self.loosening[:n_terms].copy()
            self.loosening[:n_terms][wide] = np.minimum(
                before[wide] * np.sqrt(self.spreads[wide]), MAX_LOOSENING
            )
            change = self.loosening[:n_terms] / before
            return (prior, stray / change[:, None, None]) if wide.any() else None
        if self.fine:
            # Its own smooth version describes it better than a round profile.
            prior = prior.copy()
            mean = smoothed(solution[0], FINE_CORRELATION * self.fwhm / self.step)
            prior[0] = np.maximum(mean, 0.0)
            self.own = True
        self.fine = True
        return prior, None

    def prior_sigma(self, prior: F8) -> F8:
        """How far a coefficient may stray from the prior."""
        size = np.maximum(prior[0], 0.0)
        peak = float(size.max())
        constant, floor = STRAY_CONSTANT, STRAY_FLOOR
        if self.fine:
            constant, floor = FINE_STRAY, OWN_FLOOR if self.own else FINE_FLOOR
        sigma = np.empty((self.free.size, *size.shape))
        sigma[0] = constant * size + floor * peak
        varying = STRAY_VARYING * self.loosening[1 : len(sigma), None, None]
        sigma[1:] = varying * size + STRAY_FLOOR * peak
        return sigma


def _columns(stamps: F4) -> F4:
    """Return pixels [x, y] of stamps as `multiply` takes them, filled up with zeros."""
    n, size, _ = stamps.shape
    columns = np.zeros((n, size, filled_up(size)), dtype=np.float32)
    columns[:, :, :size] = stamps.transpose(0, 2, 1)
    return columns


def _working_inverse_gain(variance: F4) -> float:
    """1 / gain as weights take it where the gain is unknown."""
    return typical_noise(variance) / WORKING_NOISE
