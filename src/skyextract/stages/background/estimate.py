"""Background: estimate the mesh, and interpolate it over the image."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, U1, U2, Bools
from skyextract.datamodel.background import BackgroundMap
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.noise import median
from skyextract.kernels.background.grid import fill_bad_meshes, median_filter
from skyextract.kernels.background.mesh import BAD, Meshes, SkyPixels, mesh_statistics
from skyextract.kernels.background.spline import spline_rows
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.run import Run
from skyextract.settings.keywords import Background, of_image
from skyextract.stages.background.blackpoint import black_point
from skyextract.stages.background.coarse import (
    MAX_STEPS,
    MIN_PIXELS,
    MIN_SKEWNESS,
    coarse_meshes,
    is_unresolved,
    pixel_skewness,
    sample_good,
    value_step,
)
from skyextract.stages.background.trend import steep_trend

EXCLUDED = Mask.BAD | Mask.NO_DATA | Mask.EDGE
"""Mask planes whose pixels say nothing about the background."""

MAX_TRENDS = 2
"""A surface that outliers have bent is fitted once more to what is left."""

_NO_MASK = np.zeros((1, 1), np.uint16)
_NO_SOURCES = np.zeros((1, 1), np.uint8)
_NO_PLANE = np.zeros((1, 1), np.float32)


CLIPPED_SIGMA = np.float32(0.9849)
"""Standard deviation of a normal distribution that is clipped at 3 of these.

