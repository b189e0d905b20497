"""Cosmic-ray repair, and interpolation over narrow defects.

Found against the PSF (`kernels.cosmics`), grown along their tracks, and filled by linear
prediction with the PSF's scale (`kernels.interpolate`).  Defects that the mask already
knows (bad columns, bad pixels, bleed trails) are filled the same way where they are narrow;
wide ones stay as they are, masked.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import (
    F4,
    F8,
    I8,
    U1,
    U2,
    copied,
    distinct,
    places_set,
    unmarked,
    whole,
)
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.noise import median
from skyextract.datamodel.psf import PsfSource
from skyextract.kernels.repair import cosmics as kernels
from skyextract.kernels.repair import interpolate
from skyextract.kernels.values import NO_INFORMATION
from skyextract.record import record
from skyextract.stages.sparedstars import without_stars

if TYPE_CHECKING:
    from skyextract.datamodel.psf import Psf
    from skyextract.run import Run
    from skyextract.settings.keywords import Cosmics

NARROW = 4
"""Widest defect that is interpolated over, pixels."""
_SHARPER = 1.15
"""The PSF may be this much sharper than its model, where a cosmic ray is not known yet: limits
are raised to the power of its square, which for a Gaussian is that change of width."""
_SHARPEST_FWHM = 1.5
"""FWHM (pixels) taken for the limits when the PSF is a mere default."""
_EXCESS = 3.0
"""How surely a seed must violate the PSF's limit, sigma."""
_GROW_CONTRAST = 0.55
_GROW_EXCESS = 2.0
_GROW_LIMIT = 0.6
"""Beside a cosmic-ray pixel: fraction of CR_MINSIGMA, sigma against the limit, and the limit,
where it is lower than a wide PSF's: no noise peak of a star then continues a track."""
_UNUSABLE = Mask.BAD | Mask.SAT | Mask.NO_DATA
_RADIUS = 6
"""Neighbours farther than this (pixels) predict nothing."""


@record
class Repaired:
    """Pixels after the repair.

    Attributes
    ----------
    image : (ny, nx) float32
        Background not subtracted; repaired pixels replaced.
    mask : (ny, nx) uint16
        CR and INTRP added for cosmic rays, INTRP for narrow defects.
    variance : (ny, nx) float32
        The background variance, 1e30 in every repaired pixel: fits and weighted sums must leave
        out a guess made of neighbours.  Apertures may sum the value (plane INTRP).
    n_cosmic_rays : int
        Number of tracks: 8-connected groups of pixels.
    n_pixels : int
        Number of cosmic-ray pixels.
    n_interpolated : int
        Number of pixels of narrow defects that were filled.
    """

    image: F4
    mask: U2
    variance: F4
    n_cosmic_rays: int
    n_pixels: int
    n_interpolated: int


