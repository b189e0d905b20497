"""Cosmic-ray repair, and interpolation over narrow defects.

Found against the PSF (`kernels.cosmics`), grown along their tracks, and filled by linear
prediction with the PSF's scale (`kernels.interpolate`).  Defects that the mask already
knows (bad columns, bad pixels, bleed trails) are filled the same way where they are narrow;
wide ones stay as they are, masked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from skyextract.exposure import Mask
from skyextract.kernels import cosmics as kernels
from skyextract.kernels import interpolate
from skyextract.psf import PsfSource

if TYPE_CHECKING:
    from skyextract.keywords import Cosmics
    from skyextract.psf import Psf
    from skyextract.run import Run

Image = NDArray[np.float32]

NO_INFORMATION = np.float32(1e30)
"""Variance of a pixel that must have no weight (SExtractor's BIG)."""
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


@dataclass(frozen=True)
class Repaired:
    """Pixels after the repair.

    Attributes
    ----------
    image : (ny, nx) float32
        Background not subtracted; repaired pixels replaced.
    mask : (ny, nx) uint16
        CR and INTRP added for cosmic rays, INTRP for narrow defects.
    variance : (ny, nx) float32
        The background variance, 1e30 in every repaired pixel: its value is a guess made of
        its neighbours and carries no information of its own, so that fits and weighted sums
        must leave it out.  Apertures may sum the interpolated value (plane INTRP).
    n_cosmic_rays : int
        Number of tracks: 8-connected groups of pixels.
    n_pixels : int
        Number of cosmic-ray pixels.
    n_interpolated : int
        Number of pixels of narrow defects that were filled.
    """

    image: Image
    mask: NDArray[np.uint16]
    variance: Image
    n_cosmic_rays: int
    n_pixels: int
    n_interpolated: int


def repair(
    image: Image,
    mask: NDArray[np.uint16],
    background: Image,
    variance: Image,
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
    psf : Psf
        A default PSF serves for the interpolation only: what counts as too sharp is then
        judged by a FWHM of 1.5 pixels, so that stars survive whatever the seeing is.
    cosmics : Cosmics
        CR_REPAIR (N: only the defects are filled), CR_MINSIGMA, CR_NITER.
    run : Run
        Threads.

    Notes
    -----
    A seed must exceed the mean of a pair of opposite neighbours by CR_MINSIGMA sigma and
    violate the PSF's limit by 3 sigma; then the neighbours of what was found are tested with
    lower thresholds in the repaired image, at most CR_NITER times, until nothing new is
    found.
    """
    bad = ((mask & int(_UNUSABLE)) != 0) | ~(variance < NO_INFORMATION) | ~np.isfinite(image)
    state = bad.astype(np.uint8) * np.uint8(kernels.UNUSABLE)
    filler = _Filler.for_psf(psf.fwhm)
    repaired = image.copy()
    ys = xs = np.zeros(0, dtype=np.int64)
    n_tracks = 0
    if cosmics.cr_repair:
        inverse_gain = _inverse_gain(gain, background, variance)
        limits = contrast_limits(psf, (image.shape[0], image.shape[1]))
        ys, xs = _find(
            image, repaired, background, variance, state, inverse_gain, limits, filler, cosmics, run
        )
        n_tracks = kernels.count_tracks(state, ys, xs)
    new_mask = mask.copy()
    new_mask[ys, xs] |= np.uint16(Mask.CR | Mask.INTRP)
    y_defect, x_defect = _narrow_defects(mask, bad, psf.fwhm)
    filler.fill(repaired, background, variance, state, y_defect, x_defect, run)
    new_mask[y_defect, x_defect] |= np.uint16(Mask.INTRP)
    new_variance = variance.copy()
    new_variance[ys, xs] = NO_INFORMATION
    new_variance[y_defect, x_defect] = NO_INFORMATION
    return Repaired(repaired, new_mask, new_variance, n_tracks, len(ys), len(y_defect))


def contrast_limits(psf: Psf, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the least ratio of the mean of opposite neighbours to a pixel, per direction.

    The least over the pixels of the PSF's core, sub-pixel positions and nine places in the
    field.

    Returns
    -------
    (6,) float64
        For `kernels.cosmics.DIRECTIONS`; at most 1.
    """
    if psf.source is PsfSource.DEFAULT:
        sigma2 = (min(psf.fwhm, _SHARPEST_FWHM) / 2.3548) ** 2
        steps = (kernels.DIRECTIONS**2).sum(axis=1)
        return np.asarray(np.exp(-0.5 * steps / sigma2), dtype=np.float64)
    limits = np.ones(len(kernels.DIRECTIONS))
    places = {
        (fx * (shape[1] - 1), fy * (shape[0] - 1))
        for fx in (0.1, 0.5, 0.9)
        for fy in (0.1, 0.5, 0.9)
    }
    if psf.degree == 0:
        places = {(0.5 * (shape[1] - 1), 0.5 * (shape[0] - 1))}
    shifts = np.arange(-0.5, 0.51, 0.25)
    grid = [(x, y, dx, dy) for x, y in sorted(places) for dx in shifts for dy in shifts]
    x, y, dx, dy = np.array(grid).T
    # Two pixels of margin, so that opposite neighbours of the core never wrap around.
    core_only = psf.stamps(x, y, dx, dy, 2 * math.ceil(psf.fwhm) + 3).astype(np.float64)
    stamps = np.pad(core_only, ((0, 0), (2, 2), (2, 2)))
    core = stamps > 0.25 * stamps.max(axis=(1, 2), keepdims=True)
    for k, (i, j) in enumerate(kernels.DIRECTIONS):
        mean = 0.5 * (np.roll(stamps, (j, i), (1, 2)) + np.roll(stamps, (-j, -i), (1, 2)))
        limits[k] = min(1.0, float((mean[core] / stamps[core]).min()))
    return np.asarray(np.maximum(limits, 0.0), dtype=np.float64)


def _inverse_gain(gain: float, background: Image, variance: Image) -> float:
    """Return 1/gain; for an unknown one the highest that the noise of the sky allows."""
    if gain > 0.0:
        return 1.0 / gain
    step = max(1, background.shape[0] // 64), max(1, background.shape[1] // 64)
    level = background[:: step[0], :: step[1]]
    noise2 = variance[:: step[0], :: step[1]]
    good = (noise2 < NO_INFORMATION) & (level > 0.0)
    return float(np.median(noise2[good] / level[good])) if good.any() else 0.0


def _find(
    raw: Image,
    image: Image,
    background: Image,
    variance: Image,
    state: NDArray[np.uint8],
    inverse_gain: float,
    limits: NDArray[np.float64],
    filler: _Filler,
    cosmics: Cosmics,
    run: Run,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find cosmic-ray pixels, repairing `image` and marking `state` on the way."""
    nx = image.shape[1]
    found = np.empty(image.shape, dtype=np.uint8)
    noise = (image, background, variance, state, inverse_gain)
    sharper = limits**_SHARPER**2
    seeding = (*noise, sharper, kernels.DIRECTIONS, cosmics.cr_minsigma, _EXCESS)
    contrast = _GROW_CONTRAST * cosmics.cr_minsigma
    looser = np.minimum(limits, _GROW_LIMIT)
    growth = (raw, *noise, looser, kernels.DIRECTIONS, contrast, _GROW_EXCESS)

    def seeds(band: tuple[int, int]) -> None:
        kernels.find_seeds(*seeding, band[0], band[1], found)

    run.map(seeds, run.bands(image.shape[0]))
    cosmic = fresh = np.flatnonzero(found.view(np.bool_)).astype(np.int64)
    around = np.array([j * nx + i for j in (-1, 0, 1) for i in (-1, 0, 1) if (i, j) != (0, 0)])
    state.ravel()[fresh] |= np.uint8(kernels.COSMIC)
    for _ in range(cosmics.cr_niter):
        # What was filled before is filled anew where a neighbour turned out to be lost, too.
        fill = _within(fresh, cosmic, image.shape)
        y, x = fill // nx, fill % nx
        filler.fill(image, background, variance, state, y, x, run)
        kernels.cap_by_pairs(image, background, variance, state, kernels.DIRECTIONS, y, x)
        new = np.empty((len(fill), len(around)), dtype=np.uint8)
        kernels.grow(*growth, y, x, new)
        fresh = np.unique((fill[:, None] + around)[new.view(np.bool_)])
        state.ravel()[fresh] |= np.uint8(kernels.COSMIC)
        cosmic = np.union1d(cosmic, fresh)
        if not len(fresh):
            break
    filler.fill(image, background, variance, state, cosmic // nx, cosmic % nx, run)
    return cosmic // nx, cosmic % nx


def _within(
    fresh: NDArray[np.int64], cosmic: NDArray[np.int64], shape: tuple[int, ...]
) -> NDArray[np.int64]:
    """Return the cosmic-ray pixels whose prediction can depend on the fresh ones."""
    if len(fresh) == len(cosmic):
        return cosmic
    near = np.zeros(shape, dtype=np.bool_)
    y, x = fresh // shape[1], fresh % shape[1]
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            near[np.clip(y + dy, 0, shape[0] - 1), np.clip(x + dx, 0, shape[1] - 1)] = True
    return cosmic[near.ravel()[cosmic]]


def _narrow_defects(
    mask: NDArray[np.uint16], bad: NDArray[np.bool_], fwhm: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns of the lost pixels that are narrow enough to fill."""
    index = np.flatnonzero(bad)
    ys, xs = index // bad.shape[1], index % bad.shape[1]
    narrow = np.zeros(len(ys), dtype=np.uint8)
    if len(ys):
        saturated = ((mask & int(Mask.SAT)) != 0).view(np.uint8)
        length = max(4 * NARROW, math.ceil(4.0 * fwhm))
        interpolate.narrow_defects(bad.view(np.uint8), saturated, NARROW, length, ys, xs, narrow)
    chosen = narrow.view(np.bool_)
    return ys[chosen], xs[chosen]


@dataclass(frozen=True)
class _Filler:
    """Linear prediction with the correlation of one PSF width."""

    offsets: NDArray[np.int64]
    correlation: NDArray[np.float64]

    @classmethod
    def for_psf(cls, fwhm: float) -> _Filler:
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

    def fill(
        self,
        image: Image,
        background: Image,
        variance: Image,
        state: NDArray[np.uint8],
        ys: NDArray[np.int64],
        xs: NDArray[np.int64],
        run: Run,
    ) -> None:
        """Replace pixels of `image` by their prediction from those whose state is 0."""
        if not len(ys):
            return
        values = np.empty(len(ys), dtype=np.float32)

        def chunk(part: tuple[int, int]) -> None:
            rows = slice(*part)
            interpolate.predict(
                image, background, variance, state, self.offsets, self.correlation,
                ys[rows], xs[rows], values[rows],
            )  # fmt: skip

        run.map(chunk, run.bands(len(ys), least=256))
        image[ys, xs] = values
