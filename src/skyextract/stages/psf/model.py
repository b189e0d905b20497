"""Build a PSF model from stars: pixel basis, polynomial in x and y, outliers rejected.

The approach is PSFEx's (Bertin 2011, ASP Conf. Ser. 442, 435) with two differences: the
pixel basis is solved at its final sampling for all stars at once by conjugate gradients,
and it is regularised towards the stars' own mean profile (PSFEx: towards a smooth guess),
which keeps the noise out of the wings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from skyextract.datamodel.arrays import F4, F8, Bools
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.datamodel.psfshape import core_ellipticity, core_shape, effective_fwhm
from skyextract.errors import StepError
from skyextract.kernels.psf import build as kernels
from skyextract.kernels.psf import spline as psf_kernels
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.run import Run
from skyextract.stages.psf.profile import SmoothProfile

SAMPLES_PER_FWHM = 4.5
"""Sampling of the model where a pixel is coarser than that."""

UNDERSAMPLED = 2.0
"""FWHM in pixels below which the model's flux is held constant over the phases of a pixel."""

RADIUS_FWHM = 3.3
"""The model reaches this many FWHM, so that a 6-FWHM aperture fits in."""

STARS_PER_TERM = 8
"""The degree is lowered until there are this many stars per polynomial term."""

MIN_STARS = 3

PARTS = 4
"""The stars are worked on in so many parts, in threads."""

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

CG_TOLERANCE = 1e-9
"""Squared residual, relative to the first one, at which conjugate gradients stop."""

ACCURACY = 0.003
"""Relative error of model values that is allowed for when stars are weighted."""

WORKING_NOISE = 30.0
"""Background noise in electrons that is assumed where the gain is unknown: with no photon noise
at all the peaks of the brightest stars would make the model."""


@dataclass(frozen=True)
class StarSample:
    """Stars to build a PSF from, and what shines beside them.

    Attributes
    ----------
    x, y, flux : (n,) float64
        0-based pixels; rough total fluxes.
    fwhm : float
        Their typical FWHM in pixels.
    narrow : float
        FWHM along the minor axis where that is clearly shorter (0: it is not).
    shape : (float, float, float)
        Quadratic form (xx, yy, xy) of their elliptical radius, unit determinant.
    height : (n,) float64
        Their heights in the smoothed image.
    peaks : (4, m) float64
        All peaks of the smoothed image, sorted by y: x, y, height, and how far (pixels)
        their light is to be masked.
    """

    x: F8
    y: F8
    flux: F8
    fwhm: float
    height: F8
    peaks: F8
    narrow: float = 0.0
    shape: tuple[float, float, float] = (1.0, 1.0, 0.0)


@dataclass(frozen=True)
class PsfFit:
    """A PSF model and how the stars fit to it.

    Attributes
    ----------
    psf : Psf
    used : (n,) bool
        Stars of the sample that the model was built from.
    x, y, flux, flux_error, chi2 : (n,) float64
        Fitted 0-based positions and fluxes, and reduced chi2 within 2 FWHM.
    """

    psf: Psf
    used: Bools
    x: F8
    y: F8
    flux: F8
    flux_error: F8
    chi2: F8


def polynomial_terms(degree: int, u: F8, v: F8) -> F8:
    """Terms of the polynomial at normalised positions, in PSFEx's order.

    Returns
    -------
    (n, n_terms) float64
        ``u**i * v**j`` for j in 0..degree, for i in 0..degree-j.
    """
    terms = [u**i * v**j for j in range(degree + 1) for i in range(degree + 1 - j)]
    return np.ascontiguousarray(np.stack(terms, axis=1))


def affordable_degree(n_stars: int, wanted: int) -> int:
    """Lower the polynomial degree until every term has `STARS_PER_TERM` stars."""
    degree = wanted
    while degree > 0 and n_stars < STARS_PER_TERM * (degree + 1) * (degree + 2) // 2:
        degree -= 1
    return degree


