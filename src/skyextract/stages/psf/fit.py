"""PSF photometry: flux and position of every source as a point source, and SPREAD_MODEL.

All sources of the image are fitted together by iterative subtraction (see
`skyextract.kernels.psfphot`): no groups have to be formed, blends of any size are
solved, and the cost grows as the number of sources.  Like SExtractor's MAG_PSF the columns are
those of point sources, whatever the source really is.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I4, I8, U2, Bools
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.noise import typical_noise
from skyextract.datamodel.psf import Psf
from skyextract.kernels.psf.fit import (
    MOVING,
    NO_PIXELS,
    RUNAWAY,
    UNSETTLED,
    describe_fits,
    fit_tiles,
    joint_errors,
)
from skyextract.kernels.psf.spline import PAD, spline_coefficients
from skyextract.run import Run

UNUSABLE = int(Mask.BAD | Mask.SAT | Mask.INTRP | Mask.CR | Mask.EDGE | Mask.NO_DATA)
"""Pixels that are not fitted: without data, or with data that were made up."""

FIT_RADIUS = 1.5
"""Radius of the fit region in FWHM.  Smaller ones leave out the wings, and magnitudes of bright
stars on real frames scatter more."""

MIN_FIT_RADIUS = 2.5
"""The same in pixels, for undersampled images: 21 pixels."""

MAX_SHIFT = 1.0
"""Largest distance from the given position in FWHM; farther away it is another source."""

SPREAD_RADIUS = 2.0
"""Radius in FWHM of the pixels that SPREAD_MODEL compares."""

DISK_SCALE = 1 / 16
"""Scale length of SPREAD_MODEL's exponential disk in FWHM (Desai et al. 2012)."""

WORKING_NOISE = 30.0
"""Background noise in electrons that weights assume where the gain is unknown: with no photon
noise at all the few brightest pixels, where the PSF model is wrong by more than the noise, make
the flux.  Errors do not assume anything: they are those of the background."""

MAX_SWEEPS = 30
MIN_TILE = 64


@dataclass(frozen=True)
class PsfPhotometry:
    """Point-source fits, one row per given position; NaN where there is none.

    Attributes
    ----------
    flux, flux_error : (n,) float64
        Image units; the PSF sums to 1 over its model.
    x, y : (n,) float64
        0-based pixels.
    variance_x, variance_y, covariance_xy : (n,) float64
        Of the position, square pixels; NaN where the position is the given one.
    chi2 : (n,) float64
        Reduced chi2 within the fit region.
    iterations : (n,) int32
        Gauss-Newton steps, all sweeps together.
    converged : (n,) bool
        False for no good pixels, a source too faint or too odd for a position of its own
        (flux at the given position), or no end of the iterations.
    spread, spread_error : (n,) float64 or None
        SPREAD_MODEL and its error, if wanted.
    residual : (ny, nx) float32
        The image minus all models.
    sweeps : int
        Sweeps over the sources until nothing changed.
    """

    flux: F8
    flux_error: F8
    x: F8
    y: F8
    variance_x: F8
    variance_y: F8
    covariance_xy: F8
    chi2: F8
    iterations: I4
    converged: Bools
    spread: F8 | None
    spread_error: F8 | None
    residual: F4
    sweeps: int


@dataclass(frozen=True)
class _Tiles:
    """The sources by square tiles of the image, brightest first."""

    columns: int
    of: I8
    start: I8
    members: I8
    colour: I8


