"""Background: estimate its level and noise on a mesh."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from skyextract.datamodel.arrays import F4, U1, U2, Bools
from skyextract.datamodel.background import HIDDEN_PART, BackgroundMap
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.noise import median
from skyextract.kernels.background.grid import fill_bad_meshes, median_filter
from skyextract.kernels.background.mesh import BAD, Meshes, SkyPixels, mesh_statistics
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.record import record
from skyextract.run import Run
from skyextract.settings.keywords import Background, of_image
from skyextract.stages.background.bent import surface_of, with_nodes_of
from skyextract.stages.background.blackpoint import black_point
from skyextract.stages.background.coarse import (
    MAX_STEPS,
    MIN_PIXELS,
    MIN_SKEWNESS,
    coarse_meshes,
    counts_photons,
    is_unresolved,
    own_skewness,
    row_step,
    sample_good,
    skewness_in_blocks,
    typical_noise,
    value_step,
)
from skyextract.stages.background.interpolate import subtract_background
from skyextract.stages.background.rounded import VISIBLE, rounded_sky
from skyextract.stages.background.skewed import level_above_mode
from skyextract.stages.background.steep import steep_rest
from skyextract.stages.background.trend import steep_trend

EXCLUDED = Mask.BAD | Mask.NO_DATA | Mask.EDGE
"""Mask planes whose pixels say nothing about the background."""

QUARTER = 0.25
"""Sigma in steps below which the user is told of the rounding."""
RIPPLE = HIDDEN_PART / 3.0**0.5
"""Steps that rounding shifts a level by, which is `hidden_step` of the whole step."""

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
    shape = (image.shape[0], image.shape[1])
    good_rows = partial(_good_pixels, image, mask, weight, weight_threshold)
    is_seen = measured and math.prod(_mesh_size(image, config)) >= MIN_PIXELS
    sample = sample_good(image, good_rows, run) if is_seen else _NO_PLANE[0]
    step = value_step(sample) if is_seen else 0.0
    spread = max(step, row_step(image, good_rows)) if is_seen else 0.0
    meshes = _meshes(image, mask, weight, config, run, sources, weight_threshold, spread)
    width, height, level, rms, weight_level = meshes
    if sources is not None and not (level > BAD).any():
        # Sources fill all meshes of a small frame: the mode of all pixels is nearer than nothing.
        return estimate_weighted_background(
            image, mask, weight, config, run, index=index, weight_threshold=weight_threshold,
            measured=measured, trends=trends,
        )  # fmt: skip
    sky = _Sky()
    if is_seen:
        sky = _seen_in_pixels(
            image, good_rows, sources, meshes, step, black_point(sample, step),
            config.back_pearson, run,
        )  # fmt: skip
    if sky.coarse is not None:
        level, rms = sky.coarse
    elif sky.above:
        level[level > BAD] += np.float32(sky.above)
    trend = steep_trend(level, rms) if measured and trends and sky.coarse is None else None
    if trend is not None:
        coarse = BackgroundMap(trend.level, rms, width, height, shape, 0.0, 1.0)
        surface = surface_of(trend, coarse, run)
        left, weight_scale = estimate_weighted_background(
            subtract_background(image, None, surface, run), mask, weight, config, run, index=index,
            sources=sources, weight_threshold=weight_threshold, measured=measured,
            trends=trends - 1,
        )  # fmt: skip
        if not _manual(config, index):
            nodes = [(part.mesh_height, part.mesh_width) for part in (left, surface)]
            left, surface = (with_nodes_of(part, min(nodes)) for part in (left, surface))
            level = left.level + surface.level
            share, shift = sky.clipped
            left = replace(
                left, level=level, mean=median(level), clipped_share=share, clipped_shift=shift
            )
        return left, weight_scale
    rest = None
    if measured and sources is not None and sky.coarse is None:
        again = partial(
            _meshes, mask=mask, weight=weight, config=config, run=run, sources=sources,
            weight_threshold=weight_threshold, step=spread,
        )  # fmt: skip
        rest = steep_rest(image, meshes, again, partial(_filtered, config=config), sky.above, run)
    n_good = fill_bad_meshes(level, rms)
    if sources is not None and n_good and sky.coarse is None:
        rms /= CLIPPED_SIGMA
    if n_good == 0:
        run.warn("no mesh has enough good pixels for a background: level 0 and noise 1 are used")
    level, rms = _filtered(level, rms, config)
    level = level if rest is None else level + rest
    mean, sigma = median(level), typical_noise(rms, image, good_rows, run)
    weight_scale = 1.0 if weight is None else _weight_scale(weight_level, rms, config, run)
    if _manual(config, index):
        mean = of_image(config.back_value, index)
        level = np.full(level.shape, mean, np.float32)
    found = BackgroundMap(
        level, rms, width, height, shape, mean, sigma, sky.skewness, sky.hidden_step, *sky.clipped,
        sky.rounding,
    )  # fmt: skip
    return found, weight_scale


def _mesh_size(image: F4, config: Background) -> tuple[int, int]:
    """Return width and height of a mesh, pixels."""
    ny, nx = image.shape
    return min(config.back_size[0], nx), min(config.back_size[-1], ny)


def _meshes(
    image: F4,
    mask: U2 | None,
    weight: F4 | None,
    config: Background,
    run: Run,
    sources: U1 | None,
    weight_threshold: float,
    step: float,
) -> Meshes:
    """Return level, noise and weight of every mesh by SExtractor's clipped mode; BAD if unknown.

    Values rounded to a `step` are spread over it, if that is not 0.
    """
    ny, nx = image.shape
    width, height = _mesh_size(image, config)
    shape = (-(-ny // height), -(-nx // width))
    pixels = SkyPixels(
        image,
        _NO_MASK if mask is None else mask,
        0 if mask is None else int(EXCLUDED),
        _NO_SOURCES if sources is None else sources,
        sources is not None,
        _NO_PLANE if weight is None else weight,
        weight is not None,
        np.float32(weight_threshold),
        np.float32(step),
    )
    level, rms, weight_level = (np.empty(shape, np.float32) for _ in range(3))
    meshes = Meshes(width, height, level, rms, weight_level)

    def rows(band: tuple[int, int]) -> None:
        mesh_statistics(pixels, meshes, band[0], band[1], config.back_pearson)

    run.map(rows, run.bands(shape[0], least=1))
    return meshes


@record
class _Sky:
    """What the values of single pixels tell of the sky.

    Attributes
    ----------
    coarse : (F4, F4) or None
        Level and noise of the meshes where steps of the values or few photons rule them; BAD
        where unknown.
    skewness : float or None
        Of the noise, where the meshes are coarse.
    hidden_step : float
        Step of the values, if it hides the level; 0 else.
    clipped : (float, float)
        Share of the pixels at the black point, and what that shifts the level by.
    rounding : float
        How much higher the mean of rounded values is than the level.
    above : float
        How much the level is higher than the mode of pixels with a little skewed noise.
    """

    coarse: tuple[F4, F4] | None = None
    skewness: float | None = None
    hidden_step: float = 0.0
    clipped: tuple[float, float] = (0.0, 0.0)
    rounding: float = 0.0
    above: float = 0.0


def _seen_in_pixels(
    image: F4,
    good_rows: Callable[[slice], Bools],
    sources: U1 | None,
    meshes: Meshes,
    step: float,
    clipped: tuple[float, float],
    pearson: float,
    run: Run,
) -> _Sky:
    """Look whether the values are so coarse, or so skewed, that their mode is not the level."""
    known = meshes.rms[meshes.rms > BAD]
    stepped = step > 0.0 and (not known.size or median(known) < MAX_STEPS * step)
    if known.size and not stepped:
        rough, shared, _ = skewness_in_blocks(image, good_rows, sources, run=run)
        skewed = own_skewness(rough, shared)
        step = skewed * median(known) if skewed > MIN_SKEWNESS else 0.0
        if not step > 0.0:
            above = level_above_mode(image, good_rows, sources, median(known), pearson, rough, run)
            return _Sky(clipped=clipped, above=above)
    if not step > 0.0:
        return _Sky(clipped=clipped)
    good = good_rows(slice(None))
    if sources is not None:
        good &= sources == 0
    values = image[good]
    photons = counts_photons(values, step)
    level, rms, skewness = coarse_meshes(
        image, good, meshes.width, meshes.height, step, photons=photons
    )
    hidden = stepped and is_unresolved(values, step)
    rounded = None
    if stepped and not photons:
        rounded = rounded_sky(image, good, meshes.width, meshes.height, step, level, rms)
    part, shift = (1.0 if hidden else 0.0), 0.0
    if rounded is not None and rounded.sigma > VISIBLE:
        level, rms, shift = rounded.level, rounded.rms, rounded.shift
        part = min(rounded.ripple / RIPPLE, 1.0)
        hidden = rounded.sigma < QUARTER
    if hidden:
        run.warn(
            "the noise of the sky is below a quarter of the step of the pixel values, "
            f"{step:g}: rounding hides its level, and fluxes are off by up to "
            f"{max(part * RIPPLE, 0.1):.1f} steps per pixel"
        )
    level[np.isnan(level)] = rms[np.isnan(rms)] = BAD
    return _Sky((level, rms), skewness, part * step, clipped, shift)


def _weight_scale(weight_level: F4, rms: F4, config: Background, run: Run) -> float:
    """Return the median over the meshes of the noise over that of the weight map."""
    spread = np.ones_like(weight_level)
    fill_bad_meshes(weight_level, spread)
    weight_level, _ = _filtered(weight_level, spread, config)
    usable = (weight_level > 0.0) & (rms > 0.0)
    if usable.any():
        return float(np.median(rms[usable] / np.sqrt(weight_level[usable])))
    run.warn("the weight map cannot be scaled to the background noise: used as it is")
    return 1.0


def _good_pixels(
    image: F4, mask: U2 | None, weight: F4 | None, weight_threshold: float, rows: slice
) -> Bools:
    """Return the pixels of some rows that say something about the background."""
    good = np.isfinite(image[rows])
    # (most rows of most masks have none of these planes)
    if mask is not None and np.bitwise_or.reduce(mask[rows], axis=None) & EXCLUDED:
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
