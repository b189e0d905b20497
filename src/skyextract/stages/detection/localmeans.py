"""Stars on bright clouds: what is around each place is taken off in the width that is best there.

Light of nebulae has the more structure the brighter it is, and more of it on large scales than on
small ones.  The linear filter that finds most stars upon it is the PSF over the power of noise and
structure (L. Cayon et al. 2000, MNRAS 315, 757): nearly the PSF where there is none, and what
stands out of its closest surroundings where light is bright.  Here it is one of a set, the PSF less
what is around it within a Gaussian, and each place has that of them in which stars are the most
significant by the noise that it leaves there.  As sources are a part of what is around them, these
filters do not need to know which pixels are sources; stars lose light in them, which is made good.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.datamodel.background import BackgroundMap
from skyextract.kernels.background.cells import sum_cells
from skyextract.kernels.detection.quantiles import cell_quantiles
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.stages.background.means import smoothed, weighted_mean
from skyextract.stages.detection.noise import in_sigma, scale_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from skyextract.run import Run
    from skyextract.stages.detection.matched import MatchedFilter

LIKELY = 0.75
"""Standard deviation of the Gaussian, in FWHM, that tells whether there is anything to gain: half
of what is asked for is; ..."""
OTHERS = ((1.0, 1.5, 2.5, 4.0), (0.55, 0.4))
FEW = 0.02
"""... wider and narrower ones; those beyond one that is the best in less than this share of the
places are not tried."""
MIN_GAIN = 0.2
"""They are taken if noise over stars gets less by this share, or more, of the typical place..."""
RAISED = 1.2
"""... where it is above that of independent pixels by this factor, in all such places."""
FINE_CELL, MEAN_CELL = 0.35, 0.5
"""Side of the cells of what is subtracted, in FWHM, and of those that are averaged, in widths."""
LOCAL, CELL = 4.0, 2.0
"""Width of the Gaussian in which the noise of a place is taken, and side of its cells, in FWHM."""
CLIP = 4.0
"""Pixels beyond so many sigma are no noise."""
LEAST = 0.1
"""Noise is no less than this, in units of that of independent pixels."""
_NO_SOURCES = np.zeros((1, 1), np.uint8)


def best_means(
    filtered: F4, rest: F4, scale: F4, left: float, raised: F4, psf: MatchedFilter, unit: float,
    pixel_noise: Callable[[float], F4], without: Callable[[F4, BackgroundMap], F4], run: Run,
) -> tuple[BackgroundMap, F4] | None:  # fmt: skip
    """Return what is best subtracted of a filtered image, and the noise that it leaves.

    None where nothing is gained.

    Parameters
    ----------
    filtered : (ny, nx) float32
        See `filter_matched`; 0 where there is no information.
    rest : (ny, nx) float32
        The same less what is around each place without its sources, ...
    scale : (n_y, n_x) float32
        ... the noise of that over that of independent pixels, in equal cells, ...
    left : float
        ... and what it has of the height of stars.
    raised : (n_y, n_x) float32
        Noise of `filtered` as `scale`: nothing is gained where it is that of independent pixels.
    psf : MatchedFilter
    unit : float
        Noise of the image if pixels are independent.
    pixel_noise : callable
        Noise of pixels by that of a frame with its structure, in cells for stars of a FWHM: no
        filter makes stars more significant than the PSF does in independent noise.
    without : callable
        Subtracts a map from a filtered image.
    """
    power, frequency = psf.power_of_star()
    star = np.fft.ifft2(power).real
    # That of the PSF's core: wings, and what they have of a nebula, are none of it.
    fwhm = math.sqrt(2.0 / math.pi * np.count_nonzero(star > 0.5 * star[0, 0]))
    places = _centres(filtered.shape, fwhm)
    y, x = (at.ravel() for at in np.meshgrid(*places, indexing="ij"))
    before, above = (
        scale_at(cells, filtered.shape, x, y).reshape(places[0].size, places[1].size)
        for cells in (scale, raised)
    )
    chosen = above > RAISED

    def gains(noise: F8 | F4, share: float) -> bool:
        return bool(chosen.any()) and float(np.median((noise / before)[chosen])) < 1.0 - share

    def sharpened(width: float) -> tuple[F8, F4]:
        """Return what is left in the means of cells, stars as high as before, and its noise."""
        sigma = width * fwhm
        passed = 1.0 - np.exp(-0.5 * (2.0 * math.pi * sigma * frequency) ** 2)
        height = float((power * passed**2).sum() / power.sum())
        sharp = without_mean(filtered, sigma, without)
        factor = left / height
        means = factor * _means(sharp, side)
        sharp *= np.float32(factor / unit)
        return means, np.maximum(local_noise(sharp, fwhm, run), floor)

    side = max(1, round(FINE_CELL * fwhm))
    floor = np.maximum(np.minimum(pixel_noise(fwhm), 1.0), LEAST) * np.float32(left)
    if not gains(floor, MIN_GAIN):
        return None
    likely = sharpened(LIKELY)
    if not gains(likely[1], MIN_GAIN / 2.0):
        return None
    least = np.full(before.shape, np.inf)
    means = _means(filtered, side)
    level: F8 = np.zeros((means.shape[0], means.shape[1]))
    nearest = np.ix_(*(
        np.abs(centres[:, None] - np.arange(n) * side - 0.5 * (side - 1)).argmin(axis=0)
        for centres, n in zip(places, level.shape, strict=True)
    ))  # fmt: skip

    for widths in ((LIKELY,), *OTHERS):
        for width in widths:
            sharp, noise = likely if width == LIKELY else sharpened(width)
            better = noise < least
            least[better] = noise[better]
            np.copyto(level, means - sharp, where=better[nearest])
            if float(np.mean(better[chosen])) < FEW:
                break
    if not gains(least, MIN_GAIN):
        return None
    flat = np.where(chosen[nearest], level, means - _means(rest, side)).astype(np.float32)
    around = BackgroundMap(flat, np.ones_like(flat), side, side, filtered.shape, 0.0, 1.0)
    return around, np.where(chosen, least, before).astype(np.float32)


def without_mean(filtered: F4, sigma: float, without: Callable[[F4, BackgroundMap], F4]) -> F4:
    """Return a filtered image without the mean about each place, weighted by a Gaussian.

    Twice, as what a mean flattens is in what it leaves (Tukey 1977: twicing): neither slopes nor
    curvature are left.  Beyond the borders the image goes on as its reflection in their pixels.

    Parameters
    ----------
    filtered : (ny, nx) float32
        0 where there is no information.
    sigma : float
        Width of the Gaussian, pixels.
    without : callable
        As of `best_means`.
    """
    cell = max(1, int(MEAN_CELL * sigma))
    edges = [np.arange(0, size, cell) for size in filtered.shape]
    shape = edges[0].size, edges[1].size
    pads = [(min(math.ceil(3.0 * sigma / cell), n - 1),) * 2 for n in shape]
    inner = tuple(slice(pad, pad + n) for (pad, _), n in zip(pads, shape, strict=True))
    known = (filtered != 0.0).view(np.uint8)
    total, number = np.empty((2, *shape))
    sum_cells(filtered, known, edges[0], edges[1], total, number)
    weight = np.pad(number, pads, "reflect")
    weights = np.maximum(smoothed(weight, sigma / cell)[inner], 1e-6)
    rest = filtered
    for turn in range(2):
        if turn:
            sum_cells(rest, known, edges[0], edges[1], total, number)
        mean = np.pad(total / np.maximum(number, 1.0), pads, "reflect", reflect_type="odd")
        level = smoothed(weight * mean, sigma / cell)[inner]
        flat = (level / weights).astype(np.float32)
        if cell == 1:
            rest = np.where(known, rest - flat, np.float32(0.0))
        else:
            around = BackgroundMap(flat, np.ones_like(flat), cell, cell, filtered.shape, 0.0, 1.0)
            rest = without(rest, around)
    return rest


def local_noise(rest: F4, fwhm: float, run: Run) -> F4:
    """Return the noise of an image about each place of equal cells, without its sources.

    The rms within a Gaussian of width `LOCAL` of what is within `CLIP` times the noise that the
    medians about it tell.

    Parameters
    ----------
    rest : (ny, nx) float32
        About 0; 0 where there is no information.
    fwhm : float
        Of stars, pixels.

    Returns
    -------
    (n_y, n_x) float32
    """
    rough = np.maximum(_noise_by_medians(rest, fwhm, 1.0, run), np.float32(1e-3))
    unit = rest.copy()
    in_sigma(unit, rough, run)
    sky: Bools = (unit != 0.0) & (np.abs(unit) < CLIP)
    edges = [edge[:-1] for edge in _edges(rest.shape, fwhm)]
    noise: F4 = rough * np.sqrt(weighted_mean(unit**2, sky, edges[0], edges[1], LOCAL / CELL))
    return noise


def noise_of_pixels(
    image: F4, fwhm: float, *, sigma: float, variance: F4 | None, mesh: BackgroundMap | None,
    run: Run,
) -> F4:  # fmt: skip
    """Return the noise of pixels by their variance, in the cells of `local_noise`.

    That is in the differences of neighbours, which the structure of the sky is not.

    Parameters
    ----------
    image : (ny, nx) float32
        0 where there is no information.
    fwhm : float
        Of stars, pixels.
    sigma, variance, mesh
        As of `detect`.
    """
    both = (image[:, 1:] != 0.0) & (image[:, :-1] != 0.0)
    differences = np.zeros_like(image)
    differences[:, 1:][both] = np.diff(image)[both]
    noise = math.sqrt(0.5) * _noise_by_medians(differences, fwhm, sigma, run)
    y, x = _centres(image.shape, fwhm)
    if mesh is not None:
        at_y, at_x = (at.ravel() for at in np.meshgrid(y, x, indexing="ij"))
        expected = scale_at(mesh.rms, image.shape, at_x, at_y).reshape(noise.shape)
    elif variance is not None:
        expected = np.sqrt(variance[np.ix_(np.rint(y).astype(int), np.rint(x).astype(int))])
    else:
        expected = np.full(noise.shape, sigma)
    return (noise / np.maximum(expected, 1e-30)).astype(np.float32)


def _noise_by_medians(rest: F4, fwhm: float, unit: float, run: Run) -> F4:
    """Return the noise by medians of absolute values in cells, the middle one of 5 x 5."""
    rows, columns = _edges(rest.shape, fwhm)
    middle = np.full((rows.size - 1, columns.size - 1, 1), np.nan)
    number = np.zeros(middle.shape[:2], np.int64)
    absolute, half = np.abs(rest), np.array([0.5])
    step = max(1, round(fwhm / 4.0))

    def row(j: int) -> None:
        cell_quantiles(
            absolute, _NO_SOURCES, False, int(rows[j]), int(rows[j + 1]), columns, step, unit, half,
            number[j], middle[j],
        )  # fmt: skip

    run.map(row, range(rows.size - 1))
    return (MAD_TO_SIGMA * _middle_of_near(middle[..., 0])).astype(np.float32)


def _middle_of_near(cells: F8) -> F8:
    """Return the median of the 5 x 5 cells about each, that of all where none of these is known."""
    padded = np.pad(cells, 2, constant_values=np.nan)
    ny, nx = cells.shape
    about = np.array([padded[j : j + ny, i : i + nx] for j in range(5) for i in range(5)])
    about[:, np.isnan(about).all(axis=0)] = np.nanmedian(cells)
    last = np.count_nonzero(~np.isnan(about), axis=0)[None] - 1
    ordered = np.sort(about, axis=0)  # NaN is last; numpy's nanmedian takes four times as long
    low, high = (np.take_along_axis(ordered, k // 2, axis=0)[0] for k in (last, last + 1))
    middle: F8 = 0.5 * (low + high)
    return middle


def _means(values: F4, side: int) -> F8:
    """Return the means of square cells."""
    if side == 1:
        return values.astype(np.float64)
    edges = [np.arange(0, size, side) for size in values.shape]
    sums, number = np.empty((2, edges[0].size, edges[1].size))
    sum_cells(values, np.ones(values.shape, np.uint8), edges[0], edges[1], sums, number)
    means: F8 = sums / number
    return means


def _edges(shape: tuple[int, ...], fwhm: float) -> list[I8]:
    """Return the edges of the cells of the local noise along y and x."""
    numbers = [max(1, round(size / (CELL * fwhm))) for size in shape]
    return [
        np.linspace(0, size, n + 1).round().astype(np.int64)
        for size, n in zip(shape, numbers, strict=True)
    ]


def _centres(shape: tuple[int, ...], fwhm: float) -> tuple[F8, F8]:
    """Return the middles of these cells along y and x."""
    numbers = [edge.size - 1 for edge in _edges(shape, fwhm)]
    y, x = ((np.arange(n) + 0.5) * size / n - 0.5 for n, size in zip(numbers, shape, strict=True))
    return y, x
