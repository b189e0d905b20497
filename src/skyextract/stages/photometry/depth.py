"""How deep a frame goes: noise of a flux at places without sources, and sky brightness."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.noise import quantiles, robust_sigma
from skyextract.errors import StepError
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.record import record
from skyextract.stages.pointsources.corrections import ApertureCorrections
from skyextract.stages.pointsources.sweeps import fit_radius

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skyextract.datamodel.catalog import Catalog
    from skyextract.datamodel.exposure import Exposure
    from skyextract.run import Run
    from skyextract.stages.measured import Measured


N_POSITIONS = 1000
MIN_POSITIONS = 500
"""Fewer places without sources than this tell nothing."""
_SAMPLE = 100_000
_SEED = 20090
_SUBSAMPLES = 5


@record
class Sky:
    """What the depth is measured on.

    Attributes
    ----------
    subtracted, variance : (ny, nx) float32
        Background-subtracted image; background variance, 1e30 in bad pixels.
    occupied : (ny, nx) bool
        Detected, bad and repaired pixels: no empty place may touch one.
    apertures : sequence of float
        PHOT_APERTURES, diameters in pixels.
    """

    subtracted: F4
    variance: F4
    occupied: Bools
    apertures: Sequence[float] = ()


def sky_of(measured: Measured, apertures: Sequence[float], run: Run) -> Sky:
    """Return the sky of a measured image; `apertures` is PHOT_APERTURES."""
    plane = measured.plane
    lost = Mask.BAD | Mask.SAT | Mask.INTRP | Mask.CR | Mask.NO_DATA
    occupied = (measured.detections.segmentation != 0) | plane.bad
    occupied |= (measured.exposure.mask & int(lost)) != 0
    return Sky(plane.subtracted, plane.variance_plane(run), occupied, apertures)


def empty_positions(occupied: Bools, radius: float, number: int = N_POSITIONS) -> tuple[F8, F8]:
    """Draw places at least `radius` pixels from every occupied pixel and the border.

    The square about each place is tested, so that distances are on the safe side; the draw is
    the same in every run.

    Returns
    -------
    x, y : (n,) float64
        0-based pixels; n may be smaller than `number` in a crowded frame.
    """
    ny, nx = occupied.shape
    half = math.ceil(radius)
    if ny <= 2 * half + 2 or nx <= 2 * half + 2:
        return np.zeros(0), np.zeros(0)
    rng = np.random.default_rng(_SEED)
    x = rng.uniform(half + 0.5, nx - half - 1.5, 40 * number)
    y = rng.uniform(half + 0.5, ny - half - 1.5, 40 * number)
    i, j = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    if 2 * number * (2 * half + 1) ** 2 > occupied.size:
        free = _free_by_sums(occupied, i, j, half)[:number]
        return x[free], y[free]
    found: list[I8] = []
    for first in range(0, len(x), 2 * number):
        if sum(map(len, found)) >= number:
            break
        part = slice(first, first + 2 * number)
        found.append(first + _free_squares(occupied, i[part], j[part], half))
    free = np.concatenate(found)[:number]
    return x[free], y[free]


def _free_squares(occupied: Bools, i: I8, j: I8, half: int) -> I8:
    """Return which squares about pixels have none that is occupied.

    Most that have some show it in a few pixels.
    """
    pixels = occupied.ravel()
    middle = j * occupied.shape[1] + i
    free = np.arange(len(i))
    for step in (max(half // 2, 1), 1):
        side = np.arange(-half, half + 1, step)
        square = (side[:, None] * occupied.shape[1] + side).ravel()
        free = free[~pixels[middle[free, None] + square].any(axis=1)]
    return free


def _free_by_sums(occupied: Bools, i: I8, j: I8, half: int) -> I8:
    """Return the same as `_free_squares`; quicker for wide squares in small frames."""
    ny, nx = occupied.shape
    sums = np.zeros((ny + 1, nx + 1), dtype=np.int32)
    np.cumsum(occupied, axis=0, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    low_x, high_x, low_y, high_y = i - half, i + half + 1, j - half, j + half + 1
    inside = sums[high_y, high_x] - sums[low_y, high_x] - sums[high_y, low_x] + sums[low_y, low_x]
    return np.flatnonzero(inside == 0)


def aperture_flux(image: F4, x: F8, y: F8, radius: float) -> F8:
    """Sum circular apertures that lie within the image, pixels divided into 5 x 5.

    Parameters
    ----------
    image : (ny, nx) float32
        Background-subtracted.
    x, y : (n,) float64
        0-based centres.
    """
    half = math.ceil(radius) + 1
    side = np.arange(-half, half + 1)
    sub = (np.arange(_SUBSAMPLES) + 0.5) / _SUBSAMPLES - 0.5
    i, j = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    ny, nx = image.shape
    flux = np.zeros(len(x))
    for dy in side:
        for dx in side:
            ox = (i + dx - x)[:, None] + sub
            oy = (j + dy - y)[:, None] + sub
            share = (ox[:, :, None] ** 2 + oy[:, None, :] ** 2 <= radius**2).mean(axis=(1, 2))
            flux += share * image[np.clip(j + dy, 0, ny - 1), np.clip(i + dx, 0, nx - 1)]
    return flux


def psf_flux(exposure: Exposure, sky: Sky, x: F8, y: F8, run: Run) -> F8:
    """Fit the PSF's flux at fixed places, normalised to the reference aperture.

    The weighted sum of the pixels, sum(P d / v) / sum(P**2 / v), as the PSF photometry gives
    it for a faint source.
    """
    psf = exposure.psf
    assert psf is not None
    radius = fit_radius(psf)
    half = min(psf.radius, math.ceil(radius))
    i, j = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    side = np.arange(-half, half + 1)
    dy, dx = (part - half for part in np.nonzero(side[:, None] ** 2 + side**2 <= radius**2))
    size = 2 * half + 1
    of_stamp = (half + dy) * size + half + dx
    ny, nx = sky.subtracted.shape

    def fit(part: slice) -> F8:
        u, v, k, m = x[part], y[part], i[part], j[part]
        stamps = psf.stamps(u, v, u - k, v - m, size, of_whole=True)
        profile = stamps.reshape(len(u), -1)[:, of_stamp].astype(np.float64)
        pixel = np.clip(m[:, None] + dy, 0, ny - 1) * nx + np.clip(k[:, None] + dx, 0, nx - 1)
        weight = profile / sky.variance.ravel()[pixel]
        flux = (weight * sky.subtracted.ravel()[pixel]).sum(axis=1)
        return np.asarray(flux / (weight * profile).sum(axis=1))

    flux = np.concatenate(run.map(fit, [slice(*band) for band in run.bands(len(x))]))
    if exposure.aperture_corrections is not None:
        flux *= ApertureCorrections.from_catalog(exposure.aperture_corrections).psf_factor(x, y)
    return np.asarray(flux, dtype=np.float64)


def flux_noise(
    flux_key: str, exposure: Exposure, sky: Sky, catalog: Catalog, stars: Bools, run: Run
) -> float:
    """Return the noise of a flux column at places without sources, image units.

    Parameters
    ----------
    flux_key : str
        FLUX_PSF, or FLUX_APER or FLUX_APERCOR with the number of the aperture: others have an
        aperture of their own for each source, and no noise where there is none.
    stars : (n,) bool
        Rows of `catalog` that are stars.

    Returns
    -------
    float
        1.48 MAD over up to 1000 places.

    Raises
    ------
    StepError
        Another column, or fewer than 500 places without sources.
    """
    name, index = split_key(flux_key)
    factor = 1.0
    if name == "FLUX_PSF" and exposure.psf is not None:
        radius = fit_radius(exposure.psf)
    elif name in {"FLUX_APER", "FLUX_APERCOR"} and index < len(sky.apertures):
        radius = 0.5 * sky.apertures[index]
    else:
        raise StepError(f"the aperture of {name} is another one for each source")
    x, y = empty_positions(sky.occupied, radius)
    if len(x) < MIN_POSITIONS:
        raise StepError(f"fewer than {MIN_POSITIONS} places without sources")
    if name == "FLUX_PSF":
        return robust_sigma(psf_flux(exposure, sky, x, y, run))
    if name == "FLUX_APERCOR" and "FLUX_APER" in catalog:
        ratio = column(catalog, flux_key) / column(catalog, f"FLUX_APER({index + 1})")
        factor = float(np.median(ratio[stars]))
    return factor * robust_sigma(aperture_flux(sky.subtracted, x, y, radius))


def depth_range(sky: Sky) -> tuple[float, float]:
    """Return how many magnitudes less, and more, deep the worst and best tenth of the frame are.

    From the background variance of pixels without sources, against its median.
    """
    step = max(1, math.isqrt(sky.variance.size // _SAMPLE))
    variance = sky.variance[::step, ::step][~sky.occupied[::step, ::step]]
    variance = variance[(variance > 0.0) & (variance < MAX_VARIANCE)]
    if variance.size < MIN_POSITIONS:
        return 0.0, 0.0
    low, middle, high = quantiles(variance, (0.1, 0.5, 0.9))
    return 1.25 * math.log10(high / middle), 1.25 * math.log10(middle / low)


def split_key(flux_key: str) -> tuple[str, int]:
    """Return column and element (from 0) of a name like FLUX_APER(2)."""
    name, _, rest = flux_key.partition("(")
    return name, int(rest.rstrip(")")) - 1 if rest else 0


def column(catalog: Catalog, key: str) -> F8:
    """Return a column, or one element of a vector column, as float64."""
    name, index = split_key(key)
    values = np.asarray(catalog[name], dtype=np.float64)
    return values if values.ndim == 1 else values[:, index]


def sky_brightness(zero_point: float, level: float, pixel_scale: float) -> float:
    """Return mag/arcsec**2 of a sky level per pixel; NaN for a level that is not positive."""
    if not (level > 0.0 and pixel_scale > 0.0):
        return math.nan
    return zero_point - 2.5 * math.log10(level / pixel_scale**2)
