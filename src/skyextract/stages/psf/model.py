"""Build a PSF model from stars: pixel basis, polynomial in x and y, outliers rejected.

The approach is PSFEx's (Bertin 2011, ASP Conf. Ser. 442, 435) with two differences: the
pixel basis is solved at its final sampling for all stars at once by conjugate gradients,
and it is regularised towards the stars' own mean profile (PSFEx: towards a smooth guess),
which keeps the noise out of the wings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from skyextract.datamodel.arrays import F4, F8, Bools
from skyextract.datamodel.noise import median, medians
from skyextract.datamodel.psfshape import core_shape, window_centre
from skyextract.errors import StepError
from skyextract.run import Run
from skyextract.stages.psf.fitted import PsfFit, Solution, Variation, described
from skyextract.stages.psf.sample import ROUND, StarSample
from skyextract.stages.psf.scaled import ScaledProfile, scaled_profile
from skyextract.stages.psf.solver import Solver
from skyextract.stages.psf.splines import centred, coefficients_of, normalise, samples_of

SAMPLES_PER_FWHM = 4.5
"""Sampling of the model where a pixel is coarser than that."""

UNDERSAMPLED = 2.0
"""FWHM in pixels below which the model's flux is held constant over the phases of a pixel."""

MAX_RANGE = 5.0
"""Widths over the field differ by less than this factor: polynomials of more are not of stars, and
samples as fine as the least width, over a model as wide as the largest, would be too many."""

MAX_SAMPLES_PER_FWHM = 20
"""A finer PSF_SAMPLING is refused: no star says anything about it, and it takes hours."""

RADIUS_FWHM = 3.3
"""The model reaches this many FWHM, so that a 6-FWHM aperture fits in."""

LARGE, LIGHTLESS = 40, 1e-4
"""A model of more pixels than the first number to each side ends where the light of the mean
profile beyond is less than the second (a disc out of focus has no wings)..."""

SHORTER = 0.85
"""... if it becomes shorter by this factor at least, and in steps of it."""

STARS_PER_TERM = 6
"""The degree is lowered until there are this many stars per polynomial term."""

STARS_PER_SCALED_TERM = 2.5
"""The same where the prior varies over the field as the stars do."""

OWN_DEGREE = 4
"""Stars tell how they depart from one profile of local width by terms of this degree."""

LEFT, FIRST_LEFT = 0.01, 0.1
"""Squared error of the solution over that of the noise in it; the first solution serves to find
outliers and centres."""

MAX_TURNS, LAST_ADAPTED = 6, 4
"""Solutions at most, each after stars were rejected; the second and third may change the prior."""

CENTRED = 2e-3
"""Pixels by which the middle of the model may be off."""

MIN_STARS = 3


def affordable_degree(n_stars: int, wanted: int, per_term: float = STARS_PER_TERM) -> int:
    """Lower the polynomial degree until every term has so many stars."""
    degree = wanted
    while degree > 0 and n_stars < per_term * (degree + 1) * (degree + 2) // 2:
        degree -= 1
    return degree


