"""Sweeps over the point sources of an image: all are fitted together and subtracted.

Sweeps begin with sources at given positions, or go on from earlier ones: then only new
sources, and those that feel them, are fitted.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I4, I8, U1, U2, Bools, copied
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.noise import typical_noise
from skyextract.datamodel.psf import Psf
from skyextract.datamodel.psfshape import radius_with_ends
from skyextract.kernels.psf.draw import draw_models
from skyextract.kernels.psf.fit import NO_PIXELS, fit_tiles
from skyextract.kernels.psf.joint import join_tiles
from skyextract.kernels.psf.model import PsfModel
from skyextract.kernels.psf.records import FitRules, Fits, Planes, Positions, Tiles
from skyextract.record import record
from skyextract.run import Run
from skyextract.stages.pointsources.fitregion import region_along

UNUSABLE = int(Mask.BAD | Mask.SAT | Mask.INTRP | Mask.CR | Mask.EDGE | Mask.NO_DATA)
"""Pixels that are not fitted: without data, or with data that were made up."""

FIT_RADIUS = 1.5
"""Radius of the fit region in FWHM.  Smaller ones leave out the wings, and magnitudes of bright
stars on real frames scatter more..."""

CROWD_RADIUS = 1.3
"""... but in crowds there are others in the wings."""

MIN_FIT_RADIUS = 2.5
"""The same in pixels, for undersampled images: 21 pixels."""

MAX_SHIFT = 1.0
"""Largest distance from the given position in FWHM; farther away it is another source."""

WORKING_NOISE = 30.0
"""Background noise in electrons that weights assume where the gain is unknown: with no photon
noise at all the few brightest pixels, where the PSF model is wrong by more than the noise, make
the flux.  Errors do not assume anything: they are those of the background."""


class Accuracy(NamedTuple):
    """Where fits and sweeps end.

    Attributes
    ----------
    tolerance : float
        Steps of less than this share of the errors end a fit.
    min_change : float
        A neighbour is fitted again after a change of its pixels above this share of the
        background noise.
    radius : float
        Of the fit region, FWHM.
    rests : bool
        See `FitRules`.
    felt : float
        Errors feel neighbours nearer than this share of the sum of both radii.
    most_steps, placed
        See `FitRules`.
    """

    tolerance: float
    min_change: float
    radius: float
    rests: bool = False
    felt: float = 1.0
    most_steps: int = 1_000_000_000
    placed: float = 0.0


FINE = Accuracy(0.01, 0.02, FIT_RADIUS)
CROWDED = FINE._replace(radius=CROWD_RADIUS, rests=True, felt=0.75)
"""Farther neighbours make errors larger by less than 1 %, in all but few sources."""
FORCED = FINE._replace(placed=10.0)
"""At positions of another image: one of its own makes a flux of that S/N too large by .1 error."""
COARSE = Accuracy(0.1, 0.1, CROWD_RADIUS, rests=True)
"""Where sources are still added."""

MAX_EXCESS = 1e3
"""Sources brighter than so many times the brightest pixel over a FWHM squared are none: sweeps over
close sources diverge where the PSF is none that the image has."""

COMPARED_FWHM = 4.0
"""Width in pixels of the widest PSF for which a share of a pixel's noise counts as it is."""

MAX_SWEEPS = 30
CALM_SWEEPS, CALM_OVER, CALM = 8, 4, 0.9
"""In crowds sweeps end before that, after so many, where as many sources as this share of those
four sweeps before are still to be fitted: they pass the same light back and forth."""
SINGLE_SWEEPS = 1
"""Sweeps after which what still changes is fitted with what is near."""
MIN_TILE = 64
MIN_VISITS = 12
"""Sources that a thread visits at a time, at least: fewer are sooner done than handed over."""


def felt_noise(noise: float, fwhm: float) -> float:
    """Return the noise per pixel that light on all pixels of a source is compared with.

    The same light in each pixel is the more to a flux, in units of its error, the wider the PSF is.
    """
    return noise * min(1.0, COMPARED_FWHM / fwhm)


