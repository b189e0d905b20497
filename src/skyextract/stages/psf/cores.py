"""Bright stars that lost their cores: clipped by a stack, or saturated below the level of the card.

A star's wings are fitted with the PSF, which is that of fainter stars.  Where nothing in the frame
is brighter than some level, and all stars whose wings say that their peaks were above it lack
light in their cores, that level is one of the detector or of the stack, not of the sky: the wings
of galaxies are not those of the PSF, and blends are of any brightness.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.noise import median
from skyextract.datamodel.psf import Psf
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.record import record
from skyextract.run import Run

FIRST, MOST = 24, 240
"""So many of the brightest peaks are looked at; of more where all of these lost their cores."""
MAX_PIXELS = 400_000
"""Of all stamps together."""
MIN_LOST = 3
"""Stars that lost their cores, at least, and ..."""
PAIR, ALIKE, PAIR_LOSS = 2, 0.03, 0.15
"""... two, if their brightest pixels differ by no more than this and both lost that much; ..."""
MAX_KEPT = 0.2
"""... the share of stars with such peaks that may have kept them."""
MIN_KEPT = 5
"""Stars below the level that have their cores."""
ABOVE, CLEARLY = 1.05, 1.3
"""Wings say that a peak is this much above all pixels of the frame: it may be lost, it must be; ...
"""
TOP, MAX_PEAK = 0.6, 40.0
"""... what is left is within this factor of the level, and the peak not absurdly high; ..."""
LOSS = 0.05
"""... and so much of the light within half of the peak is not there; ..."""
SURE = 4.0
"""... by so many sigma."""
AGREE = 0.25
"""To this part inner and outer wings agree on how bright a star is."""
SPAN = 3.0
"""Their light changes by this factor at least: any profile is that of the PSF in a narrow ring."""
MAX_CHI2 = 3.0
"""Of the wings, with the accuracy of the model."""
ACCURACY = 0.05
"""Relative error of the model in the wings."""
WING = (0.01, 0.45)
"""Wings are what the star has of light between these parts of its brightest pixel."""
MIN_CROWD = 4
"""Pixels within a FWHM that passed for cosmic rays and may be the core of a star."""
FAINT = 2.5
"""They end where they are this many sigma of a pixel."""
CUT = 0.9
"""Pixels that should be above this part of the level are lost."""
HOLE, HOLE_SURE = 0.25, 6.0
"""So are those in cores that lack this part of their light, at so many sigma of the sky."""
INSIDE = 1.2
"""Pixels that should be above this many times the level tell whether cores are flat."""
REACH = 2.4
"""Radius of the wings, FWHM."""
_STEP = 0.05
_TURNS = 8
_AT_REST = 1e-3
"""Steps smaller than this, in pixels and of the flux, are the last ones."""
_MIN_WING = 10


@record
class CutCores:
    """Stars whose cores are not there.

    Attributes
    ----------
    level : float
        Above the sky; no pixel is brighter.
    pixels : (n,) int64
        Pixels that should be, index in the raveled image.
    n_stars : int
        Stars that lost more than `LOSS` of their cores.
    loss : float
        Median share of the light within half of the peak that they lost.
    flat : bool
        The cores are at the level: else they are below it.
    """

    level: float
    pixels: I8
    n_stars: int
    loss: float
    flat: bool


@record
class _Stars:
    """Stamps of stars, and what the PSF makes of their wings.

    `x`, `y` are middle pixels; `dx`, `dy` centres beside them; `top` the brightest pixel.
    """

    x: I8
    y: I8
    data: F8
    noise: F8
    top: F8
    dx: F8
    dy: F8
    flux: F8
    error: F8
    agree: Bools

    @property
    def offset(self) -> F8:
        half = self.data.shape[1] // 2
        return np.arange(-half, half + 1.0)

    def take(self, rows: Bools) -> _Stars:
        return _Stars(**{name: getattr(self, name)[rows] for name in _FIELDS})

    def model(self, psf: Psf, dx: float = 0.0, dy: float = 0.0) -> F8:
        """Return the PSF at the centres, moved."""
        x, y = self.dx + dx, self.dy + dy
        return psf.stamps(self.x + x, self.y + y, x, y, self.data.shape[1]).astype(np.float64)

    def distance(self) -> F8:
        """Return the distance of all pixels from the centres."""
        x = self.offset - self.dx[:, None, None]
        distance: F8 = np.hypot(self.offset[:, None] - self.dy[:, None, None], x)
        return distance


_FIELDS = ("x", "y", "data", "noise", "top", "dx", "dy", "flux", "error", "agree")


def find_cut_cores(
    psf: Psf, data: F4, variance: F4, peaks: F8, cosmic: I8, inverse_gain: float
) -> CutCores | None:
    """Find the stars that lost their cores; None where it cannot be said that some did.

    Parameters
    ----------
    psf : Psf
        Of the stars that kept theirs.
    data, variance : (ny, nx) float32
        Background-subtracted image and its background variance (1e30: no data), nothing repaired.
    peaks : (3 or more, n) float64
        0-based x, y and height of all peaks.
    cosmic : (m,) int64
        Pixels that passed for cosmic rays, index in the raveled image: the edges of holes may.
    inverse_gain : float
        Image units per electron.
    """
    size = 2 * max(3, math.ceil((REACH + 0.2) * psf.fwhm)) + 1
    most = min(MOST, MAX_PIXELS // size**2)
    places = peaks[:2, np.argsort(-peaks[2], kind="stable")]
    hit = _crowds(cosmic, data.shape[1], max(2.0, psf.fwhm))
    first = _cut_out(psf, data, variance, places[:, : min(FIRST, most)], size)
    level = float(first.top.max(initial=0.0))
    # Are there peaks at all that should be higher than any pixel?  First without a fit.
    several = [_cut_out(psf, data, variance, hit[:, :FIRST], size), first]
    if sum(_n_too_faint(stars, psf, level) for stars in several) < PAIR:
        return None
    both = np.concatenate([places[:, :FIRST], hit[:, :FIRST]], axis=1)
    stars = _fitted(_cut_out(psf, data, variance, both, size), psf, inverse_gain)
    level = float(stars.top.max(initial=0.0))
    if _n_too_faint(stars, psf, level) < PAIR or not _cores_of(stars, psf, level).enough:
        return None
    both = np.concatenate([places[:, :most], hit[:, :most]], axis=1)
    stars = _fitted(_cut_out(psf, data, variance, both, size), psf, inverse_gain)
    return _judged(stars, psf, data.shape, level)


def _crowds(cosmic: I8, nx: int, side: float) -> F8:
    """Return the places (x, y) of what passed for cosmic rays and is as large as a core."""
    y, x = np.divmod(cosmic, nx)
    cell = (y / side).astype(np.int64) * (nx + 1) + (x / side).astype(np.int64)
    _, of, number = np.unique(cell, return_inverse=True, return_counts=True)
    places = np.stack([np.bincount(of, x), np.bincount(of, y)]) / np.maximum(number, 1)
    order = np.argsort(-number, kind="stable")
    return places[:, order[number[order] >= MIN_CROWD]]


def _n_too_faint(stars: _Stars, psf: Psf, level: float) -> int:
    should = stars.agree & (stars.flux * _highest(stars.model(psf)) > ABOVE * level)
    return int(np.count_nonzero(should))


def _highest(stamps: F8) -> F8:
    highest: F8 = stamps.max((1, 2), initial=0.0)
    return highest


def _cut_out(psf: Psf, data: F4, variance: F4, places: F8, size: int) -> _Stars:
    """Return stamps with a first centre and flux: those that are whole in the image."""
    half = size // 2
    x, y = np.rint(places).astype(np.int64)
    whole = (np.minimum(x, y) >= half) & (x < data.shape[1] - half) & (y < data.shape[0] - half)
    x, y = x[whole], y[whole]
    offset = np.arange(-half, half + 1)
    part = y[:, None, None] + offset[:, None], x[:, None, None] + offset
    light, noise = data[part].astype(np.float64), variance[part].astype(np.float64)
    distance = np.hypot(offset[:, None], offset)
    core = distance <= 1.2 * max(1.3, psf.fwhm)
    known = noise < MAX_VARIANCE
    # Roots let the wings of a hollow or flat star say where it is.
    root = np.sqrt(np.where(known & core, np.maximum(light, 0.0), 0.0))
    total = np.maximum(root.sum((1, 2)), 1e-30)
    dx, dy = (root * offset).sum((1, 2)) / total, (root * offset[:, None]).sum((1, 2)) / total
    top = np.where(known & core, light, 0.0).max((1, 2), initial=0.0)
    # What is known to be saturated, or bad, is judged already.
    usable = (known | (distance > psf.fwhm)).all((1, 2)) & (top > 0.0)
    nothing = np.zeros(x.size)
    stars = _Stars(x, y, light, noise, top, dx, dy, nothing, nothing, usable).take(usable)
    distance = stars.distance()
    ring = (distance > 0.8 * psf.fwhm) & (distance < 1.6 * psf.fwhm)
    ring &= stars.noise < MAX_VARIANCE
    ratio = stars.data / np.maximum(stars.model(psf), 1e-9)
    flux = np.array([median(r[of]) if of.any() else 0.0 for r, of in zip(ratio, ring, strict=True)])
    return replace(stars, flux=np.maximum(flux, 0.0))


def _wings(stars: _Stars, psf: Psf, inverse_gain: float) -> tuple[F8, F8, Bools, F8, F8]:
    """Return the PSF at stars, their light, which pixels are wings, variance, and what is left."""
    model = stars.model(psf)
    light: F8 = stars.flux[:, None, None] * model
    top = stars.top[:, None, None]
    wing = (stars.noise < MAX_VARIANCE) & (stars.distance() < REACH * psf.fwhm)
    wing &= light > np.maximum(FAINT * np.sqrt(stars.noise), WING[0] * top)
    wing &= light < WING[1] * top
    spread = stars.noise + np.maximum(light, 0.0) * inverse_gain + (ACCURACY * light) ** 2
    return model, light, wing, spread, stars.data - light


def _fitted(stars: _Stars, psf: Psf, inverse_gain: float) -> _Stars:
    """Return the stars whose wings are those of the PSF, with centre and flux that these have.

    Gauss-Newton, pixels that deviate weighted down.
    """
    reach = 1.0 + psf.fwhm
    names = ("flux", "error", "dx", "dy")
    stars = replace(stars, **{name: getattr(stars, name).copy() for name in names})
    going = np.ones(stars.x.size, np.bool_)
    for _ in range(_TURNS):
        if not going.any():
            break
        some = stars.take(going)
        model, _, wing, spread, left = _wings(some, psf, inverse_gain)
        weight = np.where(wing, 1.0, 0.0) / spread
        weight /= np.maximum(1.0, np.abs(left) / (3.0 * np.sqrt(spread)))
        slopes = [
            (some.model(psf, _STEP * (axis == 0), _STEP * (axis == 1)) - model)
            * (some.flux[:, None, None] / _STEP)
            for axis in (0, 1)
        ]
        terms = np.stack([model, *slopes], axis=-1).reshape(some.x.size, -1, 3)
        weighted = terms * weight.reshape(some.x.size, -1, 1)
        normal = np.swapaxes(weighted, 1, 2) @ terms
        normal[:, 0, 0] += 1e-12 * normal[:, 0, 0] + 1e-30
        normal[:, [1, 2], [1, 2]] += 1.0  # a first centre is good to a pixel
        right = np.swapaxes(weighted, 1, 2) @ left.reshape(some.x.size, -1, 1)
        step = np.linalg.solve(normal, right)[:, :, 0]
        stars.error[going] = np.sqrt(np.linalg.inv(normal)[:, 0, 0])
        stars.flux[going] = np.maximum(some.flux + step[:, 0], 0.0)
        for name, of in (("dx", 1), ("dy", 2)):
            moved = getattr(some, name) + np.clip(step[:, of], -1.0, 1.0)
            getattr(stars, name)[going] = np.clip(moved, -reach, reach)
        far = np.abs(step[:, 0]) > _AT_REST * some.flux
        going[going] = far | (np.abs(step[:, 1:]) > _AT_REST).any(axis=1)
    model, light, wing, spread, left = _wings(stars, psf, inverse_gain)
    number = wing.sum((1, 2))
    chi2 = np.where(wing, left**2 / spread, 0.0).sum((1, 2)) / np.maximum(number - 3, 1)
    least = np.where(wing, light, np.inf).min((1, 2))
    most = np.where(wing, light, 0.0).max((1, 2))
    middle = np.sqrt(np.where(number > 0, least, 0.0) * most)[:, None, None]
    inner, outer = (
        np.where(wing & part, model * left / spread, 0.0).sum((1, 2))
        / np.maximum(np.where(wing & part, model**2 / spread, 0.0).sum((1, 2)), 1e-300)
        for part in (light > middle, light <= middle)
    )
    agree = (number >= _MIN_WING) & (chi2 < MAX_CHI2) & (stars.flux > 0.0)
    agree &= most > SPAN * least
    agree &= np.maximum(np.abs(inner), np.abs(outer)) < AGREE * stars.flux
    stars = replace(stars, agree=agree)
    return stars.take(agree & ~_twice(stars, 0.5 * psf.fwhm))


def _twice(stars: _Stars, reach: float) -> Bools:
    """Tell which peaks are of the same star as one before: hollow stars have several."""
    x, y = stars.x + stars.dx, stars.y + stars.dy
    near: Bools = np.hypot(x[:, None] - x, y[:, None] - y) < reach
    near &= stars.agree
    twice = np.tril(near, -1).any(axis=1)
    return np.asarray(twice, dtype=np.bool_)


@record
class _Cores:
    """The cores of stars whose wings are those of the PSF.

    `light` is what the wings say there is, `core` the pixels within half of the peak, `share` the
    part of the light in these that is there, `whole` whether that is all of it, `lost` whether it
    is not where the peak was above the level, `enough` whether that many say something.
    """

    light: F8
    core: Bools
    share: F8
    whole: Bools
    lost: Bools
    enough: bool


def _cores_of(stars: _Stars, psf: Psf, level: float) -> _Cores:
    model = stars.model(psf)
    light = stars.flux[:, None, None] * model
    peak = _highest(light)
    core = model > 0.5 * _highest(model)[:, None, None]
    share = np.where(core, stars.data, 0.0).sum((1, 2)) / np.where(core, light, 0.0).sum((1, 2))
    limit = 1.0 - np.maximum(LOSS, SURE * stars.error / stars.flux)
    lost = (peak > ABOVE * level) & (share < limit)
    lost &= (stars.top > TOP * level) & (peak < MAX_PEAK * level)
    n_lost = int(lost.sum())
    alike = n_lost >= PAIR and np.ptp(stars.top[lost]) < ALIKE * level
    enough = n_lost >= MIN_LOST or (alike and share[lost].max() < 1.0 - PAIR_LOSS)
    return _Cores(light, core, share, share > limit, lost, bool(enough))


def _judged(stars: _Stars, psf: Psf, shape: tuple[int, ...], level: float) -> CutCores | None:
    """Return what the cores of stars whose wings are those of the PSF say."""
    cores = _cores_of(stars, psf, level)
    light, core, share, lost = cores.light, cores.core, cores.share, cores.lost
    peak = _highest(light)
    above = peak > CLEARLY * level
    if not cores.enough or (above & ~lost).sum() > MAX_KEPT * above.sum():
        return None
    below = peak < ABOVE * level
    n_whole = int((below & cores.whole).sum())
    if n_whole < MIN_KEPT or below.sum() - n_whole > MAX_KEPT * below.sum():
        return None
    cut = (peak > level)[:, None, None] & (light > CUT * level)
    missing = light - stars.data
    hole = (missing > HOLE * light) & (missing > HOLE_SURE * np.sqrt(stars.noise))
    cut |= (peak > CUT * level)[:, None, None] & core & hole
    star, row, column = np.nonzero(cut)
    half = stars.data.shape[1] // 2
    pixels = (stars.y[star] + row - half) * shape[1] + stars.x[star] + column - half
    inside = (light > INSIDE * level) & cut
    flat = bool(inside.any()) and float(np.median(stars.data[inside])) > CUT * level
    return CutCores(
        level, np.unique(pixels), int(lost.sum()), 1.0 - float(np.median(share[lost])), flat
    )  # fmt: skip


def with_cores_saturated(exposure: Exposure, cut: CutCores, sky: float, run: Run) -> Exposure:
    """Return the exposure with the pixels of lost cores as saturated, and say so.

    Where the cores are flat their level becomes that of saturation.

    Parameters
    ----------
    sky : float
        Typical level of the background.
    """
    mask = exposure.mask.copy()
    mask.ravel()[cut.pixels] |= np.uint16(Mask.SAT)
    level, detector = sky + cut.level, exposure.detector
    what = "clipped as a stack does it, or a detector that is not linear"
    if cut.flat:
        lowest = sky + CUT * cut.level
        what = f"saturation below the level that is given ({detector.saturation:g})"
        detector = replace(detector, saturation=lowest)
        mask[exposure.image >= np.float32(lowest)] |= np.uint16(Mask.SAT)
    run.warn(
        f"{cut.n_stars} bright stars lack {cut.loss:.0%} of the light that their wings say is in "
        f"their cores, and no star has a pixel above {level:.6g}: {what}; their cores are taken as "
        "saturated"
    )
    return replace(exposure, mask=mask, detector=detector)
