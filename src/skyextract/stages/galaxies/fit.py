"""Models of galaxies fitted to all sources of an image.

Profiles are those of Sersic (1968), the exponential and de Vaucouleurs' among them, as sums of
Gaussians (Hogg & Lang 2013, PASP 125, 719) convolved with the PSF of the image.  Errors are those
of the normal matrix: of the right profile, and of sources whose neighbours are known.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I4, I8, Bools, copied, whole
from skyextract.kernels.galaxies.draw import add_models
from skyextract.kernels.galaxies.fit import (
    N_NUMBERS,
    NO_PIXELS,
    UNSETTLED,
    Fits,
    Places,
    Rules,
    visit_sources,
)
from skyextract.kernels.galaxies.source import (
    DISK,
    E1,
    E2,
    FLUX,
    INDEX,
    N_PARAMETERS,
    POINT,
    RADIUS,
    SKY,
    SPHEROID,
    X,
    Y,
)
from skyextract.record import record
from skyextract.stages.galaxies.beneath import BETTER, POINT_ALONE, Beneath, give_shapes
from skyextract.stages.galaxies.level import BACKGROUND, levels_below, on_background
from skyextract.stages.galaxies.minima import fit_again, simpler
from skyextract.stages.galaxies.mixture import MAX_MISFIT
from skyextract.stages.galaxies.pairs import close_pairs, fit_pairs_again
from skyextract.stages.galaxies.scene import (
    MAX_SWEEPS,
    Scene,
    boxes_of,
    restore,
    start_fluxes,
)
from skyextract.stages.galaxies.start import go_to_peaks, limits_of, revive_components, start_of
from skyextract.stages.galaxies.swallowed import free_of_points, restart_swallowed

if TYPE_CHECKING:
    from skyextract.datamodel.detections import Detections
    from skyextract.kernels.galaxies.pixels import Pixels
    from skyextract.run import Run
    from skyextract.stages.galaxies.scene import Sky

PSF_MISFIT = 128
"""Bit of the flags: the Gaussians differ from the PSF, smoothed, by more than 2 per cent."""

SAMPLED = 3.0
"""FWHM in pixels above which squares of two pixels are enough for a rough fit."""
PSF_ERROR = 0.02
"""Of the PSF, relative, where odds of a point source are reckoned."""
MOST_APART = 0.5
"""Boxes of sources without neighbours that cover less of an image leave enough sky."""
ANOTHER = 1.0
"""Chi2, with priors, by which a second minimum is lower: along one valley fits differ by less."""
STILL = 0.3
"""Largest step in the last sweep, in errors, of a source in a blend that has settled."""

SHEAR_PRIOR = 0.3
"""Width of the prior of e1 and e2, with wide tails: axis ratios of about 0.55 are most frequent."""
INDEX_PRIOR = (math.log(2.5), 1.5)
"""Mean and width of the prior of ln n: n = 0.56 and n = 11 are a width from the mean."""
RADIUS_PRIOR = (math.log(0.3), 1.0)
"""Of ln (half-light radius / FWHM)."""


@record
class Profile:
    """What a model consists of.

    Attributes
    ----------
    spheroid, disk : bool
        Components.
    index : float or None
        Sersic index of the spheroid; None: fitted.
    point, sky : bool
        A point source at the same place, and a level of the sky.
    sky_error : float
        Width of the prior of that level where it is no part of the model; 0: it is none.
    priors : bool
        Priors of radii, shears and indices.
    """

    spheroid: bool
    disk: bool
    index: float | None = None
    point: bool = False
    sky: bool = False
    priors: bool = True
    sky_error: float = 0.0

    @property
    def free(self) -> I8:
        """The parameters that are fitted."""
        free = [X, Y]
        if self.spheroid:
            free += [SPHEROID + p for p in (FLUX, RADIUS, E1, E2)]
            free += [SPHEROID + INDEX] if self.index is None else []
        if self.disk:
            free += [DISK + p for p in (FLUX, RADIUS, E1, E2)]
        free += [POINT] if self.point else []
        free += [SKY] if self.sky or self.sky_error > 0.0 else []
        return np.array(free, dtype=np.int64)

    def prior(self, fwhm: float) -> F8:
        """Return means and inverse variances, (2, N_PARAMETERS)."""
        prior = np.zeros((2, N_PARAMETERS))
        if self.sky_error > 0.0 and not self.sky:
            prior[1, SKY] = self.sky_error**-2
        if not self.priors:
            return prior
        for first in (SPHEROID, DISK):
            prior[:, first + RADIUS] = math.log(fwhm) + RADIUS_PRIOR[0], RADIUS_PRIOR[1] ** -2
            prior[1, [first + E1, first + E2]] = SHEAR_PRIOR**-2
        prior[:, SPHEROID + INDEX] = INDEX_PRIOR[0], INDEX_PRIOR[1] ** -2
        return prior


@record
class ModelFits:
    """Fitted models, a row per source.

    Attributes
    ----------
    profile : Profile
    parameters : (n, N_PARAMETERS) float64
        As `skyextract.kernels.galaxies.source` orders them; NaN where nothing was fitted.
    covariance : (n, N_PARAMETERS, N_PARAMETERS) float64
        0 for parameters that are not fitted.
    chi2 : (n,) float64
        Reduced.
    log_odds : (n,) float64
        Logarithm of the odds that the source is a point, even odds before.
    noise_area : (n,) float64
        Equivalent noise area of the model in pixels.
    misfit : (n, 4) float64
        Mean square of what the model has wrong, over that of its light, beyond the noise, and the
        error of it; below 0 by chance.  Both again of means along isophotes.
    left : (n, 2) float64
        The light that is left within the isophote `SEEN` of the model, and its error.
    turn : (n, 2) float64
        Square of the change of the shear from an isophote to the next one, and the variance of
        a component of it; NaN of faint sources and of models of several components.
    flags, iterations : (n,) int32
    scene : Scene
    residual : (ny, nx) float32 or None
        The image less all models, if it is wanted.
    """

    profile: Profile
    parameters: F8
    covariance: F8
    chi2: F8
    log_odds: F8
    noise_area: F8
    misfit: F8
    left: F8
    turn: F8
    flags: I4
    iterations: I4
    scene: Scene
    residual: F4 | None

    def point_probability(self) -> F8:
        """Return the probability of a point source, with even odds before."""
        with np.errstate(over="ignore"):
            probability: F8 = 1.0 / (1.0 + np.exp(-self.log_odds))
        return probability

    def drawn(self, sky: Sky, *components: int) -> F4:
        """Return the models on an image of their own; `components` are SPHEROID, DISK, POINT."""
        keep = np.ones(N_PARAMETERS)
        keep[[p for p in (SPHEROID, DISK, POINT) if p not in components]] = 0.0
        image = np.zeros_like(sky.image)
        draw(self.scene, self.parameters, keep, 1.0, sky.pixels(image))
        return image


def draw(
    scene: Scene, parameters: F8, keep: F8, sign: float, pixels: Pixels,
    those: Bools | None = None, *, exact: bool = True,
) -> None:  # fmt: skip
    """Add `sign` times the models, parameters times `keep`, to ``pixels.residual``.

    `those` are the sources that are drawn, by default all; if not `exact`, with the Gaussians of
    the PSF alone.
    """
    good = np.isfinite(parameters).all(axis=1) & (scene.boxes[:, 2] > 0)
    if those is not None:
        good &= those
    safe = np.where(good[:, None], parameters, 0.0)

    def visit(members: I8, places: Places) -> None:
        add_models(members, places, pixels, safe, keep, sign)

    for members in scene.by_colour:
        scene.each(members[good[members]], visit, exact=exact)


def fit_models(
    sky: Sky, found: Detections, profile: Profile, run: Run, *, as_point: bool = False,
    keep_residual: bool = True, beneath: Beneath | None = None,
) -> ModelFits:  # fmt: skip
    """Fit the model of a profile to all detections.

    Parameters
    ----------
    sky : Sky
    found : Detections
        Where the sources are, and their rough sizes.
    profile : Profile
    as_point : bool
        Fit point sources too, for `ModelFits.log_odds`.
    keep_residual : bool
        Return the image less all models; else only what the fits need of it is made.
    beneath : Beneath, optional
        Which of them were found beneath others.
    """
    noise2 = sky.noise2
    profile = replace(profile, sky_error=sky.level_error())
    n, fwhm = found.n, sky.psf.fwhm
    boxes = boxes_of(found, fwhm, sky.image.shape)
    if beneath is not None:
        boxes[beneath.lost, 2:] = 0
    flux = start_fluxes(sky.image, found)
    scene = Scene(sky, boxes, found.x, found.y, flux, run)
    parameters = start_of(found, flux, fwhm, profile)
    limits = limits_of(parameters, boxes, sky, noise2, profile)
    go_to_peaks(parameters, limits, found, sky)
    n_free = np.full(n, profile.free.size)
    if beneath is not None:
        n_free = beneath.start(parameters, limits, profile, fwhm, noise2)
    parameters = np.clip(parameters, limits[:, 0], limits[:, 1])
    start = parameters.copy()
    # a source without neighbours is fitted to the image, and no other one needs what it leaves
    apart = np.diff(scene.first) == 0
    lean = boxes[apart, 2:].prod(axis=1).sum() < MOST_APART * sky.image.size
    spare = None if keep_residual else sky.spare
    if keep_residual or not lean:
        pixels = sky.pixels(copied(sky.image, run, out=spare))
    else:
        pixels = sky.pixels(whole(sky.image.shape, np.float32) if spare is None else spare)
        restore(pixels, boxes[~apart], run)
    draw(scene, parameters, np.ones(N_PARAMETERS), -1.0, pixels, ~apart, exact=False)
    covariance = np.zeros((n, N_PARAMETERS, N_PARAMETERS))
    numbers = np.full((n, N_NUMBERS), np.nan)
    flags, iterations = np.full((2, n), 0, dtype=np.int32)
    flags[boxes[:, 2] <= 0] = NO_PIXELS
    changed = np.zeros(n, dtype=np.uint8)
    rules = Rules(
        profile.free, n_free, profile.prior(fwhm), limits, start[:0], profile.free, ANOTHER,
        scene.neighbours, scene.first, np.zeros(n), np.full(n, profile.sky_error), np.zeros(n),
        fwhm, fwhm if as_point else 0.0,
    )  # fmt: skip
    fits = Fits(parameters, covariance, numbers, flags, iterations, changed)

    stale = np.asarray(boxes[:, 2] > 0)
    sweeps = 0
    rough = 2 if fwhm > SAMPLED else 1
    while sweeps < MAX_SWEEPS and stale.any():
        step = rough if sweeps == 0 else 0

        def visit(members: I8, places: Places, rules: Rules = rules, rough: int = step) -> None:
            visit_sources(members, places, pixels, rules, fits, rough)

        scene.sweep(stale, changed, visit, exact=sweeps > 0)
        sweeps += 1
        if sweeps == 1:
            if profile.spheroid and profile.disk:
                revive_components(parameters, limits, n_free == profile.free.size)
            # from here on the PSF stands where the sources were found to be
            again = restart_swallowed(parameters, start, scene, profile, fwhm)
            scene.move(parameters[:, X], parameters[:, Y])
            restore(pixels, boxes[~apart], run)
            draw(scene, parameters, np.ones(N_PARAMETERS), -1.0, pixels, ~apart if lean else None)
            if again is not None:
                points = rules._replace(free=again.free)
                again.fit(scene, changed, partial(visit, rules=points, rough=0))
            if sky.background is not None:
                left = pixels.residual
                below = levels_below(sky, left, boxes, apart, lean, parameters, run)
                if below is not None:
                    rules = rules._replace(
                        level=below.level, level_error=below.error, wings=below.wings
                    )
            stale[:] = boxes[:, 2] > 0
        elif sweeps == 2 and profile.spheroid and (profile.disk or profile.index is None):
            once_more = partial(visit, rules=simpler(rules, start, profile))
            stale |= fit_again(scene, fits, profile, once_more)

    if beneath is not None:

        def shape(members: I8, places: Places, begin: F8) -> None:
            first = profile.free[profile.free != SPHEROID + INDEX]
            once_more = rules._replace(start=begin, simpler=first, better=BETTER)
            visit_sources(members, places, pixels, once_more, fits, 0)

        stale |= give_shapes(n_free, start, limits, scene, pixels, fits, profile, fwhm, shape)
        sweeps = 0
        while sweeps < MAX_SWEEPS and stale.any():
            scene.sweep(stale, changed, partial(visit, rules=rules, rough=0))
            sweeps += 1
        flags[n_free < profile.free.size] |= POINT_ALONE

    def redraw(sign: float, those: Bools) -> None:
        draw(scene, parameters, np.ones(N_PARAMETERS), sign, pixels, those)

    pairs = close_pairs(start[:, [X, Y]], scene, fwhm)
    if pairs.size:
        points = rules._replace(free=free_of_points(profile))
        visits = (partial(visit, rules=points, rough=0), partial(visit, rules=rules, rough=0))
        fit_pairs_again(pairs, start, scene, profile, fwhm, fits, visits, redraw, stale)
    if keep_residual:
        if not lean:
            restore(pixels, boxes[apart], run)
        draw(scene, parameters, np.ones(N_PARAMETERS), -1.0, pixels, apart)
    flags[stale & (numbers[:, 4] > STILL)] |= UNSETTLED
    mixture = scene.mixture
    flags[mixture.misfit[mixture.nearest(scene.x, scene.y)] > MAX_MISFIT] |= PSF_MISFIT
    flags[on_background(sky, boxes, parameters)] |= BACKGROUND
    unsettled = int(np.count_nonzero(flags & UNSETTLED))
    run.info(f"galaxy models: {n} sources, {sweeps} sweeps, {unsettled} not converged")
    nothing = (flags & NO_PIXELS) != 0
    parameters[nothing] = numbers[nothing] = np.nan
    return ModelFits(
        profile=profile, parameters=parameters, covariance=covariance, chi2=numbers[:, 0],
        log_odds=_odds(parameters, numbers, sky), noise_area=numbers[:, 3],
        misfit=numbers[:, 5:9], left=numbers[:, 9:11], turn=numbers[:, 11:13],
        flags=flags, iterations=iterations, scene=scene,
        residual=pixels.residual if keep_residual else None,
    )  # fmt: skip


def _odds(parameters: F8, numbers: F8, sky: Sky) -> F8:
    """Return the logarithm of the odds of a point source, with a PSF that is not quite right.

    What a PSF that is wrong by `PSF_ERROR` adds to the chi2 of a point grows with the square of the
    S/N; that by which a point is worse counts less by as much.
    """
    log_odds, worse = numbers[:, 2], np.maximum(numbers[:, 1], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        snr2 = signal_to_noise2(parameters, numbers[:, 3], sky)
        softened: F8 = log_odds + 0.5 * worse * (1.0 - 1.0 / (1.0 + PSF_ERROR**2 * snr2))
    return softened


def signal_to_noise2(parameters: F8, area: F8, sky: Sky) -> F8:
    """Return the square of the S/N of models, (n,); `area` is their noise area."""
    flux = parameters[:, [SPHEROID, DISK, POINT]].sum(axis=1)
    inverse_gain = sky.pixels(sky.image).inverse_gain
    snr2: F8 = flux**2 / (area * sky.noise2 + inverse_gain * np.maximum(flux, 0.0))
    return snr2
