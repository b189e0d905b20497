"""The measurement frame: what the measurement kernels read, prepared once per image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skyextract.kernels import aperture

if TYPE_CHECKING:
    from skyextract.background import BackgroundMap
    from skyextract.keywords import Config
    from skyextract.run import Run

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]

NO_WEIGHT = 1e29
"""A background variance from here on means a bad pixel (1e30 by convention)."""

_NO_MAP: F4 = np.zeros((1, 1), dtype=np.float32)
_CHUNK = 256


@dataclass(frozen=True)
class MeasureFrame:
    """Pixels and noise of the measurement image, as the kernels want them.

    Attributes
    ----------
    pixels : (ny, nx) float32
        Background-subtracted image, NaN where bad.  In PHOTO mode in intensities.
    densities : (ny, nx) float32
        The same before the conversion to intensities; `pixels` itself in CCD mode.
    image : (ny, nx) float32
        Background not subtracted.
    variance : (ny, nx) float32
        Background variance if `mapped`; else a dummy, and `noise2` holds everywhere.
    noise2 : float
        Square of the representative noise of the background.
    gain : float
        e-/ADU; 0: no photon noise.
    weight_gain : bool
        The gain of a pixel is ``gain * noise2 / variance``.
    mask : int
        What becomes of neighbours' pixels: 0, BLANK or CORRECT.
    threshold : float
        Analysis threshold where the variance is `noise2`.
    saturation : float
        Level of `image` at which a pixel is saturated.
    gamma : float
        0 in CCD mode; in PHOTO mode intensity = exp(density / gamma).
    """

    pixels: F4
    densities: F4
    image: F4
    variance: F4
    mapped: bool
    noise2: float
    gain: float
    weight_gain: bool
    mask: int
    threshold: float
    saturation: float
    gamma: float = 0.0


def analysis_threshold(
    config: Config, sigma: float, pixel_scale: float, values: tuple[float, ...] | None = None
) -> float:
    """Return ANALYSIS_THRESH (or `values`) in image units.

    Parameters
    ----------
    sigma : float
        Representative noise of the background.
    pixel_scale : float
        Arcsec, for a threshold given as surface brightness and zero point.
    """
    thresholds = config.extraction.analysis_thresh if values is None else values
    if len(thresholds) > 1:
        return float(pixel_scale**2 * 10.0 ** (-0.4 * (thresholds[0] - thresholds[1])))
    if config.extraction.thresh_type == "ABSOLUTE":
        return float(thresholds[0])
    return float(thresholds[0]) * sigma


def prepare_frame(
    image: F4,
    background: F4,
    bad: NDArray[np.bool_],
    variance: F4 | None,
    background_map: BackgroundMap,
    config: Config,
    *,
    gain: float,
    saturation: float,
    pixel_scale: float = 1.0,
    relative_gain: bool = False,
) -> MeasureFrame:
    """Prepare the measurement of an image.

    Parameters
    ----------
    image, background : (ny, nx) float32
        Image and interpolated background, image units.
    bad : (ny, nx) bool
        Pixels that must not be used.
    variance : (ny, nx) float32 or None
        Background variance; None: the representative noise holds everywhere.
    relative_gain : bool
        The variance comes from a weight map that follows the exposure: WEIGHT_GAIN applies.
    """
    pixels = image - background
    pixels[bad | ~np.isfinite(pixels)] = np.nan
    mapped = variance is not None
    if variance is None:
        variance = _NO_MAP
    else:
        pixels[~(variance < NO_WEIGHT)] = np.nan
        variance = np.ascontiguousarray(variance, dtype=np.float32)
    noise = float(background_map.sigma)
    if not (math.isfinite(noise) and noise > 0.0):
        noise = 1.0
    densities = pixels
    gamma = 0.0
    if config.extraction.detect_type == "PHOTO":
        # Sums of intensities minus 1, times gamma, are fluxes in units of density; SExtractor
        # knows no photon noise here.
        gamma = config.measurement.mag_gamma / math.log(10.0)
        if not mapped:
            variance = np.full(image.shape, noise * noise, dtype=np.float32)
            mapped = True
        with np.errstate(over="ignore"):
            intensities = np.exp(densities.astype(np.float64) / gamma)
            variance = (variance * intensities**2 / gamma**2).astype(np.float32)
            pixels = (gamma * (intensities - 1.0)).astype(np.float32)
        gain = 0.0
    return MeasureFrame(
        pixels=pixels,
        densities=densities,
        image=np.ascontiguousarray(image, dtype=np.float32),
        variance=variance,
        mapped=mapped,
        noise2=noise * noise,
        gain=float(gain) if math.isfinite(gain) else 0.0,
        weight_gain=bool(relative_gain and config.weights.weight_gain),
        mask={"NONE": 0, "BLANK": aperture.BLANK, "CORRECT": aperture.CORRECT}[
            config.measurement.mask_type
        ],
        threshold=analysis_threshold(config, noise, pixel_scale),
        saturation=float(saturation),
        gamma=gamma,
    )


def in_chunks(run: Run, n: int, task: Callable[[int, int], Any]) -> None:
    """Call `task(first, last)` on chunks of n sources, in threads."""
    edges = [*range(0, n, _CHUNK), n]
    run.map(lambda span: task(*span), list(itertools.pairwise(edges)))