Without a mask the faint sources among the pixels make up for it, as in SExtractor; where
the sources are left out nothing does.
"""


def estimate_background(
    image: F4,
    mask: U2 | None,
    weight: F4 | None,
    config: Background,
    run: Run,
    *,
    index: int = 0,
    sources: U1 | None = None,
    weight_threshold: float = MAX_VARIANCE,
    measured: bool = False,
) -> BackgroundMap:
    """Estimate the background level and noise on a mesh, as SExtractor does.

    Parameters
    ----------
    image : (ny, nx) float32
        Image with its background, image units.
    mask : (ny, nx) uint16 or None
        Mask planes; pixels with one of `EXCLUDED` are left out.
    weight : (ny, nx) float32 or None
        Variance map, in any unit; pixels at or above `weight_threshold` are left out.
    config : Background
        BACK_* keywords.
    index : {0, 1}
        0 for the detection, 1 for the measurement image (BACK_TYPE and BACK_VALUE can differ).
    sources : (ny, nx) uint8 or None
        Further pixels to leave out (not 0): the footprints of detected sources.
    measured : bool
        Noise of few photons or steps is recognised and treated as such (NOISE_TYPE MEASURED);
        SExtractor's estimate else.

    Returns
    -------
    BackgroundMap
        With BACK_TYPE MANUAL the level is BACK_VALUE everywhere, the noise is measured.

    Notes
    -----
    With `sources` left out the noise is corrected for the clipping, `CLIPPED_SIGMA`.
    A mesh with less than half of its pixels good takes the value of its nearest neighbours.
    Where no mesh is good, or all pixels are equal, the noise is set to 1 and a warning given.
    """
    background, _ = estimate_weighted_background(
        image,
        mask,
        weight,
        config,
        run,
        index=index,
        sources=sources,
        weight_threshold=weight_threshold,
        measured=measured,
    )
    return background


def estimate_weighted_background(
    image: F4,
    mask: U2 | None,
    weight: F4 | None,
    config: Background,
    run: Run,
    *,
    index: int = 0,
    sources: U1 | None = None,
    weight_threshold: float = MAX_VARIANCE,
    measured: bool = False,
    trends: int = MAX_TRENDS,
) -> tuple[BackgroundMap, float]:
    """Estimate the background as `estimate_background`, and the scale of the weight map.

    Where a `measured` sky is steep within its meshes, a surface is taken off first, at most
    `trends` times.

    Returns
    -------
    background : BackgroundMap
    weight_scale : float
        Median over the meshes of background rms / sqrt(variance map): ``weight_scale**2 *
        weight`` is the background variance in image units squared (RESCALE_WEIGHTS).
        1 without a weight map.
    """
    ny, nx = image.shape
    width = min(config.back_size[0], nx)
    height = min(config.back_size[-1], ny)
    shape = (-(-ny // height), -(-nx // width))
    level = np.empty(shape, np.float32)
    rms = np.empty(shape, np.float32)
    weight_level = np.empty(shape, np.float32)
    pixels = SkyPixels(
        image,
        _NO_MASK if mask is None else mask,
        0 if mask is None else int(EXCLUDED),
        _NO_SOURCES if sources is None else sources,
        sources is not None,
        _NO_PLANE if weight is None else weight,
        weight is not None,
        np.float32(weight_threshold),
    )
    meshes = Meshes(width, height, level, rms, weight_level)

    def rows(band: tuple[int, int]) -> None:
        mesh_statistics(pixels, meshes, band[0], band[1], config.back_pearson)

    run.map(rows, run.bands(shape[0], least=1))
    skewness, coarse, hidden_step, clipped = None, False, 0.0, (0.0, 0.0)
    if measured and width * height >= MIN_PIXELS:
        good_rows = partial(_good_pixels, image, mask, weight, weight_threshold)
        sample = sample_good(image, good_rows, run)
        step = value_step(sample)
        clipped = black_point(sample, step)
        known = rms[rms > BAD]
        stepped = step > 0.0 and (not known.size or median(known) < MAX_STEPS * step)
        if known.size and not stepped:
            skewed = pixel_skewness(image, good_rows, sources)
            step = skewed * median(known) if skewed > MIN_SKEWNESS else 0.0
        coarse = step > 0.0
        if coarse:
            good = good_rows(slice(None))
            if sources is not None:
                good &= sources == 0
            level, rms, skewness = coarse_meshes(image, good, width, height, step)
            if stepped and is_unresolved(image[good], step):
                hidden_step = step
                run.warn(
                    "the noise of the sky is below a quarter of the step of the pixel values, "
                    f"{step:g}: rounding hides its level, and fluxes are off by up to 0.3 steps "
                    "per pixel"
                )
            level[np.isnan(level)] = rms[np.isnan(rms)] = BAD
    trend = steep_trend(level, rms) if measured and trends and not coarse else None
    if trend is not None:
        surface = BackgroundMap(trend, rms, width, height, (ny, nx), 0.0, 1.0)
        rest, weight_scale = estimate_weighted_background(
            subtract_background(image, None, surface, run), mask, weight, config, run, index=index,
            sources=sources, weight_threshold=weight_threshold, measured=measured,
            trends=trends - 1,
        )  # fmt: skip
        if _manual(config, index):
            return rest, weight_scale
        level = rest.level + trend
        share, shift = clipped
        rest = replace(rest, clipped_share=share, clipped_shift=shift)
        return replace(rest, level=level, mean=median(level)), weight_scale
    n_good = fill_bad_meshes(level, rms)
    if sources is not None and n_good and not coarse:
        rms /= CLIPPED_SIGMA
    if n_good == 0:
        run.warn("no mesh has enough good pixels for a background: level 0 and noise 1 are used")
    level, rms = _filtered(level, rms, config)
    mean = median(level)
    sigma = median(rms)
    if not sigma > 0.0:
        positive = rms[rms > 0.0]
        sigma = median(positive) if positive.size else 1.0
        if not positive.size:
            run.warn("the image is constant: its background noise is set to 1")

    weight_scale = 1.0
    if weight is not None:
        spread = np.ones_like(weight_level)
        fill_bad_meshes(weight_level, spread)
        weight_level, _ = _filtered(weight_level, spread, config)
        usable = (weight_level > 0.0) & (rms > 0.0)
        if usable.any():
            weight_scale = float(np.median(rms[usable] / np.sqrt(weight_level[usable])))
        else:
            run.warn("the weight map cannot be scaled to the background noise: used as it is")

    if _manual(config, index):
        mean = of_image(config.back_value, index)
        level = np.full(shape, mean, np.float32)
    found = BackgroundMap(
        level, rms, width, height, (ny, nx), mean, sigma, skewness, hidden_step, *clipped
    )
    return found, weight_scale


def _good_pixels(
    image: F4, mask: U2 | None, weight: F4 | None, weight_threshold: float, rows: slice
) -> Bools:
    """Return the pixels of some rows that say something about the background."""
    good = np.isfinite(image[rows])
    if mask is not None:
        good &= (mask[rows] & np.uint16(EXCLUDED)) == 0
    if weight is not None:
        good &= weight[rows] < weight_threshold
    return good


def same_mesh(background: BackgroundMap, shape: tuple[int, ...], config: Background) -> bool:
    """Tell whether a background was estimated as BACK_SIZE and BACK_TYPE say, for this shape."""
    size = (min(config.back_size[0], shape[1]), min(config.back_size[-1], shape[0]))
    return (
        background.shape == shape
        and (background.mesh_width, background.mesh_height) == size
        and "MANUAL" not in config.back_type
    )


def background_image(background: BackgroundMap, run: Run) -> F4:
    """Return the background level over the image (bicubic spline), (ny, nx) float32."""
    return _interpolate(background, background.level, run)


def background_rows(background: BackgroundMap, rows: I8, run: Run) -> F4:
    """Return the `background_image` where only the given rows (sorted, unique) are set."""
    groups = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if rows.size else []
    bands = [(int(group[0]), int(group[-1]) + 1) for group in groups]
    return _interpolate(background, background.level, run, bands=bands)


def rms_image(background: BackgroundMap, run: Run) -> F4:
    """Return the background rms over the image (bicubic spline), (ny, nx) float32."""
    return _interpolate(background, background.rms, run)


def mesh_variance(
    background: BackgroundMap,
    run: Run,
    rows: slice | None = None,
    unusable: tuple[U2, int] | None = None,
) -> F4:
    """Return the square of the background rms over the image, (ny, nx) float32.

    Only some rows are set, and take memory, if `rows` says which.  With a mask (ny, nx) and some of
    its planes, `unusable`, pixels in these have no information.
    """
    bands = None if rows is None else [(rows.start, rows.stop)]
    mask, planes = (None, 0) if unusable is None else unusable
    return _interpolate(
        background, background.rms, run, mask=mask, planes=planes, square=True, bands=bands
    )


def subtract_background(
    image: F4, mask: U2 | None, background: BackgroundMap, run: Run, out: F4 | None = None
) -> F4:
    """Return the image minus its background, 0 at pixels without data.

    Parameters
    ----------
    image : (ny, nx) float32
    mask : (ny, nx) uint16 or None
        Pixels with the NO_DATA plane set become 0.
    out : (ny, nx) float32 or None
        Where the result goes; it may be the image.  None: into a new array.
    """
    return _interpolate(background, background.level, run, image, mask, out=out)


def background_at(background: BackgroundMap, x: I8, y: I8) -> F4:
    """Return the level at whole pixels, by bilinear interpolation between mesh centres.

    This is SExtractor's BACKGROUND column, which differs slightly from the spline.

    Parameters
    ----------
    x, y : (n,) int64
        0-based pixels.
    """
    ny, nx = background.level.shape

    def position(pixel: I8, size: int, n: int) -> tuple[I8, I8, F8]:
        t = pixel / size - 0.5
        low = np.clip(t.astype(np.int64), 0, max(n - 2, 0))
        return low, np.minimum(low + 1, n - 1), t - low

    x0, x1, dx = position(np.asarray(x), background.mesh_width, nx)
    y0, y1, dy = position(np.asarray(y), background.mesh_height, ny)
    level = background.level.astype(np.float64)
    lower = (1.0 - dx) * level[y0, x0] + dx * level[y0, x1]
    upper = (1.0 - dx) * level[y1, x0] + dx * level[y1, x1]
    values: F4 = ((1.0 - dy) * lower + dy * upper).astype(np.float32)
    return values


def _manual(config: Background, index: int) -> bool:
    return of_image(config.back_type, index) == "MANUAL"


def _filtered(level: F4, rms: F4, config: Background) -> tuple[F4, F4]:
    level_out = np.empty_like(level)
    rms_out = np.empty_like(rms)
    median_filter(
        level,
        rms,
        config.back_filtersize[0] // 2,
        config.back_filtersize[-1] // 2,
        config.back_filtthresh,
        level_out,
        rms_out,
    )
    return level_out, rms_out


def _interpolate(
    background: BackgroundMap,
    nodes: F4,
    run: Run,
    image: F4 | None = None,
    mask: U2 | None = None,
    *,
    planes: int = int(Mask.NO_DATA),
    square: bool = False,
    bands: list[tuple[int, int]] | None = None,
    out: F4 | None = None,
) -> F4:
    result = np.empty(background.shape, np.float32) if out is None else out

    def rows(band: tuple[int, int]) -> None:
        spline_rows(
            nodes,
            background.mesh_width,
            background.mesh_height,
            band[0],
            band[1],
            image is not None,
            square,
            _NO_PLANE if image is None else image,
            _NO_MASK if mask is None else mask,
            0 if mask is None else planes,
            result,
        )

    run.map(rows, run.bands(background.shape[0]) if bands is None else bands)
    return result