def fit_radius(psf: Psf, factor: float = FIT_RADIUS) -> float:
    """Return the radius in pixels of the fit region: `factor` FWHM, and the ends of trails."""
    return max(radius_with_ends(factor, psf.fwhm, 1.0 - psf.ellipticity), MIN_FIT_RADIUS)


@record
class FittedSources:
    """Point sources as sweeps left them, from where others can go on.

    Attributes
    ----------
    parameters : (n, 3) float64
        Flux, x, y; the flux is 0 before the first visit and NaN where there is no fit.
    reach : (n,) int64
        Radius in pixels out to which each model was subtracted, -1 if it was not.
    radius : (n,) float64
        Of the fit region, pixels.
    stale : (n,) uint8
        1: not visited since a neighbour changed.
    status, iterations : (n,) int32
        Status bits of `skyextract.kernels.psf.fit`, Gauss-Newton steps.
    sweeps : int
        Sweeps that were made.
    """

    parameters: F8
    reach: I8
    radius: F8
    stale: U1
    status: I4
    iterations: I4
    sweeps: int = 0

    @classmethod
    def at(cls, x: F8, y: F8) -> FittedSources:
        """Return sources that are still to be fitted, near 0-based positions."""
        n = len(x)
        return cls(
            parameters=np.column_stack([np.zeros(n), x, y]), reach=np.full(n, -1, np.int64),
            radius=np.zeros(n), stale=np.ones(n, np.uint8), status=np.zeros(n, np.int32),
            iterations=np.zeros(n, np.int32),
        )  # fmt: skip

    def take(self, rows: Bools | I8) -> FittedSources:
        """Return some of the sources: a mask or rows."""
        return replace(self, **{name: v[rows] for name, v in self.columns().items()})

    def append(self, other: FittedSources) -> FittedSources:
        """Return these sources and others."""
        theirs = other.columns()
        both: dict[str, Any] = {
            name: np.concatenate([v, theirs[name]]) for name, v in self.columns().items()
        }
        return replace(self, **both)

    def with_rows(self, rows: I8, others: FittedSources) -> FittedSources:
        """Return these sources with others in the place of some."""
        columns = {name: value.copy() for name, value in self.columns().items()}
        for name, value in others.columns().items():
            columns[name][rows] = value
        return replace(self, **columns)

    def all_stale(self) -> FittedSources:
        """Return the sources, all of them to be visited."""
        return replace(self, stale=np.ones_like(self.stale))

    def columns(self) -> dict[str, Any]:
        """Return all that there is one of per source, by name."""
        names = ("parameters", "reach", "radius", "stale", "status", "iterations")
        return {name: getattr(self, name) for name in names}