@record
class RepairPlanes:
    """Work planes of the repair: changed in place by `repair_planes`, put back by `undo`.

    Attributes
    ----------
    data : (ny, nx) float32
        Image without its background.
    variance : (ny, nx) float32
        Background variance, 1e30 in bad pixels.
    mask : (ny, nx) uint16
        Never changed.
    state : (ny, nx) uint8
        What `kernels.cosmics` knows of each pixel.
    bright, min_sigma : (ny, n) uint8, float
        Which blocks of `kernels.cosmics.BLOCK` pixels have some above CR_MINSIGMA, and that.
    inverse_gain : float
        ADU/e-.
    """

    data: F4
    variance: F4
    mask: U2
    state: U1
    bright: U1
    min_sigma: float
    inverse_gain: float

    @classmethod
    def of(
        cls, data: F4, variance: F4, mask: U2, inverse_gain: float, min_sigma: float, run: Run
    ) -> RepairPlanes:
        """Return work planes that own `data` and `variance`."""
        ny, nx = data.shape
        state = whole((ny, nx), np.uint8)
        bright = np.empty((ny, -(-nx // kernels.BLOCK)), np.uint8)

        def rows(band: tuple[int, int]) -> None:
            kernels.mark_unusable(
                data, mask, int(_UNUSABLE), variance, NO_INFORMATION, min_sigma, *band, state,
                bright,
            )  # fmt: skip

        run.map(rows, run.bands(ny))
        return cls(data, variance, mask, state, bright, min_sigma, inverse_gain)


@record
class Repairs:
    """What a repair changed in its work planes.

    Attributes
    ----------
    pixel : (n,) int64
        Index ``y * nx + x`` of the pixels, those of cosmic rays first.
    data, variance : (n,) float32
        What the work planes held there before.
    n_cosmic_rays : int
        Number of tracks: 8-connected groups of pixels.
    n_pixels : int
        Number of cosmic-ray pixels.
    n_spared : int
        Number of pixels that looked like these, and are parts of stars (`sparedstars`).
    """

    pixel: I8
    data: F4
    variance: F4
    n_cosmic_rays: int
    n_pixels: int
    n_spared: int = 0

    @property
    def cosmic(self) -> I8:
        """The pixels of cosmic rays."""
        return self.pixel[: self.n_pixels]

    @property
    def defects(self) -> I8:
        """The pixels of narrow defects."""
        return self.pixel[self.n_pixels :]

    def undo(self, planes: RepairPlanes) -> None:
        """Put the work planes back."""
        planes.data.ravel()[self.pixel] = self.data
        planes.variance.ravel()[self.pixel] = self.variance
        planes.state.ravel()[self.cosmic] = 0

    def image(self, image: F4, background: F4, planes: RepairPlanes, run: Run) -> F4:
        """Return a copy of the image, sky included, with the repaired pixels of the work planes."""
        repaired = copied(image, run)
        pixel = self.pixel
        repaired.ravel()[pixel] = background.ravel()[pixel] + planes.data.ravel()[pixel]
        return repaired

    def mask(self, mask: U2) -> U2:
        """Return a copy of the mask with CR and INTRP added."""
        marked = unmarked(mask.shape, mask.dtype)  # rows without planes are not written to
        rows = np.flatnonzero(mask.any(axis=1))
        marked[rows] = mask[rows]
        marked.ravel()[self.cosmic] |= np.uint16(Mask.CR | Mask.INTRP)
        marked.ravel()[self.defects] |= np.uint16(Mask.INTRP)
        return marked


def repair(
    image: F4,
    mask: U2,
    background: F4,
    variance: F4,
    gain: float,
    psf: Psf,
    cosmics: Cosmics,
    run: Run,
) -> Repaired:
    """Find cosmic rays against the PSF, and fill them and the narrow defects of the mask.

    Parameters
    ----------
    image : (ny, nx) float32
        Unrepaired pixels, background not subtracted.
    mask : (ny, nx) uint16
        `Mask` planes; BAD, SAT and NO_DATA pixels are never cosmic rays nor compared with.
    background, variance : (ny, nx) float32
        Sky level, and variance of the sky without the sources' photons (1e30: bad pixel).
    gain : float
        e-/ADU; 0, unknown, takes the lowest that sky level and noise allow.
    psf, cosmics, run
        See `repair_planes`.
    """
    inverse_gain = 1.0 / gain if gain > 0.0 else least_inverse_gain(background, variance)
    own, sigma = (image - background, variance.copy()), cosmics.cr_minsigma
    planes = RepairPlanes.of(*own, mask, inverse_gain, sigma, run)
    repairs = repair_planes(planes, psf, cosmics, run)
    return Repaired(
        repairs.image(image, background, planes, run), repairs.mask(mask), planes.variance,
        repairs.n_cosmic_rays, repairs.n_pixels, len(repairs.defects),
    )  # fmt: skip


def repair_planes(planes: RepairPlanes, psf: Psf, cosmics: Cosmics, run: Run) -> Repairs:
    """Find cosmic rays and fill them and narrow defects, in the work planes.

    Parameters
    ----------
    planes : RepairPlanes
        Repaired pixels get new values, and the variance 1e30.
    psf : Psf
        A default PSF serves for the interpolation only: what counts as too sharp is then
        judged by a FWHM of 1.5 pixels, so that stars survive whatever the seeing is.
    cosmics : Cosmics
        CR_REPAIR (N: only the defects are filled), CR_NITER.
    run : Run

    Notes
    -----
    A seed must exceed the mean of a pair of opposite neighbours by CR_MINSIGMA sigma and
    violate the PSF's limit by 3 sigma; then the neighbours of what was found are tested with
    lower thresholds in the repaired image, at most CR_NITER times, until nothing new is
    found.
    """
    interpolator = _Interpolator.for_psf(psf.fwhm)
    defects = _narrow_defects(planes, psf.fwhm, run)
    cosmic, charge = np.zeros(0, np.int64), np.zeros(0, np.float32)
    n_tracks = n_spared = 0
    if cosmics.cr_repair:
        cosmic, charge = _find(planes, psf, interpolator, cosmics, run)
        n_spared = cosmic.size
        cosmic, charge = without_stars(planes, cosmic, charge, psf.fwhm)
        n_spared -= cosmic.size
        n_tracks = kernels.count_tracks(planes.state, *_rows_and_columns(cosmic, planes))
    before = np.concatenate([charge, planes.data.ravel()[defects]])
    interpolator.fill(planes, defects, run)
    pixel = np.concatenate([cosmic, defects])
    variance = planes.variance.ravel()[pixel]
    planes.variance.ravel()[pixel] = NO_INFORMATION
    return Repairs(pixel, before, variance, n_tracks, cosmic.size, n_spared)


def contrast_limits(psf: Psf, shape: tuple[int, int]) -> F8:
    """Return the least ratio of the mean of opposite neighbours to a pixel, per direction.

    The least over the pixels of the PSF's core, sub-pixel positions and nine places in the
    field, for `kernels.cosmics.DIRECTIONS`; at most 1.
    """
    if psf.source is PsfSource.DEFAULT:
        sigma2 = (min(psf.fwhm, _SHARPEST_FWHM) / 2.3548) ** 2
        steps = (kernels.DIRECTIONS**2).sum(axis=1)
        return np.asarray(np.exp(-0.5 * steps / sigma2), dtype=np.float64)
    limits = np.ones(len(kernels.DIRECTIONS))
    shares = (0.5,) if psf.degree == 0 else (0.1, 0.5, 0.9)
    places = [(fx * (shape[1] - 1), fy * (shape[0] - 1)) for fx in shares for fy in shares]
    shifts = np.arange(-0.5, 0.51, 0.25)
    grid = [(x, y, dx, dy) for x, y in places for dx in shifts for dy in shifts]
    x, y, dx, dy = np.array(grid).T
    # Two pixels of margin, so that opposite neighbours of the core never wrap around.
    core_only = psf.stamps(x, y, dx, dy, 2 * math.ceil(psf.fwhm) + 3).astype(np.float64)
    stamps = np.pad(core_only, ((0, 0), (2, 2), (2, 2)))
    core = np.flatnonzero(stamps > 0.25 * stamps.max(axis=(1, 2), keepdims=True))
    pixels = stamps.ravel()
    for k, (i, j) in enumerate(kernels.DIRECTIONS):
        aside = j * stamps.shape[2] + i
        mean = 0.5 * (pixels[core - aside] + pixels[core + aside])
        limits[k] = min(1.0, float((mean / pixels[core]).min()))
    return np.asarray(np.maximum(limits, 0.0), dtype=np.float64)


def least_inverse_gain(background: F4, variance: F4) -> float:
    """Return the highest 1/gain that level and noise of the sky, sampled, allow."""
    step = max(1, background.shape[0] // 64), max(1, background.shape[1] // 64)
    level = background[:: step[0], :: step[1]]
    noise2 = variance[:: step[0], :: step[1]]
    good = (noise2 < NO_INFORMATION) & (level > 0.0)
    return median(noise2[good] / level[good]) if good.any() else 0.0


def _rows_and_columns(pixel: I8, planes: RepairPlanes) -> tuple[I8, I8]:
    y, x = np.divmod(pixel, planes.data.shape[1])
    return y, x


def _find(
    planes: RepairPlanes, psf: Psf, interpolator: _Interpolator, cosmics: Cosmics, run: Run
) -> tuple[I8, F4]:
    """Find cosmic-ray pixels and fill them in the work planes; their indices and former values."""
    ny, nx = planes.data.shape
    data, state = planes.data.ravel(), planes.state.ravel()
    limits = contrast_limits(psf, (ny, nx))
    noise = (planes.data, planes.variance, planes.state, planes.inverse_gain)
    sharper = limits**_SHARPER**2
    seeding = (*noise, sharper, kernels.DIRECTIONS, planes.min_sigma, _EXCESS, planes.bright)
    contrast = _GROW_CONTRAST * planes.min_sigma
    looser = np.minimum(limits, _GROW_LIMIT)
    growth = (*noise, looser, kernels.DIRECTIONS, contrast, _GROW_EXCESS)

    def seeds(band: tuple[int, int]) -> I8:
        # room for the worst case: memory that is not written to is never taken
        found = np.empty((band[1] - band[0]) * nx, dtype=np.int64)
        n = kernels.find_seeds(*seeding, band[0], band[1], found)
        return found[:n].copy()

    cosmic = fresh = np.concatenate(run.map(seeds, run.bands(ny)))
    charge = data[cosmic]
    around = np.array([j * nx + i for j in (-1, 0, 1) for i in (-1, 0, 1) if (i, j) != (0, 0)])
    state[fresh] |= np.uint8(kernels.COSMIC)
    for _ in range(cosmics.cr_niter):
        # What was filled before is filled anew where a neighbour turned out to be lost, too.
        rows = _within(fresh, cosmic, (ny, nx))
        fill = cosmic[rows]
        interpolator.fill(planes, fill, run)
        y, x = _rows_and_columns(fill, planes)
        kernels.cap_by_pairs(planes.data, planes.variance, planes.state, kernels.DIRECTIONS, y, x)
        new = np.empty((len(fill), len(around)), dtype=np.uint8)
        kernels.grow(charge[rows].astype(np.float64), *growth, y, x, new)
        fresh = distinct((fill[:, None] + around)[new.view(np.bool_)])
        if not len(fresh):
            break
        state[fresh] |= np.uint8(kernels.COSMIC)
        order = np.argsort(np.concatenate([cosmic, fresh]))
        charge = np.concatenate([charge, data[fresh]])[order]
        cosmic = np.concatenate([cosmic, fresh])[order]
    interpolator.fill(planes, cosmic, run)
    return cosmic, charge


def _within(fresh: I8, cosmic: I8, shape: tuple[int, int]) -> I8:
    """Return the rows of the cosmic-ray pixels whose prediction can depend on fresh ones."""
    if len(fresh) == len(cosmic):
        return np.arange(len(cosmic))
    near = np.zeros(shape, dtype=np.bool_)
    y, x = np.divmod(fresh, shape[1])
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            near[np.clip(y + dy, 0, shape[0] - 1), np.clip(x + dx, 0, shape[1] - 1)] = True
    return np.flatnonzero(near.ravel()[cosmic])


def _narrow_defects(planes: RepairPlanes, fwhm: float, run: Run) -> I8:
    """Return the lost pixels that are narrow enough to fill."""
    lost = places_set(planes.state, run)
    narrow = np.zeros(len(lost), dtype=np.uint8)
    if len(lost):
        saturated = (planes.mask.ravel()[lost] & np.uint16(Mask.SAT)) != 0
        length = max(4 * NARROW, math.ceil(4.0 * fwhm))
        y, x = _rows_and_columns(lost, planes)
        interpolate.narrow_defects(planes.state, saturated, NARROW, length, y, x, narrow)
    return lost[narrow.view(np.bool_)]


@record
class _Interpolator:
    """Linear prediction with the correlation of one PSF width."""

    offsets: I8
    correlation: F8

    @classmethod
    def for_psf(cls, fwhm: float) -> _Interpolator:
        """Tabulate neighbours by distance, and the autocorrelation of a Gaussian PSF."""
        side = np.arange(-_RADIUS, _RADIUS + 1)
        dy, dx = (grid.ravel() for grid in np.meshgrid(side, side, indexing="ij"))
        order = np.argsort(dx**2 + dy**2, kind="stable")[1:]
        sigma2 = (max(fwhm, 1.0) / 2.3548) ** 2
        squares = np.arange(2 * (2 * _RADIUS) ** 2 + 1)
        return cls(
            np.ascontiguousarray(np.stack([dx, dy], axis=1)[order], dtype=np.int64),
            np.exp(-0.25 * squares / sigma2),
        )

    def fill(self, planes: RepairPlanes, pixel: I8, run: Run) -> None:
        """Replace pixels of the work planes by their prediction from those whose state is 0."""
        if not len(pixel):
            return
        ys, xs = _rows_and_columns(pixel, planes)
        values = np.empty(len(pixel), dtype=np.float32)

        def chunk(part: tuple[int, int]) -> None:
            rows = slice(*part)
            interpolate.predict(
                planes.data, planes.variance, planes.state, self.offsets, self.correlation,
                ys[rows], xs[rows], values[rows],
            )  # fmt: skip

        run.map(chunk, run.bands(len(ys), least=256))
        planes.data[ys, xs] = values