def psf_photometry(
    image: F4,
    background_variance: F4,
    gain: float,
    mask: U2,
    psf: Psf,
    x: F8,
    y: F8,
    run: Run,
    *,
    spread: bool = True,
    max_sweeps: int = MAX_SWEEPS,
) -> PsfPhotometry:
    """Fit the PSF to all sources of an image.

    A position fitted to noise finds its peaks: fluxes are too large by about 1 / (S/N)^2 of
    themselves, 0.003 mag at S/N 20, as in any such fit.

    Parameters
    ----------
    image : (ny, nx) float32
        Background-subtracted.
    background_variance : (ny, nx) float32
        Variance without the sources' photons; not finite, <= 0 or >= 1e29: a bad pixel.
    gain : float
        Electrons per image unit; 0: unknown.  Errors are then those of the background, and
        weights guess a gain (`WORKING_NOISE`).
    mask : (ny, nx) uint16
        `Mask` planes.
    psf : Psf
    x, y : (n,) float64
        Starting positions, 0-based pixels; a NaN gives a row of NaN.
    run : Run
    spread : bool
        Is SPREAD_MODEL wanted?
    max_sweeps : int
        Sweeps over the sources, at most.

    Returns
    -------
    PsfPhotometry
    """
    n = len(x)
    x = np.ascontiguousarray(x, dtype=np.float64)
    y = np.ascontiguousarray(y, dtype=np.float64)
    largest_radius = max(psf.radius, 3)
    fit_radius = min(max(FIT_RADIUS * psf.fwhm, MIN_FIT_RADIUS), float(largest_radius))
    largest_shift = max(MAX_SHIFT * psf.fwhm, 1.0)
    with np.errstate(invalid="ignore"):
        usable = (np.abs(2 * x - image.shape[1]) < image.shape[1] + 2 * largest_radius) & (
            np.abs(2 * y - image.shape[0]) < image.shape[0] + 2 * largest_radius
        )
    tile_size = max(MIN_TILE, 2 * (largest_radius + math.ceil(largest_shift) + 2))
    tiles = _tiles(x, y, usable, image, tile_size)

    u, v = psf.normalised(np.where(usable, x, 0.0), np.where(usable, y, 0.0))
    model: tuple[Any, ...] = (psf.coefficients, psf.degree, float(psf.sampling), u, v)
    sky_noise = typical_noise(background_variance) or 1.0
    inverse_gain = 1.0 / gain if gain > 0 and math.isfinite(gain) else 0.0
    working = inverse_gain if gain > 0 else sky_noise / WORKING_NOISE
    inverse_gains = np.array([inverse_gain, working])
    residual = image.copy()
    planes: tuple[Any, ...] = (image, residual, background_variance, mask, UNUSABLE, inverse_gains)
    envelope = _envelope(psf, image.shape, largest_radius)
    parameters = np.column_stack([np.zeros(n), x, y])
    parameters[~usable, 0] = np.nan
    reach = np.full(n, -1, dtype=np.int64)
    radius = np.full(n, fit_radius)
    stale = usable.astype(np.uint8)
    status = np.where(usable, 0, NO_PIXELS).astype(np.int32)
    iterations = np.zeros(n, dtype=np.int32)

    sources = (parameters, reach, radius, stale, status, iterations)
    fitting: tuple[Any, ...] = (
        *(tiles.start, tiles.members, tiles.columns), *planes, *model,
        *(x, y, envelope, sky_noise, fit_radius, largest_shift), *sources,
    )  # fmt: skip

    def fit(chunk: I8) -> None:
        fit_tiles(chunk, *fitting)

    sweeps = 0
    while sweeps < max_sweeps and stale.any():
        sweeps += 1
        for colour in range(4):
            # tiles of one colour do not touch: their order and thread do not matter
            todo = np.unique(tiles.of[stale.astype(bool)])
            todo = todo[tiles.colour[todo] == colour]
            run.map(fit, [chunk for chunk in np.array_split(todo, 4 * run.n_threads) if chunk.size])

    normal, noise_matrix, covariance = np.empty((3, n, 3, 3))
    chi2, spreads, spread_errors = np.empty((3, n))
    disk = _disk_coefficients(psf) if spread else psf.coefficients
    spread_radius = min(math.ceil(SPREAD_RADIUS * psf.fwhm), largest_radius) if spread else 0
    edges: list[int] = np.linspace(0, n, 4 * run.n_threads + 1).astype(int).tolist()
    chunks = list(itertools.pairwise(edges))

    describing: tuple[Any, ...] = (
        *planes, model[0], disk, *model[1:], largest_radius, spread_radius,
        *(parameters, radius, normal, noise_matrix, chi2, spreads, spread_errors),
    )  # fmt: skip
    covering: tuple[Any, ...] = (
        *(tiles.of, tiles.start, tiles.members, tiles.columns), *planes, *model,
        *(largest_radius, parameters, radius, status, normal, noise_matrix, covariance),
    )  # fmt: skip

    def describe(chunk: tuple[int, int]) -> None:
        describe_fits(*chunk, *describing)

    def errors(chunk: tuple[int, int]) -> None:
        joint_errors(*chunk, *covering)

    run.map(describe, chunks)
    run.map(errors, chunks)
    no_fit = (status & NO_PIXELS) != 0
    parameters[no_fit] = np.nan
    converged = (status & (NO_PIXELS | RUNAWAY | UNSETTLED)) == 0
    # a source that was never visited again has come to rest at its first visit
    converged &= ((status & MOVING) == 0) | (stale == 0)
    # of sources on top of each other rounding may leave no variance
    covariance[(np.diagonal(covariance, axis1=1, axis2=2) <= 0.0).any(axis=1)] = np.nan
    converged &= np.isfinite(covariance[:, 0, 0]) & np.isfinite(covariance[:, 1, 1])
    run.info(f"PSF photometry: {n} sources, {sweeps} sweeps, {np.sum(~converged)} not converged")
    return PsfPhotometry(
        flux=parameters[:, 0].copy(),
        flux_error=np.sqrt(covariance[:, 0, 0]),
        x=parameters[:, 1].copy(),
        y=parameters[:, 2].copy(),
        variance_x=covariance[:, 1, 1].copy(),
        variance_y=covariance[:, 2, 2].copy(),
        covariance_xy=covariance[:, 1, 2].copy(),
        chi2=chi2,
        iterations=iterations,
        converged=converged,
        spread=spreads if spread else None,
        spread_error=spread_errors if spread else None,
        residual=residual,
        sweeps=sweeps,
    )