def build_psf(
    data: F4,
    variance: F4,
    sample: StarSample,
    *,
    gain: float,
    degree: int,
    scaled: bool = False,
    sampling: float = 0.0,
    size: int = 0,
    held_out: Bools | None = None,
    rough: bool = False,
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
    scaled : bool
        Whether the model is drawn to one profile of local width and shape: widths vary much.
    sampling : float
        Size of a sample in pixels (PSF_SAMPLING); 0 chooses it from the FWHM.
    size : int
        Samples per side (PSF_SIZE); 0 chooses it from the FWHM.
    held_out : (n,) bool, optional
        Stars that the model is not made of, only fitted with.
    rough : bool
        All solutions are as the first one: the model serves to look for stars and cosmic rays.
    run : Run
        Threads.

    Raises
    ------
    StepError
        Fewer than 3 stars agree with each other, what they give is no PSF, or `sampling` is too
        fine for any number of stars.
    """
    if sample.x.size < MIN_STARS:
        raise StepError(f"{sample.x.size} stars: too few for a PSF")
    fwhm = sample.fwhm
    if 0.0 < sampling < fwhm / MAX_SAMPLES_PER_FWHM:
        raise StepError(
            f"PSF_SAMPLING {sampling:g}: finer than 1/{MAX_SAMPLES_PER_FWHM} of the FWHM"
            f" ({fwhm:.2f} pixels)"
        )
    n_stars = sample.x.size if held_out is None else int(np.count_nonzero(~held_out))
    per_term = STARS_PER_SCALED_TERM if scaled else STARS_PER_TERM
    degree = affordable_degree(n_stars, degree, per_term)
    begin = partial(
        _Making.begun, data, variance, sample, gain=gain, degree=degree, sampling=sampling,
        size=size, held_out=held_out, run=run,
    )  # fmt: skip
    making = _scaled(begin, sample, size) if scaled else _round(begin, sample, size)[0]
    solver, adapted = making.solver, False
    for turn in range(MAX_TURNS):
        solver.fit(making.solution)
        if turn and not _reject(solver) and turn > 1 and not adapted:
            break
        if solver.used.sum() < MIN_STARS:
            raise StepError("fewer than 3 stars agree on a PSF")
        making.afford(affordable_degree(int(solver.used.sum()), making.degree, per_term))
        left = LEFT if turn and not rough else FIRST_LEFT
        making.solve(left)
        making.recentre(left)
        adapted = 1 <= turn < LAST_ADAPTED and making.adapt(left)
    else:
        solver.fit(making.solution)
    return making.described(Variation(making.degree, scaled))


class _Making:
    """A model in the making: its stars in their solver, the prior, and the solution so far."""

    def __init__(self, solver: Solver, sample: StarSample, degree: int, n: int) -> None:
        self.solver, self.sample, self.degree, self.n = solver, sample, degree, n
        self.profile: ScaledProfile | None = None
        self.stray: F8 | None = None

    @classmethod
    def begun(
        cls,
        data: F4,
        variance: F4,
        sample: StarSample,
        widths: tuple[float, float],
        reach: float = RADIUS_FWHM,
        *,
        gain: float,
        degree: int,
        sampling: float,
        size: int,
        held_out: Bools | None,
        run: Run,
    ) -> _Making:
        """Begin with stars of a least and a largest FWHM, the model as large as `reach` of it.

        The other arguments are those of `build_psf`.
        """
        narrow, wide = widths
        step = sampling or min(1.0, narrow / SAMPLES_PER_FWHM)
        half = math.ceil(reach * wide) + 1
        samples = max(size // 2, 2) if size else math.ceil((half + 1) / step) + 1
        solver = Solver(
            data, variance, sample, gain=gain, degree=degree, step=step, half=half, run=run
        )
        if held_out is not None:
            solver.used &= ~held_out
        return cls(solver, sample, degree, 2 * samples + 1)

    def from_prior(self, prior: F8) -> None:
        """Begin the solution anew."""
        self.prior, self.solution, self.stray = prior, prior.copy(), None

    def afford(self, degree: int) -> None:
        """Lower the degree if fewer stars are left: the terms change meaning with it."""
        if degree == self.degree:
            return
        solver, profile, self.degree = self.solver, self.profile, degree
        solver.set_degree(degree, self.sample, OWN_DEGREE if profile else None)
        if profile:
            self.from_prior(profile.drawn(self.n, solver.step, degree))
        else:
            self.from_prior(self.prior[: solver.terms.shape[1]])
        solver.form_variance = profile.forms.variance(degree) if profile else None
        solver.fit(self.solution)

    def solve(self, left: float) -> None:
        """Solve for the model, from the solution so far."""
        self.stray, self.solution = solve(self.solver, self.prior, self.stray, left)

    def recentre(self, left: float) -> None:
        """Move the stars so that the middle of the model is where their windowed positions are.

        Those are the positions of astrometry; a round window walks along a trail that is brighter
        at one end.
        """
        solver, image = self.solver, samples_of(self.solution)[0]
        x, y = window_centre(image) if self.sample.shape == ROUND else core_shape(image)[:2]
        solver.cx += x * solver.step
        solver.cy += y * solver.step
        if abs(x) + abs(y) > CENTRED / solver.step:
            self.solve(left)

    def adapt(self, left: float) -> bool:
        """Change the prior to what the stars show, and solve again; False if it stays."""
        assert self.stray is not None
        other = self.solver.adapt(self.prior, self.solution, self.stray)
        if other is None:
            return False
        self.prior, self.stray = other
        self.solve(left)
        return True

    def described(self, variation: Variation) -> PsfFit:
        """Return the model with all that is known of it."""
        assert self.stray is not None
        solution = Solution(self.prior, self.solution, self.stray, self.profile)
        return described(self.solver, solution, variation)


def _round(begin: Callable[..., _Making], sample: StarSample, size: int) -> tuple[_Making, float]:
    """Begin with the mean profile of the stars; return also how many FWHM the model reaches."""
    widths, reach = (sample.narrow or sample.fwhm, sample.fwhm), RADIUS_FWHM
    making = begin(widths)
    prior = _round_profile(making.solver, making.n, sample)
    if not size and RADIUS_FWHM * sample.fwhm > LARGE:
        reach *= _lit_share(prior[0])
    if reach < RADIUS_FWHM:
        making = begin(widths, reach)
        prior = _round_profile(making.solver, making.n, sample)
    making.from_prior(prior)
    return making, reach


def _scaled(begin: Callable[..., _Making], sample: StarSample, size: int) -> _Making:
    """Begin with one profile of local width and shape.

    Raises
    ------
    StepError
        Widths that the polynomial gives are not those of stars.
    """
    first, reach = _round(begin, sample, size)
    profile = scaled_profile(first.solver, first.degree)
    narrow, wide = profile.range_of_widths()
    if not wide < MAX_RANGE * narrow:
        raise StepError("the widths of the stars do not tell those of the field")
    making = begin((narrow * sample.fwhm, wide * sample.fwhm), reach)
    solver, degree, making.profile = making.solver, making.degree, profile
    making.from_prior(profile.drawn(making.n, solver.step, degree))
    solver.set_degree(degree, sample, OWN_DEGREE)
    solver.shaped, solver.form_variance = True, profile.forms.variance(degree)
    solver.fit(making.prior, clip=1e9)
    return making


def solve(solver: Solver, prior: F8, stray: F8 | None, left: float) -> tuple[F8, F8]:
    """Return the unknowns and the coefficients, centred and of unit sum; stars move with these.

    The arguments are those of `Solver.solve`.
    """
    stray, coefficients = solver.solve(prior, stray, left)
    coefficients, shifts = centred(coefficients, solver.core_weight())
    solver.cx += solver.terms @ shifts[:, 0] * solver.step
    solver.cy += solver.terms @ shifts[:, 1] * solver.step
    return stray, normalise(coefficients, solver.step, undersampled=solver.fwhm < UNDERSAMPLED)


def without_stars(fit: PsfFit, held_out: Bools) -> PsfFit | None:
    """Return a fit of a scaled profile without some of the stars (n,), which are only fitted with.

    The equations are solved from the solution of all on; what that rejected stays out.  None where
    fewer stars do not bear as many terms.
    """
    solver, last, degree = fit.solver.without(held_out), fit.solution, fit.variation.degree
    n_stars = int(solver.used.sum())
    if n_stars < MIN_STARS or affordable_degree(n_stars, degree, STARS_PER_SCALED_TERM) < degree:
        return None
    assert last.profile is not None
    profile = last.profile.without(held_out)
    prior = profile.drawn(last.prior.shape[1], solver.step, degree)
    solver.fit(last.coefficients)
    stray, coefficients = solve(solver, prior, last.stray, LEFT)
    solver.fit(coefficients)
    return described(solver, Solution(prior, coefficients, stray, profile), fit.variation)


def _round_profile(solver: Solver, n: int, sample: StarSample) -> F8:
    """Return the mean profile of the stars as coefficients (n_terms, n, n); it varies nowhere.

    It is measured twice: the first one serves to find fluxes and centres.
    """
    prior = np.zeros((solver.terms.shape[1], n, n))
    profile = solver.mean_profile(n, sample.shape, 1.0 / (1.13 * sample.fwhm**2))
    prior[0] = coefficients_of(profile)[0]
    solver.fit(prior[:1], clip=1e9)
    solver.fit_numbers[:] = 0
    prior[0] = coefficients_of(solver.mean_profile(n, sample.shape, float(profile.max())))[0]
    return prior


def _lit_share(profile: F8) -> float:
    """Return the part of a profile's side, from the middle on, that holds its light."""
    half = profile.shape[0] // 2
    axis = np.abs(np.arange(profile.shape[0]) - half)
    light = np.bincount(np.maximum.outer(axis, axis).ravel(), weights=profile.ravel())
    beyond = np.cumsum(light[::-1])[::-1]
    share = 1.0
    while beyond[math.floor(SHORTER * share * half)] < LIGHTLESS * beyond[0]:
        share *= SHORTER
    return share


def _reject(solver: Solver) -> bool:
    """Reject stars whose chi2 stands out from that of stars of like S/N; True if any."""
    used = np.flatnonzero(solver.used)
    if used.size <= MIN_STARS:
        return False
    numbers = solver.fit_numbers[used]
    chi2 = numbers[:, 0] / np.maximum(numbers[:, 1], 1)
    order = np.argsort(solver.flux[used], kind="stable")
    # Model errors and unknown gains make chi2 grow with S/N: compare with the like.
    width = min(max(5, min(25, used.size // 3)), used.size)
    beside = medians(sliding_window_view(chi2[order], width))
    limit = np.empty(used.size)
    limit[order] = beside[np.clip(np.arange(used.size) - width // 2, 0, beside.size - 1)]
    typical = median(numbers[:, 1])
    spread = math.sqrt(2.0 / max(typical, 1.0))
    drifted = np.hypot(
        solver.cx[used] - solver.stamps.shape[2] // 2,
        solver.cy[used] - solver.stamps.shape[1] // 2,
    ) > max(1.5, 0.6 * solver.fwhm)
    empty = numbers[:, 1] < 0.7 * typical
    bad = (chi2 > limit * (1.6 + 4.0 * spread)) | drifted | empty
    solver.used[used[bad]] = False
    solver.weight[~solver.used] = 0.0
    solver.target[~solver.used] = 0.0
    return bool(bad.any())