class _Solver:
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
        self.step = step
        self.inverse_gain = 1.0 / gain if gain > 0 else _working_inverse_gain(variance)
        self.stamps = np.empty((n, size, size), dtype=np.float32)
        self.noise = np.empty((n, size, size), dtype=np.float32)
        px, py, height, radius = sample.peaks
        kernels.cut_stamps(
            data, variance, sample.x, sample.y, sample.height, px, py, height, radius,
            sample.fwhm, self.stamps, self.noise,
        )  # fmt: skip
        self.origin_x = np.floor(sample.x + 0.5) - half
        self.origin_y = np.floor(sample.y + 0.5) - half
        self.cx = sample.x - self.origin_x
        self.cy = sample.y - self.origin_y
        self.flux = sample.flux.copy()
        ny, nx = data.shape
        self.zero = ((nx - 1) / 2, (ny - 1) / 2)
        self.scale = (float(nx), float(ny))
        u = (sample.x - self.zero[0]) / self.scale[0]
        v = (sample.y - self.zero[1]) / self.scale[1]
        self.terms = polynomial_terms(degree, u, v)
        self.weight = np.zeros_like(self.stamps)
        self.target = np.zeros_like(self.stamps)
        self.fit_numbers = np.zeros((n, 4))
        self.used = np.ones(n, dtype=bool)
        self.first_power = 0.0
        self.fine = self.own = False
        self.loosening = np.ones(self.terms.shape[1])
        self.misfit = 0.0
        self.spreads = np.zeros(self.terms.shape[1])

    def fit(self, coefficients: F8, iterations: int = 3, clip: float = 5.0) -> None:
        """Fit fluxes and centres of all stars, and weight their pixels."""
        terms = np.ascontiguousarray(self.terms[:, : coefficients.shape[0]])

        def fit_part(part: slice) -> None:
            kernels.fit_stars(
                coefficients, terms[part], self.step,
                self.stamps[part], self.noise[part], self.inverse_gain, ACCURACY,
                1.5 * self.fwhm, max(2.0 * self.fwhm, 2.5), clip, iterations, self.cx[part],
                self.cy[part], self.flux[part], self.weight[part], self.target[part],
                self.fit_numbers[part],
            )  # fmt: skip

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
        radius = [0.0]
        while radius[-1] < 1.5 * self.step * n / 2:
            radius.append(radius[-1] + max(0.08 * self.fwhm, 0.12 * radius[-1]))
        edges = np.array(radius) ** 2
        sums = np.zeros((len(radius) - 1, 3))
        kernels.radial_sums(
            self.stamps, self.noise, self.inverse_gain, ACCURACY, self.cx, self.cy,
            np.where(self.used, self.flux, 0.0), peak, np.array(shape), edges, sums,
        )  # fmt: skip
        filled = sums[:, 0] > 0
        if filled.sum() < 4:
            raise StepError("the stars have no usable pixels")
        value = sums[filled, 1] / sums[filled, 0]
        r = sums[filled, 2] / sums[filled, 0]
        error = 1.0 / np.sqrt(sums[filled, 0])
        profile = SmoothProfile.fit(r, value, error, self.fwhm)
        axis = (np.arange(n) - (n - 1) / 2) * self.step
        r2 = (
            shape[0] * axis[None, :] ** 2
            + shape[1] * axis[:, None] ** 2
            + 2.0 * shape[2] * axis[None, :] * axis[:, None]
        )
        image = profile(np.sqrt(r2))
        image /= image.sum() * self.step**2
        return image

    def solve(self, prior: F8, start: F8, n_iterations: int) -> tuple[F8, F8]:
        """Solve for the coefficients by least squares, drawn to `prior`.

        By conjugate gradients.  The unknowns are white noise of unit variance that
        `spread` turns into smooth departures from the prior: a Gaussian process whose
        smoothness damps what the stars cannot determine.

        Returns
        -------
        unknowns, coefficients : (n_terms, n, n) float64
            The unknowns are the start of the next call.
        """
        n_terms, n, _ = start.shape
        terms = np.ascontiguousarray(self.terms[:, :n_terms])
        right = np.zeros((n_terms, n, n))
        kernels.right_side(terms, self.step, self.cx, self.cy, self.target, right)
        blocks = np.zeros((n, n, n_terms, n_terms))
        kernels.diagonal(terms, self.step, self.cx, self.cy, self.weight, blocks)
        information = np.ascontiguousarray(np.einsum("yxkk->kyx", blocks))
        sigma = self.prior_sigma(prior)
        correlation = FINE_CORRELATION if self.fine else CORRELATION
        correlated = correlation * self.fwhm / self.step
        taps = _smoothing_taps(correlated)
        for k in range(n_terms):
            for m in range(k):
                blocks[:, :, m, k] = blocks[:, :, k, m]
        blocks *= np.einsum("kyx,myx->yxkm", sigma, sigma)
        for k in range(n_terms):
            blocks[:, :, k, k] += 1.0
        inverse = np.ascontiguousarray(np.linalg.inv(blocks).transpose(2, 3, 0, 1))

        def spread(v: F8) -> F8:
            out = np.empty_like(v)
            kernels.smooth_terms(v, taps, out)
            out *= sigma
            return out

        def gather(v: F8) -> F8:
            out = np.empty_like(v)
            kernels.smooth_terms(sigma * v, taps, out)
            return out

        def data_matrix(v: F8) -> F8:
            def of_part(part: slice) -> F8:
                out = np.zeros_like(v)
                kernels.apply_normal(
                    v, terms[part], self.step, self.cx[part], self.cy[part], self.weight[part], out
                )
                return out

            first, *others = self.run.map(of_part, self.parts)
            for other in others:
                first += other
            return first

        def precondition(v: F8) -> F8:
            out: F8 = (inverse * v).sum(axis=1)
            return out

        solution = start.copy()
        residual = gather(right - data_matrix(prior + spread(solution))) - solution
        direction = precondition(residual)
        power = float((residual * direction).sum())
        if not start.any():
            self.first_power = power
        for _ in range(n_iterations):
            if power <= CG_TOLERANCE * self.first_power or power <= 0:
                break
            image = gather(data_matrix(spread(direction))) + direction
            length = power / float((direction * image).sum())
            solution += length * direction
            residual -= length * image
            step = precondition(residual)
            fresh = float((residual * step).sum())
            direction = step + (fresh / power) * direction
            power = fresh
        coefficients = prior + spread(solution)
        left = right[0] - data_matrix(coefficients)[0]
        core = (prior[0] > 0.05 * prior[0].max()) & (information[0] > 0)
        self.misfit = float((left[core] ** 2 / (NOISE_SHARE * information[0][core])).mean())
        # What the stars determine of each term: MacKay (1992), Neural Computation 4, 415.
        shared = max(1.0, 4.0 * math.pi * correlated**2)
        signal = shared * sigma**2 * information
        determined = (signal / (1.0 + signal)).sum(axis=(1, 2)) / shared
        self.spreads = (solution**2).sum(axis=(1, 2)) / np.maximum(determined, 1.0)
        return solution, coefficients

    def adapt(self, prior: F8, solution: F8) -> F8 | None:
        """Return another prior if the stars show that this one is too narrow.

        Varying terms get a wider prior; a PSF that is no smooth round core gets itself,
        smoothed, and leave to change on smaller scales.
        """
        if self.misfit <= MAX_MISFIT and (not self.fine or self.own):
            n_terms = prior.shape[0]
            wide = self.spreads > MAX_SPREAD
            wide[0] = False
            self.loosening[:n_terms][wide] = np.minimum(
                self.loosening[:n_terms][wide] * np.sqrt(self.spreads[wide]), MAX_LOOSENING
            )
            return prior if wide.any() else None
        if self.fine:
            # Its own smooth version describes it better than a round profile.
            prior = prior.copy()
            taps = _smoothing_taps(FINE_CORRELATION * self.fwhm / self.step)
            smooth = np.empty((1, *prior.shape[1:]))
            kernels.smooth_terms(np.ascontiguousarray(solution[:1]), taps / taps.sum(), smooth)
            prior[0] = np.maximum(smooth[0], 0.0)
            self.own = True
        self.fine = True
        return prior

    def prior_sigma(self, prior: F8) -> F8:
        """How far a coefficient may stray from the prior."""
        size = np.maximum(prior[0], 0.0)
        peak = float(size.max())
        constant, floor = STRAY_CONSTANT, STRAY_FLOOR
        if self.fine:
            constant, floor = FINE_STRAY, OWN_FLOOR if self.own else FINE_FLOOR
        sigma = np.empty_like(prior)
        sigma[0] = constant * size + floor * peak
        varying = STRAY_VARYING * self.loosening[1 : prior.shape[0], None, None]
        sigma[1:] = varying * size + STRAY_FLOOR * peak
        return sigma