def _tiles(x: F8, y: F8, usable: Bools, image: F4, size: int) -> _Tiles:
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
    all_rows, all_columns = np.divmod(np.arange(rows * columns), columns)
    colour = 2 * (all_rows % 2) + all_columns % 2
    return _Tiles(columns, of, start.astype(np.int64), members.astype(np.int64), colour)


def _envelope(psf: Psf, shape: tuple[int, ...], radius: int) -> F8:
    """Largest value of the central PSF at 0, 1 ... `radius` pixels or farther."""
    stamp = np.abs(psf.stamp(shape[1] / 2, shape[0] / 2, size=2 * radius + 1)).astype(float)
    offset = np.abs(np.arange(-radius, radius + 1))
    distance = np.maximum(offset[:, None], offset[None, :])
    largest = np.array([stamp[distance == r].max() for r in range(radius + 1)])
    return np.ascontiguousarray(np.maximum.accumulate(largest[::-1])[::-1])


def _disk_coefficients(psf: Psf) -> F8:
    """Coefficients of the PSF convolved with SPREAD_MODEL's exponential disk.

    The transform of the disk, ``(1 + (2 pi k h)^2)^(-3/2)`` for scale length h, is exact.
    """
    n_terms, n_y, n_x = psf.basis.shape
    margin = PAD + math.ceil(psf.fwhm / psf.sampling)
    padded = np.pad(psf.basis, ((0, 0), (margin, margin), (margin, margin)))
    k_y = np.fft.fftfreq(padded.shape[1], psf.sampling)[:, None]
    k_x = np.fft.rfftfreq(padded.shape[2], psf.sampling)[None, :]
    scale = 2 * math.pi * DISK_SCALE * psf.fwhm
    transform = (1 + scale**2 * (k_x**2 + k_y**2)) ** -1.5
    images = np.fft.irfft2(np.fft.rfft2(padded) * transform, s=padded.shape[1:])
    images = images[:, margin:-margin, margin:-margin]
    out = np.empty((n_terms, n_y + 2 * PAD, n_x + 2 * PAD))
    spline_coefficients(np.ascontiguousarray(images, dtype=np.float32), out)
    return out
