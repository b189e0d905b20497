"""Fringes: the pattern of a master, scaled to the frame and subtracted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, U2
from skyextract.datamodel.flags import Mask
from skyextract.errors import ImageError
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.stages.background.estimate import estimate_background
from skyextract.stages.background.interpolate import background_image

if TYPE_CHECKING:
    from skyextract.datamodel.calibrations import Master
    from skyextract.run import Run
    from skyextract.settings.keywords import Config


_N_ITERATIONS = 8
_CLIP = 3.0


def subtract_fringe(
    image: F4, mask: U2, fringe: Master, config: Config, run: Run
) -> tuple[F4, float]:
    """Subtract the fringe pattern with the amplitude that the sky of the frame shows.

    The amplitude is the least-squares factor of the pattern in the sky pixels, both freed of
    their large-scale background; stars are left out by clipping at 3 sigma.

    Parameters
    ----------
    image : (ny, nx) float32
        Flat-fielded.
    fringe : Master
        Pattern of flat-fielded frames.

    Returns
    -------
    image : (ny, nx) float32
    amplitude : float

    Raises
    ------
    ImageError
        The pattern is constant, or no sky pixel is left.
    """
    unusable = np.uint16(Mask.BAD | Mask.SAT | Mask.NO_DATA)
    pattern = np.nan_to_num(fringe.image)
    usable = ((mask & unusable) == 0) & np.isfinite(fringe.image)
    level = background_image(estimate_background(image, mask, None, config.background, run), run)
    pattern_mask = np.where(usable, 0, int(Mask.NO_DATA)).astype(np.uint16)
    pattern_level = background_image(
        estimate_background(pattern, pattern_mask, None, config.background, run), run
    )
    sky = (image - level)[usable].astype(np.float64)
    wave = (pattern - pattern_level)[usable].astype(np.float64)
    if sky.size == 0 or not wave.var() > 0.0:
        raise ImageError(f"{fringe.name}: no fringe pattern on the usable pixels")
    amplitude, keep = 0.0, np.ones(sky.size, dtype=np.bool_)
    for _ in range(_N_ITERATIONS):
        residual = sky - amplitude * wave
        centre = float(np.median(residual[keep]))
        sigma = MAD_TO_SIGMA * float(np.median(np.abs(residual[keep] - centre)))
        keep = np.abs(residual - centre) <= _CLIP * sigma
        mean_wave, mean_sky = wave[keep].mean(), sky[keep].mean()
        shape = wave[keep] - mean_wave
        previous = amplitude
        amplitude = float(shape @ (sky[keep] - mean_sky) / (shape @ shape))
        if abs(amplitude - previous) <= 1e-5 * abs(amplitude):
            break
    corrected = image - np.float32(amplitude) * pattern
    return np.where(np.isfinite(fringe.image), corrected, image).astype(np.float32), amplitude