def _working_inverse_gain(variance: F4) -> float:
    """1 / gain as weights take it where the gain is unknown."""
    step = max(1, math.isqrt(variance.size // 10000))
    sample = variance[::step, ::step]
    good = sample[(sample > 0) & (sample < MAX_VARIANCE)]
    return math.sqrt(float(np.median(good))) / WORKING_NOISE if good.size else 0.0


def _smoothing_taps(length: float) -> F8:
    """Return a Gaussian kernel that correlates white noise and keeps its variance."""
    half = max(1, math.ceil(3.0 * length))
    taps = np.exp(-0.5 * (np.arange(-half, half + 1) / length) ** 2)
    out: F8 = taps / math.sqrt(float((taps**2).sum()))
    return out


def _coefficients(image: F8) -> F8:
    """B-spline coefficients of an image of samples, same shape."""
    pad = psf_kernels.PAD
    out = np.empty((1, image.shape[0] + 2 * pad, image.shape[1] + 2 * pad))
    psf_kernels.spline_coefficients(np.ascontiguousarray(image[None], dtype=np.float32), out)
    return np.ascontiguousarray(out[:, pad:-pad, pad:-pad])


def _normalise(coefficients: F8, step: float, *, undersampled: bool = False) -> F8:
    """Constant term of unit sum, the others of zero sum: fluxes mean the same everywhere."""
    if undersampled:
        coefficients = _same_flux_at_all_phases(coefficients, step)
    sums = coefficients.sum(axis=(1, 2)) * step**2
    if not sums[0] > 0:
        raise StepError("the stars give no positive PSF")
    out = coefficients / sums[0]
    out[1:] -= (sums[1:] / sums[0])[:, None, None] * out[0]
    return np.ascontiguousarray(out)


def _same_flux_at_all_phases(coefficients: F8, step: float) -> F8:
    """Let the pixels of a star sum to the same wherever in its pixel it is.

    Of an undersampled star the fit alone does not know: a model too bright at one phase and
    stars too faint there fit as well.

    Returns
    -------
    (n_terms, n, n) float64
        Constant term of unit sum, the others of zero sum, at every phase.
    """
    n = coefficients.shape[1]
    middle = (n - 1) / 2
    at = np.zeros((n, n))
    pixels = math.ceil(n * step)
    for pixel in range(-pixels, pixels + 1):
        t = np.arange(n) + pixel / step
        distance = np.abs(t[:, None] - np.arange(n))
        at += np.where(
            distance < 1.0,
            (4.0 - 6.0 * distance**2 + 3.0 * distance**3) / 6.0,
            np.maximum(2.0 - distance, 0.0) ** 3 / 6.0,
        )
    sums = at @ coefficients @ at.T
    inside = np.hypot(*np.mgrid[-middle : middle + 1, -middle : middle + 1]) < middle
    if not (sums[0][inside] > 0).all():
        raise StepError("the stars give no positive PSF")
    safe = np.where(sums[0] > 0, sums[0], 1.0)
    out = _samples(coefficients) / safe
    out[1:] -= sums[1:] / safe * out[0]
    return np.concatenate([_coefficients(image) for image in out])


def build_psf(
    data: F4,
    variance: F4,
    sample: StarSample,
    *,
    gain: float,
    degree: int,
    sampling: float = 0.0,
    size: int = 0,
    n_iterations: int = 50,
    run: Run,
) -> PsfFit:
    """Build a PSF model from a sample of stars.

    Parameters
    ----------
    data, variance : (ny, nx) float32
        Background-subtracted image and background variance (1e30: no data).
    sample : StarSample
    gain : float
        e- per image unit; 0: unknown, and guessed (`WORKING_NOISE`).
    degree : int
        Largest degree of the polynomial in x, y (PSFVAR_DEGREES).
    sampling : float
        Size of a sample in pixels (PSF_SAMPLING); 0 chooses it from the FWHM.
    size : int
        Samples per side (PSF_SIZE); 0 chooses it from the FWHM.
    n_iterations : int
        Conjugate-gradient steps, at most, between two fits of fluxes and centres, for a sampling
        of one pixel; more in proportion for a finer one.
    run : Run
        Threads.

    Raises
    ------
    StepError
        Fewer than 3 stars agree with each other, or what they give is no PSF.
    """
    if sample.x.size < MIN_STARS:
        raise StepError(f"{sample.x.size} stars: too few for a PSF")
    fwhm = sample.fwhm
    step = sampling or min(1.0, (sample.narrow or fwhm) / SAMPLES_PER_FWHM)
    half = math.ceil(RADIUS_FWHM * fwhm) + 1
    reach = max(size // 2, 2) if size else math.ceil((half + 1) / step) + 1
    n = 2 * reach + 1
    degree = affordable_degree(sample.x.size, degree)
    solver = _Solver(
        data, variance, sample, gain=gain, degree=degree, step=step, half=half, run=run
    )
    peak = 1.0 / (1.13 * fwhm**2)

    profile = solver.mean_profile(n, sample.shape, peak)
    prior = np.zeros((solver.terms.shape[1], n, n))
    prior[0] = _coefficients(profile)[0]
    solver.fit(prior[:1], clip=1e9)
    solver.fit_numbers[:] = 0
    prior[0] = _coefficients(solver.mean_profile(n, sample.shape, float(profile.max())))[0]
    solution = prior.copy()
    stray = np.zeros_like(prior)
    adapted = False
    for turn in range(6):
        solver.fit(solution)
        if turn and not _reject(solver) and turn > 1 and not adapted:
            break
        if solver.used.sum() < MIN_STARS:
            raise StepError("fewer than 3 stars agree on a PSF")
        lower = affordable_degree(int(solver.used.sum()), degree)
        n_terms = (lower + 1) * (lower + 2) // 2
        if n_terms < solution.shape[0]:
            # Fewer stars are left: the terms change meaning with the degree.
            degree = lower
            solver.terms = polynomial_terms(
                degree,
                (sample.x - solver.zero[0]) / solver.scale[0],
                (sample.y - solver.zero[1]) / solver.scale[1],
            )
            prior = prior[:n_terms]
            solution = prior.copy()
            stray = np.zeros_like(prior)
            solver.fit(solution)
        # The first solution serves to find outliers and centres.
        steps = math.ceil((1.0 if turn else 0.5) * n_iterations / step)
        stray, solution = solver.solve(prior, stray, steps)
        solution = _normalise(solution, step, undersampled=fwhm < UNDERSAMPLED)
        # The centroid of the model is its middle.
        x, y, *_ = core_shape(_samples(solution)[0])
        solver.cx += x * step
        solver.cy += y * step
        if abs(x) + abs(y) > 2e-3 / step:
            stray, solution = solver.solve(prior, stray, steps)
            solution = _normalise(solution, step, undersampled=fwhm < UNDERSAMPLED)
        other = solver.adapt(prior, solution) if 1 <= turn < 4 else None
        adapted = other is not None
        if other is not None:
            prior = other
            stray, solution = solver.solve(prior, np.zeros_like(prior), steps)
            solution = _normalise(solution, step, undersampled=fwhm < UNDERSAMPLED)
    solver.fit(solution)

    basis = _normalise(_samples(solution), step)
    chi2 = solver.fit_numbers[:, 0] / np.maximum(solver.fit_numbers[:, 1], 1)
    psf = Psf(
        basis=np.ascontiguousarray(basis, dtype=np.float32),
        sampling=step,
        degree=degree,
        x_zero=solver.zero[0],
        x_scale=solver.scale[0],
        y_zero=solver.zero[1],
        y_scale=solver.scale[1],
        fwhm=effective_fwhm(basis[0], step),
        ellipticity=core_ellipticity(basis[0]),
        source=PsfSource.MEASURED,
        n_stars=int(solver.used.sum()),
        chi2=float(np.median(chi2[solver.used])),
    )
    return PsfFit(
        psf=psf,
        used=solver.used,
        x=solver.cx + solver.origin_x,
        y=solver.cy + solver.origin_y,
        flux=solver.flux,
        flux_error=np.sqrt(solver.fit_numbers[:, 2]),
        chi2=chi2,
    )


def _samples(coefficients: F8) -> F8:
    """Values of the model at its samples, all terms."""
    out = np.empty_like(coefficients)
    for k in range(coefficients.shape[0]):
        psf_kernels.spline_samples(coefficients[k], out[k])
    return out


def _reject(solver: _Solver) -> bool:
    """Reject stars whose chi2 stands out from that of stars of like S/N; True if any."""
    used = np.flatnonzero(solver.used)
    if used.size <= MIN_STARS:
        return False
    numbers = solver.fit_numbers[used]
    chi2 = numbers[:, 0] / np.maximum(numbers[:, 1], 1)
    order = np.argsort(solver.flux[used], kind="stable")
    limit = np.empty(used.size)
    # Model errors and unknown gains make chi2 grow with S/N: compare with the like.
    width = max(5, min(25, used.size // 3))
    for rank, i in enumerate(order):
        low = max(0, min(rank - width // 2, used.size - width))
        limit[i] = np.median(chi2[order[low : low + width]])
    spread = math.sqrt(2.0 / max(float(np.median(numbers[:, 1])), 1.0))
    drifted = np.hypot(
        solver.cx[used] - solver.stamps.shape[2] // 2,
        solver.cy[used] - solver.stamps.shape[1] // 2,
    ) > max(1.5, 0.6 * solver.fwhm)
    empty = numbers[:, 1] < 0.7 * np.median(numbers[:, 1])
    bad = (chi2 > limit * (1.6 + 4.0 * spread)) | drifted | empty
    solver.used[used[bad]] = False
    solver.weight[~solver.used] = 0.0
    solver.target[~solver.used] = 0.0
    return bool(bad.any())