@record
class PointFit:
    """The fit of a PSF to sources of an image: what does not change in it but the residual.

    Attributes
    ----------
    planes : Planes
        The residual is the image minus all models: sweeps change it.
    model : PsfModel
    positions : Positions
        Where the sources were given, or fitted before.
    tiles : Tiles
    rules : FitRules
    psf : Psf
    max_flux : float
        A fit beyond it is dropped, as one without pixels.
    """

    planes: Planes
    model: PsfModel
    positions: Positions
    tiles: Tiles
    rules: FitRules
    psf: Psf
    max_flux: float

    @property
    def max_radius(self) -> int:
        """Radius in pixels of the largest fit region."""
        return self.rules.envelope.size - 1

    def sweep(
        self, sources: FittedSources, max_sweeps: int, run: Run, *, many: float = 1.0
    ) -> FittedSources:
        """Visit the stale sources, and those that feel their changes, until nothing changes.

        Elsewhere than in crowds sweeps over more than the share `many` of them end, too, where
        they pass the same light back and forth.
        """
        fits = Fits(**{name: v.copy() for name, v in sources.columns().items()})
        fits.radius[fits.reach < 0] = self.rules.fit_radius
        lost = ~np.isin(np.arange(len(fits.stale)), self.tiles.members)
        fits.parameters[lost, 0], fits.stale[lost], fits.status[lost] = np.nan, 0, NO_PIXELS

        def fit(visited: I8) -> None:
            of_all = self.tiles, self.planes, self.model, self.positions, self.rules, fits
            if sweeps > SINGLE_SWEEPS:
                join_tiles(visited, *of_all)
            fit_tiles(visited, *of_all)

        most = 4 * run.n_threads if run.n_threads > 1 else 1
        columns = self.tiles.columns
        sweeps = 0
        stale: list[int] = []
        while sweeps < max_sweeps and fits.stale.any():
            stale.append(int(np.count_nonzero(fits.stale)))
            if _is_calm(stale, 0.0 if self.rules.rests else many):
                break
            sweeps += 1
            for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
                # Every other tile of every other row: they do not touch, so that their order
                # and thread do not matter.
                visits = np.bincount(self.tiles.of[fits.stale.astype(bool)])
                todo = np.flatnonzero(visits)
                todo = todo[(todo // columns % 2 == row) & (todo % columns % 2 == column)]
                n_chunks = min(most, int(visits[todo].sum()) // MIN_VISITS)
                if n_chunks > 1:
                    run.map(fit, [chunk for chunk in np.array_split(todo, n_chunks) if chunk.size])
                elif todo.size:
                    fit(todo)
            wild = (fits.reach >= 0) & ~(np.abs(fits.parameters[:, 0]) <= self.max_flux)
            if wild.any():
                fits.parameters[wild, 0], fits.stale[wild] = 0.0, 0
                fits.status[wild], fits.reach[wild] = NO_PIXELS, -1
                self._restart(FittedSources(**fits._asdict()))
        return FittedSources(**fits._asdict(), sweeps=sources.sweeps + sweeps)

    def without(self, rows: I8) -> PointFit:
        """Return the fit in which some of the sources have no part any more."""
        tiles = self.tiles
        members = tiles.members[~np.isin(tiles.members, rows)]
        start = np.searchsorted(tiles.of[members], np.arange(tiles.start.size))
        return replace(self, tiles=tiles._replace(start=start.astype(np.int64), members=members))

    def _restart(self, sources: FittedSources) -> None:
        """Subtract the sources from the image anew."""
        self.planes.residual[...] = self.planes.image
        add_models(self.planes.residual, self.psf, sources, -1.0)


def point_fit(
    image: F4, background_variance: F4, gain: float, mask: U2, psf: Psf, sources: FittedSources,
    models: F4 | None = None, accuracy: Accuracy = FINE, run: Run | None = None,
    per_variance: float = 0.0,
) -> PointFit:  # fmt: skip
    """Prepare a fit.

    Parameters
    ----------
    image, background_variance, gain, mask, psf, per_variance
        As in `psf_photometry`.
    sources : FittedSources
    models : (ny, nx) float32, optional
        Of those of the sources that were fitted before.
    accuracy : Accuracy
        Where it ends.
    run : Run, optional
        Threads in which large planes are copied.
    """
    max_radius = max(psf.radius, 3)
    x, y = (np.ascontiguousarray(v) for v in sources.parameters[:, 1:].T)
    with np.errstate(invalid="ignore"):
        usable = (np.abs(2 * x - image.shape[1]) < image.shape[1] + 2 * max_radius) & (
            np.abs(2 * y - image.shape[0]) < image.shape[0] + 2 * max_radius
        )
    sky_noise = typical_noise(background_variance) or 1.0
    max_shift = max(MAX_SHIFT * psf.fwhm, 1.0)
    radius = min(fit_radius(psf, accuracy.radius), float(max_radius))
    form, extent = region_along(psf, image.shape, radius, accuracy.radius)
    envelope, sides = _envelopes(psf, image.shape, max_radius)
    rules = FitRules(
        envelope=envelope,
        sides=sides,
        noise=felt_noise(sky_noise, psf.fwhm),
        fit_radius=radius,
        form=form,
        extent=extent,
        max_shift=max_shift,
        tolerance=accuracy.tolerance,
        min_change=accuracy.min_change,
        tile_size=max(MIN_TILE, 2 * (max_radius + math.ceil(max_shift) + math.ceil(radius) + 2)),
        rests=accuracy.rests,
        most_steps=accuracy.most_steps,
        placed=accuracy.placed,
    )
    inverse_gain = 1.0 / gain if gain > 0 and math.isfinite(gain) else 0.0
    working = inverse_gain if gain > 0 else sky_noise / WORKING_NOISE
    return PointFit(
        planes=Planes(
            image=image,
            residual=copied(image, run or Run(), less=models),
            variance=background_variance,
            mask=mask,
            bad=UNUSABLE,
            inverse_gains=np.array([inverse_gain, working, per_variance]),
        ),
        model=PsfModel(psf.coefficients, psf.degree, float(psf.sampling)),
        positions=Positions(
            x, y, *psf.normalised(np.where(usable, x, 0.0), np.where(usable, y, 0.0))
        ),
        tiles=_tiles(x, y, usable, image, rules.tile_size),
        rules=rules,
        psf=psf,
        max_flux=MAX_EXCESS * psf.fwhm**2 * _largest(image, run or Run()),
    )


def _is_calm(stale: list[int], share: float = 0.0) -> bool:
    """Tell whether sweeps, of which this was left to be fitted before each, change no more.

    They are to have more than some share of the sources left.
    """
    if len(stale) <= CALM_SWEEPS or stale[-1] <= share * stale[0]:
        return False
    return stale[-1] > CALM * stale[-1 - CALM_OVER]


def _largest(image: F4, run: Run) -> float:
    """Return the largest absolute value that is a number, without a copy of the image."""

    def of_rows(band: tuple[int, int]) -> float:
        part = image[slice(*band)].reshape(-1)
        return float(max(np.fmax.reduce(part, initial=0.0), -np.fmin.reduce(part, initial=0.0)))

    return max(run.map(of_rows, run.bands(len(image))))


def add_models(image: F4, psf: Psf, sources: FittedSources, factor: float) -> None:
    """Add the models of fitted sources, times a factor, to an image."""
    rows = np.flatnonzero(sources.reach >= 0)
    flux, x, y = (np.ascontiguousarray(v) for v in sources.parameters[rows].T)
    draw_models(
        PsfModel(psf.coefficients, psf.degree, float(psf.sampling)), *psf.normalised(x, y), x, y,
        factor * flux, np.minimum(sources.reach[rows], psf.radius), image,
    )  # fmt: skip


def _tiles(x: F8, y: F8, usable: Bools, image: F4, size: int) -> Tiles:
    """Sort the usable sources into tiles, and by brightness (the pixel there) within each."""
    n_y, n_x = image.shape
    rows, columns = -(-n_y // size), -(-n_x // size)
    column = np.clip(np.where(usable, x, 0), 0, n_x - 1).astype(np.int64)
    row = np.clip(np.where(usable, y, 0), 0, n_y - 1).astype(np.int64)
    brightness = np.nan_to_num(image[row, column], nan=-np.inf)
    of = (row // size) * columns + column // size
    members = np.lexsort((-brightness, of))
    members = members[usable[members]]
    start = np.searchsorted(of[members], np.arange(rows * columns + 1))
    return Tiles(start.astype(np.int64), members.astype(np.int64), columns, of)


def _envelopes(psf: Psf, shape: tuple[int, ...], radius: int) -> tuple[F8, F8]:
    """Largest values of the central PSF at 0, 1 ... `radius` pixels or farther.

    Along either axis, and for columns and rows alone.
    """
    stamp = np.abs(psf.stamp(shape[1] / 2, shape[0] / 2, size=2 * radius + 1)).astype(float)
    offset = np.abs(np.arange(-radius, radius + 1))
    distance = np.maximum(offset[:, None], offset[None, :])
    largest = np.array([stamp[distance == r].max() for r in range(radius + 1)])
    sides = np.array([np.maximum(v[radius::-1], v[radius:]) for v in (stamp.max(0), stamp.max(1))])
    envelope, sides = (np.maximum.accumulate(v[..., ::-1], -1)[..., ::-1] for v in (largest, sides))
    return np.ascontiguousarray(envelope), np.ascontiguousarray(sides)
