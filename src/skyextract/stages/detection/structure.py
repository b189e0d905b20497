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
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, U1, U2, Bools
from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.flags import Mask
from skyextract.record import record
from skyextract.stages.background.interpolate import subtract_background
from skyextract.stages.background.means import weighted_mean
from skyextract.stages.detection.noise import scale_at

if TYPE_CHECKING:
    from skyextract.run import Run

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


@record
class Structure:
    """What is around each place of a filtered image, and the noise without it.

    Attributes
    ----------
    around : BackgroundMap
        To be subtracted; 0 where nothing is gained by that.
    scale : (n_y, n_x) float32
        Noise that is left over that of independent pixels, in equal cells.
    """

    around: BackgroundMap
    scale: F4


def sky_structure(
    filtered: F4,
    claimed: U1,
    scale: F4,
    filter_area: float,
    unit: float,
    noise_scale: Callable[[F4], F4],
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
    filter_area : float
        One over the filter's sum of squares, pixels.
    unit : float
        Noise of the image if pixels are independent.
    noise_scale : callable
        Measures the noise of such an image, as `scale`.
    """
    if not (scale > RAISED).any():
        return None
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
            sky = free & (np.abs(rest) < CLIP * unit * float(np.median(after)))
            around = _mean_around(filtered, sky, cell, sigma)
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
        if np.median(other[1][raised]) < np.median(ratio[raised]):
            around, ratio, left = other
    found = (raised & (ratio < 1.0 - MIN_GAIN)).reshape(n_y, n_x)
    if not found.any():
        return None
    around = replace(around, level=np.where(found, around.level, np.float32(0.0)))
    rest = without_structure(filtered, around, run)
    # In independent noise no filter makes stars more significant than the PSF does.
    scale = np.maximum(noise_scale(rest), np.float32(left))
    return Structure(around, _local_scale(rest / np.float32(unit), free, scale, fwhm))


def without_structure(filtered: F4, around: BackgroundMap, run: Run) -> F4:
    """Return a filtered image without what is around each place."""
    no_information: U2 = (filtered == 0.0) * np.uint16(Mask.NO_DATA)
    return subtract_background(filtered, no_information, around, run)


def _mean_around(filtered: F4, sky: Bools, cell: int, sigma: float) -> BackgroundMap:
    """Return the mean of the sky about each place, weighted by a Gaussian of width `sigma`."""
    ny, nx = filtered.shape
    edge_y, edge_x = np.arange(0, ny, cell), np.arange(0, nx, cell)
    level = weighted_mean(filtered, sky, edge_y, edge_x, sigma / cell).astype(np.float32)
    return BackgroundMap(level, np.ones_like(level), cell, cell, (ny, nx), 0.0, 1.0)


def _local_scale(rest: F4, free: Bools, scale: F4, fwhm: float) -> F4:
    """Return a noise scale that is nowhere below the rms about a place.

    Parameters
    ----------
    rest : (ny, nx) float32
        In units of the noise of independent pixels.
    """
    edges, centres = [], []
    for size in rest.shape:
        n = max(1, round(size / (LOCAL_CELL * fwhm)))
        edges.append(np.linspace(0, size, n + 1).round().astype(np.int64)[:-1])
        centres.append((np.arange(n) + 0.5) * size / n - 0.5)
    sky = free & (np.abs(rest) < CLIP * float(np.median(scale)))
    rms = np.sqrt(weighted_mean(rest**2, sky, edges[0], edges[1], LOCAL / LOCAL_CELL))
    y, x = (c.ravel() for c in np.meshgrid(*centres, indexing="ij"))
    measured = scale_at(scale, rest.shape, x, y).reshape(rms.shape)
    return np.maximum(rms, measured).astype(np.float32)
