"""The sky beneath stars on light that the meshes of the background do not follow.

The tail of a comet, a nebula or the disk of a large galaxy is found as a source, and the background
goes on beneath it: stars on it are measured with that light.  What the fits of the PSF leave of
the image between the sources shows it.  Where it covers regions that are far larger than stars and
ordinary galaxies, its mean about each place is the sky of point sources there.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, U1, U2, Bools
from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.noise import median
from skyextract.kernels.detection.label import label_runs
from skyextract.kernels.detection.pixels import Components, Runs
from skyextract.kernels.psf.skycells import keep_good, sum_clipped, sum_noise
from skyextract.record import record
from skyextract.run import Run
from skyextract.stages.background.interpolate import subtract_background
from skyextract.stages.background.means import smoothed
from skyextract.stages.pointsources.leftlight import within
from skyextract.stages.pointsources.sweeps import UNUSABLE

SAMPLE = 250_000
"""Pixels in which such light is looked for, about, if that leaves two rows of a cell."""
TEST_CELL = 3.0
"""Side of the cells of this search, and width of the Gaussian over them, in FWHM."""
SURE = 5.0
"""Light of so many of its errors..."""
MIN_REGION = 400.0
"""... in a region of so many FWHM squared is no source, and neither are they several."""
CELL = 0.7
"""Side of the cells whose means are the sky, in FWHM."""
WIDTHS = (2.0, 1.0)
"""Widths of the Gaussian of these means, in FWHM: the narrower one is taken..."""
FLATTENED = 1.0
"""... if the mean square of what it changes is more than so many times its variance: noise alone
changes it by three quarters of that."""
CORE, TEST_CORE = 1.5, 3.0
"""Pixels within so many FWHM of a source are its own; in the search those of galaxies, too."""
BRIGHT, WINGS = 30.0, 0.6
"""This radius grows by so much of itself for each factor of ten in S/N above the first number."""
CLIP, ROUNDS = 4.0, 3
"""Pixels count as so many sigma from the mean about them at most, in so many rounds."""
_FEW = 8
"""Rows of cells, at least, that are worth a thread."""
TWICED = 1.35
"""Noise of a mean to which that of what it left was added, over its own."""
MAX_SPREAD = 0.006
"""SPREAD_MODEL of point sources, beyond three of its errors: they have this sky in apertures, too;
galaxies would lose light that is their own."""


@record
class Subtracted:
    """What fits of point sources leave of an image.

    Attributes
    ----------
    residual : (ny, nx) float32
    x, y, snr : (n,) float64
        0-based pixels, S/N of the fluxes.
    """

    residual: F4
    x: F8
    y: F8
    snr: F8


@record
class LocalSky:
    """Light beneath point sources that the background lacks.

    Attributes
    ----------
    level : BackgroundMap
        0 outside the regions.
    error : (n_y, n_x) float64
        Of the level in the same cells; 0 outside.
    """

    level: BackgroundMap
    error: F8

    def light(self, image: F4, run: Run) -> F4:
        """Return this light, 0 where an image is 0, as it is without data."""
        ny, nx = image.shape
        nothing = np.zeros((ny, nx), np.float32)
        no_data: U2 = (image == 0.0) * np.uint16(Mask.NO_DATA)
        return -subtract_background(nothing, no_data, self.level, run)

    def at(self, x: F8, y: F8, run: Run) -> tuple[F8, F8]:
        """Return level and error at 0-based pixels; NaN of NaN."""
        known = np.isfinite(x) & np.isfinite(y)
        ny, nx = self.level.shape
        column, row = (
            np.clip(np.rint(np.where(known, at, 0.0)), 0, size - 1).astype(np.int64)
            for at, size in ((x, nx), (y, ny))
        )
        level = -subtract_background(np.zeros((ny, nx), np.float32), None, self.level, run)
        error = self.error[row // self.level.mesh_height, column // self.level.mesh_width]
        return np.where(known, level[row, column], np.nan), np.where(known, error, np.nan)


def local_sky(
    sources: Subtracted, variance: F4, mask: U2, fwhm: float, run: Run
) -> LocalSky | None:
    """Measure the light of large structure beneath sources; None where there is none.

    Parameters
    ----------
    sources : Subtracted
    variance : (ny, nx) float32
        Of the background; NO_INFORMATION in bad pixels.
    mask : (ny, nx) uint16
    fwhm : float
        Of the PSF, pixels.
    """
    residual = sources.residual
    ny, nx = residual.shape
    region = _regions(sources, variance, mask, fwhm, run)
    if region is None:
        return None
    free = _free(sources, variance, mask, CORE * fwhm, 1, run)
    side = max(1, round(CELL * fwhm))

    def means(width: float) -> tuple[BackgroundMap, F8, F8]:
        """Return means within a Gaussian of some width in FWHM, number of pixels and error."""
        cells = _Cells(variance, free, 1, side, side, width * fwhm / side, run)
        number, error = cells.weights()
        level = cells.mean(residual, number)
        around = BackgroundMap(*_planes(level), side, side, (ny, nx), 0.0, 1.0)
        # What a mean about a place flattens is in what it leaves (Tukey 1977: twicing).
        rest = subtract_background(residual, None, around, run)
        level = level + cells.mean(rest, number)
        around = BackgroundMap(*_planes(level), side, side, (ny, nx), 0.0, 1.0)
        return around, number, TWICED * error

    middle_y, middle_x = (
        np.minimum(np.arange(0, size, side) + side // 2, size - 1) for size in (ny, nx)
    )
    around, number, error = means(WIDTHS[0])
    finer, finer_number, finer_error = means(WIDTHS[1])
    inside = region.at(middle_y, middle_x) & (number > 0.0)
    both = inside & (finer_number > 0.0) & (finer_error > 0.0)
    change = (finer.level - around.level)[both] / finer_error[both]
    if both.any() and np.mean(np.minimum(change**2, CLIP**2)) > FLATTENED:
        around, error, inside = finer, finer_error, both
    run.info(f"sky of point sources: follows light on {100 * inside.mean():.1f} % of the frame")
    level = np.where(inside, around.level - region.ordinary, 0.0).astype(np.float32)
    return LocalSky(replace(around, level=level), np.where(inside, error, 0.0))


def _planes(level: F8) -> tuple[F4, F4]:
    """Return levels, and a noise that nothing asks for."""
    flat = level.astype(np.float32)
    return flat, np.ones_like(flat)


@record
class _Region:
    """Cells with light that is no source's.

    Attributes
    ----------
    cells : (n_y, n_x) bool
    side : int
        Of a cell, pixels.
    ordinary : float
        What the cells of the frame have, the most of them.
    """

    cells: Bools
    side: int
    ordinary: float

    def at(self, rows: I8, columns: I8) -> Bools:
        """Tell which of some rows and columns of pixels are in it, a plane."""
        inside: Bools = self.cells[(rows // self.side)[:, None], columns // self.side]
        return inside


def _regions(sources: Subtracted, variance: F4, mask: U2, fwhm: float, run: Run) -> _Region | None:
    """Find the regions with light that is no source's; None if there are none."""
    ny, nx = variance.shape
    side = max(1, round(TEST_CELL * fwhm))
    step = max(1, min(side // 2, ny * nx // SAMPLE))
    side -= side % step
    free = _free(sources, variance, mask, TEST_CORE * fwhm, step, run)
    cells = _Cells(variance, free, step, side // step, side, 1.0, run)
    number, error = cells.weights()
    level = cells.mean(sources.residual, number, 1)
    known = number > 0.0
    if not known.any():
        return None
    ordinary = median(level[known])
    sure = known & (np.abs(level - ordinary) > SURE * error)
    large = _large(sure, math.ceil(MIN_REGION * (fwhm / side) ** 2))
    return _Region(large, side, ordinary) if large.any() else None


def _large(cells: Bools, least: int) -> Bools:
    """Keep the cells that are in connected regions of so many, and those that touch these."""
    wide = np.zeros((cells.shape[0], cells.shape[1] + 2), np.int8)
    wide[:, 1:-1] = cells
    y, first = np.nonzero(np.diff(wide, axis=1) == 1)
    last = np.nonzero(np.diff(wide, axis=1) == -1)[1] - 1
    pixel = np.concatenate([np.zeros(1, np.int64), np.cumsum(last - first + 1)])
    n, n_runs = int(pixel[-1]), len(y)
    runs = Runs(y.astype(np.int32), first.astype(np.int32), last.astype(np.int32), pixel)
    found = Components(np.empty(n, np.int32), np.empty(n_runs + 1, np.int64))
    n_kept = int(found.first[label_runs(runs, least, found)]) if n else 0
    row, column = np.nonzero(cells)
    kept = found.order[:n_kept]
    large = np.zeros((cells.shape[0] + 2, cells.shape[1] + 2), np.bool_)
    for up in range(3):
        for across in range(3):
            large[row[kept] + up, column[kept] + across] = True
    return large[1:-1, 1:-1]


def _free(sources: Subtracted, variance: F4, mask: U2, core: float, step: int, run: Run) -> U1:
    """Return which pixels of every step-th row are sky (1)."""
    x, y = sources.x, sources.y
    there = np.isfinite(x) & np.isfinite(y)
    bright = np.fmax(sources.snr[there] / BRIGHT, 1.0)
    reach = core * (1.0 + WINGS * np.log10(bright))
    free: U1 = (~within(x[there], y[there], reach, variance.shape, step)).view(np.uint8)

    def rows(band: tuple[int, int]) -> None:
        keep_good(sources.residual, variance, mask, UNUSABLE, step, *band, free)

    run.map(rows, run.bands(len(free)))
    return free


@record
class _Cells:
    """Equal cells of pixels of the sky, and the Gaussian in which they are averaged.

    Attributes
    ----------
    variance : (ny, nx) float32
    free : (n_rows, nx) uint8
        Pixels that count, of every step-th row.
    step : int
    height, width : int
        Of a cell, these rows and columns; the last ones may be cut.
    sigma : float
        Standard deviation of the Gaussian, cells.
    run : Run
        With the threads that sum.
    """

    variance: F4
    free: U1
    step: int
    height: int
    width: int
    sigma: float
    run: Run

    def weights(self) -> tuple[F8, F8]:
        """Return the number of pixels about each cell, and the error of their mean."""
        number, noise = self._plane(), self._plane()

        def part(band: tuple[int, int]) -> None:
            sum_noise(
                self.variance, self.free, self.height, self.width, self.step, *band, number, noise
            )

        self.run.map(part, self.run.bands(len(number), least=_FEW))
        number = smoothed(number, self.sigma)
        error: F8 = np.sqrt(smoothed(noise, self.sigma / math.sqrt(2.0)))
        return number, error / np.maximum(number, 1e-6)

    def mean(self, image: F4, number: F8, rounds: int = ROUNDS) -> F8:
        """Return the mean of the pixels about each cell, outliers drawn near.

        Parameters
        ----------
        image : (ny, nx) float32
        number : (n_y, n_x) float64
            Of pixels, as of `weights`.
        """
        level = np.zeros(number.shape)
        for _ in range(rounds):
            sums = self._plane()

            def part(band: tuple[int, int], level: F8 = level, sums: F8 = sums) -> None:
                sum_clipped(
                    image, self.variance, self.free, level, self.height, self.width, self.step,
                    CLIP, *band, sums,
                )  # fmt: skip

            self.run.map(part, self.run.bands(len(sums), least=_FEW))
            level = smoothed(sums, self.sigma) / np.maximum(number, 1e-6)
        return level

    def _plane(self) -> F8:
        """Return a plane of cells, without values."""
        n_rows, nx = self.free.shape
        return np.empty((-(-n_rows // self.height), -(-nx // self.width)))
