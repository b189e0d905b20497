"""Structure of the sky that is finer than the meshes of the background, in a filtered image.

Dust rings, fringes and cirrus of some ten pixels are neither noise nor sources, but they raise
the noise of the filtered image, and with it the threshold.  The filter that finds most stars in
such noise is the PSF less a broad ring about it: the mean of what is around, without sources, is
subtracted from the filtered image.  That takes a part of the stars away too, and is done only
where the noise loses more, which noise that neighbouring pixels share does not.  Only detection
sees this: fluxes are measured above the background that BACK_SIZE says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, U1, U2, Bools
from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.noise import median
from skyextract.record import record
from skyextract.stages.background.interpolate import subtract_background
from skyextract.stages.background.means import weighted_mean
from skyextract.stages.detection.localmeans import best_means
from skyextract.stages.detection.noise import scale_at

if TYPE_CHECKING:
    from skyextract.datamodel.detections import Detections
    from skyextract.run import Run
    from skyextract.stages.detection.matched import MatchedFilter

RAISED = 1.2
"""Structure is looked for where the noise is above that of independent pixels by this factor..."""
MIN_GAIN = 0.1
"""... and subtracted where noise over stars gets less by this share, or more."""
WIDTHS = (1.5, 1.0, 2.5, 4.0)
"""Standard deviations of the Gaussian that is the weight of what is around, in FWHM; without
gain from the first the others are not tried."""
CLIP = 4.0
"""Pixels beyond so many sigma of the filtered image are no sky, known or not..."""
ROUNDS = 2
"""... in so many rounds."""
CELL = 0.7
"""Side of the cells that are averaged, in FWHM."""
LOCAL = 4.0
"""Width of the Gaussian in which the noise that is left is taken, in FWHM: that of clouds and
filaments is more uneven than that of pixels."""
LOCAL_CELL = 2.0
"""Side of the cells of that noise, in FWHM."""
BLOCK = 6
"""Light that rises within a mesh raises the noise but little: blocks of so many FWHM, ..."""
HIGH, MIN_HIGH = 0.75, 0.01
"""... of which more than this share are so many sigma from 0 in the mean, tell of it (of frames
without it 0 to .0004), ..."""
LEAST_LEVEL = 0.4
"""... and what is around is subtracted where it is more than this, in sigma: beneath noise."""
WIDE = 4.0
"""Width of the Gaussian that is its weight, in FWHM."""
TOLD = 0.1
"""Users are told where that is more than this share of the frame."""


@record
class Structure:
    """What is around each place of a filtered image, and the noise without it.

    Attributes
    ----------
    around : BackgroundMap
        To be subtracted; 0 where nothing is gained by that.
    scale : (n_y, n_x) float32
        Noise that is left over that of independent pixels, in equal cells.
    fine : float
        The typical noise where one mean about each place is taken off, no finer one.
    """

    around: BackgroundMap
    scale: F4
    fine: float


def sky_structure(
    filtered: F4,
    claimed: U1,
    scale: F4,
    psf: MatchedFilter,
    unit: float,
    noise_scale: Callable[[F4], F4],
    pixel_noise: Callable[[float], F4] | None,
    run: Run,
) -> Structure | None:
    """Return the structure of the sky in a filtered image; None where all is noise.

    Parameters
    ----------
    filtered : (ny, nx) float32
        See `filter_matched`; 0 where there is no information.
    claimed : (ny, nx) uint8
        Pixels of known sources (not 0).
    scale : (n_y, n_x) float32
        Noise over that of independent pixels, in equal cells.
    psf : MatchedFilter
    unit : float
        Noise of the image if pixels are independent.
    noise_scale : callable
        Measures the noise of such an image, as `scale`.
    pixel_noise : callable or None
        Noise of pixels, as of `best_means`; without it one mean is taken off the whole frame
        (where noise has a long tail, as in a denoised image, the best one stands by its tail).
    """
    filter_area = 1.0 / psf.square
    if not (scale > RAISED).any():
        return _uneven_sky(filtered, claimed, scale, filter_area, unit, noise_scale, run)
    variance = 2.0 * filter_area / (4.0 * math.pi)  # of a filtered star
    fwhm = 2.3548 * math.sqrt(variance / 2.0)
    cell = max(1, round(CELL * fwhm))
    free = (claimed == 0) & (filtered != 0.0)
    n_y, n_x = (-(-size // cell) for size in filtered.shape)
    y, x = np.indices((n_y, n_x)).reshape(2, -1) * cell + 0.5 * (cell - 1)
    before = scale_at(scale, filtered.shape, x, y)
    raised = before > RAISED

    def tried(width: float, hopeless: float = math.inf) -> tuple[BackgroundMap, F8, float]:
        """Return what is around with this width, what noise over stars is then, and stars' rest.

        Where that noise is nowhere below `hopeless` one round tells.
        """
        sigma = width * fwhm
        left_of_stars = sigma**2 / (variance + sigma**2)
        rest, after = filtered, scale
        for _ in range(ROUNDS):
            sky = free & (np.abs(rest) < CLIP * unit * median(after))
            around = mean_around(filtered, sky, cell, sigma)
            rest = without_structure(filtered, around, run)
            after = noise_scale(rest)
            ratio = scale_at(after, filtered.shape, x, y) / before / left_of_stars
            if not (ratio[raised] < hopeless).any():
                break
        return around, ratio, left_of_stars

    around, ratio, left = tried(WIDTHS[0], 1.0 - MIN_GAIN / 2.0)
    if not (ratio[raised] < 1.0 - MIN_GAIN).any():
        return None
    for width in WIDTHS[1:]:
        other = tried(width)
        if median(other[1][raised]) < median(ratio[raised]):
            around, ratio, left = other
    found = (raised & (ratio < 1.0 - MIN_GAIN)).reshape(n_y, n_x)
    if not found.any():
        return None
    around = replace(around, level=np.where(found, around.level, np.float32(0.0)))
    rest = without_structure(filtered, around, run)
    # In independent noise no filter makes stars more significant than the PSF does.
    after = np.maximum(noise_scale(rest), np.float32(left))
    clip = CLIP * median(after)
    after = local_scale(rest / np.float32(unit), free, after, fwhm, clip=clip)
    best = pixel_noise and best_means(
        filtered, rest, after, left, scale, psf, unit, pixel_noise,
        partial(without_structure, run=run), run,
    )  # fmt: skip
    return Structure(*(best or (around, after)), median(after))


def warn_of_uneven_sky(found: Detections, run: Run) -> None:
    """Say so where sources were searched on a sky that the background does not follow."""
    if found.around is None or (found.full_noise_scale > RAISED).any():
        return
    share = float(np.mean(found.around.level != 0.0))
    if share > TOLD:
        run.warn(
            f"the background does not follow the sky in {100.0 * share:.0f} % of the frame (a ghost"
            ", halos, a large galaxy?): sources are searched without what it leaves, which fluxes "
            "have in them; where that is sky, a smaller BACK_SIZE follows it"
        )


def _uneven_sky(
    filtered: F4, claimed: U1, scale: F4, filter_area: float, unit: float,
    noise_scale: Callable[[F4], F4], run: Run,
) -> Structure | None:  # fmt: skip
    """Return what meshes leave of a smooth sky, where the noise hardly tells of it; else None.

    The ghost of a pupil, halos of galaxies, a bright plume: their noise passes a threshold that is
    as many sigma lower as they are high, and in the dips beside them stars are lost.
    """
    variance = 2.0 * filter_area / (4.0 * math.pi)  # of a filtered star
    fwhm = 2.3548 * math.sqrt(variance / 2.0)
    limit = unit * median(scale)
    share, middle = share_uneven(filtered, claimed, limit, fwhm, run)
    if share < MIN_HIGH:
        return None
    free = (claimed == 0) & (filtered != 0.0)
    rest = filtered
    for _ in range(ROUNDS):
        sky = free & (np.abs(rest) < CLIP * limit)
        around = mean_around(filtered, sky, max(1, round(CELL * fwhm)), WIDE * fwhm)
        rest = without_structure(filtered, around, run)
    level = around.level - np.float32(middle)
    level[np.abs(level) <= LEAST_LEVEL * limit] = 0.0
    around = replace(around, level=level)
    left_of_stars = WIDE**2 * fwhm**2 / (variance + WIDE**2 * fwhm**2)
    after = noise_scale(without_structure(filtered, around, run))
    after = np.maximum(after, np.float32(left_of_stars))
    return Structure(around, after, median(after))


def share_uneven(
    filtered: F4, claimed: U1, sigma: float, fwhm: float, run: Run
) -> tuple[float, float]:
    """Return the share of blocks that with one beside are on one side of the sky, and its level.

    Light that is as high everywhere is not uneven: rounded pixels hide the level of the sky.
    """
    step = max(1, round(fwhm))
    ny, nx = (size // (BLOCK * step) * BLOCK * step for size in filtered.shape)

    def sums(blocks: tuple[int, int]) -> tuple[I8, F4]:
        rows = slice(blocks[0] * BLOCK * step, blocks[1] * BLOCK * step, step)
        shape = (blocks[1] - blocks[0], BLOCK, nx // (BLOCK * step), BLOCK)
        values = filtered[rows, :nx:step]
        used = (claimed[rows, :nx:step] == 0) & (values != 0.0)
        used &= np.abs(values) < CLIP * sigma
        light = np.where(used, values, np.float32(0.0))
        return used.reshape(shape).sum(axis=(1, 3)), light.reshape(shape).sum(axis=(1, 3))

    parts = run.map(sums, run.bands(ny // (BLOCK * step), least=4))
    number, total = (np.concatenate(v) for v in zip(*parts, strict=True))
    known = number > BLOCK**2 / 2
    if not known.any():
        return 0.0, 0.0
    middle = median(total[known] / number[known])
    total = total - middle * number
    side = np.where(known & (np.abs(total) > HIGH * sigma * number), np.sign(total), 0.0)
    # Noise that rows or columns share has pairs along them alone.
    pairs = min(
        np.count_nonzero((one == other) & (one != 0.0))
        for one, other in ((side[1:], side[:-1]), (side[:, 1:], side[:, :-1]))
    )
    return 2.0 * pairs / np.count_nonzero(known), middle


def without_structure(filtered: F4, around: BackgroundMap, run: Run) -> F4:
    """Return a filtered image without what is around each place."""
    no_information: U2 = (filtered == 0.0) * np.uint16(Mask.NO_DATA)
    return subtract_background(filtered, no_information, around, run)


def mean_around(filtered: F4, sky: Bools, cell: int, sigma: float) -> BackgroundMap:
    """Return the mean of the sky about each place, weighted by a Gaussian of width `sigma`."""
    ny, nx = filtered.shape
    edge_y, edge_x = np.arange(0, ny, cell), np.arange(0, nx, cell)
    level = weighted_mean(filtered, sky, edge_y, edge_x, sigma / cell).astype(np.float32)
    return BackgroundMap(level, np.ones_like(level), cell, cell, (ny, nx), 0.0, 1.0)


def local_scale(rest: F4, free: Bools, scale: F4, fwhm: float, *, clip: float) -> F4:
    """Return a noise scale that is nowhere below the rms about a place.

    Parameters
    ----------
    rest : (ny, nx) float32
        In units of the noise of independent pixels.
    free : (ny, nx) bool
        Pixels of the sky, ...
    clip : float
        ... unless they are as far from it.
    """
    edges, centres = [], []
    for size in rest.shape:
        n = max(1, round(size / (LOCAL_CELL * fwhm)))
        edges.append(np.linspace(0, size, n + 1).round().astype(np.int64)[:-1])
        centres.append((np.arange(n) + 0.5) * size / n - 0.5)
    sky = free & (np.abs(rest) < clip)
    rms = np.sqrt(weighted_mean(rest**2, sky, edges[0], edges[1], LOCAL / LOCAL_CELL))
    y, x = (c.ravel() for c in np.meshgrid(*centres, indexing="ij"))
    measured = scale_at(scale, rest.shape, x, y).reshape(rms.shape)
    return np.maximum(rms, measured).astype(np.float32)
